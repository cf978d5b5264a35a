"""The portable generator: weights, what rebuilds them, and what describes them, in one safetensors file."""

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from wgan_dist.checkpoints import safetensors_io
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, checkpoint_position
from wgan_dist.models.registry import NetworkSpec, build_generator, generator_spec, is_own_class
from wgan_dist.utils.errors import UserError

# 2 says whether a network's weights are spectrally normalised; 1 had none that were.
FORMAT_VERSION = 2
# One key: safetensors writes several in random order, and equal content must be equal bytes.
METADATA_KEY = "wgan_dist"
# As long as a checksum.
UNSEALED = "-" * 64
EMA_FILE, RAW_FILE = "generator.safetensors", "generator_raw.safetensors"
# features may be null for a class of one's own.
ARGUMENT_TYPES = {"latent_dim": int, "image_size": int, "channels": int, "features": int, "norm": str}
DESCRIPTION_TYPES = dict.fromkeys(
    ("latent_distribution", "weights", "data", "description", "license", "package_version"), str
) | dict.fromkeys(("steps", "seen_images"), int)
IMAGE_RANGE = [-1.0, 1.0]


@dataclass(frozen=True)
class Description:
    """What a generator file says about itself. Nothing in it depends on where or when the training ran."""

    network: NetworkSpec
    latent_distribution: str
    weights: str
    steps: int
    seen_images: int
    data: str
    description: str
    license: str
    package_version: str

    @property
    def latent_dim(self) -> int:
        return int(self.network.arguments["latent_dim"])

    @property
    def image_size(self) -> int:
        return int(self.network.arguments["image_size"])

    @property
    def channels(self) -> int:
        return int(self.network.arguments["channels"])

    @property
    def makes_points(self) -> bool:
        """Points [n, 2] rather than images."""
        return len(self.network.sample_shape) == 1


@dataclass(frozen=True)
class Artifact:
    """A loaded generator, in evaluation mode, with its description and the SHA-256 of its file."""

    network: nn.Module
    description: Description
    sha256: str


def _digest(about: dict[str, Any], of_weights: str) -> str:
    """The SHA-256 of everything a generator file says, its own value apart."""
    described = json.dumps({name: value for name, value in about.items() if name != "sha256"}, sort_keys=True)
    return hashlib.sha256(f"{described}{of_weights}".encode()).hexdigest()


def pieces(state: dict[str, Tensor], description: Description) -> Iterator[bytes | memoryview]:
    """The file's content, piece by piece, without the checksum, which `seal` fills in."""
    about = dataclasses.asdict(description) | {"format_version": FORMAT_VERSION}
    about["value_range"] = None if description.makes_points else IMAGE_RANGE
    about["sha256"] = UNSEALED
    return safetensors_io.pieces(state, {METADATA_KEY: json.dumps(about, sort_keys=True)})


def seal(file: BinaryIO) -> None:
    """Fill in the checksum of a file that `pieces` gave: it takes longer than to write it."""
    about = json.loads(safetensors_io.header(file)["__metadata__"][METADATA_KEY])
    end = file.tell()
    checksum = _digest(about, safetensors_io.stored_digest(file))
    file.seek(0)
    # The description is JSON within JSON: within a text of it quotes look otherwise.
    place = b'\\"sha256\\": \\"'
    file.seek(file.read(end).index(place + UNSEALED.encode()) + len(place))
    file.write(checksum.encode())


def to_bytes(state: dict[str, Tensor], description: Description) -> bytes:
    """The file's content; the same weights and description give the same bytes."""
    content = io.BytesIO(b"".join(pieces(state, description)))
    seal(content)
    return content.getvalue()


def _latest_raw(folder: Path) -> Path:
    places = [(checkpoint_position(file.parent.name), file) for file in folder.glob(f"{CHECKPOINTS}/*/{RAW_FILE}")]
    # Damaged checkpoints that were set aside have no position.
    return max(((place, file) for place, file in places if place), default=(None, folder / RAW_FILE))[1]


