"""CITATION.cff has the fields that Citation File Format 1.2.0 requires, and every paper that a model card cites."""

import tomllib
from typing import Any

import pytest
import yaml

from tests.processes import REPOSITORY
from wgan_dist.reporting.model_card import AUGMENTATIONS, FREEZE, LOSSES, PENALTIES, SPECTRAL

CITED = [*LOSSES.values(), *PENALTIES.values(), *AUGMENTATIONS.values(), FREEZE, SPECTRAL]
CITATION: dict[str, Any] = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_the_fields_that_the_format_requires() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= CITATION.keys()
    assert CITATION["type"] == "software"
    for reference in CITATION["references"]:
        assert {"type", "title", "authors", "year"} == reference.keys()
        assert reference["type"] in ("article", "conference-paper")
        assert all(author.keys() == {"family-names", "given-names"} for author in reference["authors"])


def test_licence_and_title_are_the_packages() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert (CITATION["license"], CITATION["title"]) == (project["license"], project["name"])


@pytest.mark.parametrize("paper", CITED)
def test_every_paper_of_a_model_card_is_listed_with_its_year(paper: str) -> None:
    authors, _, title = paper.partition(": ")
    (entry,) = (entry for entry in CITATION["references"] if title.startswith(entry["title"].rstrip("?")))
    assert authors.split(",")[0].split(" ")[0] == entry["authors"][0]["family-names"]
    assert paper.endswith(str(entry["year"]))
