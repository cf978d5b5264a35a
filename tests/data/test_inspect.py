"""Tests of `python -m wgan_dist.data inspect`."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.files import half, photograph, png, write_zip
from tests.processes import run
from wgan_dist.config import Config, load_config
from wgan_dist.config.command_line import read_flags
from wgan_dist.config.image_size import ImageSize, square
from wgan_dist.data import decoding
from wgan_dist.data.__main__ import inspect_settings
from wgan_dist.data.decoding import progress_reporter
from wgan_dist.data.inspect import (
    LARGEST_SIDE,
    Inspection,
    choose_images,
    contact_sheet,
    cut_shares,
    inspect_images,
    print_summary,
    suggested_command,
    suggested_size,
)
from wgan_dist.data.inspect_settings import InspectSettings
from wgan_dist.data.sources.base import ImageListing
from wgan_dist.data.sources.registry import open_source
from wgan_dist.data.transforms import to_pixels
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError


def inspect_data(words: list[str], flags: dict[str, str]) -> None:
    """Run the command with these words and flags."""
    print_summary(inspect_settings(flags | {"words": words}))


def noise_image(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    depth = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], depth), np.uint8)
    return Image.fromarray(noise.squeeze(axis=2) if depth == 1 else noise)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of one image of each kind, whose names say their properties."""
    folder = tmp_path / "my photos"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    noise_image((40, 20)).save(folder / "rgb 40x20.jpg")
    noise_image((100, 60), seed=1).save(folder / "turned 60x100.jpg", exif=turned)
    noise_image((50, 50), "RGBA").save(folder / "transparent 50x50.png")
    noise_image((30, 70), "L").save(folder / "grey 30x70.png")
    noise_image((12, 12)).convert("P").save(folder / "palette 12x12.bmp")
    (folder / "z copy 40x20.jpg").write_bytes((folder / "rgb 40x20.jpg").read_bytes())
    (folder / "half.jpg").write_bytes(half("JPEG"))
    (folder / "half.png").write_bytes(half("PNG"))
    (folder / "broken").write_text("no image")
    (folder / "notes.txt").write_text("no image")
    noise_image((40, 40)).save(
        folder / "moving 40x40.gif", save_all=True, append_images=[noise_image((40, 40), seed=2)]
    )
    noise_image((20, 50)).save(folder / "sheet 50x20.tif", exif=turned)
    return folder


def listed(path: Path | str) -> list[ImageListing]:
    return [open_source(str(path), Path("no cache")).list_images()]


def looked(path: Path | str) -> Inspection:
    return inspect_images(listed(path), "ffffff", lambda done, total: None)


def test_all_properties_of_the_images_are_found(folder: Path) -> None:
    found = looked(folder)
    sizes = {found.names[index]: f"{image.width}x{image.height}" for index, image in found.images.items()}
    assert {name: name.split()[-1].split(".")[0] for name in sizes} == sizes
    assert [name for name in found.names if name not in sizes] == ["broken", "half.jpg", "half.png"]
    assert [line.split(":")[0] for line in found.errors] == ["'broken'", "'half.jpg'", "'half.png'"]
    images = {found.names[index].split()[0]: image for index, image in found.images.items()}
    assert [name for name, image in images.items() if image.transparent] == ["transparent"]
    assert [name for name, image in images.items() if image.rotated] == ["sheet", "turned"]
    assert [name for name, image in images.items() if image.animated] == ["moving"]
    modes = {"grey": "L", "moving": "P", "palette": "P", "transparent": "RGBA"}
    modes |= dict.fromkeys(("rgb", "sheet", "turned", "z"), "RGB")
    assert {name: image.mode for name, image in images.items()} == modes
    assert found.duplicates() == [["rgb 40x20.jpg", "z copy 40x20.jpg"]]
    assert (found.channels, sorted(found.sides.min(axis=1))) == (3, [12, 20, 20, 20, 30, 40, 50, 60])
    assert found.left_out == {".txt": 1}


