"""Settings and other facts of runs side by side, with what differs marked."""

import dataclasses
from collections import Counter
from dataclasses import dataclass

from wgan_dist.config import UNSAVED, Config
from wgan_dist.config.fields import show
from wgan_dist.reporting.runs import Run

DEFAULT = "default"


@dataclass(frozen=True)
class Row:
    """A line of a table: a name, a value for each column, and whether they differ."""

    name: str
    help: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1

    @property
    def marked(self) -> tuple[bool, ...]:
        """Of each value, whether it is not what most have; where none is most frequent, all that differ are."""
        (common, most), *others = Counter(self.values).most_common(2)
        tied = any(count == most for _, count in others)
        return tuple(tied or value != common for value in self.values)


@dataclass(frozen=True)
class Comparison:
    """Columns, and the settings as rows in the order of the help."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def different(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.differs)

    @property
    def equal(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.differs)


def compare(runs: list[Run]) -> Comparison:
    """The settings of the runs side by side; those of a single run beside the defaults."""
    columns = [(run.name, run.config) for run in runs]
    if len(runs) == 1:
        columns.insert(0, (DEFAULT, Config()))
    fields = [field for field in dataclasses.fields(Config) if field.name not in UNSAVED]
    rows = [
        Row(field.name, field.metadata["help"], tuple(show(getattr(config, field.name)) for _, config in columns))
        for field in fields
    ]
    return Comparison(tuple(name for name, _ in columns), tuple(rows))
