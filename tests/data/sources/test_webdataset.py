import shutil
import sys
from pathlib import Path

import pytest
import webdataset as webdataset_library

from tests.data.files import first_pixels, opened, photograph, png, tar_of, write_folder
from tests.faults.tiny import SETTINGS, differences
from wgan_dist.config import Config, load_config
from wgan_dist.config.command_line import read_flags
from wgan_dist.data.sources import webdataset
from wgan_dist.data.sources.base import ImageListing
from wgan_dist.data.sources.registry import open_source
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError


def write_shards(folder: Path, images: list[bytes], per_shard: int = 3, key: str = "jpg") -> Path:
    """Write shards with WebDataset: numbered samples of an image, a label and a caption."""
    folder.mkdir(parents=True)
    with webdataset_library.ShardWriter(f"{folder}/%03d.tar", maxcount=per_shard, verbose=0) as writer:
        for number, content in enumerate(images):
            writer.write({"__key__": f"{number:06d}", key: content, "cls": number, "json": {"n": number}})
    return folder


def list_images(data: str | Path) -> ImageListing:
    return open_source(str(data), Path("no cache")).list_images()


PHOTOGRAPHS = [photograph(seed) for seed in range(8)]


def test_shards_by_pattern_and_as_a_folder_equal_a_folder_of_their_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", {f"{number}.jpg": each for number, each in enumerate(PHOTOGRAPHS)})
    write_shards(tmp_path / "shards", PHOTOGRAPHS)
    expected = opened(tmp_path / "cache", folder)
    for data in (tmp_path / "shards", f"{tmp_path}/shards/{{000..002}}.tar", f"{tmp_path}/shards/00{{0,1,2}}.tar"):
        found = opened(tmp_path / "cache", data)
        assert (found.fingerprint, found.name, len(found)) == (expected.fingerprint, "shards", 8)
    assert len(opened(tmp_path / "cache", f"{tmp_path}/shards/{{000,002}}.tar")) == 5


def test_the_order_is_that_of_webdataset(tmp_path: Path) -> None:
    """Shards are in the order of the pattern, not of the alphabet, and files in the order of the shard."""
    levels = [5, 3, 9, 1, 7]
    write_shards(tmp_path / "s", [png(level) for level in levels], per_shard=2, key="png")
    pattern = f"{tmp_path}/s/00{{2,0,1}}.tar"
    urls = webdataset_library.shardlists.expand_urls(pattern)
    expected = [sample["cls"] for sample in webdataset_library.WebDataset(urls, shardshuffle=False)]
    found = first_pixels(opened(tmp_path / "cache", pattern))
    assert found == [levels[int(number)] for number in expected] == [7, 5, 3, 9, 1]


def test_image_names_hold_shard_and_file(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS[:4])
    assert list_images(tmp_path / "s").names[2:] == ["000.tar/000002.jpg", "001.tar/000003.jpg"]


def test_files_of_other_keys_are_left_out(tmp_path: Path) -> None:
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
    images = list_images(tmp_path / "s")
    assert images.names == ["0.tar/a.JPEG", "0.tar/b/e.webp"]
    assert images.left_out == {".mask.png": 1, ".seg.png": 1, ".txt": 1, ".": 1}


def test_an_image_with_a_dot_in_its_name_is_reported(tmp_path: Path) -> None:
    """The key is all that follows the first dot, so that WebDataset finds no image in any of these."""
    dotted = {"img.v0.png": png(), "IMG_1.2.JPG": photograph(0), "s/Screenshot 12.30.png": png()}
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "0.tar").write_bytes(tar_of(dotted | {"img1.png": png(5), "img1.mask.png": png()}))
    with pytest.raises(UserError, match=r"^3 unreadable images: '0.tar/img.v0.png': its key in WebDataset is 'v0.png'"):
        opened(tmp_path / "cache", tmp_path / "s")
    found = opened(tmp_path / "cache", tmp_path / "s", skip=True)
    assert first_pixels(found) == [5]
    assert [words.split("'")[1] for words in found.bad] == [f"0.tar/{name}" for name in dotted]


def test_the_keys_are_listed_if_no_sample_has_an_image(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "0.tar").write_bytes(tar_of({"a.input.jpg": photograph(0), "a.cls": b"1", "b.cls": b"1"}))
    with pytest.raises(UserError, match=rf"^data={tmp_path}/s: no image under a key of jpg.*: cls, input.jpg$"):
        list_images(tmp_path / "s")


