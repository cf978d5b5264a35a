"""What is evaluated: a generator in any of the files it comes in, or a folder of any program's images."""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from export.network import BF16, FP32, METADATA_PREFIX
from export.program import open_program
from export.sampler import POINT_LAYOUT, Sampler, SamplerError, latents
from export.torchscript import METADATA_FILE
from wgan_dist.checkpoints import generator_file
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.sources.base import BadImageError, read_image
from wgan_dist.data.sources.paths import expand_home
from wgan_dist.data.sources.registry import open_source
from wgan_dist.utils.errors import UserError

# Operators and types of a quantised graph.
QUANTISED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")
# What a file may say of its weights; files of other programs may say anything.
KINDS = ("ema", "raw")
PRECISIONS = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}
# What the files of this package say of themselves, as torch has it.
PRECISION_NAMES = {FP32: "float32", BF16: "bfloat16"}


@dataclass(frozen=True)
class Subject:
    """Samples, by their numbers, and what their source says about itself.

    `draw(part)` gives images [n, c, h, w], as uint8 or in [−1, 1], or points [n, 2]; `shape` is of one sample.
    """

    source: str
    sha256: str
    kind: str
    weights: str | None
    step: int | None
    precision: str | None
    data: str
    shape: tuple[int, ...]
    draw: Callable[[slice], Tensor]


@dataclass(frozen=True)
class _Generator:
    """A generator of any kind of file: what it says, and samples of latents z [n, latent_dim]."""

    about: dict[str, Any]
    precision: str | None
    samples: Callable[[Tensor], Tensor]


def _safetensors(path: Path, own_class: str) -> _Generator:
    loaded = generator_file.load(path, own_class)
    precision = str(next(loaded.network.parameters()).dtype).removeprefix("torch.")
    network, description = loaded.network.float(), loaded.description
    about = {
        "weights": description.weights,
        "generator_steps": description.steps,
        "data": description.data,
        "latent_dim": description.latent_dim,
        "latent_distribution": description.latent_distribution,
        "image_size": description.image_size,
        "channels": description.channels,
        "layout": POINT_LAYOUT if description.makes_points else "nchw",
    }
    return _Generator(about, precision, torch.no_grad()(network))


def _as_nchw(samples: Tensor) -> Tensor:
    """uint8 graphs give [n, h, w, c]."""
    return samples.permute(0, 3, 1, 2).contiguous() if samples.dtype == torch.uint8 else samples


def _torchscript(path: Path) -> _Generator:
    extra = {METADATA_FILE: ""}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.*deprecated.*")
            module = torch.jit.load(str(path), "cpu", _extra_files=extra)
        about = {name.removeprefix(METADATA_PREFIX): value for name, value in json.loads(extra[METADATA_FILE]).items()}
    except (RuntimeError, ValueError, AttributeError) as error:
        raise UserError(f"ckpt={path}: not a generator written by export.torchscript: {error}") from error
    precision = PRECISION_NAMES.get(about.get("precision", ""))
    return _Generator(about, precision, lambda z: _as_nchw(torch.no_grad()(module)(z)))


def _program(path: Path) -> _Generator:
    try:
        found, draw = open_program(path)
    except UserError as error:
        raise UserError(f"ckpt={error}") from error
    about = {name.removeprefix(METADATA_PREFIX): value for name, value in found.items()}
    return _Generator(about, PRECISION_NAMES.get(about.get("precision", "")), lambda z: _as_nchw(draw(z)))


def _precision(path: Path) -> str:
    """int8 for a graph that computes in whole numbers, else the type of its weights."""
    graph = onnx.load(path, load_external_data=False).graph
    if any(node.op_type in QUANTISED for node in graph.node):
        return "int8"
    return next((PRECISIONS[each.data_type] for each in graph.initializer if each.data_type in PRECISIONS), "float32")


def _onnx(path: Path) -> _Generator:
    try:
        sampler = Sampler(path)
    except SamplerError as error:
        raise UserError(f"ckpt={error}") from error

    def samples(z: Tensor) -> Tensor:
        try:
            with np.errstate(invalid="raise"):  # what is no number would become the level 0
                return _as_nchw(torch.from_numpy(sampler.images(z.numpy())))
        except (SamplerError, FloatingPointError) as error:
            raise UserError(f"ckpt={path}: {error}") from error

    return _Generator(sampler.metadata, _precision(path), samples)


def _open(path: Path, own_class: str) -> tuple[str, _Generator]:
    if path.suffix == ".onnx":
        return "onnx", _onnx(path)
    if path.suffix == ".pt2":
        return "program", _program(path)
    if path.suffix == ".pt":
        return "torchscript", _torchscript(path)
    return "safetensors", _safetensors(path, own_class)


def open_generator(path: Path, own_class: str, count: int, seed: int) -> Subject:
    """The generator of a .safetensors, .pt (TorchScript), .pt2 (program) or .onnx file, to draw at most `count` samples
    of `seed`.

    The latents are those of `python -m wgan_dist.sample`, the same for every file. Raises UserError for a file that
    is no such generator.
    """
    if not path.is_file():
        raise UserError(f"ckpt={path}: there is no such file")
    kind, generator = _open(path, own_class)
    about = generator.about
    try:
        latent_dim, channels, size = (int(about[name]) for name in ("latent_dim", "channels", "image_size"))
        z = torch.from_numpy(latents(count, latent_dim, about["latent_distribution"], seed))
        points = about.get("layout") == POINT_LAYOUT
        known = about["weights"] if about["weights"] in KINDS else None
        described = (known, int(about["generator_steps"]), about["data"])
    except (KeyError, ValueError) as error:
        raise UserError(f"ckpt={path}: not a generator of wgan_dist: {error}") from error
    return Subject(
        source=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        kind=kind,
        weights=described[0],
        step=described[1],
        precision=generator.precision,
        data=described[2],
        shape=(channels,) if points else (channels, size, size),
        draw=lambda part: generator.samples(z[part]),
    )


def _common_size(folder: str, cache_dir: Path) -> int:
    """The height and width of all images; raises UserError unless they are square and alike."""
    source = open_source(folder, cache_dir).list_images()
    first: tuple[int, int] | None = None
    for number, name in enumerate(source.names):
        try:
            size = read_image(source, number, lambda picture: picture.size)
        except BadImageError as error:
            raise UserError(f"samples={folder}: {name!r}: {error}") from error
        first = first or size
        if size != first:
            mixed = f"{source.names[0]} is {first[0]}×{first[1]}, {name} is {size[0]}×{size[1]}"
            raise UserError(f"samples={folder}: images of mixed sizes: {mixed}")
    if first is None or first[0] != first[1]:
        raise UserError(f"samples={folder}: images of {first}: expected square ones")
    return first[0]


def open_folder(
    folder: str, background: str, cache_dir: str, channels: int | None = None
) -> tuple[Subject, ImageDataset]:
    """The images of a folder, as they are; `channels` None is grey if all are.

    Raises UserError for images of mixed sizes, such as are not square, and unreadable ones.
    """
    size = _common_size(folder, expand_home(cache_dir, f"cache_dir={cache_dir}"))
    images = open_images((folder,), size, channels, background, False, cache_dir)
    subject = Subject(
        source=images.name,
        sha256=images.fingerprint,
        kind="folder",
        weights=None,
        step=None,
        precision=None,
        data=images.name,
        shape=images.shape,
        draw=lambda part: torch.from_numpy(images.pixels[part].copy()),
    )
    return subject, images
