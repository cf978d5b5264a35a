"""A picture of a report: a file in the folder beside the page, and a data URI within it."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# A picture that is larger without loss goes into the page with some; the PNG beside it stays exact.
EXACT_BYTES = 160 * 1024
QUALITY = 88


@dataclass(frozen=True)
class Picture:
    """A PNG under a `name` within the folder, and what it shows, in words."""

    name: str
    content: bytes
    alt: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        with Image.open(io.BytesIO(self.content), formats=("PNG",)) as picture:
            return picture.size

    @property
    def uri(self) -> str:
        """The picture as a data URI, in WebP: half of a PNG's size without loss, a tenth with."""
        exact, close = io.BytesIO(), io.BytesIO()
        with Image.open(io.BytesIO(self.content), formats=("PNG",)) as picture:
            picture.save(exact, "WEBP", lossless=True)
            if len(exact.getvalue()) > EXACT_BYTES:
                picture.save(close, "WEBP", quality=QUALITY)
        return data_uri("image/webp", close.getvalue() or exact.getvalue())


def file_name(number: int, name: str) -> str:
    """Of the folder or file of thing `number`: its name as far as every file system takes it, and no other place."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)
    return f"{number + 1}-{plain.strip('-')}"[:60].strip("-")


def data_uri(kind: str, content: bytes) -> str:
    """A file of the MIME type `kind` as an address that needs no network."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """A picture uint8 [h, w, c] as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(out, "PNG")
    return out.getvalue()
