"""Every attack that docs/security.md lists has a test that exists."""

import re

from tests.processes import REPOSITORY

PAGE = (REPOSITORY / "docs/security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_row_names_its_test() -> None:
    rows = [
        line for line in PAGE.split("## Attacks")[1].splitlines() if line.startswith("| ") and "| test |" not in line
    ]
    assert len(rows) > 20
    assert [row for row in rows if not TEST.search(row.split(" | ")[-1])] == []


def test_every_test_that_is_named_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in TEST.findall(PAGE)
        if f"\ndef {name}(" not in (REPOSITORY / file).read_text(encoding="utf-8")
    ]
    assert missing == []
