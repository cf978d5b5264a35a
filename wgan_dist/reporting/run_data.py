"""Read the settings, metrics and evaluations of run folders.

A line or file that is damaged is left out and named in the notes of its run.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wgan_dist.checkpoints.best import BEST_FILE, BEST_GENERATOR
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, EVALUATIONS, METRICS_FILE, checkpoint_position
from wgan_dist.config import CONFIG_FILE, Config, read_recipe
from wgan_dist.config.fields import typed_values
from wgan_dist.evaluation.metric_set import reasons_in_words
from wgan_dist.utils.errors import UserError

# One line of metrics.jsonl. A value that was not finite is NaN.
Record = dict[str, float]
# What JSON of the wrong form raises while it is read.
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True)
class Measurement:
    """A metric of a generator file, as a file in `evaluations/` has it.

    Attributes:
        metric: The name of the metric.
        value: Its value, NaN if it was not finite.
        real: The value that it has for real samples against other real ones, NaN if that was not measured.
        protocol: How it was measured, in words.
        data: The real data that the generator was compared with.
        source: The name of the generator file.
        weights: `ema` or `raw`.
        step: The generator step of the file, None if the file does not say.
    """

    metric: str
    value: float
    real: float
    protocol: str
    data: str
    source: str
    weights: str
    step: int | None


@dataclass(frozen=True)
class RunData:
    """The content of a run folder.

    Attributes:
        folder: The run folder.
        name: A short name that no other run of the report has.
        config: The settings of the run.
        records: The records of metrics.jsonl, in the order in which they were written.
        measurements: The metrics in `evaluations/`.
        skipped: The reasons why metrics were not measured, each with the names of the metrics.
        notes: The files and lines that could not be read.
    """

    folder: Path
    name: str
    config: Config
    records: tuple[Record, ...]
    measurements: tuple[Measurement, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        """The number of finished generator steps: that of the last record or checkpoint, whichever is later."""
        positions = (checkpoint_position(folder.name) for folder in (self.folder / CHECKPOINTS).glob("step-*"))
        recorded = [int(self.records[-1]["step"])] if self.records else []
        return max([0, *recorded, *(position[0] for position in positions if position)])


def _to_float(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return float(value)


def _to_step(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value


def _parse_record(line: bytes) -> Record:
    record = {str(name): _to_float(value) for name, value in json.loads(line).items()}
    if not record["step"] >= 0:
        raise ValueError
    "".join(record).encode()  # JSON may contain lone surrogates, which UTF-8 cannot encode: raises ValueError
    return record


def read_records(path: Path) -> tuple[list[Record], list[str]]:
    """Return the records of a metrics.jsonl, and notes on damaged lines and values that are not finite.

    A missing file gives no records and a note.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return [], [f"{path.name} does not exist: nothing has been recorded yet"]
    except OSError as error:
        return [], [f"{path.name} cannot be read: {error.strerror}"]
    records, damaged, notes = [], [], []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_parse_record(line))
        except DAMAGED:
            damaged.append(str(number))
    if damaged:
        notes.append(f"{path.name}: damaged lines were left out: {', '.join(damaged)}")
    not_finite = sum(math.isnan(value) for record in records for value in record.values())
    if not_finite:
        notes.append(f"{path.name}: {not_finite} values are not finite; the curves have gaps there")
    return records, notes


def _real_value(result: dict[str, Any]) -> float:
    return _to_float(result["real_against_real"]["value"]) if "real_against_real" in result else math.nan


def _parse_measurements(evaluation: dict[str, Any]) -> list[Measurement]:
    data, source, weights = (str(evaluation[name]) for name in ("data", "source", "weights"))
    step = None if evaluation.get("step") is None else _to_step(evaluation["step"])
    return [
        Measurement(
            metric=str(metric),
            value=_to_float(result["value"]),
            real=_real_value(result),
            protocol=str(result["protocol"]),
            data=data,
            source=source,
            weights=weights,
            step=step,
        )
        for metric, result in evaluation["metrics"].items()
    ]


def read_evaluations(folder: Path) -> tuple[list[Measurement], list[str], list[str]]:
    """Return the measurements of a run's `evaluations/*.json`, the reasons for skipped metrics, and notes on damage."""
    measurements: list[Measurement] = []
    skipped: list[str] = []
    notes: list[str] = []
    for path in sorted(folder.glob(f"{EVALUATIONS}/*.json")):
        try:
            evaluation = json.loads(path.read_bytes())
            measurements += _parse_measurements(evaluation)
            skipped += reasons_in_words({str(name): str(why) for name, why in evaluation["skipped"].items()})
        except OSError as error:
            notes.append(f"{EVALUATIONS}/{path.name} cannot be read: {error.strerror}")
        except DAMAGED:
            notes.append(f"{EVALUATIONS}/{path.name} is damaged and was left out")
    return measurements, list(dict.fromkeys(skipped)), notes


def read_best(folder: Path) -> Measurement | None:
    """Return the metric that selected a run's best checkpoint, None if there is none. Its data are not stored."""
    try:
        best = json.loads((folder / BEST_FILE).read_bytes())
        value, step = _to_float(best["value"]), _to_step(best["step"])
        return Measurement(str(best["metric"]), value, math.nan, str(best["protocol"]), "", BEST_GENERATOR, "ema", step)
    except (OSError, *DAMAGED):
        return None


def read_run(folder: Path, name: str) -> RunData:
    """Read a run folder. Raises UserError if its settings cannot be read."""
    try:
        config = Config(**typed_values(Config, read_recipe(str(folder / CONFIG_FILE))))
    except UserError as error:
        raise UserError(f"{folder / CONFIG_FILE}: {error}") from error
    records, notes = read_records(folder / METRICS_FILE)
    measurements, skipped, damaged = read_evaluations(folder)
    return RunData(folder, name, config, tuple(records), tuple(measurements), tuple(skipped), (*notes, *damaged))


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
