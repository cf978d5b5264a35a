"""Tests of the classes of images: where each source takes them from, their order, and what is refused."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import webdataset
from sklearn.datasets import load_digits

from tests.data.files import first_pixels, png, save_levels, write, write_folder
from tests.data.sources.listings import idx, write_idx
from wgan_dist.config.image_size import square
from wgan_dist.data import find_labels
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.sources.base import ImageListing, Source
from wgan_dist.data.sources.registry import open_source
from wgan_dist.utils.errors import UserError

datasets.disable_progress_bars()
# The class of each image stands in its level: 10 and 11 are the first class, 20 and 21 the second, and so on.
BY_FOLDER = {
    "cat/1.png": png(10),
    "cat/2.png": png(11),
    "dog/a/1.png": png(20),
    "dog/b/1.png": png(21),
}


def labelled(cache: Path, *data: Path | str, labels: str = "auto", skip: bool = False) -> ImageDataset:
    """Open images of 4×4 pixels with labels."""
    settings = ImageSettings(square(4), labels=labels, skip_bad_images=skip)
    return open_images(tuple(map(str, data)), settings, str(cache))


def classes_by_level(found: ImageDataset) -> dict[int, str]:
    """Return the class of each image by its level, which must be different for all of them."""
    assert found.labels is not None
    classes = [found.labels.classes[number] for number in found.labels.values]
    by_level = dict(zip(first_pixels(found), classes, strict=True))
    assert len(by_level) == len(found)
    return by_level


CATS_AND_DOGS = {10: "cat", 11: "cat", 20: "dog", 21: "dog"}


# --- folders and archives ---


@pytest.mark.parametrize("name", ["photos", "photos.zip", "photos.tar", "photos.tgz"])
@pytest.mark.parametrize("above", ["", "one/two/"])
def test_the_first_folders_are_the_classes(tmp_path: Path, name: str, above: str) -> None:
    files = {f"{above}{file}": content for file, content in BY_FOLDER.items()}
    path = (write if "." in name else write_folder)(tmp_path / name, files)
    found = labelled(tmp_path / "cache", path)
    assert classes_by_level(found) == CATS_AND_DOGS
    assert found.labels is not None
    assert found.labels.classes == ("cat", "dog")
    assert found.labels.values.dtype == np.int64
    assert found.labels.counts().tolist() == [2, 2]


def test_numbers_are_ordered_as_numbers_and_names_as_texts(tmp_path: Path) -> None:
    def order(*names: str) -> tuple[str, ...]:
        folder = tmp_path / "-".join(names)
        write_folder(folder, {f"{name}/{number}.png": png() for name in names for number in (1, 2)})
        labels = labelled(tmp_path / "cache", folder).labels
        assert labels is not None
        return labels.classes

    assert order("10", "9", "100") == ("9", "10", "100")
    assert order("10", "9", "b") == ("10", "9", "b")


@pytest.mark.parametrize("name", ["photos", "photos.zip", "photos.tar"])
def test_a_dataset_json_comes_before_the_folders(tmp_path: Path, name: str) -> None:
    labels = [["dog/b/1.png", 2], ["cat/1.png", 10], ["cat/2.png", 2], ["dog/a/1.png", 10]]
    files = BY_FOLDER | {"dataset.json": json.dumps({"labels": labels}).encode()}
    path = (write if "." in name else write_folder)(tmp_path / name, files)
    found = labelled(tmp_path / "cache", path)
    assert classes_by_level(found) == {10: "10", 11: "2", 20: "10", 21: "2"}
    assert found.labels is not None
    assert found.labels.classes == ("2", "10")


def test_a_changed_dataset_json_is_read_again(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", BY_FOLDER)
    for first, second in (("a", "b"), ("second", "first")):
        labels = [[name, first if name.startswith("cat") else second] for name in BY_FOLDER]
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
        assert classes_by_level(labelled(tmp_path / "cache", folder))[10] == first


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"labels": null}', "labels=auto: no classes found in photos; expected sub-folders, "),
        ("[1]", "labels=auto: no classes found"),
        ("{", "data=.*photos: dataset.json: Expecting"),
        ("[" * 100_000, "data=.*photos: dataset.json: "),
        ('{"labels": [["cat/1.png", [0.5, 1]]]}', 'data=.*photos: dataset.json: expected "labels": '),
        ('{"labels": [["cat/1.png", true]]}', 'data=.*photos: dataset.json: expected "labels": '),
        ('{"labels": ["cat/1.png"]}', 'data=.*photos: dataset.json: expected "labels": '),
        ('{"labels": {"cat/1.png": 1}}', 'data=.*photos: dataset.json: expected "labels": '),
        ('{"labels": [["cat/1.png", 1], ["cat/1.png", 2]]}', "named more than once, the first 'cat/1.png'"),
        ('{"labels": [["1.png", 1]]}', "1 files are none of the images, the first '1.png'; .* such as 'cat/1.png'$"),
    ],
)
def test_a_wrong_dataset_json_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    folder = write_folder(tmp_path / "photos", BY_FOLDER | {"dataset.json": content.encode()})
    with pytest.raises(UserError, match=complaint) as error:
        labelled(tmp_path / "cache", folder)
    assert "\n" not in str(error.value)


def test_a_dataset_json_without_classes_says_that_folders_are_no_classes(tmp_path: Path) -> None:
    """StyleGAN's folders number the images."""
    folder = write_folder(tmp_path / "photos", BY_FOLDER)
    assert labelled(tmp_path / "cache", folder, labels="none").class_folders == ["cat", "dog"]
    (folder / "dataset.json").write_text('{"labels": null}')
    assert not labelled(tmp_path / "cache", folder, labels="none").class_folders


