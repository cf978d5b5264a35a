import gzip
import io
import os
import struct
import tempfile
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from wgan_dist.data.sources.base import BadImageError, ImageListing, Source, open_image_bytes, read_image
from wgan_dist.data.sources.idx import read_idx
from wgan_dist.data.sources.registry import open_source
from wgan_dist.data.transforms import to_pixels
from wgan_dist.utils.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3, 5), np.uint8)


def save(file: Path, level: int = 0, size: tuple[int, int] = (4, 4)) -> Path:
    """A picture of one grey level."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(file, format="PNG")
    return file


def level(source: ImageListing, index: int) -> Any:
    return read_image(source, index, lambda picture: picture.getpixel((0, 0)))


def source_of(data: Path) -> Source:
    return open_source(str(data), data / "no cache")


def opened(data: Path) -> ImageListing:
    return source_of(data).list_images()


def idx(pixels: NDArray[np.uint8], kind: int = 8) -> bytes:
    """The idx format as MNIST's site defines it: zero, zero, kind, dimensions; sizes; data, all big-endian."""
    return struct.pack(">HBB", 0, kind, pixels.ndim) + struct.pack(f">{pixels.ndim}I", *pixels.shape) + pixels.tobytes()


def write_idx(file: Path, *levels: int) -> None:
    """Images of 2×2, one of each grey level."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = idx(np.repeat(np.array(levels, np.uint8), 4).reshape(-1, 2, 2))
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def all_levels(source: ImageListing) -> list[Any]:
    return [level(source, index) for index in range(len(source.names))]


NESTED = ["B.png", "a.png", "a/b/c.png", "a/z.jpg", "b/a.png"]


@settings(deadline=None, max_examples=10)
@given(st.permutations(range(len(NESTED))))
def test_pictures_are_in_the_order_of_their_paths_whenever_they_were_made(creation: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for place in creation:
            save(Path(folder) / NESTED[place], level=place)
        source = opened(Path(folder))
        assert source.names == NESTED
        assert all_levels(source) == list(range(len(NESTED)))


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", ".git/c.png", "d/.DS_Store"):
        save(tmp_path / ".data" / name)
    assert opened(tmp_path / ".data").names == ["a.png"]


def test_linked_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "1.png", level=1)
    save(tmp_path / "data" / "own" / "2.png", level=2)
    (tmp_path / "data" / "own" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "link again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "elsewhere")
    source = opened(tmp_path / "data")
    assert source.names == ["link/1.png", "own/2.png"]
    assert all_levels(source) == [1, 2]


def test_a_link_to_a_picture_is_a_picture_and_one_to_nothing_is_a_bad_one(tmp_path: Path) -> None:
    target = save(tmp_path / "elsewhere" / "1.png", level=1)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "good.png").symlink_to(target)
    (tmp_path / "data" / "lost.png").symlink_to(tmp_path / "nothing")
    source = opened(tmp_path / "data")
    assert level(source, 0) == 1
    with pytest.raises(BadImageError, match="No such file"):
        level(source, 1)


def test_any_file_name_will_do(tmp_path: Path) -> None:
    names = [b"latin-\xe9\xff.png", b"new\nline.png", "kanji 猫.png".encode(), b"--flag=1 $(x) 'y'.png"]
    for number, name in enumerate(names):
        save(tmp_path / os.fsdecode(name), level=number)
    source = opened(tmp_path)
    assert sorted(os.fsencode(name) for name in source.names) == sorted(names)
    assert [names.index(os.fsencode(name)) for name in source.names] == all_levels(source)


def test_the_identity_changes_whenever_a_picture_might_have(tmp_path: Path) -> None:
    first = save(tmp_path / "data" / "a.png")
    seen = [source_of(tmp_path / "data").identity]
    assert source_of(tmp_path / "data").identity == seen[0]
    os.utime(first, ns=(0, 12345))
    seen.append(source_of(tmp_path / "data").identity)
    save(first, size=(40, 40))
    os.utime(first, ns=(0, 12345))
    seen.append(source_of(tmp_path / "data").identity)
    first.rename(first.with_name("b.png"))
    seen.append(source_of(tmp_path / "data").identity)
    save(tmp_path / "data" / "c.png")
    seen.append(source_of(tmp_path / "data").identity)
    assert len(set(seen)) == len(seen)


def test_the_identity_of_idx_files_changes_with_them(tmp_path: Path) -> None:
    file = tmp_path / "train-images-idx3-ubyte"
    write_idx(file, 1, 2)
    before = source_of(tmp_path)
    write_idx(file, 1, 3)
    os.utime(file, ns=(0, 12345))
    after = source_of(tmp_path)
    assert before.identity != after.identity
    assert source_of(tmp_path).identity == after.identity


def encoded(picture: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def in_memory(content: bytes) -> ImageListing:
    return ImageListing(["one"], lambda index: open_image_bytes(content))


COLOURS = Image.fromarray(np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8))
EXIF = Image.Exif()
EXIF[0x0112] = 6
ENCODED = [
    encoded(COLOURS, "PNG", exif=EXIF),
    encoded(COLOURS.convert("P"), "PNG", transparency=bytes(range(200))),
    encoded(COLOURS, "JPEG", exif=EXIF),
    encoded(COLOURS.convert("CMYK"), "JPEG", progressive=True),
    encoded(COLOURS, "WEBP", exif=EXIF),
    encoded(COLOURS.convert("P"), "BMP"),
]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a PNG, JPEG, WebP or BMP image"),
        (b"not a picture", "not a PNG, JPEG, WebP or BMP image"),
        (ENCODED[0][:20], "."),
        *((content[: len(content) // 2], ".") for content in ENCODED),
    ],
)
def test_a_file_that_is_no_picture_or_half_of_one_is_bad(content: bytes, reason: str) -> None:
    with pytest.raises(BadImageError, match=reason):
        read_image(in_memory(content), 0, lambda picture: picture.load())


def test_a_picture_of_another_format_in_a_folder_is_bad(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(COLOURS, "GIF"))
    with pytest.raises(BadImageError, match="not a PNG, JPEG, WebP or BMP image"):
        read_image(opened(tmp_path), 0, lambda picture: picture.load())


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(ENCODED), st.data(), st.sampled_from([1, 3, 4]))
def test_damage_makes_a_picture_bad_or_different_and_nothing_else(
    content: bytes, data: st.DataObject, channels: int
) -> None:
    damaged = bytearray(content)
    for place, byte in data.draw(st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255))).items():
        damaged[place] = byte
    use = partial(to_pixels, image_size=8, channels=channels, background="ffffff")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)  # damage makes giants too, which take long
        with suppress(BadImageError):
            assert read_image(in_memory(bytes(damaged)), 0, use).shape == (channels, 8, 8)


def test_a_picture_that_would_fill_the_memory_is_bad() -> None:
    with pytest.raises(BadImageError, match="pixels"):
        read_image(in_memory(png_header(100_000, 100_000)), 0, lambda picture: picture.load())


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_an_idx_file_is_read_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"images-idx3-ubyte{suffix}"
    file.write_bytes(gzip.compress(idx(PIXELS)) if suffix else idx(PIXELS))
    assert (read_idx(file) == PIXELS).all()
    source = opened(tmp_path)
    assert source.names == [f"{file.name}[0]", f"{file.name}[1]"]
    assert (read_image(source, 1, np.asarray) == PIXELS[1]).all()


def damaged_gzip() -> bytes:
    content = bytearray(gzip.compress(idx(PIXELS)))
    content[10] ^= 0x55  # the first byte of the compressed stream
    return bytes(content)


LABELS = np.zeros(2, np.uint8)
LIES = {
    "more images than it holds": (idx(PIXELS)[:-1], ""),
    "fewer images than it holds": (idx(PIXELS) + b"\0", ""),
    "images of no pixels without end": (struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 0, 0), ""),
    "a product that overflows": (struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**31, 4), ""),
    "pixels of another kind": (idx(PIXELS, kind=9), ""),
    "labels": (idx(LABELS), ""),
    "labels as long as a header": (idx(np.zeros(8, np.uint8)), ""),
    "another number of dimensions": (idx(PIXELS).replace(b"\3", b"\4", 1), ""),
    "no magic number": (b"\1" + idx(PIXELS)[1:], ""),
    "half a header": (idx(PIXELS)[:10], ""),
    "nothing": (b"", ""),
    "no gzip": (idx(PIXELS), ".gz"),
    "half a gzip": (gzip.compress(idx(PIXELS))[:-20], ".gz"),
    "a damaged gzip": (damaged_gzip(), ".gz"),
    "a gzip of a wrong sum": (gzip.compress(idx(PIXELS))[:-8] + bytes(8), ".gz"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_idx_file_that_is_none_is_refused_by_name(tmp_path: Path, lie: str) -> None:
    content, suffix = LIES[lie]
    file = tmp_path / f"images-idx3-ubyte{suffix}"
    file.write_bytes(content)
    with pytest.raises(UserError, match=str(file)):
        read_idx(file)


def test_of_a_training_and_a_test_part_the_training_part_is_used(tmp_path: Path) -> None:
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", 1)
    assert all_levels(opened(tmp_path)) == [1]
    write_idx(tmp_path / "train-images-idx3-ubyte", 2, 3)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    assert all_levels(opened(tmp_path)) == [2, 3]


def test_an_idx_file_beside_its_compressed_twin_counts_once(tmp_path: Path) -> None:
    """Unpacking a download leaves both, as torchvision does."""
    write_idx(tmp_path / "train-images-idx3-ubyte", 2, 3)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", 2, 3)
    assert all_levels(opened(tmp_path)) == [2, 3]


def test_several_idx_files_follow_one_another_by_name(tmp_path: Path) -> None:
    write_idx(tmp_path / "b.idx3-ubyte", 3)
    write_idx(tmp_path / "a-idx3-ubyte.gz", 1, 2)
    assert all_levels(opened(tmp_path)) == [1, 2, 3]


def test_the_embedded_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    source = open_source("digits", tmp_path)
    pictures = source.list_images()
    pixels = np.stack([read_image(pictures, index, np.asarray) for index in range(len(pictures.names))])
    assert (pixels == np.rint(load_digits().images * 255 / 16)).all()
    assert source.name == "digits"


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    """A cache with a tiny Fashion-MNIST where torchvision looks for it."""
    raw = tmp_path / "torchvision" / "FashionMNIST" / "raw"
    write_idx(raw / "train-images-idx3-ubyte", 7, 8, 9)
    write_idx(raw / "t10k-images-idx3-ubyte", 1)
    for part, count in (("train", 3), ("t10k", 1)):
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.zeros(count, np.uint8)))
    return tmp_path


def test_torchvision_reads_what_is_on_the_disk_already(fashion: Path) -> None:
    source = open_source("fashion_mnist", fashion).list_images()
    assert all_levels(source) == [7, 8, 9]
    assert source.names == ["fashion_mnist[0]", "fashion_mnist[1]", "fashion_mnist[2]"]


@pytest.mark.parametrize("part", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("left", [0, 9])
def test_a_file_of_torchvision_that_was_cut_short_is_refused_by_name(fashion: Path, part: str, left: int) -> None:
    """An interrupted download leaves such files, and torchvision asks no more than whether they exist."""
    file = fashion / "torchvision" / "FashionMNIST" / "raw" / f"train-{part}-ubyte"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(UserError, match=f"^data=fashion_mnist: .*{fashion}/torchvision"):
        open_source("fashion_mnist", fashion)


def test_a_download_that_cannot_be_stored_is_refused_by_name(tmp_path: Path) -> None:
    file = save(tmp_path / "a.png")
    with pytest.raises(UserError, match="^data=mnist: cannot be loaded"):
        open_source("mnist", file)