def locate(ckpt: str, kind: str) -> Path:
    """The generator file that `ckpt` (run folder, checkpoint folder or file) stands for; kind: ema or raw.

    Raises UserError when there is none.
    """
    path = Path(ckpt)
    if path.is_dir():
        path = path / EMA_FILE if kind == "ema" else _latest_raw(path)
    if not path.is_file():
        raise UserError(
            f"ckpt={ckpt}: expected a run folder, a checkpoint folder or a generator.safetensors; there is no {path}"
        )
    return path


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises ValueError for a name that is given twice: readers differ in which they take."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name is given twice")
    return dict(pairs)


def _parse_about(path: Path, content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_once)
        about: dict[str, Any] = json.loads(header["__metadata__"][METADATA_KEY])
        if type(about["format_version"]) is not int or about["format_version"] < 1:
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        instead = f"; python -m export.sampler {path} draws from an ONNX file" if path.suffix == ".onnx" else ""
        raise UserError(f"{path}: not a generator file of wgan_dist, or damaged{instead}") from error
    return about


def _read_description(path: Path, about: dict[str, Any]) -> Description:
    if about["format_version"] > FORMAT_VERSION:
        raise UserError(
            f"{path}: format version {about['format_version']}, written by wgan_dist {about.get('package_version')}; "
            f"this one reads up to {FORMAT_VERSION}"
        )
    try:
        values = {field.name: about[field.name] for field in dataclasses.fields(Description)}
        spec = NetworkSpec(**values["network"])
        types = {name: type(value) for name, value in spec.arguments.items()}
        typed = (types | {"features": int}) == ARGUMENT_TYPES and isinstance(spec.spectral_norm, bool)
        if not (typed and isinstance(spec.name, str)):
            raise TypeError("not the name and arguments of a generator")
        for name, kind in DESCRIPTION_TYPES.items():
            if type(values[name]) is not kind:
                raise TypeError(f"{name} is no {kind.__name__}")
            str(values[name]).encode()  # JSON may hold halves of letters, which no file and no terminal takes
        return Description(**values | {"network": spec})
    except (KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise UserError(f"{path}: the description of the generator is damaged: {error}") from error


def _build(path: Path, spec: NetworkSpec, own_class: str) -> nn.Module:
    """The network. A file never chooses code to import: a class of one's own is named again by who loads it."""
    if is_own_class(spec.name):
        if own_class != spec.name:
            raise UserError(f"{path}: needs the network {spec.name}; if you trust it: --generator={spec.name}")
        return build_generator(spec)
    try:
        return build_generator(generator_spec(spec.name, **spec.arguments, spectral_norm=spec.spectral_norm))
    except (UserError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # as no generator has them
        raise UserError(f"{path}: describes a generator that cannot be built: {error}") from error


def _stored_dtype(state: dict[str, Tensor]) -> torch.dtype:
    return next((value.dtype for value in state.values() if value.is_floating_point()), torch.float32)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def describe(path: Path) -> Description:
    """What a generator file says about itself, for people to read: neither its weights nor its checksum are looked at.

    Raises UserError as `load` does.
    """
    return _read_description(path, _parse_about(path, _content(path)))


def load(path: Path, own_class: str = "") -> Artifact:
    """Read a generator file; `own_class` names the module:Class of a network that is not part of this package.

    Raises UserError for a file that is not one, is damaged, or was written by a newer version.
    """
    content = _content(path)
    about = _parse_about(path, content)
    description = _read_description(path, about)
    state = safetensors_io.from_bytes(content, str(path))
    with torch.device("meta"):  # shapes without memory: a small file may describe a network of terabytes
        safetensors_io.check_fits(_build(path, description.network, own_class), state, str(path))
    if about.get("sha256") != _digest(about, safetensors_io.digest(state)):
        raise UserError(f"{path}: damaged: its content is not what its checksum says")
    network = _build(path, description.network, own_class).to(_stored_dtype(state))
    safetensors_io.copy_into(network, state, str(path))
    return Artifact(network.eval().requires_grad_(False), description, hashlib.sha256(content).hexdigest())