# --- other sources ---


def test_the_labels_of_the_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    labels = labelled(tmp_path, "digits").labels
    assert labels is not None
    assert labels.classes == tuple("0123456789")
    assert (labels.values == load_digits().target).all()


@pytest.mark.parametrize(("images", "labels"), [("", ""), (".gz", ".gz"), (".gz", ""), ("", ".gz")])
def test_idx_files_have_labels_beside_them(tmp_path: Path, images: str, labels: str) -> None:
    folder = tmp_path / "idx"
    write_idx(folder / f"train-images-idx3-ubyte{images}", 1, 2, 3, 4)
    write_idx(folder / "t10k-images-idx3-ubyte", 5)
    content = idx(np.array([10, 9, 9, 10], np.uint8))
    (folder / f"train-labels-idx1-ubyte{labels}").write_bytes(gzip.compress(content) if labels else content)
    found = labelled(tmp_path / "cache", folder)
    assert classes_by_level(found) == {1: "10", 2: "9", 3: "9", 4: "10"}
    assert found.labels is not None
    assert found.labels.classes == ("9", "10")
    (folder / f"train-labels-idx1-ubyte{labels}").write_bytes(content[:-1])
    with pytest.raises(UserError, match="train-labels-idx1-ubyte.*: (not a readable|expected an) idx file"):
        labelled(tmp_path / "cache", folder)
    (folder / f"train-labels-idx1-ubyte{labels}").unlink()
    with pytest.raises(UserError, match="^labels=auto: no classes found in idx; "):
        labelled(tmp_path / "cache", folder)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(UserError, match="train-labels-idx1-ubyte: 3 labels; expected 4, one for each image"):
        labelled(tmp_path / "cache", folder)


