"""Tables that compare the settings and other facts of runs, and mark the values that differ."""

import dataclasses
from collections import Counter
from dataclasses import dataclass

from wgan_dist.config import UNSAVED, Config
from wgan_dist.config.fields import show
from wgan_dist.reporting.run_data import RunData


@dataclass(frozen=True)
class TableRow:
    """A row of a table: a name, help for it, and a value for each column."""

    name: str
    help: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """True if the values are not all equal."""
        return len(set(self.values)) > 1

    @property
    def marked(self) -> tuple[bool, ...]:
        """For each value, True if it is not the most frequent one. If several are most frequent, all are marked."""
        (common, frequency), *others = Counter(self.values).most_common(2)
        tied = any(count == frequency for _, count in others)
        return tuple(tied or value != common for value in self.values)


@dataclass(frozen=True)
class Comparison:
    """The settings of several runs: column names, and a row for each setting in the order of the help."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def compare_settings(runs: list[RunData]) -> Comparison:
    """Compare the settings of the runs with each other, or those of a single run with the defaults."""
    configs = {run.name: run.config for run in runs}
    if len(runs) == 1:
        configs = {"default": Config()} | configs
    rows = [
        TableRow(
            field.name, field.metadata["help"], tuple(show(getattr(config, field.name)) for config in configs.values())
        )
        for field in dataclasses.fields(Config)
        if field.name not in UNSAVED
    ]
    return Comparison(tuple(configs), tuple(rows))
