import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.data.files import opened, png, save, write_tar, write_zip
from wgan_dist.data.sources.base import BadImageError, read_image
from wgan_dist.data.sources.registry import open_source
from wgan_dist.utils.errors import UserError


def test_a_folder_comes_before_a_data_set_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "mnist" / "a.png")
    source = open_source("mnist", tmp_path)
    assert (source.name, source.list_images().names) == ("mnist/", ["a.png"])


@pytest.mark.parametrize(("data", "name"), [("digits", "digits"), ("my/digits", "digits/"), ("my/cats", "cats")])
def test_only_the_known_data_set_has_its_name(
    data: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name the model card states the address of the data set on the Hub."""
    monkeypatch.chdir(tmp_path)
    for folder in ("digits", "my/digits", "my/cats"):
        save(tmp_path / folder / "a.png")
    assert open_source(data, tmp_path).name == name


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "photos" / "a.png")
    assert open_source("~/photos", tmp_path).list_images().names == ["a.png"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("empty/", "the folder holds no image"),
        ("missing/", "there is no such folder"),
        ("./missing", "there is no such folder"),
        ("~/missing", "there is no such folder"),
        ("~nobody_of_this_name/photos", "there is no such folder"),
        ("~nobody_of_this_name/{0..1}.tar", "there is no such folder"),
        ("a.png", "expected a folder, or a file ending in .zip, "),
        ("photos.zip", "there is no such folder or file"),
        ("photos.rar", "there is no such folder or file"),
        ("pipe.tar", "expected a folder, or a file ending in"),
        ("fashion-mnist", "did you mean fashion_mnist?"),
        ("digit", "did you mean digits?"),
    ],
)
def test_missing_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, complaint: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty" / ".hidden").mkdir(parents=True)
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(UserError) as error:
        open_source(data, tmp_path)
    assert complaint in str(error.value)
    assert data.rstrip("/") in str(error.value)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Drop the rights of root, which may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the working folder, with data of each format without read permission."""
    monkeypatch.chdir(tmp_path)  # relative names need no permission for the folders above
    tmp_path.chmod(0o777)
    save(tmp_path / "folder" / "a.png")
    (tmp_path / "tars").mkdir()
    write_zip(tmp_path / "a.zip", {"a.png": png()})
    for name in ("a.tar", "a.tgz", "tars/0.tar"):
        write_tar(tmp_path / name, {"a.png": png()})
    shut = [tmp_path / name for name in ("folder", "a.zip", "a.tar", "a.tgz", "tars/0.tar")]
    for path in shut:
        path.chmod(0)
    yield tmp_path
    for path in shut:
        path.chmod(0o700)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ("folder", "folder"),
        ("folder/below", "folder/below"),
        ("hf:folder", "hf:folder"),
        ("hf:folder/below", "hf:folder/below"),
        ("folder/{0..1}.tar", "folder/{0..1}.tar"),
        ("a.zip", "a.zip"),
        ("a.tar", "a.tar"),
        ("a.tgz", "a.tgz"),
        ("tars", "tars: tars/0.tar"),
        ("tars/{0..0}.tar", "tars/{0..0}.tar: tars/0.tar"),
    ],
)
def test_data_without_read_permission_are_refused(closed: Path, data: str, named: str) -> None:
    with as_nobody(), pytest.raises(UserError) as error:
        open_source(data, Path("cache")).list_images()
    assert str(error.value) == f"data={named}: cannot be read: Permission denied"


def test_a_subfolder_without_read_permission_is_reported(closed: Path) -> None:
    save(closed / "all" / "a.png")
    save(closed / "all" / "b" / "shut" / "a.png")
    (closed / "all" / "b" / "shut").chmod(0)
    with as_nobody():
        images = open_source("all", Path("cache")).list_images()
        assert images.names == ["a.png", "b/shut"]
        with pytest.raises(BadImageError, match="^a folder that cannot be read$"):
            read_image(images, 1, lambda image: None)
    (closed / "all" / "b" / "shut").chmod(0o700)


def test_a_cache_in_the_home_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(UserError, match="^cache_dir=~nobody_of_this_name/c: there is no such folder, since"):
        opened(Path("~nobody_of_this_name/c"), "digits")
