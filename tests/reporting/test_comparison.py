"""The comparison of settings marks those that differ."""

from pathlib import Path

import pytest

from tests.runs import write_run
from wgan_dist.reporting.comparison import TableRow, compare_settings
from wgan_dist.reporting.run_data import read_runs


def test_different_settings_are_listed_apart_from_equal_ones(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [], gp_weight=1.0, seed=3)
    write_run(tmp_path / "b", [], gp_weight=10.0, seed=3, description="<b>")
    found = compare_settings(read_runs([tmp_path / "a", tmp_path / "b"]))
    assert found.columns == ("a", "b")
    assert {row.name: row.values for row in found.rows if row.differs} == {
        "gp_weight": ("1", "10"),
        "description": ("", "<b>"),
    }
    assert {"seed", "penalty"} <= {row.name for row in found.rows if not row.differs}


def test_the_same_value_in_another_notation_does_not_differ(tmp_path: Path) -> None:
    for name, text in (("a", "critic_lr: 1e-4\n"), ("b", "critic_lr: 0.0001\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    assert not any(row.differs for row in compare_settings(read_runs([tmp_path / "a", tmp_path / "b"])).rows)


def test_a_single_run_is_compared_with_the_defaults(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [], n_critic=2)
    found = compare_settings(read_runs([tmp_path / "a"]))
    assert found.columns == ("default", "a")
    assert [(row.name, row.values) for row in found.rows if row.differs] == [("n_critic", ("5", "2"))]


@pytest.mark.parametrize(
    ("values", "marked"),
    [
        (("1", "1"), (False, False)),
        (("1", "2"), (True, True)),
        (("1", "2", "1"), (False, True, False)),
        (("1", "2", "1", "2"), (True, True, True, True)),
        (("1",), (False,)),
    ],
)
def test_values_other_than_the_most_frequent_are_marked(values: tuple[str, ...], marked: tuple[bool, ...]) -> None:
    assert TableRow("x", "", values).marked == marked
