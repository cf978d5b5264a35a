from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from wgan_dist.config.image_size import ImageSize, square
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.transforms import (
    GREY,
    RGB,
    RGBA,
    PixelFormat,
    natural_channels,
    natural_format,
    to_pixels,
    to_values,
)

Array = NDArray[np.float64]
Levels = NDArray[np.uint8]
SIZE = 8
WHITE = "ffffff"
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601-2, the weights of Pillow's grey

rng = np.random.default_rng(0)
LEVELS = rng.integers(0, 256, (SIZE, SIZE), np.uint8)
COLOURS = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
ALPHA = rng.integers(0, 256, (SIZE, SIZE), np.uint8)
PALETTE = rng.integers(0, 256, (256, 3), np.uint8)
PALETTE_ALPHA = rng.integers(0, 256, 256, np.uint8)


def indexed() -> Image.Image:
    image = Image.fromarray(LEVELS)
    image.putpalette(PALETTE.tobytes())
    return image


def grey(levels: Levels) -> Levels:
    return np.stack([levels] * 3, axis=2)


# An image of each mode, and its colours [SIZE, SIZE, 3].
OPAQUE: dict[str, tuple[Image.Image, Levels]] = {
    "1": (Image.fromarray(LEVELS >= 128), grey(np.where(LEVELS >= 128, 255, 0).astype(np.uint8))),
    "L": (Image.fromarray(LEVELS), grey(LEVELS)),
    "I;16": (Image.fromarray(LEVELS.astype(np.uint16) * 257), grey(LEVELS)),
    "P": (indexed(), PALETTE[LEVELS]),
    "RGB": (Image.fromarray(COLOURS), COLOURS),
}
# An image of each mode with transparency, the options to save it, its colours and its alpha.
TRANSPARENT: dict[str, tuple[Image.Image, dict[str, Any], Levels, NDArray[Any]]] = {
    "LA": (Image.fromarray(np.dstack([LEVELS, ALPHA])), {}, grey(LEVELS), ALPHA),
    "RGBA": (Image.fromarray(np.dstack([COLOURS, ALPHA])), {}, COLOURS, ALPHA),
    "P": (indexed(), {"transparency": PALETTE_ALPHA.tobytes()}, PALETTE[LEVELS], PALETTE_ALPHA[LEVELS]),
    "L": (
        Image.fromarray(LEVELS),
        {"transparency": int(LEVELS[0, 0])},
        grey(LEVELS),
        np.where(LEVELS == LEVELS[0, 0], 0, 255),
    ),
    "I;16": (
        Image.fromarray(LEVELS.astype(np.uint16) * 257),
        {"transparency": int(LEVELS[0, 0]) * 257},
        grey(LEVELS),
        np.where(LEVELS == LEVELS[0, 0], 0, 255),
    ),
    "RGB": (
        Image.fromarray(COLOURS),
        {"transparency": tuple(COLOURS[0, 0].tolist())},
        COLOURS,
        np.where((COLOURS == COLOURS[0, 0]).all(axis=2), 0, 255),
    ),
}
FILES = [
    *(("png", mode) for mode in OPAQUE),
    *(("bmp", mode) for mode in ("1", "L", "P", "RGB")),
    *(("webp", mode) for mode in ("L", "RGB")),
]


def pixels_of(file: Path, channels: int = RGB, background: str = WHITE, image_size: int = SIZE) -> Array:
    """Return the transformed pixels of a file as float64 [height, width, channels]."""
    with Image.open(file) as image:
        pixels = to_pixels(image, square(image_size), channels, background)
    assert pixels.shape == (channels, image_size, image_size)
    assert pixels.dtype == np.uint8
    return pixels.transpose(1, 2, 0).astype(np.float64)


@pytest.mark.parametrize(("suffix", "mode"), FILES)
def test_an_image_of_the_right_size_keeps_every_pixel(tmp_path: Path, suffix: str, mode: str) -> None:
    image, colours = OPAQUE[mode]
    image.save(tmp_path / f"a.{suffix}", lossless=True)
    assert (pixels_of(tmp_path / f"a.{suffix}") == colours).all()


@pytest.mark.parametrize("mode", OPAQUE)
def test_colours_become_grey_by_their_luminance(tmp_path: Path, mode: str) -> None:
    image, colours = OPAQUE[mode]
    image.save(tmp_path / "a.png")
    assert abs(pixels_of(tmp_path / "a.png", GREY)[..., 0] - colours @ LUMA).max() <= 1


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("RGB", (200, 100, 50), (200, 100, 50)),
        ("CMYK", (51, 102, 0, 51), (163.2, 122.4, 204)),  # 255 · (1 − ink) · (1 − black)
    ],
)
def test_a_jpeg_keeps_its_colour(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...], expected: tuple[float, ...]
) -> None:
    Image.new(mode, (SIZE, SIZE), colour).save(tmp_path / "a.jpg", quality=95)
    assert abs(pixels_of(tmp_path / "a.jpg") - expected).max() <= 3


