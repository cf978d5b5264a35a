"""What the page says in words."""

import dataclasses
from pathlib import Path

import pytest

from tests.runs import write_run
from wgan_dist.reporting.content import Shown
from wgan_dist.reporting.image_files import file_name
from wgan_dist.reporting.page import differing_noise
from wgan_dist.reporting.runs import read_run
from wgan_dist.reporting.samples import Noise


def test_runs_that_cannot_be_given_the_same_noise_are_told(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", []), "a")

    def words(*noises: Noise | None) -> str:
        named = [(dataclasses.replace(run, name=name), noise) for name, noise in zip("abcd", noises, strict=False)]
        return differing_noise([Shown(each, "", {}, noise, "", "", [], []) for each, noise in named])

    same = Noise(64, "normal")
    assert words(same, None, same) == words(None) == ""
    assert words(same, Noise(32, "normal"), None, same).endswith(": a and d: 64 normal numbers; b: 32 normal numbers.")
    assert "b: 64 uniform numbers" in words(same, Noise(64, "uniform"))


@pytest.mark.parametrize(
    ("name", "folder"),
    [("a", "1-a"), ("../../etc", "1-etc"), ("<b>", "1-b"), ("日本", "1"), ("x" * 300, "1-" + "x" * 58)],
)
def test_pictures_go_into_folders_that_every_system_takes(name: str, folder: str) -> None:
    assert file_name(0, name) == folder
