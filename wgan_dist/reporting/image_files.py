"""Pictures of a report: PNG files beside the page, and data URIs within it."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

# The greatest width and height of a WebP.
MAX_WEBP_SIDE = 16_383
# A picture whose lossless WebP is larger than this is embedded with lossy compression; the PNG file stays exact.
MAX_LOSSLESS_BYTES = 160 * 1024
LOSSY_QUALITY = 88


@dataclass(frozen=True)
class Picture:
    """A PNG: its path within the report's folder, its content, and a text that describes what it shows."""

    path: str
    content: bytes
    alt: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        with Image.open(io.BytesIO(self.content), formats=("PNG",)) as image:
            return image.size

    @property
    def uri(self) -> str:
        """The picture as a data URI in WebP, which takes half of a PNG's size without loss and a tenth with loss.

        A picture that is too large for WebP stays a PNG.
        """
        if max(self.size) > MAX_WEBP_SIDE:
            return data_uri("image/png", self.content)
        lossless, lossy = io.BytesIO(), io.BytesIO()
        with Image.open(io.BytesIO(self.content), formats=("PNG",)) as image:
            image.save(lossless, "WEBP", lossless=True)
            if len(lossless.getvalue()) > MAX_LOSSLESS_BYTES:
                image.save(lossy, "WEBP", quality=LOSSY_QUALITY)
        return data_uri("image/webp", lossy.getvalue() or lossless.getvalue())


def safe_name(number: int, name: str) -> str:
    """Return a file name for item `number`: `name` reduced to what every file system accepts, at most 60 characters."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)
    return f"{number + 1}-{plain.strip('-')}"[:60].strip("-")


def data_uri(mime_type: str, content: bytes) -> str:
    """Return a file's content as a URI that needs no network."""
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


def to_png(image: Image.Image) -> bytes:
    """Return a Pillow image as the content of a PNG file."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
