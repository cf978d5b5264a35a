"""The settings of runs on the null CUDA device: small ones of every network, norm and precision, and full ones."""

import itertools
from collections.abc import Iterator, Mapping

from wgan_dist.config.config import PENALTIES
from wgan_dist.config.network_choices import CRITICS, GENERATORS, LIPSCHITZ

Settings = dict[str, str]

SMALL = {
    "image_size": "32",
    "channels": "1",
    "generator_features": "4",
    "critic_features": "4",
    "latent_dim": "8",
    "batch_size": "16",
}
# What critics need besides: of a batch of 32, each of eight processes has one group that the critic compares.
OF_CRITICS = {"points": {"data": "8gaussians"}, "dcgan_minibatch": {"batch_size": "32"}}
# A constraint of the critic and what goes with it.
CONSTRAINTS: Mapping[str, Settings] = {penalty: {"penalty": penalty} for penalty in PENALTIES} | {
    "clip": {"penalty": "clip", "optimizer": "rmsprop"},
    "none": {"penalty": "none", "loss": "bce"},
    "spectral": {"penalty": "none", "loss": "hinge", "spectral_norm": "both", "critic_norm": "none"},
    LIPSCHITZ: {"penalty": "none", "loss": "wasserstein"},
}
GRADIENT_PENALTIES = ("gp", "lp", "r1", "r1r2", "dragan")
PRECISIONS: Mapping[str, Settings] = {
    "float32": {},
    "bf16": {"mixed_precision": "bf16"},
    "fp16": {"mixed_precision": "fp16"},
    "float64": {"dtype": "float64"},
}
# Deterministically, torch raises an error for an operation that has no deterministic kernel.
MODES = dict(PRECISIONS) | {"deterministic": {"deterministic": "true"}}

# The sizes of images, and of latents where the textbook has others.
FULL_SIZES: dict[str, Settings] = {
    "dcgan": {"image_size": "64", "channels": "3", "latent_dim": "100"},
    "dcgan_original": {"image_size": "64", "channels": "3", "latent_dim": "100"},
    "dcgan_upsample": {"image_size": "32", "channels": "1"},
    "sagan": {"image_size": "64", "channels": "3"},
    "resnet": {"image_size": "32", "channels": "3"},
    "upsample": {"image_size": "28", "channels": "1"},
    "mlp": {"image_size": "28", "channels": "1"},
    "mlp_bn": {"image_size": "28", "channels": "1"},
    "points": {"data": "8gaussians"},
}


def critic_of(generator: str) -> str:
    """Return the critic of a generator's family."""
    return {"mlp_bn": "mlp", "dcgan_upsample": "dcgan_minibatch"}.get(generator, generator)


def networks() -> dict[str, Settings]:
    """Return every generator with every norm, and every critic with every norm, beside the other of its family."""
    found: dict[str, Settings] = {}
    for generator, entry in GENERATORS.items():
        critic = critic_of(generator)
        pair = SMALL | {"generator": generator, "critic": critic} | OF_CRITICS.get(critic, {})
        plain = "instance" if "instance" in CRITICS[critic].norms else "none"
        for norm in entry.norms:
            found[f"{generator} {norm}, {critic} {plain}"] = pair | {"generator_norm": norm, "critic_norm": plain}
        for norm in CRITICS[critic].norms:
            name = f"{generator} {entry.norms[0]}, {critic} {norm}"
            found[name] = pair | {"generator_norm": entry.norms[0], "critic_norm": norm}
    for generator in ("dcgan", "points"):  # the critic belongs to no family
        pair = SMALL | OF_CRITICS.get(generator, {}) | {"generator": generator, "critic": LIPSCHITZ}
        found[f"{generator}, {LIPSCHITZ}"] = pair | {"critic_norm": "none"}
    return found


def _is_accepted(settings: Settings) -> bool:
    """Return whether the package takes this critic and this norm of it with this constraint."""
    bounds_itself = settings["penalty"] == "none" and settings.get("loss") == "wasserstein"
    if bounds_itself or settings["critic"] == LIPSCHITZ:
        return bounds_itself and settings["critic"] == LIPSCHITZ
    return not (settings["critic_norm"] == "batch" and settings["penalty"] in GRADIENT_PENALTIES)


def all_cases() -> dict[str, Settings]:
    """Return every network with every norm, constraint and mode that go together."""
    products = itertools.product(networks().items(), CONSTRAINTS.items(), MODES.items())
    cases = {
        f"{network}, {constraint}, {mode}": settings | constrained | computed
        for (network, settings), (constraint, constrained), (mode, computed) in products
    }
    return {name: settings for name, settings in cases.items() if _is_accepted(settings)}


def covering_cases() -> dict[str, Settings]:
    """Return few cases that have each network with each norm, each constraint and each mode."""
    constraints, modes = itertools.cycle(CONSTRAINTS.items()), itertools.cycle(MODES.items())
    return dict(_covering(constraints, modes))


def _covering(
    constraints: Iterator[tuple[str, Settings]], modes: Iterator[tuple[str, Settings]]
) -> Iterator[tuple[str, Settings]]:
    for network, settings in networks().items():
        mode, computed = next(modes)
        constraint, constrained = next(constraints)
        while not _is_accepted(settings | constrained):
            constraint, constrained = next(constraints)
        yield f"{network}, {constraint}, {mode}", settings | constrained | computed


def full_size(network: str, precision: str) -> Settings:
    """Return a generator and the critic of its family with the default features, batch size and penalty."""
    critic = critic_of(network)
    # A gradient penalty takes no BatchNorm.
    norm = {"critic_norm": "instance"} if CRITICS[critic].norms[0] == "batch" else {}
    return {"generator": network, "critic": critic} | FULL_SIZES[network] | PRECISIONS[precision] | norm
