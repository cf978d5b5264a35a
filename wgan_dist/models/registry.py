"""The registry of networks: a name → what builds it and what it can make. A new network is one file and one line."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from wgan_dist.config.fields import AUTO, unknown_name
from wgan_dist.models import dcgan, resnet, upsample
from wgan_dist.models.mlp import MLPBatchNormGenerator, MLPCritic, MLPGenerator
from wgan_dist.models.points import PointCritic, PointGenerator
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError


@dataclass(frozen=True)
class Network:
    """How to build a network, its usual width, the norms it takes (the first is its own) and its image sizes."""

    build: Callable[..., nn.Module]
    features: int
    norms: tuple[str, ...]
    sizes: Sequence[int]


ANY_SIZE = range(1, 1025)
# Points in the plane are described as images are: of one place, with two channels, which no image has.
POINT_SIZE, POINT_CHANNELS = 1, 2
POINTS = (0,)

GENERATORS = {
    "dcgan": Network(dcgan.DCGANGenerator, 64, ("batch", "instance", "none"), dcgan.SIZES),
    "dcgan_original": Network(dcgan.OriginalDCGANGenerator, 64, ("batch", "instance", "none"), dcgan.SIZES),
    "sagan": Network(dcgan.SAGANGenerator, 64, ("batch", "instance", "none"), dcgan.ATTENTIVE_SIZES),
    "resnet": Network(resnet.ResNetGenerator, 128, ("batch", "instance", "none"), resnet.SIZES),
    "upsample": Network(upsample.UpsampleGenerator, 64, ("batch",), upsample.SIZES),
    "mlp": Network(MLPGenerator, 256, ("none",), ANY_SIZE),
    "mlp_bn": Network(MLPBatchNormGenerator, 128, ("batch",), ANY_SIZE),
    "points": Network(PointGenerator, 512, ("none",), POINTS),
}
CRITICS = {
    "dcgan": Network(dcgan.DCGANCritic, 64, ("instance", "layer", "batch", "none"), dcgan.SIZES),
    "dcgan_original": Network(dcgan.OriginalDCGANCritic, 64, ("batch", "instance", "layer", "none"), dcgan.SIZES),
    "sagan": Network(dcgan.SAGANCritic, 64, ("batch", "instance", "layer", "none"), dcgan.ATTENTIVE_SIZES),
    "resnet": Network(resnet.ResNetCritic, 128, ("none", "layer", "instance"), resnet.SIZES),
    "upsample": Network(upsample.UpsampleCritic, 64, ("none",), upsample.SIZES),
    "mlp": Network(MLPCritic, 512, ("none",), ANY_SIZE),
    "points": Network(PointCritic, 512, ("none",), POINTS),
}


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that rebuilds a network: its name (or module:Class), the plain arguments of its class, and whether
    every weight of its convolutions and dense layers is divided by its spectral norm."""

    name: str
    arguments: dict[str, Any]
    spectral_norm: bool = False

    def __str__(self) -> str:
        """As a person would set it: dcgan, image_size=64, channels=3, …"""
        set_here = (f"{name}={'auto' if value is None else value}" for name, value in sorted(self.arguments.items()))
        return ", ".join([self.name, *set_here])

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one sample: (channels, image_size, image_size), or (2,) for a point."""
        size, channels = self.arguments["image_size"], self.arguments["channels"]
        return (channels,) if channels == POINT_CHANNELS else (channels, size, size)


def _import_class(setting: str, name: str) -> Callable[..., nn.Module]:
    module_name, _, class_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UserError(f"{setting}={name}: cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UserError(f"{setting}={name}: expected a class derived from torch.nn.Module")
    return found


def is_own_class(name: str) -> bool:
    """Whether a network is named as module:Class rather than by a name of the registry."""
    return ":" in name


def _sizes_text(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes)) if len(sizes) < 20 else f"{sizes[0]} to {sizes[-1]}"


def _registered(setting: str, name: str, image_size: int, channels: int, norm: str) -> Network:
    """The registry's entry, after checking that it can make what is asked for."""
    known = GENERATORS if setting == "generator" else CRITICS
    if name not in known:
        raise unknown_name(setting, name, [*known, "module:Class"])
    network = known[name]
    wanted, made = ("points" if each else "images" for each in (channels == POINT_CHANNELS, network.sizes is POINTS))
    if wanted != made:
        fitting = [each for each in known if (known[each].sizes is POINTS) == (wanted == "points")]
        expected = ", ".join([*fitting, "module:Class"])
        raise UserError(f"{setting}={name}: is for {made}, and the data are {wanted}; expected {expected}")
    if made == "images" and image_size not in network.sizes:
        raise UserError(f"image_size={image_size}: the {name} {setting} makes {_sizes_text(network.sizes)}")
    if norm != AUTO and norm not in network.norms:
        raise UserError(f"{setting}_norm={norm}: the {name} {setting} takes {', '.join(network.norms)}")
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
    """The description of a generator; `features` None and `norm` auto become the network's own.

    Raises UserError for an unknown name, or a size or norm that the network cannot make.
    """
    arguments = {"latent_dim": latent_dim, "image_size": image_size, "channels": channels}
    return _spec("generator", name, features, norm, spectral_norm, arguments)


def critic_spec(
    name: str, image_size: int, channels: int, features: int | None, norm: str, spectral_norm: bool = False
) -> NetworkSpec:
    """The description of a critic; as generator_spec."""
    return _spec("critic", name, features, norm, spectral_norm, {"image_size": image_size, "channels": channels})


def _normalise_spectrally(setting: str, name: str, network: nn.Module) -> nn.Module:
    """Divide every weight by a running estimate of its spectral norm (Miyato et al. 2018, algorithm 1)."""
    layers = [each for each in network.modules() if isinstance(each, (nn.modules.conv._ConvNd, nn.Linear))]
    if not layers:
        raise UserError(f"spectral_norm: {setting}={name} has no convolution and no dense layer to normalise")
    for layer in layers:
        spectral_norm(layer)
    return network


def _build(setting: str, known: dict[str, Network], spec: NetworkSpec, seed: int) -> nn.Module:
    build = _import_class(setting, spec.name) if is_own_class(spec.name) else known[spec.name].build
    # torch's initialisers draw from the global generator: lend it a state of ours, and give it back.
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
    """A generator: z [n, latent_dim] → images [n, channels, size, size] in [−1, 1], or points [n, 2]; weights drawn
    from `seed`.

    A class of one's own is called with the keywords latent_dim, image_size, channels, features (None unless
    set) and norm ("auto" unless set).
    """
    return _build("generator", GENERATORS, spec, seed)


def build_critic(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """A critic: images [n, channels, size, size], or points [n, 2] → scores [n]; weights drawn from `seed`.

    A class of one's own is called with the keywords image_size, channels, features and norm.
    """
    return _build("critic", CRITICS, spec, seed)
