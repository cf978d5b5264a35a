"""The result of an evaluation: the content of its JSON file, and tables of one or several results."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wgan_dist.evaluation.evaluator import Evaluator
from wgan_dist.evaluation.metric_set import reasons_in_words
from wgan_dist.utils.errors import UserError

FORMAT_VERSION = 1
# How the protocol of a metric names the weights that were measured.
WEIGHTS = {"ema": ", averaged weights", "raw": ", last weights", None: ""}

# What a JSON file holds: `format`, what was evaluated, `metrics` with value and protocol, `skipped` with reasons.
Result = dict[str, Any]


def make_result(about: Mapping[str, Any], values: Mapping[str, float], evaluator: Evaluator) -> Result:
    """Combine the metadata of a generator or folder, among them its `source` and `weights`, with measured values.

    Raises:
        UserError: For a value that is not finite.
    """
    undefined = [name for name, value in values.items() if not math.isfinite(value)]
    if undefined:
        raise UserError(f"{about['source']}: {', '.join(undefined)} cannot be measured: its samples are not finite")
    weights = WEIGHTS[about["weights"]]
    metrics = {name: {"value": value, "protocol": evaluator.protocol(name) + weights} for name, value in values.items()}
    measured = {"data": evaluator.data.name, "metrics": metrics, "skipped": evaluator.metric_set.skipped}
    return {"format": FORMAT_VERSION, **about, **measured}


def with_earlier_metrics(result: Result, file: Path) -> Result:
    """Add metrics that are only in `file` to a result, if it is of the same generator and data."""
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
        if any(earlier[name] != result[name] for name in ("format", "sha256", "data")):
            return result
        metrics = earlier["metrics"] | result["metrics"]
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
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


def table(results: list[Result]) -> str:
    """Format one result as a line for each metric, or several as a line for each source with the protocols below."""
    if len(results) == 1:
        header = ("metric", "value", "protocol")
        metrics = results[0]["metrics"].items()
        rows = [(name, f"{metric['value']:.6g}", metric["protocol"]) for name, metric in metrics]
    else:
        names = list(dict.fromkeys(name for result in results for name in result["metrics"]))
        header = ("source", "precision", *names)
        rows = []
        for result in results:
            metrics = (result["metrics"].get(name) for name in names)
            cells = (f"{metric['value']:.6g}" if metric else "" for metric in metrics)
            rows.append((result["source"], result["precision"] or result["kind"], *cells))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]
    return "\n".join([*lines, *(_protocols(results) if len(results) > 1 else []), *_skipped(results)])
