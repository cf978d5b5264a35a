"""The shapes and types of arrays that are images: what is supported, and what becomes of other types."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wgan_dist.config.config import MAX_CHANNELS
from wgan_dist.data.sources.tiff import VALUE_LIMIT

# The axes of images [n, …] by their order, the positions of their channels, and how messages name the readings.
NCHW, NHWC, AUTO = "nchw", "nhwc", "auto"
# Without --axes, an axis may be that of the channels if it is at most so long and shorter than both sides.
CHANNELS_LIKELY = 16
# The greatest integer up to which float32 holds every integer.
EXACT_INTEGERS = 1 << 24


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Raise ValueError for a type of values that are no real numbers."""
    if dtype.hasobject:
        raise ValueError("Python objects (a pickle), which are not read; expected an array of numbers")
    if dtype.kind not in "uif":
        raise ValueError(f"values of {dtype}; expected integers or floats")


def _is_exact(values: NDArray[Any], converted: NDArray[np.float32]) -> bool:
    if values.dtype.kind == "f":
        return bool((converted == values).all() if values.dtype.itemsize > 4 else True)
    return values.dtype.itemsize <= 2 or max(-int(values.min()), int(values.max())) <= EXACT_INTEGERS


def supported_values(values: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Return an image [c, h, w] in uint8, uint16 or float32, and a note if values had to be rounded, or "".

    Raises:
        ValueError: For other shapes and types, for too many values, and for values that are not finite.
    """
    check_dtype(values.dtype)
    if values.ndim != 3 or 0 in values.shape:
        raise ValueError(f"an array of shape {shape_text(values.shape)}; expected channels, height and width")
    if len(values) > MAX_CHANNELS:
        raise ValueError(f"{len(values):,} channels: more than {MAX_CHANNELS:,}")
    if values.size > VALUE_LIMIT:
        raise ValueError(f"{values.size:,} values: more than {VALUE_LIMIT:,}")
    dtype = values.dtype.name
    if dtype in ("uint8", "uint16"):
        return values.astype(dtype), ""
    with np.errstate(over="ignore", invalid="ignore"):
        converted = values.astype(np.float32)
    if wrong := converted.size - int(np.count_nonzero(np.isfinite(converted))):
        raise ValueError(f"{wrong:,} of {converted.size:,} values are NaN, infinite or too large for float32")
    return converted, "" if _is_exact(values, converted) else f"{dtype} values are kept as float32, which rounds them"


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as messages write it: [2, 3, 8, 8]."""
    return f"[{', '.join(map(str, shape))}]"


def _is_plausible(channels: int, height: int, width: int) -> bool:
    return channels <= CHANNELS_LIKELY and channels < min(height, width)


def _reading(shape: tuple[int, ...], axes: str) -> tuple[int, int, int]:
    """Return the channels, height and width that the last three axes are in an order."""
    first, second, third = shape[-3:]
    return (first, second, third) if axes == NCHW else (third, first, second)


def choose_axes(shape: tuple[int, ...], axes: str) -> str:
    """Return nchw or nhwc for images [n, …] or an image of three axes: what `axes` says, or the only likely reading.

    Raises:
        ValueError: If `axes` is auto and both readings are likely, or none is.
    """
    if axes != AUTO:
        return axes
    likely = [order for order in (NCHW, NHWC) if _is_plausible(*_reading(shape, order))]
    if len(likely) == 1:
        return likely[0]
    images = f"{shape[0]:,} images" if len(shape) == 4 else "an image"
    readings = (
        f"--axes={order} for {images} of {channels} channels, {height}×{width}"
        for order, (channels, height, width) in ((order, _reading(shape, order)) for order in (NCHW, NHWC))
    )
    raise ValueError(f"the order of the axes {shape_text(shape)} is not certain: {' or '.join(readings)}")


def channels_first(values: NDArray[Any], order: str) -> NDArray[Any]:
    """Return a view [c, h, w] of an image [h, w], or of one of three axes in an order."""
    if values.ndim == 2:
        return values[None]
    return values.transpose(2, 0, 1) if order == NHWC else values
