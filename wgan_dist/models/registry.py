"""The registry of networks: each name with its class and what it supports.

A new network is one file, one line here, and one in `wgan_dist.config.network_choices`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from wgan_dist.config import network_choices
from wgan_dist.config.fields import AUTO
from wgan_dist.config.image_size import ImageSize
from wgan_dist.config.network_choices import check_network, is_own_class
from wgan_dist.models import dcgan, resnet, sagan, upsample
from wgan_dist.models.mlp import MLPBatchNormGenerator, MLPCritic, MLPGenerator
from wgan_dist.models.points import PointCritic, PointGenerator
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.working_folder import import_named_module


@dataclass(frozen=True)
class Network:
    """An entry of the registry: the class, its default `features`, the norms it supports (default first), and the most
    pixels of an image."""

    build: Callable[..., nn.Module]
    features: int
    norms: tuple[str, ...]
    pixels: int


# Points are described as images of one pixel, which no image has, with a channel for each dimension.
POINT_SIZE = ImageSize(1, 1)

# The classes; `network_choices` has a line for each, with what it supports.
GENERATOR_CLASSES: dict[str, Callable[..., nn.Module]] = {
    "dcgan": dcgan.DCGANGenerator,
    "dcgan_original": dcgan.OriginalDCGANGenerator,
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
    "sagan": sagan.SAGANCritic,
    "resnet": resnet.ResNetCritic,
    "upsample": upsample.UpsampleCritic,
    "mlp": MLPCritic,
    "points": PointCritic,
}
GENERATORS = {name: Network(build, *network_choices.GENERATORS[name]) for name, build in GENERATOR_CLASSES.items()}
CRITICS = {name: Network(build, *network_choices.CRITICS[name]) for name, build in CRITIC_CLASSES.items()}


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that is needed to rebuild a network.

    `name` is a name of the registry or module:Class, and `arguments` are the keywords of the class. `spectral_norm`
    divides the weights of all convolutions and dense layers by their spectral norm.
    """

    name: str
    arguments: dict[str, Any]
    spectral_norm: bool = False

    def __str__(self) -> str:
        """Return the settings as a user writes them: dcgan, channels=3, image_size=64, …"""
        settings = (f"{name}={'auto' if value is None else value}" for name, value in sorted(self.arguments.items()))
        return ", ".join([self.name, *settings])

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
    setting: str, name: str, features: int | None, norm: str, spectral_norm: bool, arguments: dict[str, Any]
) -> NetworkSpec:
    if is_own_class(name):
        return NetworkSpec(name, arguments | {"features": features, "norm": norm}, spectral_norm)
    network = check_network(setting, name, arguments["image_size"], arguments["image_size"] == POINT_SIZE, norm)
    chosen = {"features": features or network.features, "norm": network.norms[0] if norm == AUTO else norm}
    return NetworkSpec(name, arguments | chosen, spectral_norm)


def generator_spec(
    name: str,
    latent_dim: int,
    image_size: ImageSize,
    channels: int,
    features: int | None,
    norm: str,
    spectral_norm: bool = False,
) -> NetworkSpec:
    """Return the specification of a generator; `features` None and `norm` "auto" become the network's defaults.

    Raises UserError for an unknown name, or a size, data or norm that the network does not support.
    """
    arguments = {"latent_dim": latent_dim, "image_size": image_size, "channels": channels}
    return _spec("generator", name, features, norm, spectral_norm, arguments)


def critic_spec(
    name: str, image_size: ImageSize, channels: int, features: int | None, norm: str, spectral_norm: bool = False
) -> NetworkSpec:
    """Return the specification of a critic, as generator_spec."""
    return _spec("critic", name, features, norm, spectral_norm, {"image_size": image_size, "channels": channels})


def _normalise_spectrally(setting: str, name: str, network: nn.Module) -> nn.Module:
    """Divide every weight by a running estimate of its spectral norm (Miyato et al. 2018, algorithm 1)."""
    layers = [module for module in network.modules() if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))]
    if not layers:
        raise UserError(f"spectral_norm: {setting}={name} has no convolution and no dense layer to normalise")
    for layer in layers:
        spectral_norm(layer)
    return network


def _build(setting: str, registry: dict[str, Network], spec: NetworkSpec, seed: int) -> nn.Module:
    build = _import_class(setting, spec.name) if is_own_class(spec.name) else registry[spec.name].build
    # Torch's initialisers draw from the global generator: seed it for them, and restore its state.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng.integer(seed, f"init.{setting}"))
        try:
            network = build(**spec.arguments)
            return _normalise_spectrally(setting, spec.name, network) if spec.spectral_norm else network
        except TypeError as error:
            if not is_own_class(spec.name):
                raise
            raise UserError(f"{setting}={spec.name}: is called with {', '.join(spec.arguments)}: {error}") from error


def build_generator(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """Build a generator with weights drawn from `seed`.

    It maps z [n, latent_dim] to images [n, channels, height, width] in [−1, 1], or to points [n, d]. A custom class is
    called with the keywords latent_dim, image_size (the tuple of height and width), channels, features (None unless
    set) and norm ("auto" unless set). Raises UserError for a custom class that cannot be imported or called.
    """
    return _build("generator", GENERATORS, spec, seed)


def build_critic(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """Build a critic with weights drawn from `seed`.

    It maps images [n, channels, height, width], or points [n, d], to scores [n]. A custom class is called with the
    keywords image_size, channels, features and norm. Raises UserError as build_generator.
    """
    return _build("critic", CRITICS, spec, seed)
