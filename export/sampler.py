"""Sample images from an ONNX file with numpy and onnxruntime only. This file is self-contained: copy it anywhere.

    from export.sampler import Sampler

    images = Sampler("generator.onnx").sample(16, seed=0)  # [16, height, width, channels], in 8 bits uint8

    for batch in Sampler("generator.onnx").stream(10_000):  # in constant memory
        ...

On the command line: `python -m export.sampler generator.onnx --count=64 --seed=0 --out=grid.png`. PNG files
need nothing else, other pictures Pillow, and TIFF files tifffile.
"""

import argparse
import contextlib
import ctypes
import difflib
import hashlib
import io
import json
import logging
import operator
import os
import secrets
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

logger = logging.getLogger("export.sampler")

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# The batch sizes to time on the first images that are requested. Each is used twice: its first call allocates memory.
TRIED_BATCH_SIZES = (8, 8, 32, 32, 128, 128)
# The number of values to convert to uint8 at a time: they fit into the cache of a core.
BLOCK = 2**16
METADATA_PREFIX = "wgan_dist."
LATENT_STREAM, LABEL_STREAM = "sample.z", "sample.label"
# The number of words that one step of Philox's counter produces (Salmon et al. 2011, 4x64).
PHILOX_WORDS = 4
POINT_LAYOUT = "nc"
DISTRIBUTIONS = ("normal", "uniform")
# What metadata say of the samples, by the kind of output.
FORMATS = {
    "points": {"value_range": "unbounded", "layout": POINT_LAYOUT},
    "uint8": {"value_range": "0,255", "layout": "nhwc"},
    "float": {"value_range": "-1,1", "layout": "nchw"},
}
FILE_DIGITS = 6
GAP = 2
# What a file may ask for: its bytes (a file of protobuf has no more), and the sizes of the generator in it.
MAX_BYTES, MAX_LATENT_DIM, MAX_IMAGE_SIZE, MAX_CHANNELS, MAX_CLASSES = 2**31, 2**16, 2**10, 2**10, 10_000
# By how much the sum of the shares of classes may differ from 1, by rounding.
SHARES_TOLERANCE = 1e-6
# How many classes a message lists, those whose names are nearest to what was asked for.
NEAREST_CLASSES = 3
# Generators need none of these operators, which can run without an end.
CONTROL_FLOW = ("Loop", "If", "Scan", "SequenceMap")
# The severities from which on onnxruntime logs. It logs names of the file as they are, so that only exceptions tell.
FATAL, ERROR = 4, 3
# Pictures that people look at are at least this wide.
MIN_WIDTH, MAX_SCALE = 512, 32
# The pictures that Pillow writes as they are, of which PNG needs no Pillow.
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".tga")
# The greatest width and height that a format holds, or its library writes.
MAX_SIDE = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500, ".gif": 65_535, ".tga": 65_535}
# The files that hold the values of images, of any type and number of channels: one array [n, c, h, w].
TIFFS = (".tif", ".tiff")
ARRAYS = (".npy", ".npz", *TIFFS)
# The files that hold points.
POINT_FILES = (".csv", ".npy", ".npz")
# The types of values, with the greatest value of integers.
DTYPES = {"uint8": 255.0, "uint16": 65535.0, "float32": np.inf}
# The colour types of PNG by the number of channels: grey, RGB, RGBA.
PNG_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}

# The class of samples: its name or its number, or a sequence with one for each sample; None draws classes.
Label = str | int | Sequence[str | int] | NDArray[np.integer] | None


class SamplerError(Exception):
    """An ONNX file, provider or argument cannot be used; the message says what is accepted."""


