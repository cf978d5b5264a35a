"""Read the settings, metrics and evaluations of run folders.

A line or file that is damaged is left out and named in the notes of its run.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wgan_dist.checkpoints.best import BEST_FILE, BEST_GENERATOR
from wgan_dist.checkpoints.generator_file import EMA_FILE, Description
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, EVALUATIONS, METRICS_FILE, checkpoint_position
from wgan_dist.config import CONFIG_FILE, Config
from wgan_dist.config.config import MAX_CLASSES
from wgan_dist.config.fields import typed_values
from wgan_dist.config.recipe_files import read_yaml
from wgan_dist.evaluation.metric_set import reasons_in_words
from wgan_dist.tracking.metric_names import RECORDED
from wgan_dist.tracking.records import DAMAGED, Record, parse_record, to_count, to_float
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import MAX_TEXT_BYTES, read_file

# The bytes and records that are read of a run, and the damaged lines whose numbers are named.
MAX_SHOWN_BYTES, MAX_RECORDS, NAMED_LINES = 1 << 28, 250_000, 10
# The source of metrics that were recorded in training.
AVERAGED = "averaged weights"
# The metrics of unknown names that are drawn, and the metrics that a file of an evaluation may hold.
MAX_UNKNOWN, MAX_METRICS = 20, 200


@dataclass(frozen=True)
class Measurement:
    """A metric of a generator file, as a file in `evaluations/` has it.

    Attributes:
        metric: The name of the metric.
        value: Its value, NaN if it was not finite.
        real: The value that it has for real samples against other real ones, NaN if that was not measured.
        real_protocol: How that was measured, in words.
        protocol: How it was measured, in words.
        data: The real data that the generator was compared with.
        source: The name of the generator file.
        weights: `ema` or `raw`.
        step: The generator step of the file, None if the file does not say.
        classes: The values within classes by their names, NaN if they were not finite; empty for metrics without them.
    """

    metric: str
    value: float
    real: float
    real_protocol: str
    protocol: str
    data: str
    source: str
    weights: str
    step: int | None
    classes: Mapping[str, float] = field(default_factory=dict)

    def is_of(self, description: Description) -> bool:
        """Return True if the metric was measured on the weights of the averaged generator that `description` is of."""
        sources = (AVERAGED, EMA_FILE, BEST_GENERATOR)
        return self.source in sources and self.step == description.steps and description.weights == "ema"


@dataclass(frozen=True)
class RunData:
    """The content of a run folder.

    Attributes:
        folder: The run folder.
        name: A short name that no other run of the report has.
        config: The settings of the run.
        records: The records of metrics.jsonl, in the order in which they were written.
        measurements: The metrics in `evaluations/`.
        best: The metric that selected the best checkpoint, if there is one.
        skipped: The reasons why metrics were not measured, each with the names of the metrics.
        notes: The files and lines that could not be read.
    """

    folder: Path
    name: str
    config: Config
    records: tuple[Record, ...]
    measurements: tuple[Measurement, ...]
    best: Measurement | None
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        """The number of finished generator steps: that of the last record or checkpoint, whichever is later."""
        positions = (checkpoint_position(folder.name) for folder in (self.folder / CHECKPOINTS).glob("step-*"))
        recorded = [int(self.records[-1]["step"])] if self.records else []
        return max([0, *recorded, *(position[0] for position in positions if position)])


def _damaged_lines(numbers: list[int]) -> str:
    more = len(numbers) - NAMED_LINES
    return ", ".join(map(str, numbers[:NAMED_LINES])) + (f" and {more:,} more" if more > 0 else "")


def _parse_records(lines: list[bytes]) -> tuple[list[Record], list[int]]:
    """Return the records of lines, and the numbers of damaged lines from 1 on."""
    records, damaged = [], []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(parse_record(line))
        except DAMAGED:
            damaged.append(number)
    return records, damaged


def read_records(path: Path) -> tuple[list[Record], list[str]]:
    """Return the records of a metrics.jsonl, and notes on damaged lines and values that are not finite.

    A file that is missing or cannot be read gives no records and a note; one of very many lines gives the first.
    """
    try:
        lines = read_file(path, MAX_SHOWN_BYTES).split(b"\n", MAX_RECORDS)
    except FileNotFoundError:
        return [], [f"{path.name} does not exist: nothing has been recorded yet"]
    except OSError as error:
        return [], [f"{path.name} cannot be read: {error.strerror}"]
    rest = lines.pop()  # empty after the last line break
    if rest and len(lines) < MAX_RECORDS:
        lines, rest = [*lines, rest], b""
    records, damaged = _parse_records(lines)
    unknown = sorted({name for record in records for name in record} - RECORDED.keys() - {"step"})[MAX_UNKNOWN:]
    records = [{name: record[name] for name in record.keys() - set(unknown)} for record in records]
    not_finite = sum(math.isnan(value) for record in records for value in record.values())
    notes = {
        f"{path.name}: the lines after the first {MAX_RECORDS:,} were left out": rest,
        f"{path.name}: damaged lines were left out: {_damaged_lines(damaged)}": damaged,
        f"{path.name}: {len(unknown):,} metrics of unknown names were left out": unknown,
        f"{path.name}: {not_finite} values are not finite; the curves have gaps there": not_finite,
    }
    return records, [note for note, holds in notes.items() if holds]


def _parse_classes(classes: dict[str, Any]) -> dict[str, float]:
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"{len(classes):,} classes")
    return {str(name): to_float(found["value"]) for name, found in classes.items()}


def _parse_measurements(evaluation: dict[str, Any]) -> list[Measurement]:
    data, source, weights = (str(evaluation[name]) for name in ("data", "source", "weights"))
    step = None if evaluation.get("step") is None else to_count(evaluation["step"])
    metrics = evaluation["metrics"].items()
    if len(metrics) > MAX_METRICS:
        raise ValueError(f"{len(metrics):,} metrics")
    results = [(metric, result, result.get("real_against_real", {})) for metric, result in metrics]
    return [
        Measurement(
            metric=str(metric),
            value=to_float(result["value"]),
            real=to_float(of_real.get("value")),
            real_protocol=str(of_real.get("protocol", "")),
            protocol=str(result["protocol"]),
            data=data,
            source=source,
            weights=weights,
            step=step,
            classes=_parse_classes(result.get("classes", {})),
        )
        for metric, result, of_real in results
    ]


def read_evaluations(folder: Path) -> tuple[list[Measurement], list[str], list[str]]:
    """Return the measurements of a run's `evaluations/*.json`, the reasons for skipped metrics, and notes on damage."""
    measurements: list[Measurement] = []
    skipped: list[str] = []
    notes: list[str] = []
    for path in sorted(folder.glob(f"{EVALUATIONS}/*.json")):
        try:
            evaluation = json.loads(read_file(path, MAX_TEXT_BYTES))
            measurements += _parse_measurements(evaluation)
            skipped += reasons_in_words({str(name): str(why) for name, why in evaluation["skipped"].items()})
        except OSError as error:
            notes.append(f"{EVALUATIONS}/{path.name} cannot be read: {error.strerror}")
        except DAMAGED:
            notes.append(f"{EVALUATIONS}/{path.name} is damaged and was left out")
    return measurements, list(dict.fromkeys(skipped)), notes


