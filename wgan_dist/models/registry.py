"""The registry of networks: each name with its class and what it supports.

A new network is one file, one line here, and one in `wgan_dist.config.network_choices`.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from wgan_dist.config import Config, network_choices
from wgan_dist.config.config import GENERATOR_LABELS
from wgan_dist.config.fields import AUTO
from wgan_dist.config.image_size import ImageSize
from wgan_dist.config.network_choices import check_network, is_own_class
from wgan_dist.models import dcgan, resnet, sagan, upsample
from wgan_dist.models.conditional_critics import CRITIC_METHODS
from wgan_dist.models.conditional_generators import EmbeddingGenerator, embedding_size
from wgan_dist.models.layers import Critic
from wgan_dist.models.lipschitz import LipschitzCritic
from wgan_dist.models.mlp import MLPBatchNormGenerator, MLPCritic, MLPGenerator
from wgan_dist.models.points import PointCritic, PointGenerator
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.working_folder import import_named_module

# How a generator takes labels.
NORM, EMBEDDING = "norm", "embedding"
# Points are described as images of one pixel, which no image has, with a channel for each dimension.
POINT_SIZE = ImageSize(1, 1)

# The classes; `network_choices` has a line for each, with what it supports.
GENERATOR_CLASSES: dict[str, Callable[..., nn.Module]] = {
    "dcgan": dcgan.DCGANGenerator,
    "dcgan_original": dcgan.OriginalDCGANGenerator,
    "dcgan_upsample": dcgan.UpsamplingDCGANGenerator,
    "sagan": sagan.SAGANGenerator,
    "resnet": resnet.ResNetGenerator,
    "upsample": upsample.UpsampleGenerator,
    "mlp": MLPGenerator,
    "mlp_bn": MLPBatchNormGenerator,
    "points": PointGenerator,
}
CRITIC_CLASSES: dict[str, Callable[..., nn.Module]] = {
    "dcgan": dcgan.DCGANCritic,
    "dcgan_original": dcgan.OriginalDCGANCritic,
    "dcgan_minibatch": dcgan.MinibatchDCGANCritic,
    "sagan": sagan.SAGANCritic,
    "resnet": resnet.ResNetCritic,
    "upsample": upsample.UpsampleCritic,
    "mlp": MLPCritic,
    "points": PointCritic,
    network_choices.LIPSCHITZ: LipschitzCritic,
}


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that is needed to rebuild a network.

    `name` is a name of the registry or module:Class, and `arguments` are the keywords of the class. `spectral_norm`
    divides the weights of all convolutions and dense layers by their spectral norm. `classes` is the number of classes,
    0 for a network without labels, and `labels` is how the network takes them, "" for a custom class.
    """

    name: str
    arguments: dict[str, Any]
    spectral_norm: bool = False
    classes: int = 0
    labels: str = ""

    def __str__(self) -> str:
        """Return the settings as a user writes them: dcgan, channels=3, image_size=64, …"""
        settings = (f"{name}={'auto' if value is None else value}" for name, value in sorted(self.arguments.items()))
        classes = [f"classes={self.classes}", *([f"labels={self.labels}"] if self.labels else [])]
        return ", ".join([self.name, *settings, *(classes if self.classes else [])])

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Return the shape of one sample: (channels, height, width), or (d,) for a point of d dimensions."""
        size, channels = self.arguments["image_size"], self.arguments["channels"]
        return (channels,) if size == POINT_SIZE else (channels, *size)


def _import_class(setting: str, name: str) -> Callable[..., nn.Module]:
    module_name, _, class_name = name.partition(":")
    try:
        network_class = getattr(import_named_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"{setting}={name}: cannot be imported: {error}") from error
    if not (isinstance(network_class, type) and issubclass(network_class, nn.Module)):
        raise UserError(f"{setting}={name}: expected a class derived from torch.nn.Module")
    return network_class


def _spec(
    setting: str,
    name: str,
    features: int | None,
    norm: str,
    spectral_norm: bool,
    classes: int,
    labels: str,
    arguments: dict[str, Any],
) -> NetworkSpec:
    if is_own_class(name):
        return NetworkSpec(name, arguments | {"features": features, "norm": norm}, spectral_norm, classes)
    network = check_network(setting, name, arguments["image_size"], arguments["image_size"] == POINT_SIZE, norm)
    chosen = {"features": features or network.features, "norm": network.norms[0] if norm == AUTO else norm}
    return NetworkSpec(name, arguments | chosen, spectral_norm, classes, labels if classes else "")


def _generator_labels(labels: str, norm: str) -> str:
    """Return how a generator takes labels, with auto decided; `norm` is its norm."""
    if labels not in GENERATOR_LABELS:
        raise UserError(f"generator_labels={labels}: expected {', '.join(GENERATOR_LABELS)}")
    if labels == NORM and norm != "batch":
        raise UserError(
            f"generator_labels=norm with generator_norm={norm}: expected batch, or generator_labels=embedding"
        )
    return (NORM if norm == "batch" else EMBEDDING) if labels == AUTO else labels


def generator_spec(
    name: str,
    latent_dim: int,
    image_size: ImageSize,
    channels: int,
    features: int | None,
    norm: str,
    spectral_norm: bool = False,
    classes: int = 0,
    labels: str = AUTO,
) -> NetworkSpec:
    """Return the specification of a generator; `features` None, `norm` and `labels` "auto" become the defaults.

    `classes` is 0 for a generator without labels; `labels` is norm, embedding or auto.

    Raises UserError for an unknown name, or a size, data or norm that the network does not support.
    """
    arguments = {"latent_dim": latent_dim, "image_size": image_size, "channels": channels}
    spec = _spec("generator", name, features, norm, spectral_norm, classes, labels, arguments)
    decided = _generator_labels(labels, spec.arguments["norm"]) if spec.labels else ""
    return dataclasses.replace(spec, labels=decided)


def critic_spec(
    name: str,
    image_size: ImageSize,
    channels: int,
    features: int | None,
    norm: str,
    spectral_norm: bool = False,
    classes: int = 0,
    labels: str = Config.critic_labels,
) -> NetworkSpec:
    """Return the specification of a critic, as generator_spec; `labels` is projection, acgan or concat."""
    arguments = {"image_size": image_size, "channels": channels}
    return _spec("critic", name, features, norm, spectral_norm, classes, labels, arguments)


def _normalise_spectrally(setting: str, name: str, network: nn.Module) -> nn.Module:
    """Divide every weight by a running estimate of its spectral norm (Miyato et al. 2018, algorithm 1)."""
    layers = [module for module in network.modules() if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))]
    if not layers:
        raise UserError(f"spectral_norm: {setting}={name} has no convolution and no dense layer to normalise")
    for layer in layers:
        spectral_norm(layer)
    return network


def _generator_class(spec: NetworkSpec) -> Callable[..., nn.Module]:
    """Return the function that makes a generator of this package, which takes labels as the specification says."""
    build = GENERATOR_CLASSES[spec.name]

    def with_embedding(latent_dim: int, **arguments: Any) -> nn.Module:
        inner = build(latent_dim=latent_dim + embedding_size(spec.classes), **arguments)
        return EmbeddingGenerator(inner, spec.classes)

    if not spec.classes:
        return build
    return with_embedding if spec.labels == EMBEDDING else functools.partial(build, classes=spec.classes)


def _critic_class(spec: NetworkSpec) -> Callable[..., nn.Module]:
    """Return the function that makes a critic of this package, which takes labels as the specification says."""
    build = CRITIC_CLASSES[spec.name]
    if not spec.classes:
        return build
    method = CRITIC_METHODS[spec.labels]

    def wrapped(image_size: ImageSize, channels: int, **arguments: Any) -> nn.Module:
        critic = build(image_size=image_size, channels=channels + method.added_channels, **arguments)
        assert isinstance(critic, Critic)
        return method.wrap(critic, spec.classes, image_size)

    return wrapped


def _custom_class(setting: str, spec: NetworkSpec) -> Callable[..., nn.Module]:
    build = _import_class(setting, spec.name)
    return functools.partial(build, classes=spec.classes) if spec.classes else build


def _build(setting: str, build: Callable[..., nn.Module], spec: NetworkSpec, seed: int) -> nn.Module:
    # Torch's initialisers draw from the global generator: seed it for them, and restore its state.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng.integer(seed, f"init.{setting}"))
        try:
            network = build(**spec.arguments)
            return _normalise_spectrally(setting, spec.name, network) if spec.spectral_norm else network
        except TypeError as error:
            if not is_own_class(spec.name):
                raise
            keywords = ", ".join([*spec.arguments, *(["classes"] if spec.classes else [])])
            raise UserError(f"{setting}={spec.name}: is called with {keywords}: {error}") from error


def build_generator(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """Build a generator with weights drawn from `seed`.

    It maps z [n, latent_dim], and with classes labels int64 [n], to images [n, channels, height, width] in [−1, 1], or
    to points [n, d]. A custom class is called with the keywords latent_dim, image_size (the tuple of height and width),
    channels, features (None unless set), norm ("auto" unless set) and, with classes, their number `classes`. Raises
    UserError for a custom class that cannot be imported or called.
    """
    build = _custom_class("generator", spec) if is_own_class(spec.name) else _generator_class(spec)
    return _build("generator", build, spec, seed)


def build_critic(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """Build a critic with weights drawn from `seed`.

    It maps images [n, channels, height, width], or points [n, d], and with classes labels int64 [n], to scores [n], or
    to `ClassifiedScores`. A custom class is called with the keywords image_size, channels, features, norm and, with
    classes, `classes`. Raises UserError as build_generator.
    """
    build = _custom_class("critic", spec) if is_own_class(spec.name) else _critic_class(spec)
    return _build("critic", build, spec, seed)