ORIENTED: dict[int, Callable[[Levels], Levels]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_an_image_is_rotated_by_its_exif_orientation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOURS).save(tmp_path / "a.jpg", exif=exif)
    with Image.open(tmp_path / "a.jpg") as image:
        stored = np.asarray(image)
    assert (pixels_of(tmp_path / "a.jpg") == ORIENTED[orientation](stored)).all()


@pytest.mark.parametrize("background", [WHITE, "000000", "20c080"])
@pytest.mark.parametrize("mode", TRANSPARENT)
def test_transparency_shows_the_background(tmp_path: Path, mode: str, background: str) -> None:
    image, options, colours, alpha = TRANSPARENT[mode]
    image.save(tmp_path / "a.png", **options)
    share = alpha[..., None] / 255
    expected = share * colours + (1 - share) * list(bytes.fromhex(background))
    assert abs(pixels_of(tmp_path / "a.png", RGB, background) - expected).max() <= 1
    # There are two roundings: of the mixture, then of its luminance.
    assert abs(pixels_of(tmp_path / "a.png", GREY, background)[..., 0] - expected @ LUMA).max() <= 1.5


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_four_channels_keep_colour_and_alpha_apart(tmp_path: Path, suffix: str) -> None:
    # `exact` keeps the colour of fully transparent pixels.
    image, _, colours, alpha = TRANSPARENT["RGBA"]
    image.save(tmp_path / f"a.{suffix}", lossless=True, exact=True)
    assert (pixels_of(tmp_path / f"a.{suffix}", RGBA) == np.dstack([colours, alpha])).all()


@pytest.mark.parametrize("mode", OPAQUE)
def test_an_image_without_alpha_is_opaque_in_four_channels(tmp_path: Path, mode: str) -> None:
    image, colours = OPAQUE[mode]
    image.save(tmp_path / "a.png")
    assert (pixels_of(tmp_path / "a.png", RGBA) == np.dstack([colours, np.full((SIZE, SIZE), 255)])).all()


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 1), ("I;16", 1), ("P", 3), ("PA", 3), ("RGB", 3), ("RGBA", 3), ("CMYK", 3)],
)
def test_the_mode_decides_whether_an_image_is_grey(mode: str, channels: int) -> None:
    assert natural_channels(Image.new(mode, (1, 1))) == channels


@pytest.mark.parametrize("axis", [0, 1])
def test_the_middle_of_the_longer_side_is_kept(axis: int) -> None:
    thirds = np.repeat(np.array([10, 100, 200], np.uint8), SIZE)
    image = np.broadcast_to(thirds, (SIZE, 3 * SIZE))
    image = image.T if axis == 0 else image
    assert (to_pixels(Image.fromarray(np.ascontiguousarray(image)), square(SIZE), GREY, WHITE) == 100).all()


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        ("crop", [[100, 100], [100, 100]]),  # the middle third of three
        ("pad", [[255, 255], [10, 200]]),  # 1.5 rows are left of 4.5; the rest is white
        ("stretch", [[10, 200], [10, 200]]),
    ],
)
def test_an_image_of_another_shape_is_cropped_padded_or_stretched(resize: str, expected: list[list[int]]) -> None:
    image = Image.fromarray(np.repeat(np.array([[10, 100, 200]], np.uint8), 8, axis=1).repeat(8, axis=0))  # 8×24
    pixels = to_pixels(image, ImageSize(12, 12), GREY, WHITE, resize)[0]
    found = [[pixels[0, 0], pixels[0, -1]], [pixels[6, 0], pixels[6, -1]]]
    np.testing.assert_allclose(found, expected, atol=12)  # the filters overshoot at an edge
    assert pixels.shape == (12, 12)


def test_the_sides_of_a_size_are_height_and_width() -> None:
    image = Image.new("RGB", (40, 30), "red")
    assert to_pixels(image, ImageSize(16, 24), RGB, WHITE).shape == (3, 16, 24)
    assert (to_pixels(image, ImageSize(30, 40), RGB, WHITE, "none")[0] == 255).all()
    with pytest.raises(ValueError, match="30×40 pixels, expected 40×30 with resize=none"):
        to_pixels(image, ImageSize(40, 30), RGB, WHITE, "none")


@pytest.mark.parametrize(("channels", "border"), [(1, [0]), (3, [255, 0, 0]), (4, [255, 0, 0, 255])])
def test_padding_has_the_colour_of_the_background(channels: int, border: list[int]) -> None:
    pixels = to_pixels(Image.new("RGB", (10, 30), "blue"), square(10), channels, "ff0000", "pad")
    expected = [76] if channels == GREY else border  # 0.299 of 255
    assert pixels[:, 5, 0].tolist() == expected


def test_shrinking_keeps_a_ramp() -> None:
    """A symmetric filter reproduces a straight line, so each pixel shows the position that its centre came from."""
    ramp = np.tile(np.arange(120, dtype=np.uint8) * 2, (100, 1))
    expected = 2 * (10 + (np.arange(25) + 0.5) * 4 - 0.5)
    pixels = to_pixels(Image.fromarray(ramp), square(25), GREY, WHITE)[0]
    assert abs(pixels - expected)[:, 3:-3].max() <= 0.75  # the filter is cut off at the edges


