"""Tests of labels, and of what inspect and a run say of them."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.files import png, write_folder
from wgan_dist.config.image_size import square
from wgan_dist.data.__main__ import inspect_settings
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.inspect import print_summary
from wgan_dist.data.labels import Labels
from wgan_dist.training.run import class_lines

MAKES = "--labels=auto trains a generator that makes images of a chosen class"


def labels_of(**counts: int) -> Labels:
    return Labels(tuple(counts), np.repeat(np.arange(len(counts)), list(counts.values())))


def test_classes_are_told_with_their_numbers_of_images() -> None:
    assert str(labels_of(cat=1200, owl=40)) == "2, of 40 to 1,200 images each: cat (1,200), owl (40)"
    assert str(labels_of(a=3, b=3)) == "2, of 3 images each: a (3), b (3)"
    many = labels_of(**{f"c{number}": 5 for number in range(12)})
    assert str(many).endswith(", c8 (5), c9 (5), and 2 more")


def test_few_images_and_imbalance_are_told() -> None:
    assert labels_of(a=1000, b=100).warnings() == []
    assert labels_of(a=100, b=1001).warnings() == [
        "the class 'b' has 1,001 images, 10 times the 100 of 'a'; --class_balance draws all classes equally often"
    ]
    assert labels_of(a=99, b=100, c=2).warnings() == [
        "the class 'b' has 100 images, 50 times the 2 of 'c'; --class_balance draws all classes equally often",
        "2 of 3 classes with fewer than 100 images: a (99), c (2)",
    ]


def test_rows_keep_the_classes() -> None:
    some = labels_of(a=2, b=3, c=1).rows(np.array([0, 2, 4]))
    assert (some.classes, some.values.tolist(), some.counts().tolist()) == (("a", "b", "c"), [0, 1, 1], [1, 2, 0])


# --- inspect ---


def summary_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines of the summary that follow those of the sizes, without the suggestion."""
    print_summary(inspect_settings({"words": ["inspect", str(folder)]}))
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("largest")) + 1
    return [line for line in lines[start:-2] if "copies" not in line and "levels" not in line]


def photos(**counts: int) -> dict[str, bytes]:
    return {f"{name}/{number}.png": png(number) for name, count in counts.items() for number in range(count)}


def test_inspect_names_the_classes_of_a_folder_and_the_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "photos", photos(cat=120, dog=100))
    lines = summary_of(folder, capsys)
    assert [line for line in lines if "class" in line] == [
        "classes         2, of 100 to 120 images each: cat (120), dog (100)",
        f"  {MAKES}",
    ]


def test_inspect_says_nothing_of_classes_without_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "photos", photos(cat=3))
    assert not [line for line in summary_of(folder, capsys) if "class" in line]
    write_folder(tmp_path / "broken", {"a/1.png": b"", "b/1.png": b"", "2.png": png()})
    assert not [line for line in summary_of(tmp_path / "broken", capsys) if "class" in line]


def test_inspect_says_what_looks_wrong_of_readable_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = photos(cat=24, dog=2) | {"dog/2.png": b"", "dog/3.png": b""}
    found = [line for line in summary_of(write_folder(tmp_path / "photos", files), capsys) if "class" in line]
    unbalanced = (
        "  looks wrong: the class 'cat' has 24 images, 12 times the 2 of 'dog'; "
        "--class_balance draws all classes equally often"
    )
    few = "  looks wrong: 2 of 2 classes with fewer than 100 images: cat (24), dog (2)"
    assert found == ["classes         2, of 2 to 24 images each: cat (24), dog (2)", f"  {MAKES}", unbalanced, few]
    (tmp_path / "photos" / "a.png").write_bytes(png())
    found = [line for line in summary_of(tmp_path / "photos", capsys) if "class" in line]
    refusal = "  looks wrong: labels=auto: 1 of 27 images without a class, 'a.png'; expected one for each image"
    assert found[2:] == [unbalanced, few, refusal]
    (tmp_path / "photos" / "dataset.json").write_text("{")
    found = [line for line in summary_of(tmp_path / "photos", capsys) if "class" in line]
    assert len(found) == 1
    assert found[0].startswith(f"classes         data={tmp_path}/photos: dataset.json: ")


# --- the first lines of a run ---


def test_a_run_names_its_classes_or_those_that_it_does_not_use(tmp_path: Path) -> None:
    def opened(*folders: Path, labels: str = "none") -> ImageDataset:
        settings = ImageSettings(square(4), labels=labels)
        return open_images(tuple(map(str, folders)), settings, str(tmp_path / "cache"))

    folder = write_folder(tmp_path / "photos", photos(dog=2, cat=2))
    flat = write_folder(tmp_path / "flat", photos(x=2))
    assert class_lines(opened(folder)) == [f"2 sub-folders are not used as classes: cat, dog; {MAKES}"]
    assert class_lines(opened(flat)) == class_lines(opened(folder, flat)) == []
    used = opened(folder, labels="auto")
    assert class_lines(used) == ["classes: 2, of 2 images each: cat (2), dog (2)"]
    assert "2 of 2 classes with fewer than 100 images: cat (2), dog (2)" in used.warnings
