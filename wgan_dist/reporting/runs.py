"""What a run folder holds, read for people to compare; what is damaged is left out and said."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wgan_dist.checkpoints.run_dir import CHECKPOINTS, EVALUATIONS, METRICS_FILE, checkpoint_position
from wgan_dist.config import CONFIG_FILE, Config, is_run, read_recipe
from wgan_dist.config.fields import typed_values
from wgan_dist.evaluation.metric_set import reasons_in_words
from wgan_dist.utils.errors import UserError

# A record of metrics.jsonl; NaN where the value was not finite.
Record = dict[str, float]


@dataclass(frozen=True)
class Figure:
    """One value that was measured of a generator file: by which protocol, and of what."""

    metric: str
    value: float
    protocol: str
    data: str
    source: str
    weights: str
    step: int | None


@dataclass(frozen=True)
class Run:
    """A run: `name` is short and no other run's; `notes` say what of it could not be read, `skipped` which metrics were
    not measured, and why.
    """

    folder: Path
    name: str
    config: Config
    records: tuple[Record, ...]
    figures: tuple[Figure, ...]
    skipped: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def steps(self) -> int:
        """The generator steps it has gone: what its last record or checkpoint says, for records may be far apart."""
        saved = (checkpoint_position(folder.name) for folder in (self.folder / CHECKPOINTS).glob("step-*"))
        recorded = [int(self.records[-1]["step"])] if self.records else []
        return max([0, *recorded, *(position[0] for position in saved if position)])


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return float(value)


def _record(line: bytes) -> Record:
    record = {str(name): _number(value) for name, value in json.loads(line).items()}
    if not record["step"] >= 0:
        raise ValueError
    "".join(record).encode()  # JSON has halves of characters, which no page can be written with: a ValueError
    return record


def read_records(path: Path) -> tuple[list[Record], list[str]]:
    """The records of a metrics.jsonl, and words for the lines that are none; a run that has no file has no records."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return [], [f"there is no {path.name}: nothing was recorded yet"]
    except OSError as error:
        return [], [f"{path.name} cannot be read: {error.strerror}"]
    records, damaged = [], []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_record(line))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            damaged.append(str(number))
    notes = [f"{path.name}: damaged and left out: line {', '.join(damaged)}"] if damaged else []
    lost = sum(math.isnan(value) for record in records for value in record.values())
    return records, notes + ([f"{path.name}: {lost} values are not finite numbers; curves have gaps"] if lost else [])


def _figures(about: dict[str, Any]) -> list[Figure]:
    step = about.get("step")
    of = (str(about["data"]), str(about["source"]), str(about["weights"]), None if step is None else int(step))
    return [
        Figure(str(metric), _number(found["value"]), str(found["protocol"]), *of)
        for metric, found in about["metrics"].items()
    ]


def read_evaluations(folder: Path) -> tuple[list[Figure], list[str], list[str]]:
    """What was measured of the run's generators (`evaluations/*.json`), what was not and why, and words for files that
    are damaged.
    """
    figures: list[Figure] = []
    skipped: list[str] = []
    notes: list[str] = []
    for path in sorted(folder.glob(f"{EVALUATIONS}/*.json")):
        try:
            about = json.loads(path.read_bytes())
            figures += _figures(about)
            skipped += reasons_in_words({str(name): str(why) for name, why in about["skipped"].items()})
        except OSError as error:
            notes.append(f"{EVALUATIONS}/{path.name} cannot be read: {error.strerror}")
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            notes.append(f"{EVALUATIONS}/{path.name} is damaged and left out")
    return figures, list(dict.fromkeys(skipped)), notes


def read_run(folder: Path, name: str) -> Run:
    """The run in `folder`; raises UserError for a folder that is none, or whose settings cannot be read."""
    if not is_run(folder):
        raise UserError(f"{folder}: expected the folder of a run; there is no {CONFIG_FILE} in it")
    try:
        config = Config(**typed_values(Config, read_recipe(str(folder / CONFIG_FILE))))
    except UserError as error:
        raise UserError(f"{folder / CONFIG_FILE}: {error}") from error
    records, notes = read_records(folder / METRICS_FILE)
    figures, skipped, more = read_evaluations(folder)
    return Run(folder, name, config, tuple(records), tuple(figures), tuple(skipped), (*notes, *more))


def names(folders: list[Path]) -> list[str]:
    """A name for each folder: its last part, and as many before it as tell them all apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        shortest = ["/".join(each[-length:]) for each in parts]
        if len(set(shortest)) == len(shortest):
            break
    return shortest


def read_runs(words: list[str]) -> list[Run]:
    """The runs in the named folders; raises UserError for none, for one given twice, and as `read_run` does."""
    if not words:
        raise UserError("expected the folders of runs, as runs/a runs/b")
    folders = [Path(word) for word in words]
    seen: set[Path] = set()
    for folder in folders:
        if folder.resolve() in seen:
            raise UserError(f"{folder}: given twice")
        seen.add(folder.resolve())
    return [read_run(folder, name) for folder, name in zip(folders, names(folders), strict=True)]
