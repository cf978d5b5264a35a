"""The metrics of generator files in one table, which compares only values of the same protocol and data."""

from dataclasses import dataclass

from wgan_dist.reporting.run_data import Measurement, RunData


@dataclass(frozen=True)
class MetricRow:
    """A metric under one protocol on one data set, with a value for each column, None where it was not measured.

    `real` is the value of real samples against other real ones, NaN where it was not measured, and `real_protocol` says
    how it was measured.
    """

    metric: str
    data: str
    protocol: str
    real: float
    real_protocol: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class MetricTable:
    """All measured metrics. `columns` are pairs of a run's name and a description of the generator file."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[MetricRow, ...]


def _column(run: RunData, measurement: Measurement) -> tuple[str, str]:
    step = "" if measurement.step is None else f", step {measurement.step:,}"
    return run.name, f"{measurement.source}{step}"


def metric_table(runs: list[RunData]) -> MetricTable:
    """Return the measurements of all runs; those of the same metric, data and protocol share a row."""
    values: dict[tuple[str, str, str], dict[tuple[str, str], float]] = {}
    real: dict[tuple[str, str, str], tuple[float, str]] = {}
    columns: dict[tuple[str, str], None] = {}
    for run in runs:
        for measurement in run.measurements:
            column = _column(run, measurement)
            columns[column] = None
            key = (measurement.metric, measurement.data, measurement.protocol)
            values.setdefault(key, {})[column] = measurement.value
            real.setdefault(key, (measurement.real, measurement.real_protocol))
    rows = [
        MetricRow(*key, *real[key], tuple(row.get(column) for column in columns)) for key, row in sorted(values.items())
    ]
    return MetricTable(tuple(columns), tuple(rows))


def skipped_metrics(runs: list[RunData]) -> dict[str, list[str]]:
    """Return the reasons why metrics were not measured, each with the names of the runs that it holds for."""
    reasons: dict[str, list[str]] = {}
    for run in runs:
        for reason in run.skipped:
            reasons.setdefault(reason, []).append(run.name)
    return reasons
