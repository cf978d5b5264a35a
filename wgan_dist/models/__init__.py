"""The registry of networks: a name → what builds it and what it can make. A new network is one file and one line."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wgan_dist import noise
from wgan_dist.errors import UserError
from wgan_dist.models.dcgan import SIZES, DCGANCritic, DCGANGenerator
from wgan_dist.models.mlp import MLPBatchNormGenerator, MLPCritic, MLPGenerator
from wgan_dist.settings import AUTO, unknown_name


@dataclass(frozen=True)
class Network:
    """How to build a network, its usual width, the norms it takes (the first is its own) and its image sizes."""

    build: Callable[..., nn.Module]
    features: int
    norms: tuple[str, ...]
    sizes: Sequence[int]


ANY_SIZE = range(1, 1025)

GENERATORS = {
    "dcgan": Network(DCGANGenerator, 64, ("batch", "instance", "none"), SIZES),
    "mlp": Network(MLPGenerator, 256, ("none",), ANY_SIZE),
    "mlp_bn": Network(MLPBatchNormGenerator, 128, ("batch",), ANY_SIZE),
}
CRITICS = {
    "dcgan": Network(DCGANCritic, 64, ("instance", "layer", "none"), SIZES),
    "mlp": Network(MLPCritic, 512, ("none",), ANY_SIZE),
}


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that rebuilds a network: its name (or module:Class) and the plain arguments of its class."""

    name: str
    arguments: dict[str, Any]


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


def _registered(setting: str, name: str, image_size: int, norm: str) -> Network:
    """The registry's entry, after checking that it can make what is asked for."""
    known = GENERATORS if setting == "generator" else CRITICS
    if name not in known:
        raise unknown_name(setting, name, [*known, "module:Class"])
    network = known[name]
    if image_size not in network.sizes:
        raise UserError(f"image_size={image_size}: the {name} {setting} makes {_sizes_text(network.sizes)}")
    if norm != AUTO and norm not in network.norms:
        raise UserError(f"{setting}_norm={norm}: the {name} {setting} takes {', '.join(network.norms)}")
    return network


def _spec(setting: str, name: str, features: int | None, norm: str, arguments: dict[str, Any]) -> NetworkSpec:
    if is_own_class(name):
        return NetworkSpec(name, arguments | {"features": features, "norm": norm})
    network = _registered(setting, name, arguments["image_size"], norm)
    chosen = {"features": features or network.features, "norm": network.norms[0] if norm == AUTO else norm}
    return NetworkSpec(name, arguments | chosen)


def generator_spec(
    name: str, latent_dim: int, image_size: int, channels: int, features: int | None, norm: str
) -> NetworkSpec:
    """The description of a generator; `features` None and `norm` auto become the network's own.

    Raises UserError for an unknown name, or a size or norm that the network cannot make.
    """
    arguments = {"latent_dim": latent_dim, "image_size": image_size, "channels": channels}
    return _spec("generator", name, features, norm, arguments)


def critic_spec(name: str, image_size: int, channels: int, features: int | None, norm: str) -> NetworkSpec:
    """The description of a critic; as generator_spec."""
    return _spec("critic", name, features, norm, {"image_size": image_size, "channels": channels})


def _build(setting: str, known: dict[str, Network], spec: NetworkSpec, seed: int) -> nn.Module:
    build = _import_class(setting, spec.name) if is_own_class(spec.name) else known[spec.name].build
    # torch's initialisers draw from the global generator: lend it a state of ours, and give it back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(noise.integer(seed, f"init.{setting}"))
        try:
            return build(**spec.arguments)
        except TypeError as error:
            if not is_own_class(spec.name):
                raise
            raise UserError(f"{setting}={spec.name}: is called with {', '.join(spec.arguments)}: {error}") from error


def build_generator(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """A generator: z [n, latent_dim] → images [n, channels, size, size] in [−1, 1]; weights drawn from `seed`.

    A class of one's own is called with the keywords latent_dim, image_size, channels, features (None unless
    set) and norm ("auto" unless set).
    """
    return _build("generator", GENERATORS, spec, seed)


def build_critic(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """A critic: images [n, channels, size, size] → scores [n]; weights drawn from `seed`.

    A class of one's own is called with the keywords image_size, channels, features and norm.
    """
    return _build("critic", CRITICS, spec, seed)
