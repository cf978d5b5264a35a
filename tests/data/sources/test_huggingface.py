import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from tests.data.files import first_pixels, opened, photograph, png, write_folder
from tests.hub_server import hub
from tests.processes import PYTHON, REPOSITORY, run
from wgan_dist.data.sources import huggingface
from wgan_dist.data.sources.huggingface import Reference, parse
from wgan_dist.data.sources.registry import open_source
from wgan_dist.utils.errors import UserError

datasets.disable_progress_bars()
PHOTOGRAPHS = [photograph(seed) for seed in range(5)]


def table(images: list[bytes], *columns: str) -> datasets.Dataset:
    """Return a data set with the images in each of the columns, and labels."""
    names = columns or ("image",)
    features = {name: datasets.Image() for name in names} | {"label": datasets.Value("int64")}
    content = {name: [{"bytes": each, "path": None} for each in images] for name in names}
    labels = {"label": list(range(len(images)))}
    return datasets.Dataset.from_dict(content | labels, features=datasets.Features(features))


def saved(folder: Path, images: list[bytes], *columns: str) -> Path:
    table(images, *columns).save_to_disk(str(folder))
    return folder


def parquet(file: Path, images: list[bytes]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    table(images).to_parquet(str(file))
    return file


def test_saved_arrow_and_parquet_equal_a_folder_of_the_same_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", {f"{number}.jpg": each for number, each in enumerate(PHOTOGRAPHS)})
    parquet(tmp_path / "plain" / "data" / "train-00000-of-00002.parquet", PHOTOGRAPHS[:3])
    parquet(tmp_path / "plain" / "data" / "train-00001-of-00002.parquet", PHOTOGRAPHS[3:])
    one = parquet(tmp_path / "one.parquet", PHOTOGRAPHS)
    arrow = saved(tmp_path / "saved", PHOTOGRAPHS)
    expected = opened(tmp_path / "cache", folder).fingerprint
    for path, name in ((arrow, "saved"), (tmp_path / "plain", "plain"), (one, "one.parquet")):
        found = opened(tmp_path / "cache", f"hf:{path}")
        assert (found.fingerprint, found.name) == (expected, name)


def test_parquet_without_the_image_type_is_read_by_its_bytes(tmp_path: Path) -> None:
    cells = [{"bytes": png(level), "path": None} for level in (3, 1, 2)]
    content = pyarrow.table({"image": cells, "raw": [cell["bytes"] for cell in cells], "n": [1, 2, 3]})
    pyarrow.parquet.write_table(content, tmp_path / "a.parquet")
    assert first_pixels(opened(tmp_path / "cache", f"hf:{tmp_path}/a.parquet")) == [3, 1, 2]
    assert first_pixels(opened(tmp_path / "cache", f"hf:{tmp_path}/a.parquet#raw")) == [3, 1, 2]


def test_the_default_split_is_train(tmp_path: Path) -> None:
    splits = {"test": table([png(9)]), "train": table([png(1), png(2)])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "s"))
    parquet(tmp_path / "p" / "train-0.parquet", [png(1), png(2)])
    parquet(tmp_path / "p" / "test-0.parquet", [png(9)])
    parquet(tmp_path / "only" / "test-0.parquet", [png(9)])
    for name in ("s", "p"):
        assert first_pixels(opened(tmp_path / "cache", f"hf:{tmp_path}/{name}")) == [1, 2]
        assert first_pixels(opened(tmp_path / "cache", f"hf:{tmp_path}/{name}:test")) == [9]
        with pytest.raises(
            UserError, match="there is no split validation; expected hf:…:SPLIT of (test, train|train, test)"
        ):
            opened(tmp_path / "cache", f"hf:{tmp_path}/{name}:validation")
    assert first_pixels(opened(tmp_path / "cache", f"hf:{tmp_path}/only")) == [9]
    with pytest.raises(UserError, match="it has no splits"):
        opened(tmp_path / "cache", f"hf:{saved(tmp_path / 'flat', [png()])}:test")