def parse_number(name: str, text: str) -> int:
    """Return a whole number in decimal; raise ValueError for any other text, as 0_8 or -1, which int takes."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{name}={text}: expected a whole number")
    return int(text)


def parse_size(text: str) -> tuple[int, int]:
    """Return the height and width that a size such as 64 or 48x96 stands for; raise ValueError for another text."""
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdecimal() for side in sides):
        raise ValueError(f"image_size={text}: expected a size, as 48x96")
    return int(sides[0]), int(sides[-1])


def check_distribution(distribution: str) -> str:
    """Return the name of a distribution of latents; raise ValueError for an unknown one."""
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"latent_distribution={distribution}: expected {' or '.join(DISTRIBUTIONS)}")
    return distribution


def uniforms(count: int, seed: int, stream: str, start: int = 0) -> NDArray[np.float64]:
    """Return numbers `start` to `start + count - 1` of a stream of U[0, 1) of a seed, by Philox under a SHA-256 key."""
    steps, before = divmod(start, PHILOX_WORDS)
    key = hashlib.sha256(f"{seed}/{stream}/0".encode()).digest()[:16]
    philox = np.random.Philox(key=int.from_bytes(key, "little"))
    bits = philox.advance(steps).random_raw(before + count)[before:]
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def latents(
    count: int, latent_dim: int, distribution: str = "normal", seed: int = 0, start: int = 0
) -> NDArray[np.float32]:
    """Return latent vectors z float32 [count, latent_dim]: `normal`, N(0, 1), or `uniform`, U[-1, 1).

    The latents of a seed are numbered: vector k is the same for any `count` and `start`. This function returns numbers
    `start` to `start + count - 1`. It computes uniform numbers, then the transform of Box and Muller (1958), written
    out here so that the latents never change with a library.

    Raises ValueError for another distribution.
    """
    check_distribution(distribution)
    first, size = start * latent_dim, count * latent_dim
    before = first % 2  # pairs give two numbers, of which the first may belong to the latents before
    unit = uniforms(before + size + (before + size) % 2, seed, LATENT_STREAM, first - before)
    if distribution == "uniform":
        return (2.0 * unit[before : before + size] - 1.0).astype(np.float32).reshape(count, latent_dim)
    radius, angle = np.sqrt(-2.0 * np.log1p(-unit[::2])), 2.0 * np.pi * unit[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1)[before : before + size].astype(np.float32).reshape(count, latent_dim)


def drawn_classes(count: int, shares: Sequence[float], seed: int = 0, start: int = 0) -> NDArray[np.int64]:
    """Return the classes of samples `start` to `start + count - 1` of a seed, int64 [count], drawn by their shares.

    The class of a sample is the same for any `count` and `start`, and its latents do not depend on it.
    """
    found = np.searchsorted(np.cumsum(shares), uniforms(count, seed, LABEL_STREAM, start), side="right")
    return np.minimum(found, len(shares) - 1).astype(np.int64)


def whole_number(name: str, value: Any, least: int) -> int:
    """Return a value as an integer; raise SamplerError with its name if it is none, or below `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise SamplerError(f"{name}={value!r}: expected a whole number") from None
    if number < least:
        raise SamplerError(f"{name}={number}: expected at least {least}")
    return number


def _class_number(label: Any, numbers: dict[str, int]) -> int:
    """Return the number of a class given by its name or number; a text that is a name is never read as a number."""
    if isinstance(label, str) and label in numbers:
        return numbers[label]
    try:
        number = parse_number("label", label) if isinstance(label, str) else operator.index(label)
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < len(numbers):
        nearest = difflib.get_close_matches(str(label), numbers, NEAREST_CLASSES, 0.0)
        names = f"a class such as {', '.join(nearest)}" if nearest else "a class"
        raise SamplerError(f"label={label}: expected {names}, or a number from 0 to {len(numbers) - 1}")
    return number


def class_numbers(label: Label, count: int, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of the class of each of `count` samples, int64 [count].

    Args:
        label: The name of a class or its number from 0, or a sequence with one for each sample.
        count: The number of samples.
        classes: The names of the classes.

    Raises SamplerError for a class that does not exist, a sequence of another length, and without classes.
    """
    if not classes:
        raise SamplerError(f"label={label}: this generator has no classes; expected no label")
    numbers = {name: number for number, name in enumerate(classes)}
    if isinstance(label, str) or not isinstance(label, Sequence | np.ndarray):
        return np.full(count, _class_number(label, numbers), np.int64)
    if len(label) != count:
        raise SamplerError(f"label: {len(label)} labels for {count} samples; expected one for each")
    return np.array([_class_number(each, numbers) for each in label], np.int64)


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert images [n, c, h, w] in [−1, 1] to uint8 [n, h, w, c] in 0…255, rounded to nearest."""
    n, c, h, w = images.shape
    converted = np.empty((n, h, w, c), np.uint8)
    step = max(1, BLOCK // max(1, c * h * w))
    for start in range(0, n, step):
        levels = images[start : start + step] + np.float32(1.0)
        levels *= np.float32(127.5)
        np.rint(levels, out=levels)
        np.clip(levels, 0.0, 255.0, out=levels)
        converted[start : start + step] = levels.transpose(0, 2, 3, 1)
    return converted


def _has_cuda_device() -> bool:
    """Ask the CUDA driver for a device.

    onnxruntime lists the providers that it was built with, CUDA also on machines without a device, and to start a
    session on CUDA there loads its libraries and prints errors.
    """
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _choose_provider(provider: str) -> str:
    available: list[str] = onnxruntime.get_available_providers()
    if provider == "auto":
        provider = "cuda" if PROVIDERS["cuda"] in available and _has_cuda_device() else "cpu"
    name = PROVIDERS.get(provider, provider)
    if name not in available:
        raise SamplerError(f"provider={provider}: expected auto or one of {', '.join(available)}")
    return name


def printable(text: object) -> str:
    """Return a text with every unprintable character as an escape sequence: a file may hold codes for terminals."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(text))


def _read_number(content: memoryview, start: int) -> tuple[int, int]:
    """Return a number of protobuf, and the position behind it."""
    number = shift = 0
    while True:
        byte = content[start]
        number |= (byte & 127) << shift
        start, shift = start + 1, shift + 7
        if byte < 128:
            return number, start
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _messages(content: memoryview, *wanted: int) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and content of those fields of a protobuf message that hold bytes and are `wanted`."""
    position = 0
    while position < len(content):
        key, position = _read_number(content, position)
        field, wire_type = key >> 3, key & 7
        if wire_type == 0:
            _, position = _read_number(content, position)
            continue
        if wire_type not in (1, 2, 5) or key >= 2**32:
            raise ValueError(f"a field of key {key}")
        size, position = _read_number(content, position) if wire_type == 2 else ({1: 8, 5: 4}[wire_type], position)
        if size > len(content) - position:
            raise ValueError("a field that is longer than its message")
        if wire_type == 2 and field in wanted:
            yield field, content[position : position + size]
        position += size


def _operators(content: bytes) -> Iterator[str]:
    """Yield the name of every operator in an ONNX file, and "function" for each function that it defines.

    onnxruntime shows no operators, and would run them to tell. The numbers are those of onnx.proto: in a model 7 is the
    graph and 25 a function, in a graph 1 is a node, in a node 4 is the operator.
    """
    for part, model in _messages(memoryview(content), 7, 25):
        if part == 25:
            yield "function"
            continue
        for _, node in _messages(model, 1):
            yield from (bytes(name).decode("utf-8", "replace") for _, name in _messages(node, 4))


def check_operators(content: bytes) -> None:
    """Raise SamplerError unless the content is an ONNX file without control flow and functions.

    By these a small file could run without an end.
    """
    try:
        refused = sorted({"function", *CONTROL_FLOW}.intersection(_operators(content)))
    except (ValueError, IndexError) as error:
        raise SamplerError("it is not an ONNX file, or damaged") from error
    if refused:
        raise SamplerError(f"it contains {', '.join(refused)}, which no generator needs and which may never end")


def _read_model(path: Path) -> bytes:
    """Return the content of an ONNX file, checked by its size and its operators."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise SamplerError(f"it has {size:,} bytes, expected at most {MAX_BYTES:,}")
        content = path.read_bytes()
        check_operators(content)
    except OSError as error:
        raise SamplerError(f"{path}: cannot be read: {error.strerror}") from error
    except SamplerError as error:
        raise SamplerError(f"{path}: {error}") from error
    return content


def _open_session(path: Path, options: Any, provider: str) -> Any:
    """Return a session on `provider`, or None if onnxruntime could not start it and chose another one."""
    options.log_severity_level = FATAL if provider == PROVIDERS["cpu"] else ERROR  # others tell why they do not start
    options.add_session_config_entry("session.load_model_format", "ONNX")  # the format whose operators are checked
    settings: dict[str, str] = {}
    if provider == PROVIDERS["cuda"]:
        settings["use_tf32"] = "0"  # the same images as on a CPU, in full float32
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA libraries installed by pip are not on the search path
    # The content, not the path: the file then cannot refer to other files as its weights.
    content = _read_model(path)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[(provider, settings)])
    except Exception as error:  # onnxruntime's own exceptions have no public common base
        raise SamplerError(f"{path}: onnxruntime cannot load it: {printable(error)}") from error
    return session if session.get_providers()[0] == provider else None


def _read_metadata(session: Any) -> dict[str, str]:
    stored: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return {name.removeprefix(METADATA_PREFIX): stored[name] for name in stored if name.startswith(METADATA_PREFIX)}


@dataclass(frozen=True)
class ImageValues:
    """The values that images of −1 and 1 stand for.

    Attributes: dtype (uint8, uint16 or float32), low and high (one value, or one for each channel), channel_names (or
    none), unit.
    """

    dtype: str = "uint8"
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (255.0,)
    channel_names: tuple[str, ...] = ()
    unit: str = ""

    @property
    def is_eight_bit(self) -> bool:
        """True if 0 and 255 of 8 bits become −1 and 1, as in pictures."""
        return (self.dtype, self.low, self.high) == ("uint8", (0.0,), (255.0,))

    def restore(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Return images [n, c, h, w] in [−1, 1] as values [n, h, w, c]; integers are rounded to nearest."""
        if self.is_eight_bit:
            return to_uint8(images)
        low, high = (np.array(levels).reshape(-1, 1, 1) for levels in (self.low, self.high))
        values = low + (images.astype(np.float64).clip(-1.0, 1.0) + 1.0) * ((high - low) / 2.0)
        values = values if self.dtype == "float32" else np.rint(values)
        return np.ascontiguousarray(values.astype(self.dtype).transpose(0, 2, 3, 1))

    def picture(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return values [n, h, w, c] as pictures uint8 [n, h, w, 1, 3 or 4] that span the levels.

        Of other numbers of channels the first one or three are shown.
        """
        count = values.shape[-1]
        shown = count if count in PNG_COLOUR_TYPES else 1 if count < 3 else 3
        if self.is_eight_bit:
            return values[..., :shown]
        low, high = (np.array(levels) for levels in (self.low, self.high))
        scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
        return np.rint(scaled.clip(0.0, 255.0)).astype(np.uint8)[..., :shown]


def read_values(metadata: dict[str, str], channels: int) -> ImageValues:
    """Return what the metadata say of the values; raise ValueError or KeyError for what no generator has."""
    if "dtype" not in metadata:
        return ImageValues()
    dtype, levels, names = metadata["dtype"], json.loads(metadata["levels"]), json.loads(metadata["channel_names"])
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype}: expected {', '.join(DTYPES)}")
    try:
        low, high = (tuple(map(float, side)) for side in zip(*levels, strict=True))
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError("levels: expected pairs of numbers") from None
    most = DTYPES[dtype]
    if len(low) not in (1, channels) or not all(np.isfinite(pair).all() and pair[0] < pair[1] for pair in levels):
        raise ValueError(f"levels: expected low and high for each of {channels} channels")
    if dtype != "float32" and not all(0 <= value <= most for value in (*low, *high)):
        raise ValueError(f"levels: expected 0 to {most:g}")
    if not isinstance(names, list) or len(names) not in (0, channels):
        raise ValueError(f"channel_names: expected {channels} names")
    return ImageValues(dtype, low, high, tuple(map(str, names)), metadata["unit"])


def read_classes(metadata: dict[str, str]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return the names and shares of the classes; raise ValueError or KeyError for what no generator has."""
    if "classes" not in metadata:
        return (), ()
    names, shares = json.loads(metadata["classes"]), json.loads(metadata["class_shares"])
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_CLASSES:
        raise ValueError(f"classes: expected 1 to {MAX_CLASSES:,} names")
    if not all(isinstance(name, str) and _is_utf8(name) for name in names) or len(set(names)) != len(names):
        raise ValueError("classes: expected different texts")
    are_numbers = isinstance(shares, list) and all(type(share) in (int, float) for share in shares)
    if not are_numbers or len(shares) != len(names) or not all(0.0 <= share <= 1.0 for share in shares):
        raise ValueError(f"class_shares: expected {len(names)} numbers from 0 to 1")
    if abs(sum(shares) - 1.0) > SHARES_TOLERANCE:
        raise ValueError("class_shares: expected numbers that add up to 1")
    return tuple(names), tuple(map(float, shares))


def _is_utf8(text: str) -> bool:
    """Return whether a text can be written as UTF-8; half of a surrogate pair, which JSON may hold, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True)
class Contents:
    """The samples of a generator in an ONNX file, as its metadata describe them.

    Attributes: latent_dim, latent_distribution, height, width, channels, makes_points, is_uint8 (of the graph's
    output), values, classes (their names, none without classes), class_shares (in the training data).
    """

    latent_dim: int
    latent_distribution: str
    height: int
    width: int
    channels: int
    makes_points: bool
    is_uint8: bool
    values: ImageValues
    classes: tuple[str, ...]
    class_shares: tuple[float, ...]

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of one sample in the graph's output."""
        if self.makes_points:
            return (self.channels,)
        size = (self.height, self.width)
        return (*size, self.channels) if self.is_uint8 else (self.channels, *size)


def read_contents(metadata: dict[str, str], is_uint8: bool) -> Contents:
    """Return what the metadata describe; raise KeyError or ValueError if they describe no generator.

    The latents and images are allocated at these sizes, which therefore have bounds.
    """
    latent_dim, channels = (parse_number(name, metadata[name]) for name in ("latent_dim", "channels"))
    height, width = parse_size(metadata["image_size"])
    for name, size, most in (
        ("latent_dim", latent_dim, MAX_LATENT_DIM),
        ("image_size", height, MAX_IMAGE_SIZE),
        ("image_size", width, MAX_IMAGE_SIZE),
        ("channels", channels, MAX_CHANNELS),
    ):
        if not 1 <= size <= most:
            raise ValueError(f"{name}={size}, expected 1 to {most:,}")
    makes_points = metadata.get("layout") == POINT_LAYOUT
    kind = "points" if makes_points else "uint8" if is_uint8 else "float"
    for name, expected in FORMATS[kind].items():
        if metadata.get(name, expected) != expected:
            raise ValueError(f"{name}={metadata[name]}: expected {expected} for {kind} output")
    distribution = check_distribution(metadata["latent_distribution"])
    values, of_classes = read_values(metadata, channels), read_classes(metadata)
    return Contents(latent_dim, distribution, height, width, channels, makes_points, is_uint8, values, *of_classes)


def _check_graph(session: Any, contents: Contents) -> None:
    """Raise ValueError unless the inputs and outputs of the graph are those that the metadata describe."""
    inputs = [(value.name, value.type, value.shape[1:]) for value in session.get_inputs()]
    outputs = [tuple(value.shape[1:]) for value in session.get_outputs()]
    expected = [("z", "tensor(float)", [contents.latent_dim])]
    if contents.classes:
        expected.append(("label", "tensor(int64)", []))
    if inputs != expected or outputs != [contents.output_shape]:
        raise ValueError(f"its inputs are {inputs} and its outputs {outputs}")
    for value in session.get_inputs():
        if not value.shape or isinstance(value.shape[0], int):
            raise ValueError(f"its batch size is fixed at {(value.shape or [1])[0]}, expected a free one")


def _start(path: Path, options: Any, provider: str, may_change: bool) -> tuple[Any, str]:
    """Return a session and the provider that it runs on; raise SamplerError if there is none."""
    if not os.path.isfile(path):  # noqa: PTH113 a Path raises for a long name
        is_folder = os.path.isdir(path)  # noqa: PTH112
        found = "a folder, expected an ONNX file of" if is_folder else "there is no such file; expected one of"
        raise SamplerError(f"{path}: {found} python -m export.onnx")
    session = _open_session(path, options, provider)
    if session is None and may_change:
        logger.warning("%s could not be started; using %s", provider, PROVIDERS["cpu"])
        provider = PROVIDERS["cpu"]
        session = _open_session(path, options, provider)
    if session is None:
        raise SamplerError(f"provider={provider}: onnxruntime could not start it; see its message above")
    return session, provider


class Sampler:
    """A generator in an ONNX file written by `python -m export.onnx`, ready to sample images.

    Attributes: path, latent_dim, latent_distribution, height, width, channels, values (what images of −1 and 1 stand
    for), makes_points, classes (their names, none without classes), provider, batch_size (0 until it is chosen),
    metadata (the metadata of the file, as text).
    """

    def __init__(
        self, path: str | os.PathLike[str], provider: str = "auto", threads: int = 0, batch_size: int = 0
    ) -> None:
        """Open the file.

        `provider` is auto, cpu, cuda or the name of an onnxruntime provider. With `threads` 0, onnxruntime chooses
        their number. With `batch_size` 0, the sampler times several sizes on the first images and keeps the fastest.
        Raises SamplerError for a file that is not such a generator, or a provider that is not available.
        """
        if batch_size < 0:
            raise SamplerError(f"batch_size={batch_size}: expected at least 0")
        self.batch_size = batch_size
        self._timings: list[tuple[float, int]] = []  # (seconds per image, batch size)
        self._lock = threading.Lock()  # guards the two above: several threads may sample at once
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._run_options = onnxruntime.RunOptions()
        self._run_options.log_severity_level = FATAL
        self.path = Path(path)
        self._session, self.provider = _start(self.path, options, _choose_provider(provider), provider == "auto")
        try:
            self.metadata = _read_metadata(self._session)
            contents = read_contents(self.metadata, self._session.get_outputs()[0].type == "tensor(uint8)")
            _check_graph(self._session, contents)
        except (KeyError, ValueError, RecursionError) as error:
            raise SamplerError(f"{path}: not a generator written by export.onnx: {printable(error)}") from error
        self._contents = contents
        self.latent_dim, self.latent_distribution = contents.latent_dim, contents.latent_distribution
        self.height, self.width, self.channels = contents.height, contents.width, contents.channels
        self.makes_points, self.values, self.classes = contents.makes_points, contents.values, contents.classes
        logger.info("%s on %s", printable(path), self.provider)

    def latents(self, count: int, seed: int = 0, start: int = 0) -> NDArray[np.float32]:
        """Return latent vectors z float32 [count, latent_dim] of a seed from number `start` on."""
        return latents(count, self.latent_dim, self.latent_distribution, seed, start)

    def _run(self, inputs: dict[str, NDArray[Any]]) -> NDArray[Any]:
        if self.provider == PROVIDERS["cuda"]:
            return self._run_bound(inputs, "cuda")
        output: NDArray[Any] = self._session.run(None, inputs, self._run_options)[0]
        return output

    def _run_bound(self, inputs: dict[str, NDArray[Any]], device: str) -> NDArray[Any]:
        """Compute the output into memory of `device` and copy it once, when all of it is computed."""
        binding = self._session.io_binding()
        for name, values in inputs.items():
            binding.bind_cpu_input(name, values)
        binding.bind_output(self._session.get_outputs()[0].name, device)
        self._session.run_with_iobinding(binding, self._run_options)
        output: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
        return output

    def _inputs(self, z: NDArray[np.float32], label: Label) -> dict[str, NDArray[Any]]:
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise SamplerError(f"z of shape {list(z.shape)}: expected [n, {self.latent_dim}]")
        inputs: dict[str, NDArray[Any]] = {"z": np.ascontiguousarray(z, np.float32)}
        if label is None and not self.classes:
            return inputs
        return inputs | {"label": class_numbers(label, len(z), self.classes)}

    def outputs(self, z: NDArray[np.float32], label: Label = None) -> NDArray[Any]:
        """Return the outputs of the graph for latents z [n, latent_dim], in one batch.

        A generator with classes needs `label`: the name or number of one class for all, or a sequence of one for each.

        They are images float32 [n, c, h, w] in [−1, 1], of a file with --uint8 images uint8 [n, h, w, c], or points.
        Raises SamplerError for z of another shape, a label that does not exist, if the computation fails, or if it
        gives values that are not finite.
        """
        inputs = self._inputs(z, label)
        try:
            output = self._run(inputs)
        except Exception as error:  # onnxruntime's own exceptions have no public common base
            raise SamplerError(f"{self.path}: onnxruntime cannot compute it: {printable(error)}") from error
        expected = (len(z), *self._contents.output_shape)
        if output.shape != expected:
            raise SamplerError(f"{self.path}: its output has shape {list(output.shape)}: expected {list(expected)}")
        if not np.isfinite(output).all():
            raise SamplerError(f"{self.path}: its samples have values that are not finite")
        return output

    def images(self, z: NDArray[np.float32], label: Label = None) -> NDArray[Any]:
        """Return the images [n, h, w, c] of latents z [n, latent_dim] in the values of the data that were trained on.

        They are uint8, uint16 or float32, as `values` says; points are float32 [n, d]. `label` and errors are
        those of `outputs`.
        """
        output = self.outputs(z, label)
        return output if self._contents.is_uint8 or self.makes_points else self.values.restore(output)

    def _next_batch_size(self) -> int:
        with self._lock:
            return self.batch_size or TRIED_BATCH_SIZES[len(self._timings)]

    def _record_time(self, size: int, seconds: float) -> None:
        """Record how long a batch took; after the last batch size to try, choose the fastest."""
        with self._lock:
            if self.batch_size or size != TRIED_BATCH_SIZES[len(self._timings)]:
                return
            self._timings.append((seconds / size, size))
            if len(self._timings) == len(TRIED_BATCH_SIZES):
                self.batch_size = min(self._timings)[1]

    def labels(self, count: int, seed: int = 0, label: Label = None, start: int = 0) -> NDArray[np.int64] | None:
        """Return the classes int64 [count] of samples of a seed from number `start` on; None without classes.

        They are those of `label`, which `sample` describes. Raises SamplerError for a label that does not exist.
        """
        if label is not None:
            return class_numbers(label, count, self.classes)
        return drawn_classes(count, self._contents.class_shares, seed, start) if self.classes else None

    def stream(self, count: int, seed: int = 0, label: Label = None) -> Iterator[NDArray[Any]]:
        """Yield `count` images in batches [k, h, w, c], or points float32 [k, d].

        The images are those of `sample`; the memory does not grow with their number. Raises SamplerError for a count
        below 1, a seed below 0 or a label that does not exist.
        """
        count, seed = whole_number("count", count, 1), whole_number("seed", seed, 0)
        chosen = None if label is None else self.labels(count, seed, label)
        start = 0
        while start < count:
            size = min(self._next_batch_size(), count - start)
            started = time.perf_counter()
            labels = self.labels(size, seed, None, start) if chosen is None else chosen[start : start + size]
            samples = self.images(self.latents(size, seed, start), labels)
            self._record_time(size, time.perf_counter() - started)
            yield samples
            start += size

    def sample(self, count: int, seed: int = 0, label: Label = None) -> NDArray[Any]:
        """Return `count` images [count, h, w, c], or points float32 [count, d] from a generator of points.

        With classes, `label` is the name of a class or its number from 0, or a sequence with one for each image;
        without it the classes are drawn by their shares in the training data, the same ones for a seed.

        A seed always gives the same images, and the first k of them for any count, up to rounding: onnxruntime may
        round differently in batches of another size, which changes a value by at most one level of 255. Raises
        SamplerError for a count below 1, a seed below 0, a label that does not exist, or more images than fit into
        memory.
        """
        count = whole_number("count", count, 1)
        shape = (self.channels,) if self.makes_points else (self.height, self.width, self.channels)
        try:
            samples = np.empty((count, *shape), np.float32 if self.makes_points else self.values.dtype)
        except (MemoryError, ValueError) as error:
            raise SamplerError(f"count={count}: too many for the memory: {error}") from error
        start = 0
        for batch in self.stream(count, seed, label):
            samples[start : start + len(batch)] = batch
            start += len(batch)
        return samples


def grid(images: NDArray[np.uint8], columns: int = 0) -> NDArray[np.uint8]:
    """Arrange images [n, h, w, c] in one image, 2 black pixels apart; about square unless `columns` is given."""
    count, height, width, channels = images.shape
    columns = columns or round(count**0.5) or 1
    rows = -(-count // columns)
    height, width = height + GAP, width + GAP
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:count, :-GAP, :-GAP] = images
    ordered = cells.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return ordered.reshape(rows * height, columns * width, channels)[:-GAP, :-GAP]


def enlarged(picture: NDArray[np.uint8], scale: int = 0) -> NDArray[np.uint8]:
    """Repeat each pixel of an image [h, w, c] `scale` times in both directions.

    With `scale` 0, the image becomes at least 512 pixels wide by the smallest whole factor; a wider one stays as it is.
    """
    scale = scale or -(-MIN_WIDTH // picture.shape[1])
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


@contextlib.contextmanager
def _atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file, and rename it to `path` when the block ends without an error.

    Raises SamplerError if the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.wgan_dist-{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(exist_ok=False)  # a new file, so that no link leads elsewhere
        try:
            yield partial
            partial.replace(path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()
    except OSError as error:
        raise SamplerError(f"out={path}: cannot be written: {error.strerror or error}") from error


def png(picture: NDArray[Any]) -> bytes:
    """Return an image uint8 or uint16 [h, w, c] with 1, 3 or 4 channels as a PNG file."""
    height, width, channels = picture.shape
    content = picture.astype(picture.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    rows = np.zeros((height, 1 + content.shape[1]), np.uint8)  # each row begins with its filter, 0 for none
    rows[:, 1:] = content
    bits = 8 * picture.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, PNG_COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def _encoded(picture: NDArray[Any], suffix: str) -> bytes:
    if suffix == ".png":
        return png(picture)
    try:
        from PIL import Image
    except ImportError as error:
        raise SamplerError(f"{suffix} files need Pillow: pip install pillow; .png needs nothing") from error
    content = io.BytesIO()
    image = Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)
    image.save(content, Image.registered_extensions()[suffix])
    return content.getvalue()


def check_picture_size(picture: NDArray[Any], path: Path) -> None:
    """Raise SamplerError if an image [h, w, c] has more rows or columns than the format of the file holds."""
    height, width, _ = picture.shape
    suffix = path.suffix.lower()
    most = MAX_SIDE.get(suffix, 2**31 - 1)
    if max(width, height) > most:
        size = f"a picture of {width:,}×{height:,} pixels"
        raise SamplerError(f"out={path}: {size}; {suffix} files have at most {most:,} on a side, .png files more")


def write_picture(picture: NDArray[Any], path: Path) -> None:
    """Write one image uint8 [h, w, c], as PNG also uint16, to a file whose suffix is one of PICTURES, atomically.

    Raises SamplerError if it is too large for the format or cannot be written, or if Pillow is missing for another
    format than PNG.
    """
    check_picture_size(picture, path)
    with _atomic_file(path) as partial:
        partial.write_bytes(_encoded(picture, path.suffix.lower()))


def _is_folder(out: str) -> bool:
    """Return whether `out` names a folder: it ends in a separator, or there is one of that name."""
    return out.endswith(("/", os.sep)) or os.path.isdir(out)  # noqa: PTH112 a Path raises for a long name


def _tifffile() -> Any:
    """Return the library that writes TIFF files; raise SamplerError if it is not installed."""
    try:
        import tifffile
    except ImportError as error:
        raise SamplerError("TIFF files need tifffile: pip install tifffile; .npy needs nothing") from error
    return tifffile


def check_out(out: str, makes_points: bool) -> None:
    """Raise SamplerError unless `out` names a table or array for points, and for images a picture, array or folder.

    It also raises SamplerError for a TIFF if tifffile is not installed.
    """
    suffix = Path(out).suffix.lower()
    if makes_points and (_is_folder(out) or suffix not in POINT_FILES):
        raise SamplerError(
            f"out={out}: this generator makes points; expected a file ending in {', '.join(POINT_FILES)}"
        )
    if not makes_points and not _is_folder(out) and suffix not in (*PICTURES, *ARRAYS):
        raise SamplerError(
            f"out={out}: this generator makes images; expected a file ending in {', '.join((*PICTURES, *ARRAYS))}, "
            "or a folder: one that exists, or a name ending in /"
        )
    if suffix in TIFFS and not _is_folder(out):
        _tifffile()


def write_points(points: NDArray[np.float32], out: str) -> Path:
    """Write points [n, d] as CSV of d columns or as an array, atomically.

    Raises SamplerError if `out` ends in none of POINT_FILES or cannot be written.
    """
    check_out(out, makes_points=True)
    path = Path(out)
    if path.suffix.lower() in ARRAYS:
        _write_array(points, path, "points")
        return path
    with _atomic_file(path) as partial:
        np.savetxt(partial, points, fmt="%.9g", delimiter=",")
    return path


def _write_array(array: NDArray[Any], path: Path, name: str) -> None:
    """Write an array as .npy, or under its name as .npz."""
    named: dict[str, Any] = {name: array}
    with _atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **named) if path.suffix.lower() == ".npz" else np.save(file, array)


def _write_values(values: NDArray[Any], path: Path) -> None:
    """Write images [n, h, w, c] as one array [n, c, h, w], or one image [h, w, c] as [c, h, w]."""
    _write_array(np.ascontiguousarray(np.moveaxis(values, -1, -3)), path, "images")


def _are_pictures(values: NDArray[Any]) -> bool:
    """Return whether values [..., c] are integers that are grey, RGB or RGBA, which PNG files hold."""
    return values.dtype != np.float32 and values.shape[-1] in PNG_COLOUR_TYPES


def _write_tiff(images: NDArray[Any], path: Path, values: ImageValues) -> None:
    """Write images [n, h, w, c], each as a page with a plane for each channel; readers return [n, c, h, w]."""
    channels = images.shape[-1]
    are_colours = _are_pictures(images) and channels > 1
    about = {"channel_names": values.channel_names, "unit": values.unit}
    with _atomic_file(path) as partial:
        _tifffile().imwrite(
            partial,
            np.moveaxis(images, -1, 1),
            photometric="rgb" if are_colours else "minisblack",
            planarconfig="separate" if channels > 1 else None,
            extrasamples=["unassalpha"] if are_colours and channels == 4 else None,
            metadata={"axes": "QCYX"} | {name: value for name, value in about.items() if value},
        )


def _write_single(image: NDArray[Any], stem: Path) -> Path:
    """Write one image [h, w, c] as PNG if it can hold its values, else as an array; return the path."""
    if _are_pictures(image):
        path = stem.with_suffix(".png")
        write_picture(image, path)
    else:
        path = stem.with_suffix(".npy")
        _write_values(image, path)
    return path


def write_images(images: NDArray[Any], out: str, scale: int = 0, values: ImageValues | None = None) -> Iterator[Path]:
    """Write images [n, h, w, c] in the values that `values` describes, by default in 8 bits; yield the paths.

    If `out` names an array, it holds their values, a TIFF a page for each image; if it names a folder, a file per image
    does: PNG for integers in 1, 3 or 4 channels, else .npy. If `out` names a picture, it is a grid in 8 bits, enlarged
    as `enlarged` does it; others are never enlarged. Raises SamplerError if `scale` asks for that, and as `check_out`
    and `write_picture` do.
    """
    check_out(out, makes_points=False)
    values = values or ImageValues()
    is_array = Path(out).suffix.lower() in ARRAYS and not _is_folder(out)
    if not _is_folder(out) and not is_array:
        write_picture(enlarged(grid(values.picture(images)), scale), Path(out))
        yield Path(out)
        return
    if scale > 1:
        what = f"the values in {out}" if is_array else f"the single images of the folder {out}"
        raise SamplerError(f"scale={scale}: enlarges a grid; expected 1 for {what}")
    if is_array:
        if Path(out).suffix.lower() in TIFFS:
            _write_tiff(images, Path(out), values)
        else:
            _write_values(images, Path(out))
        yield Path(out)
        return
    for number, image in enumerate(images):
        yield _write_single(image, Path(out) / f"{number:0{FILE_DIGITS}d}")


def _number(text: str) -> int:
    """Return the number that the command line names."""
    try:
        parse_number("", text.removeprefix("-"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number") from None
    return int(text)


def _scale(text: str) -> int:
    """Return the factor that the command line names, 0 for auto."""
    if text != "auto" and not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_SCALE):
        raise argparse.ArgumentTypeError(f"{text}: expected auto, or a whole number from 1 to {MAX_SCALE}")
    return 0 if text == "auto" else int(text)


def output_text(written: list[Path], out: str) -> str:
    """Return in words where the images are, and how many of an earlier call are in the same folder."""
    place = str(written[0]) if len(written) == 1 else out
    files = (*Path(out).glob("*.png"), *Path(out).glob("*.npy"))
    numbered = (path for path in files if path.stem.isdecimal() and len(path.stem) >= FILE_DIGITS)
    earlier = sorted(set(numbered).difference(written)) if _is_folder(out) else []
    if not earlier:
        return place
    return f"{place}, where {len(earlier)} images of an earlier call are left, the first {earlier[0].name}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m export.sampler",
        description="Sample images from an ONNX file.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("model", help="ONNX file written by python -m export.onnx")
    parser.add_argument("--count", type=_number, default=64, help="number of images")
    parser.add_argument("--seed", type=_number, default=0, help="the same seed gives the same images")
    parser.add_argument(
        "--label", help="class of all images, by its name or number; without it as in the training data"
    )
    parser.add_argument(
        "--out",
        default="grid.png",
        help="picture of a grid; .npy, .npz or .tif for values; folder (existing, or ending in /) for single images; "
        ".csv, .npy or .npz for points",
    )
    parser.add_argument(
        "--scale",
        type=_scale,
        default="auto",
        help=f"whole factor that enlarges a grid; auto makes it at least {MIN_WIDTH} pixels wide",
    )
    parser.add_argument("--provider", default="auto", help="auto, cpu, cuda or the name of an onnxruntime provider")
    return parser.parse_args()


def main() -> None:
    """Run the command line; wrong input gives one line on standard error and exit status 2."""
    arguments = _arguments()
    try:
        sampler = Sampler(arguments.model, arguments.provider)
        check_out(arguments.out, sampler.makes_points)
        samples = sampler.sample(arguments.count, arguments.seed, arguments.label)
        if sampler.makes_points:
            if arguments.scale:
                raise SamplerError(f"scale={arguments.scale}: expected a generator of images, not of points")
            written = [write_points(samples, arguments.out)]
        else:
            written = list(write_images(samples, arguments.out, arguments.scale, sampler.values))
    except SamplerError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(2)
    samples_name = "points" if sampler.makes_points else "images"
    text = f"{arguments.count} {samples_name} by {sampler.provider}: {output_text(written, arguments.out)}"
    print(printable(text))


if __name__ == "__main__":
    main()
