"""Metrics share a row only if they have the same protocol and data."""

from pathlib import Path

from tests.runs import write_evaluation, write_run
from wgan_dist.reporting.metric_table import metric_table
from wgan_dist.reporting.run_data import read_runs


def test_only_metrics_of_the_same_protocol_and_data_share_a_row(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, []) for name in "abc"]
    swd = "sliced_wasserstein"
    write_evaluation(runs[0], "one", metrics={swd: {"value": 1.0, "protocol": "p"}})
    write_evaluation(runs[1], "one", metrics={swd: {"value": 2.0, "protocol": "p"}})
    write_evaluation(runs[1], "two", metrics={swd: {"value": 3.0, "protocol": "q"}}, step=5)
    write_evaluation(runs[2], "one", metrics={swd: {"value": 4.0, "protocol": "p"}}, data="fashion")
    found = metric_table(read_runs(runs))
    file = "generator.safetensors, step 6,000"
    assert found.columns == (("a", file), ("b", file), ("b", "generator.safetensors, step 5"), ("c", file))
    assert [(row.data, row.protocol, row.values) for row in found.rows] == [
        ("digits", "p", (1.0, 2.0, None, None)),
        ("digits", "q", (None, None, 3.0, None)),
        ("fashion", "p", (None, None, None, 4.0)),
    ]