def test_torchvision_names_its_classes_in_its_order(tmp_path: Path) -> None:
    raw = tmp_path / "torchvision" / "FashionMNIST" / "raw"
    write_idx(raw / "train-images-idx3-ubyte", 1, 2, 3, 4)
    write_idx(raw / "t10k-images-idx3-ubyte", 1)
    for part, numbers in (("train", [9, 0, 9, 0]), ("t10k", [0])):
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.array(numbers, np.uint8)))
    found = labelled(tmp_path, "fashion_mnist")
    assert classes_by_level(found) == {1: "Ankle boot", 2: "T-shirt/top", 3: "Ankle boot", 4: "T-shirt/top"}
    assert found.labels is not None
    assert found.labels.classes == ("T-shirt/top", "Ankle boot")
    assert [line for line in found.warnings if "class" in line] == [
        "8 classes without an image left out: the first 'Trouser'",
        "2 of 2 classes with fewer than 100 images: T-shirt/top (2), Ankle boot (2)",
    ]


def hugging_face(folder: Path, levels: list[int], **columns: tuple[Any, list[Any]]) -> Path:
    """Save a data set of images of these levels, with columns of a type and values."""
    features = {"image": datasets.Image()} | {name: kind for name, (kind, _) in columns.items()}
    content = {"image": [{"bytes": png(level), "path": None} for level in levels]}
    content |= {name: values for name, (_, values) in columns.items()}
    datasets.Dataset.from_dict(content, features=datasets.Features(features)).save_to_disk(str(folder))
    return folder


SPECIES = datasets.ClassLabel(names=["owl", "cat", "unseen"])


def test_the_column_of_class_labels_is_found(tmp_path: Path) -> None:
    folder = hugging_face(
        tmp_path / "s", [1, 2, 3, 4], kind=(SPECIES, [1, 0, 0, 1]), n=(datasets.Value("int64"), [1, 2, 2, 1])
    )
    found = labelled(tmp_path / "cache", f"hf:{folder}")
    assert classes_by_level(found) == {1: "cat", 2: "owl", 3: "owl", 4: "cat"}
    assert found.labels is not None
    assert found.labels.classes == ("owl", "cat")
    assert "1 class without an image left out: 'unseen'" in found.warnings
    # Other columns have to be named.
    assert classes_by_level(labelled(tmp_path / "cache", f"hf:{folder}", labels="n")) == {
        1: "1",
        2: "2",
        3: "2",
        4: "1",
    }


def test_a_column_has_to_be_named_if_there_are_several_or_none(tmp_path: Path) -> None:
    text = (datasets.Value("string"), ["x", "y", "x", "y"])
    several = hugging_face(tmp_path / "s", [1, 2, 3, 4], a=(SPECIES, [0, 0, 1, 1]), b=(SPECIES, [0, 1, 0, 1]), c=text)
    with pytest.raises(UserError, match=f"^labels=auto: hf:{several} has several columns of classes; .* one of a, b$"):
        labelled(tmp_path / "cache", f"hf:{several}")
    assert classes_by_level(labelled(tmp_path / "cache", f"hf:{several}", labels="b")) == {
        1: "owl",
        2: "cat",
        3: "owl",
        4: "cat",
    }
    assert classes_by_level(labelled(tmp_path / "cache", f"hf:{several}", labels="c"))[2] == "y"
    with pytest.raises(UserError, match=f"^labels=d: hf:{several} has no such column; expected one of image, a, b, c$"):
        labelled(tmp_path / "cache", f"hf:{several}", labels="d")
    with pytest.raises(UserError, match="^labels=image: a column of .* that holds no names or whole numbers$"):
        labelled(tmp_path / "cache", f"hf:{several}", labels="image")
    none = hugging_face(tmp_path / "n", [1, 2], c=(datasets.Value("float32"), [0.5, 0.5]))
    with pytest.raises(UserError, match="^labels=auto: no classes found in n; "):
        labelled(tmp_path / "cache", f"hf:{none}")
    with pytest.raises(UserError, match="^labels=c: a column of .* that holds no names or whole numbers$"):
        labelled(tmp_path / "cache", f"hf:{none}", labels="c")


def test_a_negative_number_is_no_class(tmp_path: Path) -> None:
    folder = hugging_face(tmp_path / "s", [1, 2, 3, 4], n=(datasets.Value("int8"), [10, -1, 2, 2]))
    with pytest.raises(UserError, match="^labels=n: 1 of 4 images without a class, "):
        labelled(tmp_path / "cache", f"hf:{folder}", labels="n")