def test_one_of_several_columns_of_images_has_to_be_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "s", [png(4)], "before", "after")
    with pytest.raises(UserError, match=f"^data=hf:{folder}: several columns of images: before, after; expected hf:…#"):
        opened(tmp_path / "cache", f"hf:{folder}")
    assert first_pixels(opened(tmp_path / "cache", f"hf:{folder}#after")) == [4]
    with pytest.raises(UserError, match=r"there is no column later; it has before, after, label"):
        opened(tmp_path / "cache", f"hf:{folder}#later")
    with pytest.raises(UserError, match=f"^data=hf:{folder}#label: "):
        opened(tmp_path / "cache", f"hf:{folder}#label")


def test_unprintable_names_are_escaped_in_messages(tmp_path: Path) -> None:
    evil = "a\x1b[2Jb\n\x9bc"
    columns = saved(tmp_path / "c", [png()], evil, "d")
    splits = {evil: table([png()]), "e": table([png()])}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "s"))
    pyarrow.parquet.write_table(pyarrow.table({evil: [1]}), tmp_path / "n.parquet")
    for data in (columns, f"{columns}#x", tmp_path / "s", tmp_path / "n.parquet"):
        with pytest.raises(UserError, match=r"a\\x1b\[2Jb\\n\\x9bc") as error:
            opened(tmp_path / "cache", f"hf:{data}")
        assert str(error.value).isprintable()


def test_a_saved_data_set_without_rows_is_refused(tmp_path: Path) -> None:
    table([png()]).select(range(0)).save_to_disk(str(tmp_path / "s"))
    with pytest.raises(UserError, match=f"^data=hf:{tmp_path}/s: the data set holds no image$"):
        opened(tmp_path / "cache", f"hf:{tmp_path}/s")


def test_a_data_set_without_images_is_refused(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "s"))
    with pytest.raises(
        UserError, match=f"^data=hf:{tmp_path}/s: no column of images; expected hf:…#COLUMN, one of text"
    ):
        opened(tmp_path / "cache", f"hf:{tmp_path}/s")


def test_an_unreadable_image_and_an_empty_cell_are_reported(tmp_path: Path) -> None:
    cells = [png(1), b"no image", None]
    content = pyarrow.table({"image": [{"bytes": each, "path": None} for each in cells]})
    pyarrow.parquet.write_table(content, tmp_path / "a.parquet")
    with pytest.raises(
        UserError, match=r"^2 unreadable images: 'a.parquet\[1\]': not a PNG.*; 'a.parquet\[2\]': no image in this row"
    ):
        opened(tmp_path / "cache", f"hf:{tmp_path}/a.parquet")
    assert len(opened(tmp_path / "cache", f"hf:{tmp_path}/a.parquet", skip=True)) == 1


