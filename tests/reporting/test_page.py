"""Sentences and names on the page."""

import dataclasses
from pathlib import Path

import pytest

from tests.runs import write_run
from wgan_dist.reporting.collect import RunSection
from wgan_dist.reporting.image_files import safe_name
from wgan_dist.reporting.page import differing_noise
from wgan_dist.reporting.run_data import read_run
from wgan_dist.reporting.samples import LatentSpace


def test_the_page_names_runs_with_different_latent_spaces(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", []), "a")

    def sentence(*spaces: LatentSpace | None) -> str:
        named = [(dataclasses.replace(run, name=name), space) for name, space in zip("abcd", spaces, strict=False)]
        return differing_noise([RunSection(each, "", {}, space, "", "", [], []) for each, space in named])

    same = LatentSpace(64, "normal")
    assert sentence(same, None, same) == sentence(None) == ""
    assert sentence(same, LatentSpace(32, "normal"), None, same).endswith(
        ": a and d: 64 normal numbers; b: 32 normal numbers."
    )
    assert "b: 64 uniform numbers" in sentence(same, LatentSpace(64, "uniform"))


@pytest.mark.parametrize(
    ("name", "folder"),
    [("a", "1-a"), ("../../etc", "1-etc"), ("<b>", "1-b"), ("日本", "1"), ("x" * 300, "1-" + "x" * 58)],
)
def test_names_of_folders_are_valid_on_every_file_system(name: str, folder: str) -> None:
    assert safe_name(0, name) == folder
