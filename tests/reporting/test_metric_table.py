"""Figures share a line only under one protocol."""

from pathlib import Path

from tests.runs import write_evaluation, write_run
from wgan_dist.reporting.metric_table import table
from wgan_dist.reporting.runs import read_runs


def test_only_figures_of_one_protocol_on_the_same_data_share_a_line(tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / name, [])) for name in "abc"]
    swd = "sliced_wasserstein"
    write_evaluation(Path(runs[0]), "one", metrics={swd: {"value": 1.0, "protocol": "p"}})
    write_evaluation(Path(runs[1]), "one", metrics={swd: {"value": 2.0, "protocol": "p"}})
    write_evaluation(Path(runs[1]), "two", metrics={swd: {"value": 3.0, "protocol": "q"}}, step=5)
    write_evaluation(Path(runs[2]), "one", metrics={swd: {"value": 4.0, "protocol": "p"}}, data="fashion")
    found = table(read_runs(runs))
    file = "generator.safetensors, step 6,000"
    assert found.columns == (("a", file), ("b", file), ("b", "generator.safetensors, step 5"), ("c", file))
    assert [(row.data, row.protocol, row.values) for row in found.rows] == [
        ("digits", "p", (1.0, 2.0, None, None)),
        ("digits", "q", (None, None, 3.0, None)),
        ("fashion", "p", (None, None, None, 4.0)),
    ]
