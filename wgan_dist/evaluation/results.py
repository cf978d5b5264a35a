"""The result of an evaluation: the content of its JSON file, and tables of one or several results."""

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wgan_dist.data.labels import Labels
from wgan_dist.evaluation.evaluator import Evaluator
from wgan_dist.evaluation.metric_set import reasons_in_words
from wgan_dist.evaluation.metrics.classes import ByClass
from wgan_dist.tracking.metric_names import METRICS
from wgan_dist.utils.console import escape_unprintable
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import MAX_TEXT_BYTES, read_file

FORMAT_VERSION = 1
# The classes that a table has a row for.
CLASSES_SHOWN = 100
# How the protocol of a metric names the weights that were measured.
WEIGHTS = {"ema": ", averaged weights", "raw": ", last weights", None: ""}

# What a JSON file holds: `format`, what was evaluated, `metrics` with value and protocol, `skipped` with reasons.
Result = dict[str, Any]


def _metric(evaluator: Evaluator, name: str, value: float, weights: str) -> dict[str, Any]:
    """Return a metric as the JSON file has it: value, protocol, numbers of samples, and its value for real samples."""
    generated, real = evaluator.compared(name)
    metric = {"value": value, "protocol": evaluator.protocol(name) + weights, "generated": generated, "real": real}
    if found := evaluator.real_values.get(name):
        metric["real_against_real"] = dataclasses.asdict(found) | {"protocol": found.protocol}
    return metric


def make_result(about: Mapping[str, Any], values: Mapping[str, float], evaluator: Evaluator) -> Result:
    """Combine the metadata of a generator or folder, among them its `source` and `weights`, with measured values.

    Raises:
        UserError: For a value that is not finite.
    """
    undefined = [name for name, value in values.items() if not math.isfinite(value)]
    if undefined:
        raise UserError(f"{about['source']}: {', '.join(undefined)} cannot be measured: its samples are not finite")
    weights = WEIGHTS[about["weights"]]
    metrics = {name: _metric(evaluator, name, value, weights) for name, value in values.items()}
    data = {"data": evaluator.data.name, "data_fingerprint": evaluator.data.fingerprint}
    return {"format": FORMAT_VERSION, **about, **data, "metrics": metrics, "skipped": evaluator.metric_set.skipped}


def values_of_classes(values: ByClass, generated: Labels, real: Labels) -> dict[str, dict[str, Any]]:
    """Return the values of a metric by the name of each class, with its numbers of images, for the JSON file."""
    counts = {"generated": generated.counts(), "real": real.counts()}
    return {
        generated.classes[number]: {"value": value} | {name: int(of[number]) for name, of in counts.items()}
        for number, value in values.items()
    }


