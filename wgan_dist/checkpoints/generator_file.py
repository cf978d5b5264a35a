"""The portable generator: weights, and a description that rebuilds their network, in one safetensors file."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wgan_dist.checkpoints import safetensors_io
from wgan_dist.checkpoints.checkpoint_folders import checkpoint_folders
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, checkpoint_position, no_checkpoint_yet
from wgan_dist.checkpoints.train_state import MAX_COUNT
from wgan_dist.config import is_run
from wgan_dist.config.config import MAX_CHANNELS, MAX_CLASSES, MAX_FEATURES, MAX_LATENT_DIM
from wgan_dist.config.fields import AUTO
from wgan_dist.config.image_size import ImageSize, parse_image_size
from wgan_dist.config.network_choices import is_own_class
from wgan_dist.config.programs import flag_to_trust
from wgan_dist.models.registry import POINT_SIZE, NetworkSpec, build_generator, generator_spec
from wgan_dist.utils.console import is_utf8
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import MAX_WEIGHT_BYTES, read_file
from wgan_dist.utils.levels import EIGHT_BITS, Levels

FORMAT_VERSION = 1
EMA_FILE, RAW_FILE = "generator.safetensors", "generator_raw.safetensors"
# One key: safetensors writes several in random order, and equal content must be equal bytes.
METADATA_KEY = "wgan_dist"
# `features` may be null for a custom network. A size is a list of height and width.
ARGUMENT_TYPES = {"latent_dim": int, "image_size": list, "channels": int, "features": int, "norm": str}
DESCRIPTION_TYPES = dict.fromkeys(
    ("latent_distribution", "weights", "data", "data_fingerprint", "description", "license", "package_version", "unit"),
    str,
) | dict.fromkeys(("steps", "seen_images", "training_examples"), int)
# The values that are accepted of those of the description that decide what is computed or shown.
DESCRIPTION_CHOICES: dict[str, tuple[Any, ...]] = {
    "latent_distribution": ("normal", "uniform"),
    "weights": ("ema", "raw"),
}
IMAGE_RANGE = [-1.0, 1.0]
# The bytes before the weights; a hundred tensors take some ten thousand.
MAX_HEADER_BYTES = 1 << 23
# The greatest sizes, which are those of the settings: a small file must not make readers allocate gigabytes.
MAX_SIZES = {"latent_dim": MAX_LATENT_DIM, "channels": MAX_CHANNELS, "features": MAX_FEATURES}


@dataclass(frozen=True)
class Description:
    """The metadata of a generator file. Nothing in it depends on where or when the training ran.

    `seen_images` counts the real examples that the critic has seen, each as often as it was drawn, and
    `training_examples` the different ones that they were drawn from. `data` is the name of the training data and
    `data_fingerprint` the SHA-256 of their values. `levels` are the values of the source that images of −1 and 1 stand
    for, in `unit`. `classes` are the names of the classes of a conditional generator, and `class_shares` their shares
    in the training data, which add up to 1.
    """

    network: NetworkSpec
    latent_distribution: str
    weights: str
    steps: int
    seen_images: int
    training_examples: int
    data: str
    data_fingerprint: str
    description: str
    license: str
    package_version: str
    levels: Levels = EIGHT_BITS
    channel_names: tuple[str, ...] = ()
    unit: str = ""
    classes: tuple[str, ...] = ()
    class_shares: tuple[float, ...] = ()

    @property
    def latent_dim(self) -> int:
        return int(self.network.arguments["latent_dim"])

    @property
    def image_size(self) -> ImageSize:
        return ImageSize(*self.network.arguments["image_size"])

    @property
    def channels(self) -> int:
        return int(self.network.arguments["channels"])

    @property
    def makes_points(self) -> bool:
        """Return whether the samples are points [n, d] rather than images."""
        return len(self.network.sample_shape) == 1


@dataclass(frozen=True)
class Artifact:
    """A loaded generator, in evaluation mode, with its description and the SHA-256 of its file."""

    network: nn.Module
    description: Description
    sha256: str


def _checksum(about: dict[str, Any], state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of weights and description."""
    described = json.dumps({name: value for name, value in about.items() if name != "sha256"}, sort_keys=True)
    return hashlib.sha256(f"{described}{safetensors_io.digest(state)}".encode()).hexdigest()


def _value_range(description: Description) -> list[float] | None:
    return None if description.makes_points else IMAGE_RANGE