@pytest.mark.parametrize("kind", [SPECIES, datasets.Value("string"), datasets.Value("int8")])
def test_a_row_without_a_label_is_refused(tmp_path: Path, kind: Any) -> None:
    values = ["a", "b", None] if kind == datasets.Value("string") else [0, 1, None]
    folder = hugging_face(tmp_path / "s", [1, 2, 3], kind=(kind, values))
    with pytest.raises(
        UserError, match=r"^labels=kind: 1 of 3 images without a class, 's\[2\]'; expected one for each"
    ):
        labelled(tmp_path / "cache", f"hf:{folder}", labels="kind")


def test_the_class_of_a_sample_of_webdataset_is_its_cls(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with webdataset.ShardWriter(f"{tmp_path}/s/%03d.tar", maxcount=3, verbose=0) as writer:
        for number in range(4):
            writer.write({"__key__": f"{number:06d}", "png": png(number), "cls": 11 - number % 2})
    found = labelled(tmp_path / "cache", tmp_path / "s")
    assert classes_by_level(found) == {0: "11", 1: "10", 2: "11", 3: "10"}


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"b.png": png()}, "^labels=auto: 1 of 2 images without a class, '0.tar/b.png'; expected one for each image$"),
        ({"a.cls": b" \n"}, "^labels=auto: no classes found"),
        ({"a.cls": b"\xff"}, "s: a.cls: .*; expected a class$"),
        ({"a.cls": b"1" * 2000}, "s: a.cls: 2,000 bytes: more than 1,024$"),
        ({"a.cls": b"two\nlines"}, r"^labels=auto: the class 'two\\nlines': expected printable text"),
        ({"a.cls": b"1" * 300}, "^labels=auto: the class '1*': expected printable text of at most 255 letters$"),
    ],
)
def test_a_wrong_cls_is_refused(tmp_path: Path, files: dict[str, bytes], complaint: str) -> None:
    (tmp_path / "s").mkdir()
    write(tmp_path / "s" / "0.tar", {"a.png": png(), "a.cls": b"1"} | files)
    with pytest.raises(UserError, match=complaint) as error:
        labelled(tmp_path / "cache", tmp_path / "s")
    assert str(error.value).isprintable()


# --- CSV files ---


def table(file: Path, rows: dict[str, str]) -> str:
    """Write a CSV file of files and labels."""
    file.write_text("file,label\n" + "".join(f"{name},{label}\n" for name, label in rows.items()))
    return str(file)


@pytest.mark.parametrize("name", ["photos", "photos.zip"])
def test_a_csv_file_names_the_class_of_each_image(tmp_path: Path, name: str) -> None:
    path = (write if "." in name else write_folder)(tmp_path / name, BY_FOLDER)
    csv = tmp_path / "labels.CSV"
    lines = ["\ufefflabel,note,file", '"b, c",,cat/1.png', "a,x,cat/2.png", '"b, c",,dog/b/1.png', "a,,dog/a/1.png"]
    csv.write_text("\r\n".join(lines))
    found = labelled(tmp_path / "cache", path, labels=str(csv))
    assert classes_by_level(found) == {10: "b, c", 11: "a", 20: "a", 21: "b, c"}
    csv.write_text("\n".join(lines).replace("b, c", "é"))
    assert classes_by_level(labelled(tmp_path / "cache", path, labels=str(csv)))[10] == "é"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"name,label\n", "expected the header file,label$"),
        (b"", "expected the header file,label$"),
        (b"file,label\ncat/1.png\n", "a row is too short; expected a file and a label in each$"),
        (b'file,label\n"cat/1.png,1\n', "unexpected end of data$"),
        (b"file,label\n\xff,1\n", "'utf-8' codec can't decode"),
        (b"file,label\n1.png,1\n2.png,1\n", "2 files are none of the images, the first '1.png'; .* 'cat/1.png'$"),
        (b"file,label\ncat/1.png,1\ncat/1.png,1\n", "1 files are named more than once, the first 'cat/1.png'; "),
        (b"file,label\ncat/1.png,1\ncat/2.png,\n", "3 of 4 images without a class, the first 'cat/2.png'; "),
    ],
)
def test_a_wrong_csv_file_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    folder, csv = write_folder(tmp_path / "photos", BY_FOLDER), tmp_path / "labels.csv"
    csv.write_bytes(content)
    with pytest.raises(UserError, match=f"^labels={csv}: .*{complaint}") as error:
        labelled(tmp_path / "cache", folder, labels=str(csv))
    assert str(error.value).isprintable()


