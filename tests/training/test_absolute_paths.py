"""Tests of the paths that a run keeps."""

from pathlib import Path

import pytest

from wgan_dist.config import Config
from wgan_dist.training.absolute_paths import with_absolute_paths


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("labels.csv", "{here}/labels.csv"),
        ("~/labels.csv", "{home}/labels.csv"),
        ("auto", "auto"),
        ("none", "none"),
        ("species", "species"),
    ],
)
def test_only_a_file_of_labels_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    found = with_absolute_paths(Config(labels=labels)).labels
    assert found == expected.format(here=tmp_path, home="/home/somebody")
