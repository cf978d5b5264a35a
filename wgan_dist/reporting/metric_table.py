"""Figures that were measured of generator files, side by side where the protocol is the same."""

from dataclasses import dataclass

from wgan_dist.reporting.runs import Figure, Run


@dataclass(frozen=True)
class FigureRow:
    """One metric under one protocol on one data set: a value for each column, None where it was not measured."""

    metric: str
    data: str
    protocol: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class FigureTable:
    """`columns` are (run, file) pairs."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[FigureRow, ...]


def _file(figure: Figure) -> str:
    step = "" if figure.step is None else f", step {figure.step:,}"
    return f"{figure.source}{step}"


def table(runs: list[Run]) -> FigureTable:
    """All figures of all runs; only those of equal metric, data and protocol share a row, for no others compare."""
    found: dict[tuple[str, str, str], dict[tuple[str, str], float]] = {}
    columns: dict[tuple[str, str], None] = {}
    for run in runs:
        for figure in run.figures:
            column = (run.name, _file(figure))
            columns[column] = None
            found.setdefault((figure.metric, figure.data, figure.protocol), {})[column] = figure.value
    rows = [FigureRow(*key, tuple(values.get(column) for column in columns)) for key, values in sorted(found.items())]
    return FigureTable(tuple(columns), tuple(rows))


def not_measured(runs: list[Run]) -> dict[str, list[str]]:
    """Why metrics are missing, and of which runs."""
    reasons: dict[str, list[str]] = {}
    for run in runs:
        for reason in run.skipped:
            reasons.setdefault(reason, []).append(run.name)
    return reasons
