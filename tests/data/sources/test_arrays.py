"""Images in arrays of numpy and in TIFF files keep every bit and channel, and what is not certain is refused."""

import dataclasses
import io
import re
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.data.files import write_zip
from wgan_dist.config.image_size import ImageSize
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.sources import arrays
from wgan_dist.data.sources.tiff import is_read_fully
from wgan_dist.utils.errors import UserError

HEIGHT, WIDTH = 9, 10
rng = np.random.default_rng(0)
FLOATS = rng.normal(size=(4, 5, HEIGHT, WIDTH)).astype(np.float32)
DEEP = rng.integers(0, 65536, (4, 3, HEIGHT, WIDTH), np.uint16)


def opened(tmp_path: Path, data: Path, axes: str = "auto") -> ImageDataset:
    """Open images of 9×10 pixels, which are not resized."""
    settings = ImageSettings(ImageSize(HEIGHT, WIDTH), resize="none", axes=axes)
    return open_images((str(data),), settings, str(tmp_path / "cache"))


def saved(file: Path, values: NDArray[Any]) -> Path:
    file.parent.mkdir(exist_ok=True)
    np.save(file, values)
    return file


def with_header(shape: str, descr: str = "<f4", values: int = 360) -> bytes:
    """Return a .npy file whose header says anything."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(values)


def refused(tmp_path: Path, data: Path, complaint: str, axes: str = "auto") -> None:
    """Check that the data are refused in one line, and that nothing is left in the cache."""
    with pytest.raises(UserError, match=complaint) as error:
        opened(tmp_path, data, axes)
    assert "\n" not in str(error.value)
    cache = tmp_path / "cache"
    assert not cache.exists() or [file.suffix for file in cache.iterdir() if file.suffix == ".pixels"] == []


@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_of_five_channels_keep_every_value(tmp_path: Path, order: str) -> None:
    found = opened(tmp_path, saved(tmp_path / "a.npy", np.array(FLOATS, order=order)))  # type: ignore[call-overload]
    assert (found.pixels == FLOATS).all()
    assert (found.pixels.dtype.name, found.name) == ("float32", "a")
    assert found.levels.low == tuple(FLOATS.min(axis=(0, 2, 3)).tolist())
    assert found.levels.high == tuple(FLOATS.max(axis=(0, 2, 3)).tolist())


@pytest.mark.parametrize(
    ("values", "axes", "expected"),
    [
        (DEEP, "auto", DEEP),
        (DEEP.transpose(0, 2, 3, 1), "auto", DEEP),
        (DEEP.transpose(0, 2, 3, 1), "nhwc", DEEP),
        (DEEP[:, 0], "auto", DEEP[:, :1]),
        (DEEP.astype(">u2"), "auto", DEEP),
        (np.repeat(DEEP, 6, axis=1), "nchw", np.repeat(DEEP, 6, axis=1)),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "folder"])
def test_the_axes_are_known_or_told(
    tmp_path: Path, values: NDArray[Any], axes: str, expected: NDArray[Any], kind: str
) -> None:
    data = tmp_path / f"a.{kind}"
    if kind == "npz":
        np.savez_compressed(data, images=values)
    elif kind == "npy":
        np.save(data, values)
    else:
        for number, image in enumerate(values):
            saved(data / f"{number}.npy", image)
    found = opened(tmp_path, data, axes)
    assert (found.pixels == expected).all()
    assert (found.pixels.dtype.name, found.warnings) == ("uint16", ())


@pytest.mark.parametrize(
    ("shape", "readings"),
    [
        ((2, 8, 9, 8), ["--axes=nchw for 2 images of 8 channels, 9×8", "--axes=nhwc for 2 images of 8 channels, 8×9"]),
        ((2, 17, 90, 90), ["--axes=nchw for 2 images of 17 channels, 90×90", "--axes=nhwc for .* 90 channels, 17×90"]),
    ],
)
def test_axes_that_are_not_certain_are_refused_with_both_readings(
    tmp_path: Path, shape: tuple[int, ...], readings: list[str]
) -> None:
    refused(tmp_path, saved(tmp_path / "a.npy", np.zeros(shape)), "the order of the axes .*" + " or ".join(readings))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (np.zeros((4, 9)), r"\[4, 9\]; expected images \[n, c, h, w\] or \[n, h, w\]"),
        (np.zeros(4), r"\[4\]; expected images \[n, c, h, w\]"),
        (np.zeros((0, 9, 10)), r"shape \[0, 9, 10\]"),
        (np.zeros((2, 9, 10), bool), "values of bool; expected integers or floats"),
        (np.zeros((2, 9, 10), complex), "values of complex128; expected"),
        (np.full((2, 9, 10), None), r"Python objects \(a pickle\)"),
        (np.zeros((2, 9, 10), "U3"), "values of <U3"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, values: NDArray[Any], complaint: str) -> None:
    refused(tmp_path, saved(tmp_path / "a.npy", values), complaint)


@pytest.mark.parametrize(
    "content",
    [
        with_header("(4, 4294967296, 4294967296)"),
        with_header("(2, 9, 10)", values=719),
        with_header("(-2, 9, 10)"),
        with_header("(True, 9, 10)", values=0),
        with_header("(2, 9, 10)", descr="|V8"),
        with_header("9" * 5000),
        b"\x93NUMPY\x03\x00",
        b"\x93NUMPY",
        b"",
        b"PK\x03\x04",
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_an_impossible_header_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    data = tmp_path / f"a.{suffix}"
    data.write_bytes(content)
    if suffix == "npz":
        write_zip(data, {"images.npy": content})
    refused(tmp_path, data, f"^data={data}: ")


def test_a_npz_holds_one_array_that_is_not_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", first=FLOATS, second=FLOATS)
    refused(tmp_path, tmp_path / "a.npz", "expected one array, found 2: first.npy, second.npy")
    monkeypatch.setattr(arrays, "NPZ_LIMIT", 1000)
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", bytes(5000))
    refused(tmp_path, tmp_path / "b.npz", "unpacks to 5,000 bytes, more than 1,000; write a .npy file")


def test_very_many_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "IMAGE_LIMIT", 3)
    refused(tmp_path, saved(tmp_path / "a.npy", DEEP), "4 images: more than 3")


@pytest.mark.parametrize(
    ("dtype", "value", "note"),
    [
        ("int8", -3, ()),
        ("int16", -30000, ()),
        ("int32", 1 << 24, ()),
        ("int32", -(1 << 24) - 1, ("int32 values are kept as float32, which rounds them",)),
        ("uint32", (1 << 32) - 1, ("uint32 values are kept as float32, which rounds them",)),
        ("int64", (1 << 24) + 1, ("int64 values are kept as float32, which rounds them",)),
        ("float16", 0.1, ()),
        ("float64", 0.5, ()),
        ("float64", 0.1, ("float64 values are kept as float32, which rounds them",)),
    ],
)
def test_other_numbers_become_float32_with_a_note_if_they_are_rounded(
    tmp_path: Path, dtype: str, value: float, note: tuple[str, ...]
) -> None:
    values = np.zeros((2, HEIGHT, WIDTH), dtype)
    values[:, ::2] = value
    data = saved(tmp_path / "a.npy", values)
    for _ in range(2):  # decoded, and from the cache
        found = opened(tmp_path, data)
        assert found.pixels.dtype == np.float32
        assert (found.pixels[:, 0] == values.astype(np.float32)).all()
        assert tuple(line for line in found.warnings if "float32" in line) == note


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite_are_counted(tmp_path: Path, value: float) -> None:
    values = np.zeros((2, HEIGHT, WIDTH))
    values[1, :2, 3] = value
    complaint = r"1 unreadable images: 'a.npy\[1\]': 2 of 90 values are NaN, infinite or too large for float32"
    with pytest.raises(UserError, match=complaint):
        opened(tmp_path, saved(tmp_path / "a.npy", values))


def test_a_float_picture_that_is_not_finite_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.full((HEIGHT, WIDTH), np.nan, np.float32)).save(tmp_path / "photos" / "a.tif")
    with pytest.raises(UserError, match="90 of 90 values are NaN"):
        opened(tmp_path, tmp_path / "photos")


def test_arrays_of_other_channels_in_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    saved(tmp_path / "data" / "a.npy", FLOATS[0])
    saved(tmp_path / "data" / "b.npy", FLOATS[0, :3])
    with pytest.raises(UserError, match=r"'b.npy': 3 channels, where other images have 5"):
        opened(tmp_path, tmp_path / "data")


@pytest.mark.parametrize("kind", ["npy", "npz", "folder"])
def test_other_channels_than_are_asked_for_are_one_line_before_all_is_decoded(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        for number, values in enumerate(FLOATS):
            data = saved(tmp_path / "data" / f"{number}.npy", values).parent
        name = "0.npy"
    else:
        data, name = tmp_path / f"a.{kind}", f"a.{kind}[0]"
        np.savez(data, FLOATS) if kind == "npz" else np.save(data, FLOATS)
    settings = ImageSettings(ImageSize(HEIGHT, WIDTH), channels=3, axes="nchw")
    calls: list[int] = []
    expected = rf"^channels=3: '{re.escape(name)}' has 5 channels; expected channels=5 or auto$"
    with pytest.raises(UserError, match=expected):
        open_images((str(data),), settings, str(tmp_path / "cache"), lambda done, total: calls.append(done))
    assert calls == []
    assert not list((tmp_path / "cache").glob("*.pixels"))
    whole = dataclasses.replace(settings, channels=5)
    assert open_images((str(data),), whole, str(tmp_path / "cache")).channels == 5


def test_grey_png_files_of_sixteen_bits_keep_every_value(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number, values in enumerate(DEEP[:, 0]):
        Image.fromarray(values).save(tmp_path / "photos" / f"{number}.png")
    found = opened(tmp_path, tmp_path / "photos")
    assert (found.pixels[:, 0] == DEEP[:, 0]).all()
    assert (found.pixels.dtype.name, found.levels.high, found.warnings) == ("uint16", (65535.0,), ())


def test_colour_png_files_of_sixteen_bits_are_told(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in DEEP[0].transpose(1, 2, 0))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    lines = opened(tmp_path, tmp_path / "photos").warnings
    assert [line.split(";")[0] for line in lines] == ["PNG files of 16-bit colours are read in 8 bits"]


CHANNELS_LAST = DEEP.transpose(0, 2, 3, 1)
# The images [n, c, h, w] of a TIFF, the values as they are written, and the options to write them.
TIFFS: dict[str, tuple[NDArray[Any], NDArray[Any], dict[str, Any]]] = {
    "16-bit RGB": (DEEP, CHANNELS_LAST, {"photometric": "rgb"}),
    "deflate": (DEEP, CHANNELS_LAST, {"photometric": "rgb", "compression": "zlib", "predictor": True}),
    "planar floats": (FLOATS, FLOATS, {"photometric": "minisblack", "planarconfig": "separate"}),
    "16-bit grey": (DEEP[:, :1], DEEP[:, 0], {"photometric": "minisblack"}),
    "8-bit RGB": ((DEEP >> 8).astype(np.uint8), (CHANNELS_LAST >> 8).astype(np.uint8), {"photometric": "rgb"}),
    "big": (DEEP, CHANNELS_LAST, {"photometric": "rgb", "bigtiff": True, "byteorder": ">"}),
}


@pytest.mark.parametrize("kind", TIFFS)
@pytest.mark.parametrize("place", ["file", "folder", "zip"])
def test_a_tiff_keeps_every_bit_and_channel(tmp_path: Path, kind: str, place: str) -> None:
    """A file gives all pages, and in a folder or archive its first one."""
    expected, written, options = TIFFS[kind]
    (tmp_path / "photos").mkdir()
    file = tmp_path / "photos" / "a.tif"
    tifffile.imwrite(file, written, **options)
    data = {"file": file, "folder": file.parent}.get(place) or write_zip(
        tmp_path / "a.zip", {"a.tif": file.read_bytes()}
    )
    found = opened(tmp_path, data)
    assert (found.pixels == (expected if place == "file" else expected[:1])).all()
    assert found.pixels.dtype == expected.dtype


@pytest.mark.parametrize(
    ("values", "options", "is_full"),
    [
        (DEEP[0, 0].astype(np.int8), {}, False),
        (CHANNELS_LAST[0, :, :, :2].astype(np.uint8), {"planarconfig": "contig"}, False),
        (DEEP[0, 0].astype(np.uint8), {}, True),
        (FLOATS[0, 0], {}, True),
        (FLOATS[0, 0].astype(np.int32), {}, False),
    ],
)
def test_pillow_reads_what_it_keeps(values: NDArray[Any], options: dict[str, Any], is_full: bool) -> None:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, photometric="minisblack", **options)
    with Image.open(buffer) as image:
        assert is_read_fully(image) is is_full


def test_without_tifffile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile.imwrite(tmp_path / "a.tif", CHANNELS_LAST, photometric="rgb")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    refused(tmp_path, tmp_path / "a.tif", r'needs tifffile: pip install "wgan_dist\[arrays\]"$')


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_a_tiff_of_very_many_pages_is_refused_at_once(tmp_path: Path, dtype: str) -> None:
    """The page after the last is the first one again, without end."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 8), dtype), metadata=None, software="")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    first = struct.unpack_from("<I", content, 4)[0]
    struct.pack_into("<I", content, first + 2 + 12 * struct.unpack_from("<H", content, first)[0], first)
    (tmp_path / "a.tif").write_bytes(content)
    refused(tmp_path, tmp_path / "a.tif", "a TIFF of more than 16,384 pages; write them into a .npy file$")


def test_a_part_of_a_tiff_does_not_unpack_to_more_than_it_says(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(1 << 20))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(
            iter([bomb]),
            shape=(HEIGHT, WIDTH, 3),
            dtype="uint16",
            photometric="rgb",
            compression="zlib",
            rowsperstrip=9,
        )
    with pytest.raises(UserError, match="a part of a TIFF that unpacks to more than its 540 bytes"):
        opened(tmp_path, tmp_path / "a.tif")


def test_a_damaged_tiff_is_one_line(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FLOATS, photometric="minisblack", planarconfig="separate")
    content = (tmp_path / "a.tif").read_bytes()
    for end in range(0, len(content), 97):
        (tmp_path / "a.tif").write_bytes(content[:end])
        with pytest.raises(UserError) as error:
            opened(tmp_path, tmp_path / "a.tif")
        assert "\n" not in str(error.value)