def test_a_missing_csv_file_and_a_column_of_a_folder_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", BY_FOLDER)
    with pytest.raises(UserError, match="^labels=no.csv: cannot be read: No such file or directory$"):
        labelled(tmp_path / "cache", folder, labels="no.csv")
    with pytest.raises(UserError, match="^labels=species: photos has no columns; expected auto, none or a .csv file$"):
        labelled(tmp_path / "cache", folder, labels="species")


# --- several sources, unreadable images, and limits ---


def test_classes_of_one_name_are_one_class_in_all_sources(tmp_path: Path) -> None:
    first = write_folder(tmp_path / "a", BY_FOLDER)
    second = write(
        tmp_path / "b.zip",
        {f"{name}/{n}.png": png(n + level) for name, level in (("ant", 50), ("dog", 60)) for n in (1, 2)},
    )
    found = labelled(tmp_path / "cache", first, second)
    assert classes_by_level(found) == CATS_AND_DOGS | {51: "ant", 52: "ant", 61: "dog", 62: "dog"}
    assert found.labels is not None
    assert found.labels.classes == ("cat", "dog", "ant")
    assert labelled(tmp_path / "cache", first, first, labels="none").class_folders == ["cat", "dog"]
    with pytest.raises(UserError, match="^labels=auto: no classes found in c; "):
        labelled(tmp_path / "cache", first, save_levels(tmp_path / "c", [1, 2]))


def test_a_csv_file_names_the_images_of_all_sources(tmp_path: Path) -> None:
    first, second = write_folder(tmp_path / "a", BY_FOLDER), save_levels(tmp_path / "b", [1, 2])
    csv = table(tmp_path / "t.csv", {name: name[:3] for name in BY_FOLDER} | {"000.png": "cat", "001.png": "x"})
    with pytest.raises(UserError, match="^labels=.*: 1 class of one image: 'x'; expected at least two images of each"):
        labelled(tmp_path / "cache", first, second, labels=csv)
    table(tmp_path / "t.csv", {name: name[:3] for name in BY_FOLDER} | {"000.png": "cat", "001.png": "dog"})
    assert classes_by_level(labelled(tmp_path / "cache", first, second, labels=csv)) == CATS_AND_DOGS | {
        1: "cat",
        2: "dog",
    }
    with pytest.raises(UserError, match="^labels=.*: 2 files are images of several sources, the first '000.png'; "):
        labelled(tmp_path / "cache", first, second, second, labels=csv)


def test_labels_stay_with_their_images_when_others_are_left_out(tmp_path: Path) -> None:
    broken = {"a.png": b"", "cat/0.png": b"", "cat/11.png": b"", "dog/z.png": b"", "owl/1.png": b""}
    first = write_folder(tmp_path / "a", BY_FOLDER | broken)
    second = write_folder(
        tmp_path / "b", {f"{name}/{n}.png": png(n) for n in (1, 2) for name in ("x",)} | {"dog/0.png": b""}
    )
    for _ in range(2):  # decoded, and from the cache
        found = labelled(tmp_path / "cache", first, second, skip=True)
        assert classes_by_level(found) == CATS_AND_DOGS | {1: "x", 2: "x"}
        assert len(found.bad) == 6
    with pytest.raises(UserError, match="^6 unreadable images"):
        labelled(tmp_path / "cache", first, second)


