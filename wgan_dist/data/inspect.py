"""What a set of pictures holds, before anything is made of it: formats, sizes, modes, copies, unreadable files."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from wgan_dist.data.datasets import Notify, each_picture
from wgan_dist.data.sources.base import BadImageError, Pictures, read
from wgan_dist.data.transforms import GREY, RGB, eight_bits, natural_channels, to_pixels
from wgan_dist.utils import rng

SHOWN = 10
# JPEGs are decoded at an eighth of their size, which reads all of the file all the same.
DRAFT = 8
# Of the EXIF orientations, those that stand a picture on its side.
ON_ITS_SIDE = (5, 6, 7, 8)
CELL, GAP, COLUMNS, GROUND = 112, 8, 4, "#808080"


@dataclass(frozen=True)
class Fact:
    """What one picture is; width and height as it is shown, `digest` of the file, or of the pixels if there is none."""

    number: int
    format: str
    mode: str
    width: int
    height: int
    channels: int
    transparent: bool
    rotated: bool
    digest: bytes


@dataclass(frozen=True)
class Inspection:
    """Of all pictures: `facts` of the readable ones, `bad` what is wrong with the others."""

    names: Sequence[str]
    facts: list[Fact]
    bad: list[str]

    @property
    def channels(self) -> int:
        """Grey if all pictures are, RGB otherwise: as training chooses."""
        return max((fact.channels for fact in self.facts), default=GREY)

    @property
    def shorter_sides(self) -> NDArray[np.int64]:
        """In pixels, of every readable picture."""
        return np.array([min(fact.width, fact.height) for fact in self.facts], np.int64)

    def copies(self) -> list[list[str]]:
        """Names of pictures whose files are equal, byte for byte, where there are several."""
        by_content: dict[bytes, list[str]] = {}
        for fact in self.facts:
            by_content.setdefault(fact.digest, []).append(self.names[fact.number])
        return [names for names in by_content.values() if len(names) > 1]


def _digest(picture: Image.Image) -> bytes:
    file = getattr(picture, "fp", None)
    if file is None:
        return hashlib.sha256(f"{picture.mode}{picture.size}".encode() + picture.tobytes()).digest()
    place = file.tell()
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").digest()
    file.seek(place)
    return found


def _look(picture: Image.Image) -> dict[str, Any]:
    """Of an opened picture, which is decoded to see whether it can be."""
    mode, channels, (width, height) = picture.mode, natural_channels(picture), picture.size
    digest, transparent = _digest(picture), picture.has_transparency_data
    picture.draft(None, (width // DRAFT, height // DRAFT))
    picture.load()
    turned = picture.getexif().get(ExifTags.Base.Orientation, 1)
    size = (height, width) if turned in ON_ITS_SIDE else (width, height)
    about = {"format": picture.format or "array", "mode": mode, "channels": channels, "digest": digest}
    return about | {"width": size[0], "height": size[1], "transparent": transparent, "rotated": turned in range(2, 9)}


def inspect(listed: list[Pictures], notify: Notify) -> Inspection:
    """Look at every picture; `notify(done, total)` is called meanwhile."""
    facts, bad = [], []
    for number, found in enumerate(each_picture(listed, _look, notify)):
        if isinstance(found, BadImageError):
            bad.append(str(found))
        else:
            assert isinstance(found, dict)
            facts.append(Fact(number, **found))
    return Inspection([name for pictures in listed for name in pictures.names], facts, bad)


def _counts(values: list[str]) -> str:
    return ", ".join(f"{value} {count:,}" for value, count in Counter(values).most_common())


def _sizes(facts: list[Fact]) -> list[str]:
    size = np.array([(fact.width, fact.height) for fact in facts], np.float64)
    columns = [size[:, 0], size[:, 1], size.min(axis=1), size[:, 0] / size[:, 1]]
    lines = [f"{'':<16}{'width':>8}{'height':>8}{'shorter':>9}{'width/height':>14}"]
    for name, of in (("smallest", np.min), ("median", np.median), ("largest", np.max)):
        width, height, shorter, aspect = (float(of(column)) for column in columns)
        lines.append(f"{name:<16}{width:>8.0f}{height:>8.0f}{shorter:>9.0f}{aspect:>14.2f}")
    return lines


def _listing(title: str, lines: list[str]) -> list[str]:
    more = [f"  and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else []
    return [title, *(f"  {line}" for line in lines[:SHOWN]), *more] if lines else []


def describe(found: Inspection, image_size: int) -> list[str]:
    """Lines for a person, of at least one readable picture."""
    facts, copies = found.facts, found.copies()
    small = int((found.shorter_sides < image_size).sum())
    surplus = sum(len(names) - 1 for names in copies)
    return [
        f"{'images':<16}{len(facts):,} readable, {len(found.bad):,} not",
        f"{'formats':<16}{_counts([fact.format for fact in facts])}",
        f"{'colour modes':<16}{_counts([fact.mode for fact in facts])}",
        f"{'transparent':<16}{sum(fact.transparent for fact in facts):,}",
        f"{'turned by EXIF':<16}{sum(fact.rotated for fact in facts):,}",
        f"{'copies':<16}{surplus:,} equal another byte for byte",
        f"{'small':<16}{small:,} would be enlarged to {image_size}×{image_size}",
        *_sizes(facts),
        *_listing("equal files:", [" = ".join(map(repr, names[:3])) + " …" * (len(names) > 3) for names in copies]),
        *_listing("unreadable:", found.bad),
    ]


def choose(found: Inspection, count: int, seed: int) -> list[int]:
    """Numbers of at most so many readable pictures, drawn by `seed`, in the order of the set."""
    drawn = rng.permutation(seed, "inspect", 0, len(found.facts))[:count]
    return sorted(found.facts[place].number for place in drawn)


def _as_it_is(picture: Image.Image) -> Image.Image:
    ImageOps.exif_transpose(picture, in_place=True)
    shown = eight_bits(picture).convert("RGBA")
    shown.thumbnail((CELL, CELL))
    return shown


def _as_trained(picture: Image.Image, image_size: int, channels: int, background: str) -> Image.Image:
    pixels = to_pixels(picture, image_size, RGB if channels == GREY else channels, background)
    return Image.fromarray(pixels.transpose(1, 2, 0)).resize((CELL, CELL), Image.Resampling.NEAREST)


def contact_sheet(
    listed: list[Pictures], chosen: list[int], image_size: int, channels: int, background: str
) -> Image.Image:
    """The pictures of these numbers in pairs: as they are, and beside it as training sees them."""
    places = [(pictures, index) for pictures in listed for index in range(len(pictures.names))]
    rows = -(-len(chosen) // COLUMNS)
    wide, high = 2 * CELL + 2 * GAP, CELL + GAP
    sheet = Image.new("RGB", (min(COLUMNS, len(chosen)) * wide, rows * high), GROUND)
    for place, number in enumerate(chosen):
        left, top = place % COLUMNS * wide, place // COLUMNS * high
        shown = read(*places[number], _as_it_is)
        trained = read(*places[number], lambda picture: _as_trained(picture, image_size, channels, background))
        sheet.paste(shown, (left + (CELL - shown.width) // 2, top + (CELL - shown.height) // 2), shown)
        sheet.paste(trained, (left + CELL, top))
    return sheet
