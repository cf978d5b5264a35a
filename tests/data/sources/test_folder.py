import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.sources.listings import all_levels, level, opened, save, source_of
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.sources.base import BadImageError

NESTED = ["B.png", "a.png", "a/b/c.png", "a/z.jpg", "b/a.png"]


@settings(deadline=None, max_examples=10)
@given(st.permutations(range(len(NESTED))))
def test_images_are_in_the_order_of_their_paths(creation: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for place in creation:
            save(Path(folder) / NESTED[place], level=place)
        source = opened(Path(folder))
        assert source.names == NESTED
        assert all_levels(source) == list(range(len(NESTED)))


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".git/c.png", "d/.DS_Store"):
        save(tmp_path / ".data" / name)
    assert opened(tmp_path / ".data").names == ["a.png"]


def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "1.png", level=1)
    save(tmp_path / "data" / "own" / "2.png", level=2)
    (tmp_path / "data" / "own" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "link again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    source = opened(tmp_path / "data")
    assert source.names == ["link/1.png", "own/2.png"]
    assert all_levels(source) == [1, 2]


def test_links_to_images_are_followed_and_dangling_links_are_unreadable(tmp_path: Path) -> None:
    target = save(tmp_path / "elsewhere" / "1.png", level=1)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "good.png").symlink_to(target)
    (tmp_path / "data" / "lost.png").symlink_to(tmp_path / "nothing")
    source = opened(tmp_path / "data")
    assert level(source, 0) == 1
    with pytest.raises(BadImageError, match="No such file"):
        level(source, 1)


def test_any_file_name_is_accepted(tmp_path: Path) -> None:
    names = [b"latin-\xe9\xff.png", b"new\nline.png", "kanji 猫.png".encode(), b"--flag=1 $(x) 'y'.png"]
    for number, name in enumerate(names):
        save(tmp_path / os.fsdecode(name), level=number)
    source = opened(tmp_path)
    assert sorted(os.fsencode(name) for name in source.names) == sorted(names)
    assert [names.index(os.fsencode(name)) for name in source.names] == all_levels(source)


def test_the_identity_changes_whenever_an_image_may_have_changed(tmp_path: Path) -> None:
    first = save(tmp_path / "data" / "a.png")
    seen = [source_of(tmp_path / "data").identity]
    assert source_of(tmp_path / "data").identity == seen[0]
    os.utime(first, ns=(0, 12345))
    seen.append(source_of(tmp_path / "data").identity)
    save(first, size=(40, 40))
    os.utime(first, ns=(0, 12345))
    seen.append(source_of(tmp_path / "data").identity)
    first.rename(first.with_name("b.png"))
    seen.append(source_of(tmp_path / "data").identity)
    save(tmp_path / "data" / "c.png")
    seen.append(source_of(tmp_path / "data").identity)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("pictures", "arrays", "kept", "note"),
    [
        (3, 1, ["0.png", "1.png", "2.png"], ".npy files left out: 1; the folder is read as one of pictures"),
        (1, 2, ["0.npy", "1.npy"], "pictures left out: 1; the folder is read as one of .npy files"),
        (1, 1, ["0.png"], ".npy files left out: 1; the folder is read as one of pictures"),
        (2, 0, ["0.png", "1.png"], ""),
        (0, 2, ["0.npy", "1.npy"], ""),
    ],
)
def test_a_folder_is_of_pictures_or_of_arrays(
    pictures: int, arrays: int, kept: list[str], note: str, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for number in range(pictures):
        save(tmp_path / "data" / f"{number}.png", level=number)
    for number in range(arrays):
        np.save(tmp_path / "data" / f"{number}.npy", np.full((8, 8), number, np.uint8))
    source = opened(tmp_path / "data")
    assert source.names == kept
    assert source.notes == set(filter(None, [note]))
    for again in range(2):  # from the cache too
        images = open_images((str(tmp_path / "data"),), ImageSettings(square(8)), str(tmp_path / "cache"))
        assert len(images) == len(kept), again
        assert [line for line in images.warnings if "left out" in line] == list(filter(None, [note]))
