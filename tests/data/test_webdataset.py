import shutil
import sys
from pathlib import Path

import pytest
import webdataset as webdataset_library

from tests.data.test_archives import photograph, png, tar_of, write_folder
from tests.data.test_datasets import first_pixels, opened
from tests.faults.tiny import SETTINGS, differences
from wgan_dist.config import Config, load_config
from wgan_dist.config.command_line import read_flags
from wgan_dist.data.sources import webdataset
from wgan_dist.data.sources.base import Pictures
from wgan_dist.data.sources.registry import open_source
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError


def write_shards(folder: Path, pictures: list[bytes], per_shard: int = 3, key: str = "jpg") -> Path:
    """As WebDataset writes them: numbered samples of a picture, a label and a caption."""
    folder.mkdir(parents=True)
    with webdataset_library.ShardWriter(f"{folder}/%03d.tar", maxcount=per_shard, verbose=0) as writer:
        for number, content in enumerate(pictures):
            writer.write({"__key__": f"{number:06d}", key: content, "cls": number, "json": {"n": number}})
    return folder


def pictures_of(data: str | Path) -> Pictures:
    return open_source(str(data), Path("no cache")).pictures()


PHOTOGRAPHS = [photograph(seed) for seed in range(8)]


def test_shards_by_pattern_and_as_a_folder_are_the_set_that_their_pictures_are(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", {f"{number}.jpg": each for number, each in enumerate(PHOTOGRAPHS)})
    write_shards(tmp_path / "shards", PHOTOGRAPHS)
    expected = opened(tmp_path / "cache", folder)
    for data in (tmp_path / "shards", f"{tmp_path}/shards/{{000..002}}.tar", f"{tmp_path}/shards/00{{0,1,2}}.tar"):
        found = opened(tmp_path / "cache", data)
        assert (found.fingerprint, found.name, len(found)) == (expected.fingerprint, "shards", 8)
    assert len(opened(tmp_path / "cache", f"{tmp_path}/shards/{{000,002}}.tar")) == 5


def test_the_order_is_that_in_which_webdataset_reads(tmp_path: Path) -> None:
    """Of the pattern, not of the alphabet; and within a shard as the files lie."""
    levels = [5, 3, 9, 1, 7]
    write_shards(tmp_path / "s", [png(level) for level in levels], per_shard=2, key="png")
    pattern = f"{tmp_path}/s/00{{2,0,1}}.tar"
    urls = webdataset_library.shardlists.expand_urls(pattern)
    expected = [sample["cls"] for sample in webdataset_library.WebDataset(urls, shardshuffle=False)]
    found = first_pixels(opened(tmp_path / "cache", pattern))
    assert found == [levels[int(number)] for number in expected] == [7, 5, 3, 9, 1]


def test_names_say_shard_and_file(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS[:4])
    assert pictures_of(tmp_path / "s").names[2:] == ["000.tar/000002.jpg", "001.tar/000003.jpg"]


def test_a_picture_of_another_key_or_none_is_no_picture(tmp_path: Path) -> None:
    files = {
        "a.JPEG": photograph(0),
        "a.mask.png": png(),
        "b/e.seg.png": png(),
        "b/e.webp": png(),
        "f.txt": b"",
        "g": b"",
    }
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "0.tar").write_bytes(tar_of(files))
    assert pictures_of(tmp_path / "s").names == ["0.tar/a.JPEG", "0.tar/b/e.webp"]


def test_a_picture_with_a_dot_in_its_name_is_not_lost_without_a_word(tmp_path: Path) -> None:
    """What follows the first dot is the key, so that WebDataset sees no picture in any of these."""
    dotted = {"img.v0.png": png(), "IMG_1.2.JPG": photograph(0), "s/Screenshot 12.30.png": png()}
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "0.tar").write_bytes(tar_of(dotted | {"img1.png": png(5), "img1.mask.png": png()}))
    with pytest.raises(UserError, match=r"^3 unreadable images: '0.tar/img.v0.png': its key in WebDataset is 'v0.png'"):
        opened(tmp_path / "cache", tmp_path / "s")
    found = opened(tmp_path / "cache", tmp_path / "s", skip=True)
    assert first_pixels(found) == [5]
    assert [words.split("'")[1] for words in found.bad] == [f"0.tar/{name}" for name in dotted]


def test_where_no_sample_has_a_picture_the_keys_are_told(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "0.tar").write_bytes(tar_of({"a.input.jpg": photograph(0), "a.cls": b"1", "b.cls": b"1"}))
    with pytest.raises(UserError, match=rf"^data={tmp_path}/s: no picture under jpg.*: cls, input.jpg$"):
        pictures_of(tmp_path / "s")