def bicubic(distance: Array) -> Array:
    """Return the bicubic kernel of Keys 1981, eq. 15."""
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def test_enlarging_is_bicubic_whatever_the_longer_side() -> None:
    line = np.full((50, 120), 128, np.uint8)
    line[:, 60] += 64
    place = 35 + (np.arange(100) + 0.5) / 2 - 0.5
    pixels = to_pixels(Image.fromarray(line), square(100), GREY, WHITE)[0]
    assert abs(pixels - (128 + 64 * bicubic(abs(place - 60)))).max() <= 0.75


def test_shrinking_averages() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (32, 16))
    assert abs(to_pixels(Image.fromarray(stripes), square(16), GREY, WHITE)[0, :, 2:-2].astype(int) - 127.5).max() <= 1


def test_transparent_pixels_do_not_colour_their_neighbours_when_shrunk() -> None:
    clear_red = np.tile(np.array([[255, 0, 0, 0], [0, 0, 255, 255]], np.uint8), (32, 16, 1))
    red, green, blue, alpha = to_pixels(Image.fromarray(clear_red), square(16), RGBA, WHITE)[:, :, 2:-2]
    assert (red == 0).all()
    assert (green == 0).all()
    assert (blue >= 254).all()
    assert abs(alpha.astype(int) - 127.5).max() <= 1


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.tuples(*[st.integers(0, 255)] * 4))
def test_an_image_of_one_colour_keeps_it_at_any_size(
    width: int, height: int, size: int, colour: tuple[int, int, int, int]
) -> None:
    pixels = to_pixels(Image.new("RGB", (width, height), colour[:3]), square(size), RGB, WHITE)
    assert pixels.shape == (RGB, size, size)
    assert (pixels.reshape(3, -1).T == colour[:3]).all()


DEEP = rng.integers(0, 65536, (3, 40, 60), np.uint16)


def settings_of(height: int, width: int, resize: str = "crop") -> ImageSettings:
    return ImageSettings(ImageSize(height, width), resize=resize)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(LEVELS), PixelFormat(1, "uint8")),
        (Image.fromarray(LEVELS.astype(np.uint16)), PixelFormat(1, "uint16")),
        (Image.fromarray(LEVELS.astype(np.float32)), PixelFormat(1, "float32")),
        (Image.fromarray(COLOURS), PixelFormat(3, "uint8")),
        (DEEP, PixelFormat(3, "uint16")),
    ],
)
def test_the_format_of_an_image_is_its_own(image: Image.Image | NDArray[Any], expected: PixelFormat) -> None:
    assert natural_format(image) == expected
    assert to_values(image, settings_of(SIZE, SIZE), expected).dtype == expected.dtype


def test_formats_join_to_the_one_that_holds_both() -> None:
    grey, colour, deep = PixelFormat(1, "uint8"), PixelFormat(3, "uint8"), PixelFormat(1, "uint16")
    assert colour.with_image(deep) == deep.with_image(colour) == PixelFormat(3, "uint16")
    assert grey.with_image(grey) == grey
    with pytest.raises(ValueError, match="5 channels, where other images have 3"):
        colour.with_image(PixelFormat(5, "uint8"))
    with pytest.raises(ValueError, match="values of float32, where other images have uint16"):
        deep.with_image(PixelFormat(1, "float32"))


def test_sixteen_bits_are_kept_as_they_are_without_resizing() -> None:
    assert (to_values(DEEP, settings_of(40, 60), PixelFormat(3, "uint16")) == DEEP).all()
    picture = Image.fromarray(DEEP[0])
    assert (to_values(picture, settings_of(40, 60, "none"), PixelFormat(1, "uint16")) == DEEP[:1]).all()


def test_eight_bits_become_sixteen_by_257() -> None:
    expected = LEVELS.astype(np.uint16) * 257
    for image in (Image.fromarray(LEVELS), LEVELS[None]):
        assert (to_values(image, settings_of(SIZE, SIZE), PixelFormat(1, "uint16"))[0] == expected).all()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_resizing_keeps_the_mean_of_each_channel(dtype: str) -> None:
    smooth = np.add.outer(np.arange(40), np.arange(60)) * np.array([1, 5, 9])[:, None, None] + 1000.0
    values = smooth.astype(dtype)
    resized = to_values(values, settings_of(20, 30, "stretch"), PixelFormat(3, dtype))
    assert resized.dtype == dtype
    assert abs(resized.mean(axis=(1, 2)) - values.mean(axis=(1, 2))).max() < 0.5


def test_the_border_of_a_padded_array_is_zero() -> None:
    padded = to_values(DEEP | 1, settings_of(60, 60, "pad"), PixelFormat(3, "uint16"))
    assert (padded[:, :10] == 0).all()
    assert (padded[:, 10:50] == DEEP | 1).all()


def test_resizing_values_beyond_float32_is_an_error() -> None:
    stripes = np.tile(np.array([0, 0, 3.4e38, 3.4e38], np.float32), (1, 16, 4))
    with pytest.raises(ValueError, match="too large for float32"):
        to_values(stripes, settings_of(64, 64), PixelFormat(1, "float32"))
