"""CITATION.cff: what Citation File Format 1.2.0 asks for, and every paper that a model card cites."""

import tomllib
from typing import Any

import pytest
import yaml

from tests.processes import REPOSITORY
from wgan_dist.reporting.model_card import LOSSES, PENALTIES, SPECTRAL

CITED = [*LOSSES.values(), *PENALTIES.values(), SPECTRAL]
CITATION: dict[str, Any] = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_asks_for() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= CITATION.keys()
    assert CITATION["type"] == "software"
    for reference in CITATION["references"]:
        assert {"type", "title", "authors", "year"} == reference.keys()
        assert reference["type"] in ("article", "conference-paper")
        assert all(author.keys() == {"family-names", "given-names"} for author in reference["authors"])


def test_its_licence_is_that_of_the_package() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert (CITATION["license"], CITATION["title"]) == (project["license"], project["name"])


@pytest.mark.parametrize("paper", CITED)
def test_every_paper_of_a_card_is_there_with_its_year(paper: str) -> None:
    authors, _, title = paper.partition(": ")
    (found,) = (each for each in CITATION["references"] if title.startswith(each["title"].rstrip("?")))
    assert authors.split(",")[0].split(" ")[0] == found["authors"][0]["family-names"]
    assert paper.endswith(str(found["year"]))