def test_names_of_a_stranger_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    shard = tmp_path / "s" / "\x1b[2J\n.tar"
    for files in ({"a.\x1b[2Jcls\n": b""}, {"a.png": png(), "b.\x1b[2J.png": png()}):
        shard.write_bytes(tar_of(files))
        with pytest.raises(UserError, match=r"\\x1b\[2[jJ]") as error:
            opened(tmp_path / "cache", tmp_path / "s")
        assert str(error.value).isprintable()
    shard.write_bytes(shard.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"s/\\x1b\[2J\\n.tar: damaged") as error:
        pictures_of(tmp_path / "s")
    assert str(error.value).isprintable()


def test_a_folder_with_anything_but_shards_is_a_folder_of_pictures(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS[:1])
    (tmp_path / "s" / ".hidden").touch()
    assert pictures_of(tmp_path / "s").names == ["000.tar/000000.jpg"]
    (tmp_path / "s" / "zzz.txt").touch()
    assert pictures_of(tmp_path / "s").names == ["000.tar", "zzz.txt"]


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("{000..003}.tar", "{000..003}.tar: .*/003.tar: expected a file ending in .tar"),
        ("{000,x.zip}", "expected a file ending in .tar"),
        ("{000", "[Uu]nbalanced"),
        ("{0..99999999999}.tar", "at most 100,000 shards"),
        ("{0..999}{0..999}.tar", "at most 100,000 shards"),
        (f"{{0..{'9' * 5000}}}.tar", "at most 100,000 shards"),
        ("{a," * 3000 + "}" * 3000 + ".tar", "expected a pattern as"),
    ],
)
def test_a_pattern_that_cannot_be_opened_is_refused_by_name(tmp_path: Path, pattern: str, complaint: str) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS)
    with pytest.raises(UserError, match=complaint) as error:
        open_source(f"{tmp_path}/s/{pattern}", tmp_path)
    assert str(error.value).startswith(f"data={tmp_path}/s/{pattern}: ")


def test_a_shard_that_is_cut_short_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS)
    second = tmp_path / "s" / "001.tar"
    second.write_bytes(second.read_bytes()[:2000])
    with pytest.raises(UserError, match=f"^data={tmp_path}/s: {second}: damaged or cut short"):
        pictures_of(tmp_path / "s")


def test_a_changed_shard_is_decoded_again(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", [png(1), png(2)], per_shard=1, key="png")
    assert first_pixels(opened(tmp_path / "cache", tmp_path / "s")) == [1, 2]
    write_shards(tmp_path / "new", [png(1), png(3), png(4)], per_shard=1, key="png")
    (tmp_path / "new" / "001.tar").replace(tmp_path / "s" / "001.tar")
    assert first_pixels(opened(tmp_path / "cache", tmp_path / "s")) == [1, 3]


@pytest.mark.parametrize(
    ("data", "expected"),
    [("a/shards/{0..9}.tar", "shards"), ("a/cats-{0..9}.tar", "cats"), ("{0..9}.tar", "here"), ("../up/{0}.tar", "up")],
)
def test_a_pattern_is_called_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, expected: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert webdataset.pattern_name(data) == expected


def test_without_webdataset_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS)
    for module in ("braceexpand", "webdataset.tariterators"):
        monkeypatch.setitem(sys.modules, module, None)
    for data in (f"{tmp_path}/s/{{000..001}}.tar", f"{tmp_path}/s"):
        with pytest.raises(UserError, match=r'needs WebDataset: pip install "wgan_dist\[wds\]"$'):
            pictures_of(data)


def test_a_run_over_shards_resumes_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_shards(tmp_path / "shards", PHOTOGRAPHS * 3, per_shard=7)
    given = SETTINGS | {"data": "shards/{000..003}.tar", "cache_dir": "cache", "max_steps": "4", "sample_every": "1"}
    train(given | {"run_dir": "straight"})
    train(given | {"run_dir": "run", "max_steps": "2"})
    shutil.rmtree("cache")
    train({"run_dir": "run", "resume": "true", "max_steps": "4"})
    assert differences(tmp_path / "run", tmp_path / "straight") == []


def test_a_pattern_that_the_shell_has_expanded_is_noticed() -> None:
    """Bash makes a flag of each name, and of several the last alone would count."""
    with pytest.raises(UserError, match="^--data=0.tar --data=1.tar: given twice; braces need quotes in a shell"):
        read_flags(["--data=0.tar", "--data=1.tar"], Config)
    assert read_flags(["--data=0.tar", "--seed=1", "--seed=2", "--data=1.tar"], Config) == {
        "data": "1.tar",
        "seed": "2",
    }
    assert read_flags(["--data={0..1}.tar"], Config) == {"data": "{0..1}.tar"}


def test_a_comma_within_braces_separates_no_data() -> None:
    assert load_config({"data": "a/,s/{0,1}{2..3,5}.tar,b.zip"}).data == ("a/", "s/{0,1}{2..3,5}.tar", "b.zip")
