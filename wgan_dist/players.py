"""Settings and data → the two networks, wrapped for distribution, with their objectives and optimizers."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from wgan_dist import distributed, objectives
from wgan_dist.config import Config
from wgan_dist.ema import AveragedGenerator
from wgan_dist.errors import UserError
from wgan_dist.models import NetworkSpec, build_critic, build_generator
from wgan_dist.networks import network_specs
from wgan_dist.step import Engine, Player

DTYPES = {"float32": torch.float32, "float64": torch.float64}
RMSPROP_SMOOTHING = 0.99


@dataclass(frozen=True)
class Players:
    """Both players of a run, the averaged generator, and the generator's description."""

    generator: Player
    critic: Player
    average: AveragedGenerator
    spec: NetworkSpec


def make_engine(accelerator: Accelerator) -> Engine:
    """What running under `accelerator` changes about a step."""
    scaler, one = accelerator.scaler, torch.ones((), device=accelerator.device)
    return Engine(
        backward=accelerator.backward,
        no_sync=accelerator.no_sync,
        autocast=accelerator.autocast,
        scale=lambda: None if scaler is None else scaler.scale(one),
    )


def _check_compiler(device: torch.device) -> None:
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise UserError("compile=true: needs a C++ compiler, g++ or clang++, and there is none; without: compile=false")


def _expect(setting: str, name: str, network: nn.Module, given: Tensor, shape: tuple[int, ...]) -> None:
    was_training = network.training
    try:
        found = tuple(network.eval()(given).shape)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{setting}={name}: fails on an input of {list(given.shape)}: {error}") from error
    if found != shape:
        raise UserError(f"{setting}={name}: gives {list(found)} for {list(given.shape)}: expected {list(shape)}")
    network.train(was_training)


@torch.no_grad()
def _try_networks(config: Config, generator: nn.Module, critic: nn.Module, samples: Tensor) -> None:
    """Two samples through both: a network of one's own may not fit, and should not fail in the first step."""
    if config.penalty in objectives.PENALTIES and objectives.mixes_samples(critic):
        raise UserError(
            f"critic={config.critic}: BatchNorm mixes samples, and penalty={config.penalty} is of each sample's "
            "own gradient"
        )
    _expect("generator", config.generator, generator, samples.new_zeros(2, config.latent_dim), tuple(samples.shape))
    _expect("critic", config.critic, critic, samples, (2,))


def _make_optimizer(config: Config, parameters: Iterator[nn.Parameter], lr: float) -> Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr, betas=config.betas, eps=config.adam_eps, fused=True)
    return torch.optim.RMSprop(parameters, lr, alpha=RMSPROP_SMOOTHING)


def _make_player(
    config: Config, accelerator: Accelerator, network: nn.Module, objective: nn.Module, lr: float
) -> Player:
    optimizer = _make_optimizer(config, network.parameters(), lr)
    if config.compile:
        objective = torch.compile(objective, fullgraph=True)  # type: ignore[assignment]
    return Player(network, *accelerator.prepare(objective, optimizer))


def make_players(config: Config, accelerator: Accelerator, sample_shape: tuple[int, ...]) -> Players:
    """The players for samples of `sample_shape`, with weights drawn from the seed.

    Raises UserError for networks that do not fit the samples, each other or the constraint, and without a compiler
    where one is needed.
    """
    if config.compile:
        _check_compiler(accelerator.device)
    place = {"device": accelerator.device, "dtype": DTYPES[config.dtype]}
    spec, critic_spec = network_specs(config, sample_shape[0])
    generator, critic = (
        build_generator(spec, config.seed).to(**place),
        build_critic(critic_spec, config.seed).to(**place),
    )
    _try_networks(config, generator, critic, torch.zeros(2, *sample_shape, **place))
    generator, critic = map(distributed.synchronise_batchnorm, (generator, critic))
    loss, penalty = objectives.LOSSES[config.loss], objectives.PENALTIES.get(config.penalty)
    critic_objective = objectives.CriticObjective(critic, loss, penalty, config.gp_weight)
    generator_objective = objectives.GeneratorObjective(generator, objectives.frozen(critic), loss)
    return Players(
        generator=_make_player(config, accelerator, generator, generator_objective, config.generator_lr),
        critic=_make_player(config, accelerator, critic, critic_objective, config.critic_lr),
        average=AveragedGenerator(generator, config.ema_decay),
        spec=spec,
    )