def test_unprintable_names_are_escaped_in_messages(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    shard = tmp_path / "s" / "\x1b[2J\n.tar"
    for files in ({"a.\x1b[2Jcls\n": b""}, {"a.png": png(), "b.\x1b[2J.png": png()}):
        shard.write_bytes(tar_of(files))
        with pytest.raises(UserError, match=r"\\x1b\[2[jJ]") as error:
            opened(tmp_path / "cache", tmp_path / "s")
        assert str(error.value).isprintable()
    shard.write_bytes(shard.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"s/\\x1b\[2J\\n.tar: damaged") as error:
        list_images(tmp_path / "s")
    assert str(error.value).isprintable()


def test_a_folder_with_other_files_is_not_a_folder_of_shards(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS[:1])
    (tmp_path / "s" / ".hidden").touch()
    assert list_images(tmp_path / "s").names == ["000.tar/000000.jpg"]
    (tmp_path / "s" / "zzz").touch()
    assert list_images(tmp_path / "s").names == ["000.tar", "zzz"]


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("{000..003}.tar", "{000..003}.tar: .*/003.tar: expected a file ending in .tar"),
        ("{000,x.zip}", "expected a file ending in .tar"),
        ("{000", "[Uu]nbalanced"),
        ("{0..99999999999}.tar", "at most 100,000 shards"),
        ("{0..999}{0..999}.tar", "at most 100,000 shards"),
        (f"{{0..{'9' * 5000}}}.tar", "at most 4,096 letters"),
        ("{a," * 1300 + "}" * 5 + ".tar", "expected a pattern as"),
        ("{a," * 3000 + "}" * 3000 + ".tar", "at most 4,096 letters"),
    ],
)
def test_an_invalid_pattern_is_refused(tmp_path: Path, pattern: str, complaint: str) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS)
    with pytest.raises(UserError, match=complaint) as error:
        open_source(f"{tmp_path}/s/{pattern}", tmp_path)
    assert str(error.value).startswith(f"data={tmp_path}/s/{pattern}: ")


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS)
    second = tmp_path / "s" / "001.tar"
    second.write_bytes(second.read_bytes()[:2000])
    with pytest.raises(UserError, match=f"^data={tmp_path}/s: {second}: damaged or cut short"):
        list_images(tmp_path / "s")


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
def test_the_name_of_a_pattern_is_the_text_before_the_braces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, expected: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert webdataset.pattern_name(data) == expected


def test_webdataset_is_requested_if_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shards(tmp_path / "s", PHOTOGRAPHS)
    for module in ("braceexpand", "webdataset.tariterators"):
        monkeypatch.setitem(sys.modules, module, None)
    for data in (f"{tmp_path}/s/{{000..001}}.tar", f"{tmp_path}/s"):
        with pytest.raises(UserError, match=r'needs WebDataset: pip install "wgan_dist\[wds\]"$'):
            list_images(data)


def test_a_run_over_shards_resumes_byte_identically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_shards(tmp_path / "shards", PHOTOGRAPHS * 3, per_shard=7)
    given = SETTINGS | {"data": "shards/{000..003}.tar", "cache_dir": "cache", "max_steps": "4", "sample_every": "1"}
    train(given | {"run_dir": "straight"})
    train(given | {"run_dir": "run", "max_steps": "2"})
    shutil.rmtree("cache")
    train({"run_dir": "run", "resume": "true", "max_steps": "4"})
    assert differences(tmp_path / "run", tmp_path / "straight") == []


def test_a_pattern_expanded_by_the_shell_is_refused() -> None:
    """Bash makes a flag of each name, of which only the last would count."""
    with pytest.raises(UserError, match="^--data=0.tar --data=1.tar: given twice; braces need quotes in a shell"):
        read_flags(["--data=0.tar", "--data=1.tar"], Config)
    assert read_flags(["--data=0.tar", "--seed=1", "--seed=2", "--data=1.tar"], Config) == {
        "data": "1.tar",
        "seed": "2",
    }
    assert read_flags(["--data={0..1}.tar"], Config) == {"data": "{0..1}.tar"}


def test_a_comma_within_braces_does_not_separate_data() -> None:
    assert load_config({"data": "a/,s/{0,1}{2..3,5}.tar,b.zip"}).data == ("a/", "s/{0,1}{2..3,5}.tar", "b.zip")
