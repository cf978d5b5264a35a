"""Every row of the table of `python -m tests.faults` as a whole, and its quick parts in every run of the tests."""

from pathlib import Path

import pytest

from tests.faults import Row
from tests.faults.table import ROWS

# Their points are tests of their own: tests/training/test_resume.py.
ELSEWHERE = {"resume"}
QUICK = {"damage"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.faults) for name in sorted(ROWS.keys() - ELSEWHERE)],
)
def test_nothing_of_it_hurts_a_run(name: str, tmp_path: Path, cache_dir: Path) -> None:
    row = ROWS[name](tmp_path, cache_dir)
    print(row)
    assert row.failures == []
    assert row.tried


def test_a_row_says_what_failed() -> None:
    row = Row("kills", note="quietly")
    row.expect(True, "not this")
    assert str(row) == "| kills | 1 | all held; quietly |"
    row.expect(False, "the second")
    assert str(row) == "| kills | 2 | 1 failed, the first: the second; quietly |"
