"""The command line `python -m wgan_dist.data inspect`, and what it is made of."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.test_archives import photograph, png, write_zip
from tests.data.test_datasets import half
from tests.processes import run
from wgan_dist.config import Config, load_config
from wgan_dist.config.command_line import read_flags
from wgan_dist.data.__main__ import InspectSettings, inspect_data, suggestion
from wgan_dist.data.inspect import Inspection, choose, contact_sheet, inspect
from wgan_dist.data.sources.base import Pictures
from wgan_dist.data.sources.registry import open_source
from wgan_dist.data.transforms import to_pixels
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError


def picture(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    depth = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], depth), np.uint8)
    return Image.fromarray(noise.squeeze(axis=2) if depth == 1 else noise)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One of each kind; the facts about it are in the names."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    picture((40, 20)).save(folder / "rgb 40x20.jpg")
    picture((100, 60), seed=1).save(folder / "turned 60x100.jpg", exif=turned)
    picture((50, 50), "RGBA").save(folder / "transparent 50x50.png")
    picture((30, 70), "L").save(folder / "grey 30x70.png")
    picture((12, 12)).convert("P").save(folder / "palette 12x12.bmp")
    (folder / "z copy 40x20.jpg").write_bytes((folder / "rgb 40x20.jpg").read_bytes())
    (folder / "half.jpg").write_bytes(half("JPEG"))
    (folder / "half.png").write_bytes(half("PNG"))
    (folder / "notes.txt").write_text("no picture")
    return folder


def listed(path: Path | str) -> list[Pictures]:
    return [open_source(str(path), Path("no cache")).pictures()]


def looked(path: Path | str) -> Inspection:
    return inspect(listed(path), lambda done, total: None)


def test_every_fact_is_found(folder: Path) -> None:
    found = looked(folder)
    sizes = {found.names[fact.number]: f"{fact.width}x{fact.height}" for fact in found.facts}
    assert {name: name.split()[-1].split(".")[0] for name in sizes} == sizes
    assert [name for name in found.names if name not in sizes] == ["half.jpg", "half.png", "notes.txt"]
    assert [line.split(":")[0] for line in found.bad] == ["'half.jpg'", "'half.png'", "'notes.txt'"]
    assert [found.names[fact.number].split()[0] for fact in found.facts if fact.transparent] == ["transparent"]
    assert [found.names[fact.number].split()[0] for fact in found.facts if fact.rotated] == ["turned"]
    assert {found.names[fact.number].split()[0]: fact.mode for fact in found.facts} == {
        **{"grey": "L", "palette": "P", "rgb": "RGB", "transparent": "RGBA", "turned": "RGB", "z": "RGB"}
    }
    assert found.copies() == [["rgb 40x20.jpg", "z copy 40x20.jpg"]]
    assert (found.channels, sorted(found.shorter_sides)) == (3, [12, 20, 20, 30, 50, 60])


def test_pixels_without_a_file_are_compared_too() -> None:
    arrays = [np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), np.zeros((2, 3), np.uint8)]
    found = inspect([Pictures(["a", "b", "c"], lambda index: Image.fromarray(arrays[index]))], lambda done, total: None)
    assert (found.copies(), found.channels) == ([["a", "c"]], 1)


def test_the_words_say_what_was_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect_data(["inspect", str(folder)], {"image_size": "32"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:8] == [
        "my photos",
        "images          6 readable, 3 not",
        "formats         JPEG 3, PNG 2, BMP 1",
        "colour modes    RGB 3, L 1, P 1, RGBA 1",
        "transparent     1",
        "turned by EXIF  1",
        "copies          1 equal another byte for byte",
        "small           4 would be enlarged to 32×32",
    ]
    assert [line.split() for line in lines[8:12]] == [
        ["width", "height", "shorter", "width/height"],
        ["smallest", "12", "12", "12", "0.43"],
        ["median", "40", "35", "25", "1.00"],
        ["largest", "60", "100", "60", "2.00"],
    ]
    assert "  'rgb 40x20.jpg' = 'z copy 40x20.jpg'" in lines
    assert "  'notes.txt': not a PNG, JPEG, WebP or BMP image" in lines
    assert "to begin with, at 32×32 in 3 channels (0.0 MiB of cache):" in lines


@pytest.mark.parametrize("data", ["folder", "archive"])
def test_the_command_that_is_suggested_trains(
    folder: Path, tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_zip(tmp_path / "p q.zip", {f"{seed}.jpg": photograph(seed) for seed in range(5)})
    inspect_data(["inspect", str(folder if data == "folder" else archive)], {})
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[:3] == ["python", "-m", "wgan_dist.train"]
    flags = read_flags(words[3:], Config)
    assert flags.pop("max_steps") == "2000"
    train(flags | {"dry_run": "true", "threads": "1", "cache_dir": str(tmp_path / "cache")})
    out = capsys.readouterr().out
    assert f"{6 if data == 'folder' else 5} images of " in out


@pytest.mark.parametrize(("asked", "suggested"), [(7, 16), (40, 32), (64, 64), (1000, 256)])
def test_a_size_is_suggested_that_training_takes(
    asked: int, suggested: int, capsys: pytest.CaptureFixture[str]
) -> None:
    inspect_data(["inspect", "digits"], {"image_size": str(asked)})
    lines = capsys.readouterr().out.splitlines()
    other = lines[-2].startswith(f"dcgan makes 16, 32, 64, 128, 256, and not {asked}; to begin with, at {suggested}×")
    assert other == (asked != suggested)
    config = load_config(read_flags(shlex.split(lines[-1])[3:], Config))
    assert config.image_size == suggested


@pytest.mark.parametrize(
    ("side", "count", "size", "batch"), [(5, 1, 16, 1), (31, 63, 16, 32), (32, 64, 32, 64), (900, 10**6, 32, 64)]
)
def test_the_suggestion_fits_the_images(side: int, count: int, size: int, batch: int) -> None:
    from wgan_dist.data.__main__ import CPU_SIZE, _fitting_size

    words = suggestion(
        InspectSettings(("a b/",), background="000000"), _fitting_size(side, CPU_SIZE), count, False, True
    )
    config = load_config(read_flags(shlex.split(words)[3:], Config))
    assert (config.image_size, config.batch_size, config.data, config.background) == (size, batch, ("a b/",), "000000")
    assert _fitting_size(900, 64) == 64


def test_the_sheet_shows_each_image_as_it_is_and_as_training_sees_it(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheets" / "contact.png"
    inspect_data(["inspect", str(folder)], {"out": str(out), "image_size": "16", "background": "ff0000"})
    with Image.open(out) as sheet:
        assert sheet.size == (4 * 240, 2 * 120 + 20)
    one = listed(folder)
    turned = one[0].names.index("turned 60x100.jpg")
    pair = contact_sheet(one, [turned], 16, 3, "ff0000")
    with Image.open(folder / "turned 60x100.jpg") as opened:
        expected = to_pixels(opened, 16, 3, "ff0000").transpose(1, 2, 0)
    pixels = np.asarray(pair)
    assert (pixels[3:112:7, 115:224:7] == expected).all()
    beside = (pixels[:112, :112] == 128).all(axis=2).all(axis=0)
    assert beside.sum() == 112 - 60


def test_grey_of_sixteen_bits_is_shown_as_it_is(tmp_path: Path) -> None:
    levels = np.arange(112 * 112, dtype=np.uint16).reshape(112, 112) * 5
    Image.fromarray(levels).save(tmp_path / "a.png")
    sheet = contact_sheet(listed(tmp_path), [0], 16, 1, "ffffff")
    assert (np.asarray(sheet)[:112, :112] == (levels // 257)[:, :, None]).all()


def test_what_is_on_the_sheet_is_drawn_by_the_seed(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {f"{level:02d}.png": png(level) for level in range(20)} | {"0.txt": b"x"})
    found = looked(archive)
    first, second = choose(found, 5, 0), choose(found, 5, 1)
    assert first != second
    assert len(set(first)) == 5
    assert choose(found, 5, 0) == first
    assert found.names.index("0.txt") not in choose(found, 100, 0)
    assert len(choose(found, 100, 0)) == 20


@pytest.mark.parametrize("name", ["8gaussians", "25gaussians", "swissroll"])
def test_points_are_said_to_be_points(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    inspect_data(["inspect", name], {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{name}: 100,000 points in the plane, no images"
    recipe = shlex.split(lines[-1])[-1].removeprefix("--recipe=")
    assert load_config({"recipe": recipe}).data == (name,)


@pytest.mark.parametrize(
    ("words", "flags", "complaint"),
    [
        ([], {}, "nothing: expected inspect PATH"),
        (["look", "a"], {}, "look a: expected inspect"),
        (["inspect"], {}, "expected a folder, archive or name"),
        (["inspect", "digits"], {"out": "a.jpg"}, "out=a.jpg: expected a file ending in .png"),
        (
            ["inspect", "digits"],
            {"cache_dir": "~nobody_of_this_name/c"},
            "cache_dir=~nobody.*: there is no such folder",
        ),
        (["inspect", "no/such"], {}, "data=no/such: there is no such folder"),
        (["inspect", "digits,8gaussians"], {}, "8gaussians are points"),
    ],
)
def test_bad_requests_are_named(words: list[str], flags: dict[str, str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        inspect_data(words, flags)


def test_a_set_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=f"^data={tmp_path}: no readable image; the first: 'a.png': not a PNG"):
        inspect_data(["inspect", str(tmp_path)], {})


def test_the_command_line_runs_as_a_person_starts_it(tmp_path: Path) -> None:
    done = run("python", "-m", "wgan_dist.data", "inspect", "digits", "--out=contact.png", cwd=tmp_path)
    assert done.stdout.splitlines()[1] == "images          1,797 readable, 0 not"
    assert (tmp_path / "contact.png").stat().st_size > 1000