def to_bytes(state: dict[str, Tensor], description: Description) -> bytes:
    """Return the content of a generator file; the same weights and description give the same bytes."""
    about = dataclasses.asdict(description) | {"format_version": FORMAT_VERSION}
    about["value_range"] = _value_range(description)
    about["sha256"] = _checksum(about, state)
    return safetensors_io.to_bytes(state, {METADATA_KEY: json.dumps(about, sort_keys=True)})


def _latest_raw(folder: Path) -> Path:
    files = [(checkpoint_position(file.parent.name), file) for file in folder.glob(f"{CHECKPOINTS}/*/{RAW_FILE}")]
    # Damaged checkpoints that were set aside have no position.
    return max(((position, file) for position, file in files if position), default=(None, folder / RAW_FILE))[1]


def locate(ckpt: str, weights: str) -> Path:
    """Return the generator file of a run folder, checkpoint folder or file; `weights` is ema or raw, for folders.

    Raises:
        UserError: If there is none.
    """
    path = Path(ckpt)
    if path.is_dir():
        path = path / EMA_FILE if weights == "ema" else _latest_raw(path)
    if not path.is_file():
        if is_run(Path(ckpt)) and not checkpoint_folders(Path(ckpt) / CHECKPOINTS):
            raise UserError(f"ckpt={ckpt}: {no_checkpoint_yet(Path(ckpt))}")
        raise UserError(
            f"ckpt={ckpt}: expected a run folder, a checkpoint folder or a generator.safetensors; there is no {path}"
        )
    return path


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; raise ValueError for a duplicate name, of which readers take different values."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("duplicate name")
    return dict(pairs)


def _parse_about(path: Path, content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    try:
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length:,} bytes")
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_without_duplicates)
        about: dict[str, Any] = json.loads(header["__metadata__"][METADATA_KEY])
        if type(about["format_version"]) is not int or about["format_version"] < 1:
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        instead = f"; python -m export.sampler {path} draws from an ONNX file" if path.suffix == ".onnx" else ""
        raise UserError(f"{path}: not a generator file of wgan_dist, or damaged{instead}") from error
    return about


def _check_choices(description: Description, about: dict[str, Any]) -> None:
    """Raise ValueError for a value that this version does not understand."""
    choices = DESCRIPTION_CHOICES | {"value_range": (_value_range(description),)}
    for name, accepted in choices.items():
        if about[name] not in accepted:
            raise ValueError(f"{name}={about[name]}: expected {' or '.join(map(str, accepted))}")


def _check_types(values: dict[str, Any]) -> None:
    """Raise TypeError or ValueError for texts and counts of another type, or that cannot be."""
    for name, expected in DESCRIPTION_TYPES.items():
        if type(values[name]) is not expected:
            raise TypeError(f"{name} is no {expected.__name__}")
        if expected is int and not 0 <= values[name] <= MAX_COUNT:
            raise ValueError(f"{name} is no count")
        str(values[name]).encode()  # JSON may hold lone surrogates, which cannot be encoded


def _read_spec(values: dict[str, Any]) -> NetworkSpec:
    """Return the specification of a generator; raise TypeError or ValueError for one that no setting gives."""
    spec = NetworkSpec(**values)
    types = {name: type(value) for name, value in spec.arguments.items()}
    typed = (types | {"features": int}) == ARGUMENT_TYPES and isinstance(spec.spectral_norm, bool)
    if not (typed and isinstance(spec.name, str) and type(spec.classes) is int and isinstance(spec.labels, str)):
        raise TypeError("not the name and arguments of a generator")
    if not (spec.classes == 0 or 2 <= spec.classes <= MAX_CLASSES):
        raise ValueError(f"classes={spec.classes}, expected 0, or 2 to {MAX_CLASSES:,}")
    for name, most in MAX_SIZES.items():
        if not 1 <= (spec.arguments[name] or 1) <= most:
            raise TypeError(f"{name}={spec.arguments[name]}, expected 1 to {most:,}")
    sides = spec.arguments["image_size"]
    size = POINT_SIZE if sides == list(POINT_SIZE) else parse_image_size(sides)
    if len(sides) != len(size):
        raise ValueError(f"image_size={sides}: expected height and width")
    return dataclasses.replace(spec, arguments=spec.arguments | {"image_size": size})


def _read_levels(values: dict[str, Any], channels: int) -> Levels:
    """Return levels; raise TypeError or ValueError for ones that no data have."""
    levels = Levels(values["dtype"], tuple(map(float, values["low"])), tuple(map(float, values["high"])))
    levels.check(channels)
    return levels