def _parse_best(content: bytes) -> Measurement:
    best = json.loads(content)
    value, step = to_float(best["value"]), to_count(best["step"])
    if math.isnan(value):
        raise ValueError("the best value is not finite")
    return Measurement(str(best["metric"]), value, math.nan, "", str(best["protocol"]), "", BEST_GENERATOR, "ema", step)


def read_best(folder: Path) -> tuple[Measurement | None, list[str]]:
    """Return the metric that selected a run's best checkpoint, None if there is none, and notes on a damaged file.

    The data of the metric are not stored.
    """
    try:
        return _parse_best(read_file(folder / BEST_FILE, MAX_TEXT_BYTES)), []
    except FileNotFoundError:
        return None, []
    except OSError as error:
        return None, [f"{BEST_FILE} cannot be read: {error.strerror}"]
    except DAMAGED:
        return None, [f"{BEST_FILE} is damaged and was left out"]


def read_run(folder: Path, name: str) -> RunData:
    """Read a run folder. Raises UserError if its settings cannot be read."""
    try:
        config = Config(**typed_values(Config, read_yaml(folder / CONFIG_FILE)))
    except UserError as error:
        raise UserError(f"{folder / CONFIG_FILE}: {error}") from error
    records, notes = read_records(folder / METRICS_FILE)
    measurements, skipped, damaged = read_evaluations(folder)
    best, damaged_best = read_best(folder)
    return RunData(
        folder=folder,
        name=name,
        config=config,
        records=tuple(records),
        measurements=tuple(measurements),
        best=best,
        skipped=tuple(skipped),
        notes=(*notes, *damaged, *damaged_best),
    )


def short_names(folders: list[Path]) -> list[str]:
    """Return a name for each folder: the last parts of its path, as many as tell all folders apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            break
    return names


def read_runs(folders: list[Path]) -> list[RunData]:
    """Read different run folders, one or more. Raises UserError if the settings of one cannot be read."""
    return [read_run(folder, name) for folder, name in zip(folders, short_names(folders), strict=True)]