def naming(file: Path, *paths: Path | str) -> Path:
    """Write parquet whose cells hold paths of images instead of their content."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": None, "path": str(path)} for path in paths]
    pyarrow.parquet.write_table(pyarrow.table({"image": cells}), file)
    return file


def test_images_named_by_path_are_read_from_the_folder(tmp_path: Path) -> None:
    folder = naming(tmp_path / "s" / "t.parquet", tmp_path / "s" / "a.png", tmp_path / "s" / "pipe", "a.png").parent
    (folder / "a.png").write_bytes(png(6))
    os.mkfifo(folder / "pipe")
    found = opened(tmp_path / "cache", f"hf:{folder}", skip=True)
    assert (first_pixels(found), found.bad) == ([6, 6], ("'s[1]': not a regular file",))
    (folder / "a.png").write_bytes(png(7) + b"-")
    assert first_pixels(opened(tmp_path / "cache", f"hf:{folder}", skip=True)) == [7, 7]


def test_images_outside_of_the_folder_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "private" / "secret.png"
    secret.parent.mkdir()
    secret.write_bytes(png(7))
    paths: list[Path | str] = [secret, "../private/secret.png", tmp_path / "s" / ".." / "private" / "secret.png"]
    paths.append(tmp_path / "s2" / "a")
    folder = naming(tmp_path / "s" / "t.parquet", *paths).parent
    for data, names in ((folder, "s"), (naming(tmp_path / "private" / "t.parquet", *paths), "t.parquet")):
        with pytest.raises(UserError, match=r"no readable image$"):
            opened(tmp_path / "cache", f"hf:{data}", skip=True)
        complaint = rf"^4 unreadable images: '{names}\[0\]': names a file outside of the data set: '{secret}'"
        with pytest.raises(UserError, match=complaint):
            opened(tmp_path / "cache", f"hf:{data}")


def test_a_folder_of_images_is_read_by_its_path_and_by_a_link(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "real" / "s", {f"{level}.png": png(level) for level in (1, 2)})
    (tmp_path / "link").symlink_to(folder)
    for data in (folder, tmp_path / "link"):
        assert sorted(first_pixels(opened(tmp_path / "cache", f"hf:{data}"))) == [1, 2]


@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.txt", "a.py", "some.file", "parquet"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("image\n/etc/passwd\n")
    with pytest.raises(UserError) as error:
        open_source(f"hf:{tmp_path / name}", tmp_path)
    assert str(error.value) == f"data=hf:{tmp_path / name}: expected a file ending in .parquet or .arrow, or a folder"


def test_a_changed_data_set_is_decoded_again(tmp_path: Path) -> None:
    folder = saved(tmp_path / "s", [png(1)])
    assert first_pixels(opened(tmp_path / "cache", f"hf:{folder}")) == [1]
    identity = open_source(f"hf:{folder}", tmp_path).identity
    assert open_source(f"hf:{folder}", tmp_path).identity == identity
    shutil.rmtree(folder)
    assert first_pixels(opened(tmp_path / "cache", f"hf:{saved(folder, [png(2), png(3)])}")) == [2, 3]


@pytest.mark.parametrize("kind", ["saved", "parquet"])
def test_a_truncated_data_set_is_refused(tmp_path: Path, kind: str) -> None:
    folder = (
        saved(tmp_path / "s", PHOTOGRAPHS)
        if kind == "saved"
        else parquet(tmp_path / "s" / "a.parquet", PHOTOGRAPHS).parent
    )
    file = next(each for each in folder.iterdir() if each.suffix in (".arrow", ".parquet"))
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(UserError, match=f"^data=hf:{folder}: cannot be loaded: "):
        opened(tmp_path / "cache", f"hf:{folder}")


@pytest.mark.parametrize(
    "data", ["hf:", "hf:#a", "hf::train", "hf:/no/such", "hf:~/no such", "hf:~nobody_of_this_name/x", "hf:a/b/c"]
)
def test_an_invalid_reference_is_refused(tmp_path: Path, data: str) -> None:
    with pytest.raises(UserError, match=f"^data={data}: (expected hf:NAME|there is no such folder)"):
        open_source(data, tmp_path)


def test_a_reference_is_split_into_name_split_and_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd:name").mkdir()
    assert parse("hf:a/b:test[:10%]#c") == Reference("hf:a/b:test[:10%]#c", "a/b", None, "test[:10%]", "c")
    assert parse("hf:odd:name") == Reference("hf:odd:name", "odd:name", Path("odd:name"), "", "")


def test_the_library_is_requested_unless_the_data_set_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = saved(tmp_path / "a", [png(1)]), saved(tmp_path / "b", [png(2)])
    opened(tmp_path / "cache", f"hf:{first}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert first_pixels(opened(tmp_path / "cache", f"hf:{first}")) == [1]
    for data in (f"hf:{second}", "hf:mnist"):
        with pytest.raises(UserError, match=r'datasets: pip install "wgan_dist\[hf\]"$'):
            opened(tmp_path / "cache", data)


def test_a_data_set_of_the_hub_is_cached_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library has only a private name for the hash of the content."""
    monkeypatch.setattr(huggingface, "_is_offline", lambda: False)
    for level in (1, 2, 1):
        monkeypatch.setattr(huggingface, "_load", lambda *_, level=level: table([png(level)]))
        assert first_pixels(opened(tmp_path / "cache", "hf:somebody/something")) == [level]
    assert len(list((tmp_path / "cache").glob("*.pixels"))) == 2


