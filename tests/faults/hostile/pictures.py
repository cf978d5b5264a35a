"""Pictures, and folders of them, made to do harm."""

import contextlib
import gzip
import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.faults.hostile.bombs import pickle_bomb, tar_slip, zip_bomb
from tests.faults.hostile.case import Case, Place
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.sources.base import FORMATS, BadImageError, ImageListing, read_image
from wgan_dist.data.transforms import to_pixels

FUZZED = 240
MANY_FILES = 100_000


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG, its checksum right."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, colour: int, *more: bytes, data: bytes = b"") -> bytes:
    """A PNG of any claims."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + b"".join(more)
        + png_chunk(b"IDAT", data)
        + png_chunk(b"IEND", b"")
    )


def greatest() -> Iterator[tuple[str, bytes]]:
    """Pictures of as many pixels as are taken, and as dear as they can be."""
    side, half = 1 << 13, 1 << 12
    yield "RGB of 8,192 x 8,192", png(side, side, 8, 2, data=zlib.compress(bytes(side * (1 + 3 * side)), 9))
    yield "RGBA of 8,192 x 4,096", png(side, half, 8, 6, data=zlib.compress(bytes(half * (1 + 4 * side)), 9))
    yield "16-bit grey of 8,192 x 4,096", png(side, half, 16, 0, data=zlib.compress(bytes(half * (1 + 2 * side)), 9))


def pictures() -> Iterator[tuple[str, bytes]]:
    """Files in a folder of pictures, none of which may be taken for one or take the machine down."""
    zeros = zlib.compress(bytes(200 << 20), 9)
    yield "PNG of 60,000 x 60,000", png(60_000, 60_000, 8, 2, data=zeros)
    yield "PNG of 12,000 x 12,000, which Pillow only warns of", png(12_000, 12_000, 8, 2, data=zeros)
    yield "PNG of 2^31 x 1", png((1 << 31) - 1, 1, 8, 0, data=zeros)
    yield "PNG of no pixels", png(0, 0, 8, 0)
    text = png_chunk(b"zTXt", b"key\0\0" + zeros)
    yield "PNG of 200 MB of text", png(4, 4, 8, 0, text, data=zlib.compress(bytes(20)))
    yield "PNG with a colour profile of 200 MB", png(4, 4, 8, 2, png_chunk(b"iCCP", b"x\0\0" + zeros), data=b"")
    yield (
        "BMP of 2^31 x 2^31",
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
    )
    yield "GIF of no frames", b"GIF89a" + bytes(100)
    yield "EPS, which starts Ghostscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) system\n"
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "TIFF of no tags", b"II*\0\x08\0\0\0" + bytes(100)


def folders(pwned: Path) -> Iterator[tuple[str, Callable[[Path], object], bool]]:
    """What a folder of pictures may hold besides; whether training on it is fine then."""
    good = io.BytesIO()
    Image.new("L", (8, 8), 9).save(good, "PNG")
    content = good.getvalue()

    def add(folder: Path, name: bytes) -> None:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)

    yield "a name with a line break", lambda folder: add(folder, b"a\nerror: b\x1b[31m.png"), True
    yield "a name that is not UTF-8", lambda folder: add(folder, b"\xff\xfe.png"), True
    yield (
        "a bad picture whose name is not UTF-8",
        lambda folder: (folder / os.fsdecode(b"\xff\n.png")).write_bytes(b"x"),
        False,
    )

    def link(folder: Path, name: str, target: str) -> None:
        add(folder, b"a.png")
        (folder / name).symlink_to(target)

    yield "a loop of links", lambda folder: link(folder, "loop", "."), True
    yield "a link to itself", lambda folder: link(folder, "self", "self"), False
    yield "a link to /dev/zero", lambda folder: (folder / "a.png").symlink_to("/dev/zero"), False
    yield "a pipe", lambda folder: os.mkfifo(folder / "a.png"), False
    yield "a pickle", lambda folder: (folder / "a.png").write_bytes(pickle_bomb(pwned)), False
    yield "a zip bomb", lambda folder: (folder / "a.png").write_bytes(zip_bomb(pwned)), False
    yield "a tar", lambda folder: (folder / "a.png").write_bytes(tar_slip(pwned)), False
    yield "only links to itself", lambda folder: (folder / "loop").symlink_to(folder), False

    def idx(folder: Path, shape: tuple[int, ...], content: bytes, name: str = "train-images-idx3-ubyte") -> None:
        (folder / name).write_bytes(struct.pack(">IIII", 0x0803, *shape) + content)

    yield "idx of 2^32 - 1 in each direction", lambda folder: idx(folder, (2**32 - 1,) * 3, b""), False
    yield "idx that is cut short", lambda folder: idx(folder, (9, 8, 8), bytes(9)), False
    yield "idx that is a link to /dev/zero", lambda folder: (folder / "idx3-ubyte").symlink_to("/dev/zero"), False
    yield "idx that is a pipe", lambda folder: os.mkfifo(folder / "idx3-ubyte"), False

    def gzip_bomb(folder: Path) -> None:
        with gzip.open(folder / "train-images-idx3-ubyte.gz", "wb", 1) as file:
            file.write(struct.pack(">IIII", 0x0803, 60_000, 28, 28))
            for _ in range(2048):
                file.write(bytes(1 << 20))

    yield "idx.gz of 2 GB that claims 47 MB", gzip_bomb, False


def malformed(count: int) -> Iterator[tuple[str, bytes]]:
    """Pictures of every format with bytes changed, taken out, doubled or cut off."""
    chance = random.Random(0)
    levels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for number in range(count):
        form = FORMATS[number % len(FORMATS)]
        buffer = io.BytesIO()
        mode = chance.choice(("RGB", "L", "RGBA", "P")) if form in ("PNG", "BMP", "TIFF") else "RGB"
        Image.fromarray(levels).convert(mode).save(buffer, form)
        content = bytearray(buffer.getvalue())
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(min(len(content), chance.choice((32, 64, 10_000))))
            what = chance.randrange(4)
            if what == 0:
                content[at] = chance.choice((0, 255, chance.randrange(256)))
            elif what == 1:
                del content[at : at + chance.randint(1, 9)]
            elif what == 2:
                content[at:at] = content[at : at + chance.randint(1, 99)]
            else:
                content[at : at + 4] = struct.pack(">I", chance.choice((0, 2**31 - 1, 2**32 - 1, 65_535)))
            content = content or bytearray(b"\0")
        yield f"{form} {number}", bytes(content)


def _look(folder: Path) -> None:
    open_images((str(folder),), ImageSettings(square(8)), str(folder.parent / "cache"))


def folder_cases(place: Place) -> Iterator[Case]:
    """Folders given as data."""
    for name, content in pictures():
        yield Case(f"picture: {name}", partial(_look, place.file("pictures/picture.png", content).parent))
    for name, content in greatest():
        yield Case(
            f"picture: {name}", partial(_look, place.file("pictures/picture.png", content).parent), harmless=True
        )
    for name, fill, harmless in folders(place.pwned):
        folder = place.fresh() / "pictures"
        folder.mkdir()
        fill(folder)
        yield Case(f"folder: {name}", partial(_look, folder), harmless)
    many = place.fresh() / "pictures"
    many.mkdir()
    for index in range(MANY_FILES):
        (many / f"{index}.png").touch()
    yield Case(f"folder: {MANY_FILES:,} empty files", partial(_look, many))


def _decode(content: bytes) -> None:
    one = ImageListing(["x"], lambda _: Image.open(io.BytesIO(content), formats=FORMATS))
    with contextlib.suppress(BadImageError):
        read_image(one, 0, lambda picture: to_pixels(picture, square(16), 3, "ffffff"))


def fuzzed_cases(place: Place) -> Iterator[Case]:
    """Malformed pictures: what is wrong with them may be nothing that matters."""
    for name, content in malformed(FUZZED):
        yield Case(f"malformed: {name}", partial(_decode, content), harmless=True)
