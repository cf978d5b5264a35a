"""The registry of networks: each name with its class and what it supports. A new network is one file and one line."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from wgan_dist.config.fields import AUTO, unknown_name
from wgan_dist.models import dcgan, resnet, sagan, upsample
from wgan_dist.models.mlp import MLPBatchNormGenerator, MLPCritic, MLPGenerator
from wgan_dist.models.points import PointCritic, PointGenerator
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError


@dataclass(frozen=True)
class Network:
    """An entry of the registry: the class, its default `features`, the norms it supports (default first), and its image
    sizes."""

    build: Callable[..., nn.Module]
    features: int
    norms: tuple[str, ...]
    sizes: Sequence[int]


ANY_SIZE = range(1, 1025)
# Points in the plane are described as images of one pixel with two channels, which no image has.
POINT_SIZE, POINT_CHANNELS = 1, 2
POINTS = (0,)

GENERATORS = {
    "dcgan": Network(dcgan.DCGANGenerator, 64, ("batch", "instance", "none"), dcgan.SIZES),
    "dcgan_original": Network(dcgan.OriginalDCGANGenerator, 64, ("batch", "instance", "none"), dcgan.SIZES),
    "sagan": Network(sagan.SAGANGenerator, 64, ("batch", "instance", "none"), sagan.SIZES),
    "resnet": Network(resnet.ResNetGenerator, 128, ("batch", "instance", "none"), resnet.SIZES),
    "upsample": Network(upsample.UpsampleGenerator, 64, ("batch",), upsample.SIZES),
    "mlp": Network(MLPGenerator, 256, ("none",), ANY_SIZE),
    "mlp_bn": Network(MLPBatchNormGenerator, 128, ("batch",), ANY_SIZE),
    "points": Network(PointGenerator, 512, ("none",), POINTS),
}
CRITICS = {
    "dcgan": Network(dcgan.DCGANCritic, 64, ("instance", "layer", "batch", "none"), dcgan.SIZES),
    "dcgan_original": Network(dcgan.OriginalDCGANCritic, 64, ("batch", "instance", "layer", "none"), dcgan.SIZES),
    "sagan": Network(sagan.SAGANCritic, 64, ("batch", "instance", "layer", "none"), sagan.SIZES),
    "resnet": Network(resnet.ResNetCritic, 128, ("none", "layer", "instance"), resnet.SIZES),
    "upsample": Network(upsample.UpsampleCritic, 64, ("none",), upsample.SIZES),
    "mlp": Network(MLPCritic, 512, ("none",), ANY_SIZE),
    "points": Network(PointCritic, 512, ("none",), POINTS),
}


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
        """Return the shape of one sample: (channels, image_size, image_size), or (2,) for a point."""
        size, channels = self.arguments["image_size"], self.arguments["channels"]
        return (channels,) if channels == POINT_CHANNELS else (channels, size, size)


def _import_class(setting: str, name: str) -> Callable[..., nn.Module]:
    module_name, _, class_name = name.partition(":")
    try:
        network_class = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"{setting}={name}: cannot be imported: {error}") from error
    if not (isinstance(network_class, type) and issubclass(network_class, nn.Module)):
        raise UserError(f"{setting}={name}: expected a class derived from torch.nn.Module")
    return network_class


def is_own_class(name: str) -> bool:
    """Return whether `name` is that of a custom network, module:Class, and not one of the registry."""
    return ":" in name


def _sizes_text(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes)) if len(sizes) < 20 else f"{sizes[0]} to {sizes[-1]}"


def _registered(setting: str, name: str, image_size: int, channels: int, norm: str) -> Network:
    """Return the registry's entry, after checking that it supports the size, the channels and the norm."""
    registry = GENERATORS if setting == "generator" else CRITICS
    if name not in registry:
        raise unknown_name(setting, name, [*registry, "module:Class"])
    network = registry[name]
    data = "points" if channels == POINT_CHANNELS else "images"
    supported = "points" if network.sizes is POINTS else "images"
    if data != supported:
        fitting = [other for other, entry in registry.items() if (entry.sizes is POINTS) == (data == "points")]
        expected = ", ".join([*fitting, "module:Class"])
        raise UserError(f"{setting}={name}: is for {supported}, and the data are {data}; expected {expected}")
    if data == "images" and image_size not in network.sizes:
        raise UserError(f"image_size={image_size}: the {name} {setting} supports {_sizes_text(network.sizes)}")
    if norm != AUTO and norm not in network.norms:
        raise UserError(f"{setting}_norm={norm}: the {name} {setting} supports {', '.join(network.norms)}")
    return network


def _spec(
    setting: str, name: str, features: int | None, norm: str, spectral_norm: bool, arguments: dict[str, Any]
) -> NetworkSpec:
    if is_own_class(name):
        return NetworkSpec(name, arguments | {"features": features, "norm": norm}, spectral_norm)
    network = _registered(setting, name, arguments["image_size"], arguments["channels"], norm)
    chosen = {"features": features or network.features, "norm": network.norms[0] if norm == AUTO else norm}
    return NetworkSpec(name, arguments | chosen, spectral_norm)


def generator_spec(
    name: str,
    latent_dim: int,
    image_size: int,
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
    name: str, image_size: int, channels: int, features: int | None, norm: str, spectral_norm: bool = False
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

    It maps z [n, latent_dim] to images [n, channels, size, size] in [−1, 1], or to points [n, 2]. A custom class is
    called with the keywords latent_dim, image_size, channels, features (None unless set) and norm ("auto" unless set).
    Raises UserError for a custom class that cannot be imported or called.
    """
    return _build("generator", GENERATORS, spec, seed)


def build_critic(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """Build a critic with weights drawn from `seed`.

    It maps images [n, channels, size, size], or points [n, 2], to scores [n]. A custom class is called with the
    keywords image_size, channels, features and norm. Raises UserError as build_generator.
    """
    return _build("critic", CRITICS, spec, seed)