@pytest.mark.slow
def test_without_a_network_a_name_of_the_hub_fails_in_one_line(tmp_path: Path) -> None:
    """Name resolution fails, as on the nodes of most clusters."""
    code = (
        "import socket\nfrom wgan_dist.config import command_line\nfrom wgan_dist.train import train\n"
        "def lost(*_): raise socket.gaierror\nsocket.getaddrinfo = lost\n"
        "command_line.guarded(lambda: train({'data': 'hf:nobody/nothing'}))"
    )
    done = run(*PYTHON, "-c", code, cwd=tmp_path, fails=2)
    assert done.stderr.startswith("error: data=hf:nobody/nothing: cannot be loaded: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("state.json", {"_data_files": [{"filename": "../other/data-00000-of-00001.arrow"}]}),
        ("dataset_dict.json", {"splits": ["../other"]}),
        ("state.json", {}),
    ],
)
def test_a_saved_data_set_names_its_own_files(file: str, content: dict[str, object], tmp_path: Path) -> None:
    saved(tmp_path / "other", PHOTOGRAPHS)
    folder = saved(tmp_path / "set", PHOTOGRAPHS)
    if file == "state.json":
        content = json.loads((folder / file).read_text()) | content if content else content
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"^data=hf:{folder}: [^\n]+$"):
        opened(tmp_path / "cache", f"hf:{folder}")


@pytest.mark.parametrize("data", ["../other/*.parquet", "OTHER/train.parquet", "file://OTHER/train.parquet", "zip"])
def test_the_readme_of_a_folder_names_no_data_elsewhere(data: str, tmp_path: Path) -> None:
    folder, other = tmp_path / "set", tmp_path / "other"
    parquet(folder / "train.parquet", PHOTOGRAPHS[:2])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(parquet(other / "train.parquet", PHOTOGRAPHS), "train.parquet")
    name = f"zip://train.parquet::{tmp_path}/a.zip" if data == "zip" else data.replace("OTHER", str(other))
    for files, is_fine in (("*.parquet", True), (name, False)):
        (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: '{files}'\n---\n")
        if is_fine:
            assert len(opened(tmp_path / "cache", f"hf:{folder}")) == 2
            continue
        with pytest.raises(
            UserError, match=f"^data=hf:{folder}: cannot be loaded: README.md names .*not in its folder$"
        ):
            opened(tmp_path / "cache", f"hf:{folder}")


# The cache of the Hub, and that of data sets, are those of the process.
OPEN = """
import sys
from pathlib import Path
from wgan_dist.data.sources.registry import open_source
from wgan_dist.utils.errors import UserError
try:
    open_source(sys.argv[1], Path("cache"), download=False).list_images()
except UserError as error:
    print(error)
"""


def test_what_only_a_file_names_is_not_requested_from_the_hub(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    readme = "---\nconfigs:\n- config_name: default\n  data_files: 'hf://datasets/a/b/x.parquet'\n---\n"
    (tmp_path / "set" / "README.md").write_text(readme)
    with hub() as server:
        hub_settings = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0"}
        environment = os.environ | hub_settings | {"PYTHONPATH": str(REPOSITORY)}
        hint = "--data=hf:somebody/cats --cache_dir=cache downloads it"
        for data, told in (("hf:somebody/cats", hint), ("hf:./set", "")):
            command = (*PYTHON, "-c", OPEN, data)
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
            assert done.stdout.startswith(f"data={data}: cannot be loaded: ")
            assert done.stdout.endswith(f"{told}\n")
            assert done.stdout.count("\n") == 1
    assert server.requests == []