def with_earlier_metrics(result: Result, file: Path) -> Result:
    """Add metrics that are only in `file` to a result, if it is of the same generator and data."""
    try:
        earlier = json.loads(read_file(file, MAX_TEXT_BYTES))
        if any(earlier[name] != result[name] for name in ("format", "sha256", "data_fingerprint")):
            return result
        metrics = earlier["metrics"] | result["metrics"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # there is none, or it is damaged
        return result
    skipped = {name: reason for name, reason in result["skipped"].items() if name not in metrics}
    return result | {"metrics": metrics, "skipped": skipped}


def _protocols(results: list[Result]) -> list[str]:
    """Return the protocols of the first result, then those of others where they differ."""
    first, *others = [{name: metric["protocol"] for name, metric in result["metrics"].items()} for result in results]
    lines = [f"{name}: {protocol}" for name, protocol in first.items()]
    for result, protocols in zip(results[1:], others, strict=True):
        different = {name: protocol for name, protocol in protocols.items() if protocol != first.get(name)}
        lines += [f"{name} of {result['source']}: {protocol}" for name, protocol in different.items()]
    return lines


def _skipped(results: list[Result]) -> list[str]:
    """Return why the first result lacks metrics, then why others do where the reasons differ."""
    first = results[0]["skipped"]
    lines = reasons_in_words(first)
    for result in results[1:]:
        different = {name: reason for name, reason in result["skipped"].items() if reason != first.get(name)}
        lines += [f"{result['source']}: {line}" for line in reasons_in_words(different)]
    return lines


def _described(result: Result) -> str:
    """Name what was evaluated: its source, step, weights and number format."""
    step = "" if result["step"] is None else f"step {result['step']:,}"
    weights = WEIGHTS[result["weights"]].removeprefix(", ")
    about = [result["source"], step, weights, result["precision"] or result["kind"]]
    return ", ".join(filter(None, about))


def _headed(name: str) -> str:
    """Return the name of a metric with an arrow to its better direction."""
    return name + {True: " ↓", False: " ↑", None: ""}[METRICS[name].lower_is_better]


def _real_cell(metric: dict[str, Any]) -> str:
    """Return the value of real samples, with the sizes of their sets where they are not those compared."""
    found = metric.get("real_against_real")
    if not found:
        return ""
    sizes = found["first"], found["second"]
    compared = metric["generated"], metric["real"] if found["second"] else 0
    text = f"{found['value']:.4g} ± {found['spread']:.2g}"
    return text if sizes == compared else f"{text} ({' against '.join(f'{size:,}' for size in sizes if size)})"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _metric_rows(result: Result) -> list[str]:
    """Return a line for each metric of one result."""
    rows: list[tuple[str, ...]] = [("metric", "value", "real against real", "generated", "real", "protocol")]
    for name, metric in result["metrics"].items():
        counts = f"{metric['generated']:,}", f"{metric['real']:,}" if metric["real"] else ""
        rows.append((_headed(name), f"{metric['value']:.6g}", _real_cell(metric), *counts, metric["protocol"]))
    return [_described(result), *_aligned(rows), *_class_rows(result)]


def _class_rows(result: Result) -> list[str]:
    """Return a line for each class, with the metrics that have a value for it and its numbers of images."""
    metrics = {name: metric["classes"] for name, metric in result["metrics"].items() if "classes" in metric}
    if not metrics:
        return []
    classes: dict[str, dict[str, Any]] = {}
    for of_metric in metrics.values():
        classes |= of_metric
    rows: list[tuple[str, ...]] = [("class", *map(_headed, metrics), "generated", "real")]
    for name, found in itertools.islice(classes.items(), CLASSES_SHOWN):
        values = [f"{of[name]['value']:.6g}" if name in of else "" for of in metrics.values()]
        rows.append((escape_unprintable(name), *values, f"{found['generated']:,}", f"{found['real']:,}"))
    more = len(classes) - CLASSES_SHOWN
    return [*_aligned(rows), *([f"and {more:,} more classes; the JSON file has all"] if more > 0 else [])]


def _source_rows(results: list[Result]) -> list[str]:
    """Return a line for each of several sources, then the values of real samples and the protocols."""
    names = list(dict.fromkeys(name for result in results for name in result["metrics"]))
    rows = [("source", *map(_headed, names))]
    for result in results:
        metrics = (result["metrics"].get(name) for name in names)
        rows.append((_described(result), *(f"{metric['value']:.6g}" if metric else "" for metric in metrics)))
    of_real = {tuple(_real_cell(result["metrics"].get(name, {})) for name in names): result for result in results}
    for cells, result in of_real.items():
        rows.append((f"real against real, {result['data']}" if len(of_real) > 1 else "real against real", *cells))
    return [*_aligned(rows), *_protocols(results)]


def table(results: list[Result]) -> list[str]:
    """Format one result as a line for each metric, or several as a line for each source with the protocols below.

    ↓ marks metrics of which lower values are better, ↑ those of which higher ones are.
    """
    rows = _metric_rows(results[0]) if len(results) == 1 else _source_rows(results)
    return [*rows, *_skipped(results)]
