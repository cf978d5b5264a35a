"""The classes of a conditional generator in a table, with the metrics that were measured in each."""

from collections.abc import Sequence
from dataclasses import dataclass

from wgan_dist.checkpoints.generator_file import Description
from wgan_dist.evaluation.results import CLASSES_SHOWN
from wgan_dist.reporting.run_data import Measurement


@dataclass(frozen=True)
class ClassRow:
    """A class: its name, its share of the training images, and its value of each metric, None where it has none."""

    name: str
    share: float
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class ClassTable:
    """The classes of a generator, at most 100, and how many more there are; `metrics` names the values of the rows."""

    metrics: tuple[str, ...]
    rows: tuple[ClassRow, ...]
    more: int


def class_table(description: Description, measurements: Sequence[Measurement]) -> ClassTable:
    """Return the classes of a generator with those of its `measurements` that have values for each class."""
    measured = {measurement.metric: measurement.classes for measurement in measurements if measurement.classes}
    rows = [
        ClassRow(name, share, tuple(classes.get(name) for classes in measured.values()))
        for name, share in zip(description.classes, description.class_shares, strict=True)
    ]
    return ClassTable(tuple(measured), tuple(rows[:CLASSES_SHOWN]), max(0, len(rows) - CLASSES_SHOWN))
