import os
from pathlib import Path

import pytest

from tests.test_data_images import save
from wgan_dist.data.opening import open_source
from wgan_dist.errors import UserError


def test_a_folder_comes_before_a_data_set_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "mnist" / "a.png")
    source = open_source("mnist", tmp_path)
    assert (source.name, source.pictures().names) == ("mnist", ["a.png"])


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "photos" / "a.png")
    assert open_source("~/photos", tmp_path).pictures().names == ["a.png"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("empty/", "the folder holds no image"),
        ("missing/", "there is no such folder"),
        ("./missing", "there is no such folder"),
        ("~/missing", "there is no such folder"),
        ("~nobody_of_this_name/photos", "there is no such folder"),
        ("a.png", "expected a folder, or a file ending in .zip, "),
        ("photos.zip", "there is no such folder or file"),
        ("pipe.tar", "expected a folder, or a file ending in"),
        ("fashion-mnist", "did you mean fashion_mnist?"),
        ("digit", "did you mean digits?"),
    ],
)
def test_data_that_is_not_there_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty" / ".hidden").mkdir(parents=True)
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(UserError) as error:
        open_source(data, tmp_path)
    assert complaint in str(error.value)
    assert data.rstrip("/") in str(error.value)
