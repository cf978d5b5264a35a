"""Lists in one text: commas separate names, unless the names on the disk have commas in them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from wgan_dist.config import load_config, to_yaml
from wgan_dist.config.fields import from_flags, setting, show
from wgan_dist.config.text_lists import split_list, split_names, split_reference

ON_DISK = (
    "my photos, x",
    "a, b.tar",
    "(old)",
    "[2023] cats, and dogs [2]",
    "shards, 1/x",
    "x{1,y",
    "plain",
    "plain, too",
    "name#1:b, c",
)


@dataclass(frozen=True)
class Lists:
    names: tuple[str, ...] = setting((), "Names.")
    numbers: tuple[int, ...] = setting((), "Numbers.")


@pytest.fixture(autouse=True)
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with folders whose names have what separates elsewhere."""
    for name in ON_DISK:
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my photos, x", ["my photos, x"]),
        ("my photos, x/", ["my photos, x/"]),
        ("plain,my photos, x,other", ["plain", "my photos, x", "other"]),
        ("a, b.tar,my photos, x", ["a, b.tar", "my photos, x"]),
        ("[my photos, x, plain]", ["my photos, x", "plain"]),
        ("(old)", ["(old)"]),
        ("[2023] cats, and dogs [2]", ["[2023] cats, and dogs [2]"]),
        ("~/my photos, x", ["~/my photos, x"]),
        ("plain, too", ["plain, too"]),  # the longest name, though plain exists as well
        ("plain, three", ["plain", "three"]),
        ("x{1,y", ["x{1,y"]),
        ("shards, 1/{0..3}.tar", ["shards, 1/{0..3}.tar"]),
        ("plain/{0..3}.tar,plain", ["plain/{0..3}.tar", "plain"]),
        ("plain/{a,b}.tar,c", ["plain/{a,b}.tar", "c"]),
        ("hf:my photos, x", ["hf:my photos, x"]),
        ("hf:my photos, x:train#image,plain", ["hf:my photos, x:train#image", "plain"]),
        ("hf:plain#image,plain", ["hf:plain#image", "plain"]),
        ("hf:user/set,plain", ["hf:user/set", "plain"]),
        ("no, such", ["no", "such"]),
    ],
)
def test_a_name_on_the_disk_is_not_cut(text: str, expected: list[str]) -> None:
    assert split_names(text) == expected


def test_lists_of_numbers_are_split_without_looking_at_the_disk(disk: Path) -> None:
    (disk / "1,2").mkdir()
    assert split_list("1,2") == ["1", "2"]
    assert from_flags(Lists, {"numbers": "1,2", "names": "1,2"}) == Lists(("1,2",), (1, 2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user/set", ("user/set", "", "")),
        ("user/set:test#image", ("user/set", "test", "image")),
        ("plain:test#image", ("plain", "test", "image")),
        ("name#1:b, c", ("name#1:b, c", "", "")),
        ("name#1:b, c:train", ("name#1:b, c", "train", "")),
        ("name#1:b, c#image", ("name#1:b, c", "", "image")),
        ("name#1:b, c:train#image", ("name#1:b, c", "train", "image")),
    ],
)
def test_a_path_may_have_what_separates_split_and_column(text: str, expected: tuple[str, str, str]) -> None:
    assert split_reference(text) == expected


def test_a_saved_config_keeps_a_name_with_a_comma(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = load_config({"data": "my photos, x,plain"})
    assert config.data == ("my photos, x", "plain")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "config.yaml"
    elsewhere.write_text(to_yaml(config))
    (disk / "my photos, x").rmdir()  # the saved list needs no disk
    assert load_config({"recipe": str(elsewhere)}).data == config.data


def test_what_is_shown_of_a_name_on_the_disk_can_be_typed_back() -> None:
    names = ("plain", "my photos, x", "a, b.tar")
    assert from_flags(Lists, {"names": show(names)}).names == names