def test_an_image_beside_the_folders_has_no_class(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", BY_FOLDER | {"z.png": png(1), "y.png": png(2)})
    with pytest.raises(UserError, match="^labels=auto: 2 of 6 images without a class, the first 'y.png'; expected one"):
        labelled(tmp_path / "cache", folder)


def test_adding_labels_decodes_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = write_folder(tmp_path / "photos", BY_FOLDER), save_levels(tmp_path / "flat", [1, 2, 3, 4])
    plain = labelled(tmp_path / "cache", folder, labels="none")
    csv = table(tmp_path / "t.csv", {f"{number:03d}.png": "ab"[number % 2] for number in range(4)})
    labelled(tmp_path / "cache", other, labels=csv)
    monkeypatch.setattr("wgan_dist.data.pixel_cache.map_images", None)
    first = labelled(tmp_path / "cache", folder)
    assert (first.pixels == plain.pixels).all()
    assert classes_by_level(labelled(tmp_path / "cache", other, labels=csv))[1] == "a"
    # What was found is kept: neither is a source asked again, nor is the file written again.
    monkeypatch.setattr(find_labels, "find_labels", None)
    second = labelled(tmp_path / "cache", folder)
    assert second.labels is not None
    assert first.labels is not None
    assert (second.labels.classes, second.labels.values.tolist()) == (
        first.labels.classes,
        first.labels.values.tolist(),
    )
    assert second.fingerprint == first.fingerprint
    files = sorted((tmp_path / "cache").glob("*.labels"))
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    monkeypatch.undo()
    for damage in ("[]", "{}", files[0].read_text()[:-3]):
        for file in files:
            file.write_text(damage)
        assert labelled(tmp_path / "cache", folder).fingerprint == first.fingerprint


def test_images_are_listed_once_for_pixels_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressed tar would be unpacked twice."""
    listed = []

    def open_counted(*arguments: Any) -> Source:
        source = open_source(*arguments)

        def list_images() -> ImageListing:
            listed.append(source.name)
            return source.list_images()

        return replace(source, list_images=list_images)

    monkeypatch.setattr("wgan_dist.data.datasets.open_source", open_counted)
    labelled(tmp_path / "cache", write(tmp_path / "photos.tgz", BY_FOLDER))
    assert listed == ["photos"]


def test_labels_and_their_order_are_a_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", BY_FOLDER)

    def fingerprint(*labels: str) -> str:
        csv = table(tmp_path / "t.csv", dict(zip(BY_FOLDER, labels, strict=True)))
        return labelled(tmp_path / "cache", folder, labels=csv).fingerprint

    found = [
        labelled(tmp_path / "cache", folder, labels="none").fingerprint,
        fingerprint("a", "a", "b", "b"),
        fingerprint("a", "b", "a", "b"),
        fingerprint("b", "b", "a", "a"),
        fingerprint("a", "a", "c", "c"),
    ]
    assert len(set(found)) == 5
    assert labelled(tmp_path / "cache", folder).fingerprint == fingerprint("cat", "cat", "dog", "dog")
    assert not labelled(tmp_path / "cache", folder).class_folders


def test_there_are_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "photos", BY_FOLDER)
    with pytest.raises(UserError, match="^labels=.*: 'a' is the only class; expected at least two$"):
        labelled(tmp_path / "cache", folder, labels=table(tmp_path / "t.csv", dict.fromkeys(BY_FOLDER, "a")))
    with pytest.raises(UserError, match="^labels=.*: 2 classes of one image: the first 'b'; expected at least two im"):
        labelled(
            tmp_path / "cache", folder, labels=table(tmp_path / "u.csv", dict(zip(BY_FOLDER, "aabc", strict=True)))
        )
    monkeypatch.setattr("wgan_dist.data.find_labels.MAX_CLASSES", 1)
    with pytest.raises(UserError, match="^labels=auto: 2 classes; expected at most 1$"):
        labelled(tmp_path / "new", folder)
