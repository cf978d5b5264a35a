"""Open a generator in any of its file formats, or a folder of images, as samples to evaluate."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from export.metadata import metadata, without_prefix
from export.program_file import open_program
from export.sampler import (
    FORMATS,
    POINT_LAYOUT,
    Sampler,
    SamplerError,
    drawn_classes,
    latents,
    parse_number,
    parse_size,
    read_classes,
    read_values,
)
from export.settings import BF16, FP32
from export.torchscript_file import open_torchscript
from wgan_dist.checkpoints import generator_file
from wgan_dist.config.image_size import ImageSize, parse_image_size
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.decoding import without_pillow_warnings
from wgan_dist.data.holdout import choose_rows
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.data.labels import Labels
from wgan_dist.data.sources.base import BadImageError, read_image, width_and_height
from wgan_dist.data.sources.paths import cache_folder
from wgan_dist.data.sources.registry import open_source
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.levels import Levels

QUANTISED_OPERATORS = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")
# The kinds of weights of this package's files; files of other programs may name others.
KINDS = ("ema", "raw")
# The names of number formats in torch, by their name in ONNX and in the metadata of this package's files.
ONNX_PRECISIONS = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
PRECISIONS = {FP32: "float32", BF16: "bfloat16"}


@dataclass(frozen=True)
class LoadedSamples:
    """Samples to evaluate, with the description of their source.

    `draw(indices)` returns images [n, c, h, w], as uint8 or in [−1, 1], or points [n, d]; `shape` is that of one
    sample, and `levels` are the values that images of −1 and 1 stand for; `labels` are the classes of the samples, None
    without classes. What the source does not say is None.
    """

    source: str
    sha256: str
    kind: str
    weights: str | None
    step: int | None
    precision: str | None
    data: str
    data_fingerprint: str
    shape: tuple[int, ...]
    levels: Levels
    draw: Callable[[slice], Tensor]
    labels: Labels | None = None


@dataclass(frozen=True)
class _Generator:
    """An opened generator: its file format, metadata, number format, and a function from latents, and with classes
    labels, to samples.
    """

    file_format: str
    metadata: Mapping[str, str]
    precision: str | None
    generate: Callable[..., Tensor]


def _open_safetensors(path: Path, own_class: str) -> _Generator:
    loaded = generator_file.load(path, own_class)
    precision = str(next(loaded.network.parameters()).dtype).removeprefix("torch.")
    about = without_prefix(metadata(loaded, uint8=False, precision=precision))
    return _Generator("safetensors", about, precision, torch.no_grad()(loaded.network.float()))


def _as_nchw(samples: Tensor) -> Tensor:
    """Return uint8 images [n, h, w, c] as [n, c, h, w], and other samples as they are."""
    return samples.permute(0, 3, 1, 2).contiguous() if samples.dtype == torch.uint8 else samples


def _open_torch(path: Path) -> _Generator:
    """Open a program (.pt2) or a TorchScript file (.pt)."""
    is_program = path.suffix.lower() == ".pt2"
    file_format, open_file = ("program", open_program) if is_program else ("torchscript", open_torchscript)
    try:
        stored, generate = open_file(path)
    except UserError as error:
        raise UserError(f"ckpt={error}") from error
    about = without_prefix(stored)
    precision = about.get("precision", "")
    if precision not in PRECISIONS:
        raise UserError(f"ckpt={path}: precision={precision}: expected {' or '.join(PRECISIONS)}")
    return _Generator(file_format, about, PRECISIONS[precision], lambda *inputs: _as_nchw(generate(*inputs)))


def _onnx_precision(path: Path) -> str:
    """Return int8 for a graph with quantised operators, otherwise the type of its weights."""
    graph = onnx.load(path, load_external_data=False).graph
    if any(node.op_type in QUANTISED_OPERATORS for node in graph.node):
        return "int8"
    types = (ONNX_PRECISIONS.get(weight.data_type) for weight in graph.initializer)
    return next((name for name in types if name), "float32")


def _open_onnx(path: Path) -> _Generator:
    try:
        sampler = Sampler(path)
    except SamplerError as error:
        raise UserError(f"ckpt={error}") from error

    def generate(*inputs: Tensor) -> Tensor:
        try:
            draw = sampler.images if sampler.values.is_eight_bit else sampler.outputs
            return _as_nchw(torch.from_numpy(draw(*(each.numpy() for each in inputs))))
        except SamplerError as error:
            raise UserError(f"ckpt={error}") from error

    return _Generator("onnx", sampler.metadata, _onnx_precision(path), generate)


def _open(path: Path, own_class: str) -> _Generator:
    if path.suffix.lower() == ".onnx":
        return _open_onnx(path)
    if path.suffix.lower() in (".pt", ".pt2"):
        return _open_torch(path)
    return _open_safetensors(path, own_class)


def _check_format(about: Mapping[str, str]) -> None:
    """Raise ValueError if the metadata, where they say so, describe samples of no known format."""
    said = {name: about[name] for name in ("value_range", "layout") if name in about}
    if not any(said.items() <= known.items() for known in FORMATS.values()):
        raise ValueError(f"{', '.join(f'{name}={value}' for name, value in said.items())}: no format of samples")


def open_generator(path: Path, own_class: str, count: int, seed: int, start: int = 0) -> LoadedSamples:
    """Open a .safetensors, .pt (TorchScript), .pt2 (program) or .onnx file, to draw at most `count` samples of `seed`.

    They are the samples from number `start` on. The latents are those of `python -m wgan_dist.sample`, the same for
    every format. With classes, so are the labels, which are drawn with the class frequencies of the training data.
    `own_class` names the module:Class of a custom network. Raises UserError for a file that is not such a generator.
    """
    if not path.is_file():
        raise UserError(f"ckpt={path}: there is no such file")
    generator = _open(path, own_class)
    about = generator.metadata
    try:
        _check_format(about)
        latent_dim, channels = (parse_number(name, about[name]) for name in ("latent_dim", "channels"))
        size = parse_size(about["image_size"])
        inputs = [torch.from_numpy(latents(count, latent_dim, about["latent_distribution"], seed, start))]
        classes, shares = read_classes(dict(about))
        labels = Labels(classes, drawn_classes(count, shares, seed, start)) if classes else None
        if labels:
            inputs.append(torch.from_numpy(labels.values))
        weights, step = about["weights"], parse_number("generator_steps", about["generator_steps"])
        data, fingerprint = about["data"], about["data_fingerprint"]
        values = read_values(dict(about), channels)
    except (KeyError, ValueError) as error:
        raise UserError(f"ckpt={path}: not a generator of wgan_dist: {error}") from error
    return LoadedSamples(
        source=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        kind=generator.file_format,
        weights=weights if weights in KINDS else None,
        step=step,
        precision=generator.precision,
        data=data,
        data_fingerprint=fingerprint,
        shape=(channels,) if about.get("layout") == POINT_LAYOUT else (channels, *size),
        levels=Levels(values.dtype, values.low, values.high),
        draw=lambda indices: generator.generate(*(each[indices] for each in inputs)),
        labels=labels,
    )


def _common_size(folder: str, cache_dir: Path) -> ImageSize:
    """Return the height and width of all images; raise UserError unless they are of one size that is supported."""
    source = open_source(folder, cache_dir).list_images()
    first: tuple[int, int] | None = None
    for number, name in enumerate(source.names):
        try:
            size = read_image(source, number, width_and_height)
        except BadImageError as error:
            raise UserError(f"samples={folder}: {name!r}: {error}") from error
        first = first or size
        if size != first:
            mixed = f"{source.names[0]} is {first[0]}×{first[1]}, {name} is {size[0]}×{size[1]}"
            raise UserError(f"samples={folder}: images of mixed sizes: {mixed}")
    if first is None:
        raise UserError(f"samples={folder}: there is no image")
    try:
        return parse_image_size(first[::-1])
    except ValueError as error:
        raise UserError(f"samples={folder}: images of {first[0]}×{first[1]} pixels: expected {error}") from error


def open_folder(folder: str, background: str, cache_dir: str, seed: int = 0) -> tuple[LoadedSamples, ImageDataset]:
    """Open the images of a folder at their own size, as grey ones if all of them are grey.

    Fewer than all of them are chosen by `seed` and by their content.

    Raises UserError for images that are unreadable, of mixed sizes, or too small or too large.
    """
    with without_pillow_warnings():
        size = _common_size(folder, cache_folder(cache_dir))
    images = open_images((folder,), ImageSettings(size, background=background), cache_dir)
    # In an order that their content decides: what is measured of them does not depend on their names.
    rows = choose_rows(images, np.arange(len(images)), len(images), seed)
    subject = LoadedSamples(
        source=images.name,
        sha256=images.fingerprint,
        kind="folder",
        weights=None,
        step=None,
        precision=None,
        data=images.name,
        data_fingerprint=images.fingerprint,
        shape=images.shape,
        levels=images.levels,
        draw=lambda indices: torch.from_numpy(np.asarray(images.values[rows[indices]])),
    )
    return subject, images