def test_a_gif_whose_second_frame_is_damaged_is_readable(tmp_path: Path) -> None:
    """Training reads the first frame only."""
    frames = [noise_image((40, 40), seed=seed) for seed in (0, 1)]
    frames[0].save(tmp_path / "one.gif")
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    content, first = (tmp_path / "a.gif").read_bytes(), (tmp_path / "one.gif").stat().st_size
    (tmp_path / "one.gif").unlink()
    for cut in range(first + 20, first + 40):
        (tmp_path / "a.gif").write_bytes(content[:cut])
        assert looked(tmp_path).errors == []


def test_duplicates_are_found_without_files() -> None:
    arrays = [np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), np.zeros((2, 3), np.uint8)]
    listing = ImageListing(["a", "b", "c"], lambda index: Image.fromarray(arrays[index]))
    found = inspect_images([listing], "ffffff", lambda done, total: None)
    assert (found.duplicates(), found.channels) == ([["a", "c"]], 1)


def test_the_summary_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect_data(["inspect", str(folder)], {"image_size": "32"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:11] == [
        "my photos",
        "images          8 readable, 3 unreadable",
        "left out        1 file that is no image: .txt 1",
        "formats         JPEG 3, PNG 2, GIF 1, BMP 1, TIFF 1",
        "colour modes    RGB 4, P 2, L 1, RGBA 1",
        "transparent     1",
        "EXIF-rotated    2",
        "animated        1, of which training takes the first frame or page",
        "duplicates      1 copies of other files, byte for byte",
        "small           5 would be enlarged to 32×32",
        "cropped         32% of the pixels would be cut away at 32×32",
    ]
    assert [line.split() for line in lines[11:15]] == [
        ["width", "height", "shorter", "width/height"],
        ["smallest", "12", "12", "12", "0.43"],
        ["median", "40", "30", "25", "1.00"],
        ["largest", "60", "100", "60", "2.50"],
    ]
    assert "  'rgb 40x20.jpg' = 'z copy 40x20.jpg'" in lines
    assert "  'broken': not a PNG, JPEG, WebP, BMP, GIF or TIFF image" in lines
    assert "to start at 32×32 in 3 channels (0.0 MiB of cache):" in lines


@pytest.mark.parametrize("data", ["folder", "archive", "four"])
def test_the_suggested_command_trains(
    folder: Path, tmp_path: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = write_zip(tmp_path / "p q.zip", {f"{seed}.jpg": photograph(seed) for seed in range(5)})
    four = write_zip(tmp_path / "four, of them.zip", {f"{seed}.jpg": photograph(seed) for seed in range(4)})
    path, count = {"folder": (folder, 8), "archive": (archive, 5), "four": (four, 4)}[data]
    inspect_data(["inspect", str(path)], {})
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[:3] == ["python", "-m", "wgan_dist.train"]
    flags = read_flags(words[3:], Config)
    assert flags["recipe"] == "own_images"
    train(flags | {"dry_run": "true", "threads": "1", "cache_dir": str(tmp_path / "cache")})
    out = capsys.readouterr().out
    assert f"{count} images of " in out


@pytest.mark.parametrize("asked", ["7", "64x", "2048"])
def test_a_size_that_cannot_be_is_refused(asked: str) -> None:
    with pytest.raises(UserError, match=f"image_size={asked}: expected a size such as 64, or HEIGHTxWIDTH"):
        inspect_data(["inspect", "digits"], {"image_size": asked})


@pytest.mark.parametrize(
    ("side", "count", "size", "batch"), [(5, 4, 8, 4), (31, 63, 16, 32), (32, 64, 32, 64), (900, 10**6, 64, 64)]
)
def test_the_suggestion_fits_the_images(side: int, count: int, size: int, batch: int) -> None:
    settings = InspectSettings(("a b/",), background="000000", resize="pad")
    sides = np.full((count, 2), float(side))
    words = suggested_command(settings, "a b", suggested_size(sides, LARGEST_SIDE), count, False, True)
    config = load_config(read_flags(shlex.split(words)[3:], Config))
    assert (config.image_size, config.batch_size, config.data) == (square(size), batch, ("a b/",))
    assert (config.background, config.resize) == ("000000", "pad")


@pytest.mark.parametrize(
    ("height", "width", "suggested"),
    [
        (60, 64, ImageSize(32, 32)),  # a crop to a square cuts 6 % away
        (480, 640, ImageSize(24, 32)),  # 3:4
        (640, 480, ImageSize(32, 24)),
        (200, 1000, ImageSize(16, 80)),  # 1:5
        (20, 28, ImageSize(12, 16)),  # about 5:7
    ],
)
def test_a_rectangle_is_suggested_where_a_square_cuts_much_away(height: int, width: int, suggested: ImageSize) -> None:
    assert suggested_size(np.array([[height, width]] * 3, np.float64), 32) == suggested


def test_the_share_that_a_crop_cuts_away() -> None:
    """A crop of 20×30 pixels to 1:1 keeps 20 of 30 columns, and one to 1:2 keeps 15 of 20 rows."""
    sides = np.array([[20, 30], [20, 20], [30, 20]], np.float64)
    np.testing.assert_allclose(cut_shares(sides, square(64)), [1 / 3, 0, 1 / 3])
    np.testing.assert_allclose(cut_shares(sides, ImageSize(8, 16)), [1 / 4, 1 / 2, 2 / 3])


def test_the_suggested_run_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = InspectSettings(("a/",))

    def run_dir(name: str) -> str:
        return read_flags(shlex.split(suggested_command(settings, name, square(16), 9, False, True))[3:], Config)[
            "run_dir"
        ]

    assert run_dir("my photos+b.x") == "runs/my-photos-b-x"
    (tmp_path / "runs/cats").mkdir(parents=True)
    (tmp_path / "runs/cats-2").mkdir()
    assert run_dir("cats") == "runs/cats-3"


def test_one_image_is_said_to_be_too_few(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(png(7))
    inspect_data(["inspect", str(tmp_path)], {})
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "too few images to train on: 1; the suggested recipe needs at least 4 in a batch"


def test_the_sheet_shows_each_image_as_it_is_and_as_training_sees_it(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheets" / "contact.png"
    inspect_data(["inspect", str(folder)], {"out": str(out), "image_size": "16", "background": "ff0000"})
    with Image.open(out) as sheet:
        assert sheet.size == (4 * 240, 2 * 120 + 20)
    one = listed(folder)
    turned = one[0].names.index("turned 60x100.jpg")
    pair = contact_sheet(one, [turned], square(16), 3, "ff0000", "crop")
    with Image.open(folder / "turned 60x100.jpg") as opened:
        expected = to_pixels(opened, square(16), 3, "ff0000").transpose(1, 2, 0)
    pixels = np.asarray(pair)
    assert (pixels[3:112:7, 115:224:7] == expected).all()
    beside = (pixels[:112, :112] == 128).all(axis=2).all(axis=0)
    assert beside.sum() == 112 - 60


def test_the_sheet_of_one_image_is_wide_enough_to_look_at(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(png(7))
    inspect_data(["inspect", str(tmp_path / "data")], {"out": str(tmp_path / "sheet.png")})
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (3 * 240, 3 * 120 + 20)


def test_the_sheet_scales_sixteen_bit_grey(tmp_path: Path) -> None:
    levels = np.arange(112 * 112, dtype=np.uint16).reshape(112, 112) * 5
    Image.fromarray(levels).save(tmp_path / "a.png")
    sheet = contact_sheet(listed(tmp_path), [0], square(16), 1, "ffffff", "crop")
    assert (np.asarray(sheet)[:112, :112] == (levels // 257)[:, :, None]).all()


def test_the_seed_chooses_the_images_on_the_sheet(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {f"{level:02d}.png": png(level) for level in range(20)} | {"0": b"x"})
    found = looked(archive)
    first, second = choose_images(found, 5, 0), choose_images(found, 5, 1)
    assert first != second
    assert len(set(first)) == 5
    assert choose_images(found, 5, 0) == first
    assert found.names.index("0") not in choose_images(found, 100, 0)
    assert len(choose_images(found, 100, 0)) == 20


@pytest.mark.parametrize("name", ["8gaussians", "25gaussians", "swissroll"])
def test_points_are_summarised(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    inspect_data(["inspect", name], {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{name}: 100,000 points of 2 dimensions, no images"
    flags = read_flags(shlex.split(lines[-1])[3:], Config)
    assert load_config(flags).data == (name,)
    assert flags["run_dir"] == f"runs/{name}"


@pytest.mark.parametrize(
    ("words", "flags", "complaint"),
    [
        ([], {}, "no argument: expected inspect PATH"),
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
def test_invalid_arguments_are_refused(words: list[str], flags: dict[str, str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        inspect_data(words, flags)


def test_data_without_a_readable_image_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match=f"^data={tmp_path}: no readable image; the first: 'a.png': not a PNG"):
        inspect_data(["inspect", str(tmp_path)], {})


def test_the_command_line_runs(tmp_path: Path) -> None:
    done = run("python", "-m", "wgan_dist.data", "inspect", "digits", "--out=contact.png", cwd=tmp_path)
    assert done.stdout.splitlines()[1] == "images          1,797 readable, 0 unreadable"
    assert (tmp_path / "contact.png").stat().st_size > 1000


def test_the_command_line_starts_without_torch_and_numpy(tmp_path: Path) -> None:
    code = "import sys, wgan_dist.data.__main__; print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    assert run("python", "-c", code, cwd=tmp_path).stdout.strip() == "set()"


def test_progress_is_printed_at_intervals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    progress_reporter("inspected")(512, 2048)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(decoding, "SECONDS_BETWEEN_LINES", 0.0)
    progress_reporter("inspected")(1024, 2048)
    assert capsys.readouterr().err == "inspected 1,024 of 2,048 images, 0 s left\n"


def test_arrays_are_summarised_by_the_range_of_each_channel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).normal(size=(4, 9, 20, 20)).astype(np.float32)
    values[:, 1] = 7
    np.save(tmp_path / "a.npy", values)
    inspect_data(["inspect", str(tmp_path / "a.npy")], {"axes": "nchw", "out": str(tmp_path / "sheet.png")})
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("values          float32 in 9 channels")
    assert lines[start + 1] == f"  channel 1     {values[:, 0].min():g} to {values[:, 0].max():g}"
    assert lines[start + 2] == "  channel 2     7 to 7"
    assert lines[start + 8 : start + 10][1] == "  and 1 more"
    assert "to start at 16×16 in 9 channels (0.0 MiB of cache):" in lines
    command = next(line for line in lines if "wgan_dist.train" in line)
    assert "--axes=nchw" in shlex.split(command)


@pytest.mark.parametrize(("channels", "shown"), [(2, [0, 0, 0]), (5, [0, 1, 2])])
def test_the_sheet_shows_three_channels_or_one_by_the_range_of_the_data(
    tmp_path: Path, channels: int, shown: list[int]
) -> None:
    values = np.random.default_rng(0).normal(size=(2, channels, 112, 112)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    found = looked(tmp_path / "a.npy")
    sheet = contact_sheet(listed(tmp_path / "a.npy"), [1], square(112), channels, "ffffff", "crop", found.ranges)
    low, high = values.min(axis=(0, 2, 3)), values.max(axis=(0, 2, 3))
    expected = ((values[1].transpose(1, 2, 0) - low) / (high - low) * 255)[..., shown]
    for left in (0, 112):  # the original, and what training sees
        assert abs(np.asarray(sheet)[:112, left : left + 112] - expected).max() <= 0.51


@pytest.mark.parametrize("kind", ["float array", "8-bit array", "16-bit pictures"])
def test_empty_images_of_every_type_are_counted(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).integers(0, 255, (5, 8, 8))
    values[1:3] = [[[7]], [[0]]]
    data = tmp_path / "a.npy"
    if kind == "16-bit pictures":
        data = tmp_path / "data"
        data.mkdir()
        for number, picture in enumerate(values):
            Image.fromarray((picture * 256).astype(np.uint16)).save(data / f"{number}.png")
    else:
        np.save(data, values.astype(np.float32 if kind == "float array" else np.uint8))
    inspect_data(["inspect", str(data)], {})
    expected = "  2 of 5 arrays and pictures of more than 8 bits have one value in each channel"
    assert expected in capsys.readouterr().out.splitlines()
