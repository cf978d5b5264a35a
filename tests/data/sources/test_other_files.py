"""Files beside the images are left out by their names and counted, alike in every kind of data."""

from pathlib import Path

import pytest

from tests.data.files import first_pixels, half, opened, png, write, write_folder
from wgan_dist.data.sources.other_files import left_out_line, may_be_image
from wgan_dist.data.sources.registry import open_source
from wgan_dist.utils.errors import UserError

# What file managers and other programs leave beside images, and their suffixes.
BESIDE = ["Thumbs.db", "desktop.ini", "dataset.json", "a/README.md", "LABELS.CSV", "a/a.txt", "a/b.txt", "README"]
COUNTS = {".db": 1, ".ini": 1, ".json": 1, ".md": 1, ".csv": 1, ".txt": 2, "README": 1}
IMAGES = {"a.png": png(1), "a/b": png(2), "c.xyz": png(3)}
FILES = dict.fromkeys((*BESIDE, ".DS_Store", "a/._a.png"), b"no image") | IMAGES


@pytest.mark.parametrize("kind", ["folder", "a.zip", "a.tar", "a.tgz"])
def test_files_that_are_no_images_are_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    path = write_folder(tmp_path / kind, FILES) if kind == "folder" else write(tmp_path / kind, FILES)
    for _ in range(2):  # decoded, and from the cache
        found = opened(tmp_path / "cache", path)
        assert (first_pixels(found), found.left_out) == ([1, 2, 3], COUNTS)


def test_files_beside_shards_and_inside_them_are_counted(tmp_path: Path) -> None:
    write_folder(tmp_path / "shards", {"index.json": b"{}", "Thumbs.db": b"", "README": b""})
    write(tmp_path / "shards" / "0.tar", {"a.png": png(1), "a.json": b"{}", "b.gif": png(2), "dataset.json": b"{}"})
    found = opened(tmp_path / "cache", tmp_path / "shards")
    assert (first_pixels(found), found.left_out) == ([1, 2], {".json": 3, ".db": 1, "README": 1})


def test_several_sources_are_counted_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_folder(tmp_path / name, {"a.png": png(), "a.txt": b"", f"{name}.csv": b""})
    assert opened(tmp_path / "cache", tmp_path / "one", tmp_path / "two").left_out == {".txt": 2, ".csv": 2}


def test_a_new_note_is_counted_although_the_images_are_cached(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", {"a.png": png()})
    assert opened(tmp_path / "cache", folder).left_out == {}
    (folder / "a.txt").touch()
    assert opened(tmp_path / "cache", folder).left_out == {".txt": 1}


@pytest.mark.parametrize("name", ["a.png", "a.GIF", "a", "a.heic", "a.weird", "json", "db", "a.txt.png", "my.txt/a"])
def test_what_may_be_an_image_is_tried(tmp_path: Path, name: str) -> None:
    """A damaged image, or one of an unknown format, is an error, since leaving it out would go unnoticed."""
    assert may_be_image(name)
    write_folder(tmp_path / "photos", {"good.png": png(), name: half("PNG")[:7]})
    with pytest.raises(UserError, match="^1 unreadable images: .*not a PNG, JPEG, WebP, BMP, GIF or TIFF image"):
        opened(tmp_path / "cache", tmp_path / "photos")


@pytest.mark.parametrize("kind", ["folder", "a.zip"])
def test_without_any_image_the_data_are_refused(tmp_path: Path, kind: str) -> None:
    files = {"a.txt": b"", "b.json": b""}
    path = write_folder(tmp_path / kind, files) if kind == "folder" else write(tmp_path / kind, files)
    with pytest.raises(UserError, match="holds no image, but 2 files that are no images: .json 1, .txt 1$"):
        open_source(str(path), tmp_path / "cache").list_images()


def test_the_counts_are_one_line_with_the_most_frequent_suffix_first() -> None:
    assert left_out_line({".json": 1, ".txt": 1200}) == "1,201 files that are no images: .txt 1,200, .json 1"
