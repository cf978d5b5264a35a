"""Decoding many images in threads."""

import io
import warnings

import numpy as np
from PIL import Image

from wgan_dist.data.decoding import map_images
from wgan_dist.data.sources.base import BadImageError, ImageListing, open_image_bytes

# A header of EXIF data that names more entries than follow.
DAMAGED_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x06"


def _jpeg(exif: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def _large_png() -> bytes:
    file = io.BytesIO()
    Image.new("1", (10_000, 9_000)).save(file, "PNG")
    return file.getvalue()


def test_pillow_warns_of_nothing_while_images_are_decoded() -> None:
    contents = [_jpeg(DAMAGED_EXIF), _large_png()]
    listing = ImageListing(["exif.jpg", "large.png"], lambda index: open_image_bytes(contents[index]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for content in contents:  # it does outside of map_images
            image = open_image_bytes(content)
            assert isinstance(image, Image.Image)
            image.getexif()
        assert len(caught) == 2
        exif, large = map_images([listing], lambda image: len(image.getexif()), lambda done, total: None)  # type: ignore[union-attr]
        assert len(caught) == 2
    assert not isinstance(exif, BadImageError)
    assert str(large) == "'large.png': 10000 x 9000: more than 33,554,432 pixels"