def _read_channel_names(names: list[str], channels: int) -> tuple[str, ...]:
    if len(names) not in (0, channels) or not all(isinstance(name, str) and is_utf8(name) for name in names):
        raise ValueError(f"channel_names={names}: expected a text for each of {channels} channels")
    return tuple(names)


def _read_classes(names: list[str], shares: list[float], classes: int) -> dict[str, tuple[Any, ...]]:
    """Return the names and shares of classes; raise ValueError for ones that no data have."""
    are_texts = all(isinstance(name, str) and is_utf8(name) for name in names)
    if len(names) != classes or len(set(names)) != classes or not are_texts:
        raise ValueError(f"classes: expected {classes} different texts")
    found = tuple(map(float, shares))
    if len(found) != classes or not all(0.0 <= share <= 1.0 for share in found) or abs(sum(found) - bool(found)) > 1e-6:
        raise ValueError(f"class_shares: expected {classes} shares that add up to 1")
    return {"classes": tuple(names), "class_shares": found}


def _read_description(path: Path, about: dict[str, Any]) -> Description:
    if about["format_version"] > FORMAT_VERSION:
        raise UserError(
            f"{path}: format version {about['format_version']}, written by wgan_dist {about.get('package_version')}; "
            f"this one reads up to {FORMAT_VERSION}"
        )
    try:
        values = {field.name: about[field.name] for field in dataclasses.fields(Description)}
        _check_types(values)
        network = _read_spec(values["network"])
        channels = network.arguments["channels"]
        of_images = {
            "levels": _read_levels(values["levels"], channels),
            "channel_names": _read_channel_names(values["channel_names"], channels),
        }
        of_classes = _read_classes(values["classes"], values["class_shares"], network.classes)
        description = Description(**values | {"network": network} | of_images | of_classes)
        _check_choices(description, about)
        return description
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path}: the description of the generator is damaged: {error}") from error


def _build(path: Path, spec: NetworkSpec, custom_class: str) -> nn.Module:
    """Build the network. A file never chooses code to import: the caller names a custom class again."""
    if is_own_class(spec.name):
        if custom_class != spec.name:
            flag = flag_to_trust("generator", spec.name)
            raise UserError(f"{path}: needs the network {spec.name}; if you trust it: {flag}")
        return build_generator(spec)
    try:
        labels = spec.labels or AUTO
        checked = generator_spec(
            spec.name, **spec.arguments, spectral_norm=spec.spectral_norm, classes=spec.classes, labels=labels
        )
        if checked.labels != spec.labels:
            raise ValueError(f"labels={spec.labels}: expected {checked.labels or 'none'}")
        return build_generator(checked)
    except (
        UserError,
        TypeError,
        ValueError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise UserError(f"{path}: describes a generator that cannot be built: {error}") from error


def _stored_dtype(state: dict[str, Tensor]) -> torch.dtype:
    return next((value.dtype for value in state.values() if value.is_floating_point()), torch.float32)


def _content(path: Path, most: int = MAX_WEIGHT_BYTES) -> bytes:
    """Return the first `most` bytes of a file."""
    try:
        return read_file(path, MAX_WEIGHT_BYTES, most)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def describe(path: Path) -> Description:
    """Return the description of a generator file without reading its weights or verifying its checksum.

    Raises:
        UserError: As `load` does.
    """
    return _read_description(path, _parse_about(path, _content(path, 8 + MAX_HEADER_BYTES)))


def load(path: Path, custom_class: str = "") -> Artifact:
    """Load a generator file; `custom_class` names the module:Class of a network outside this package.

    Raises:
        UserError: For a file that is not a generator file, is damaged, or was written by a newer version.
    """
    content = _content(path)
    about = _parse_about(path, content)
    description = _read_description(path, about)
    state = safetensors_io.from_bytes(content, str(path))
    with torch.device("meta"):  # shapes without memory: a small file can describe a network of terabytes
        safetensors_io.check_fits(_build(path, description.network, custom_class), state, str(path))
    if about.get("sha256") != _checksum(about, state):
        raise UserError(f"{path}: damaged: its content is not what its checksum says")
    network = _build(path, description.network, custom_class).to(_stored_dtype(state))
    safetensors_io.copy_into(network, state, str(path))
    return Artifact(network.eval().requires_grad_(False), description, hashlib.sha256(content).hexdigest())
