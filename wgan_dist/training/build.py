"""Settings and data → the two networks, wrapped for distribution, with their objectives and optimizers."""

import os
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from wgan_dist import distributed
from wgan_dist.config import Config
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.losses.modules import CriticLoss, GeneratorLoss, Metrics, detached_critic
from wgan_dist.models.fast_layers import use_fast_ops, without_second_derivatives
from wgan_dist.models.from_config import network_specs
from wgan_dist.models.layers import has_batchnorm
from wgan_dist.models.registry import NetworkSpec, build_critic, build_generator, is_own_class
from wgan_dist.ops import double_backward
from wgan_dist.training.ema import AveragedGenerator
from wgan_dist.training.grad_scaler import GradScaler
from wgan_dist.training.optimizers import Adam, RMSprop
from wgan_dist.training.steps import Engine, TrainableNetwork
from wgan_dist.utils.errors import UserError

DTYPES = {"float32": torch.float32, "float64": torch.float64}
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
RMSPROP_SMOOTHING = 0.99


@dataclass(frozen=True)
class GAN:
    """Both players of a run, the averaged generator, and the generator's description."""

    generator: TrainableNetwork
    critic: TrainableNetwork
    average: AveragedGenerator
    spec: NetworkSpec


def make_engine(config: Config, accelerator: Accelerator) -> Engine:
    """What running under `accelerator`, and in the precision of `config`, changes about a step."""
    half = HALVES.get(config.mixed_precision)
    return Engine(
        backward=accelerator.backward,
        no_sync=accelerator.no_sync,
        autocast=lambda: torch.autocast(accelerator.device.type, half) if half else nullcontext(),
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


def _check_norms(config: Config, generator: nn.Module, critic: nn.Module) -> None:
    if config.penalty in PENALTIES and has_batchnorm(critic):
        raise UserError(
            f"critic={config.critic}: BatchNorm mixes samples, and penalty={config.penalty} is of each sample's "
            "own gradient"
        )
    per_sample = any(isinstance(module, (nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)) for module in critic.modules())
    if config.loss == "wasserstein" and config.penalty == "none" and per_sample:
        raise UserError(
            f"penalty=none with a norm in critic={config.critic}: its scale is free, which undoes spectral norm; "
            "expected critic_norm=none, or a penalty"
        )
    for name, network in (("batch_size", critic), ("generator_batch_size", generator)):
        size = getattr(config, name) or config.batch_size
        smallest = min(size, config.batch_size) // config.accumulation
        if smallest < 2 and has_batchnorm(network):
            raise UserError(
                f"{name}={size} with accumulation={config.accumulation}: BatchNorm needs two samples at a time"
            )


@torch.no_grad()
def _try_networks(config: Config, generator: nn.Module, critic: nn.Module, samples: Tensor) -> None:
    """Two samples through both: a network of one's own may not fit, and should not fail in the first step."""
    _check_norms(config, generator, critic)
    _expect("generator", config.generator, generator, samples.new_zeros(2, config.latent_dim), tuple(samples.shape))
    _expect("critic", config.critic, critic, samples, (2,))


def _make_optimizer(config: Config, parameters: Iterator[nn.Parameter], lr: float) -> Optimizer:
    if config.optimizer == "adam":
        return Adam(parameters, lr, betas=config.betas, eps=config.adam_eps)
    return RMSprop(parameters, lr, alpha=RMSPROP_SMOOTHING)


class _Replayed(nn.Module):
    """A compiled objective by CUDA graphs: what a forward gives lies in memory that the next one writes to, so that the
    terms, which are looked at later, are copied. The loss is used up by then, and so are the gradients."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, *inputs: Any) -> tuple[Tensor, Metrics]:
        """As the objective's."""
        torch.compiler.cudagraph_mark_step_begin()
        loss, terms = self.objective(*inputs)
        return loss, {name: value.clone() for name, value in terms.items()}


def _wrap(config: Config, accelerator: Accelerator, objective: nn.Module) -> nn.Module:
    wrapped = objective
    if config.compile:
        wrapped = double_backward.compiled(objective, config.cuda_graphs)
    if config.cuda_graphs:
        wrapped = _Replayed(wrapped)
    wrapped = accelerator.prepare(wrapped)
    distributed.average_in_memory(wrapped)
    return wrapped


def _make_player(
    config: Config, network: nn.Module, objective: nn.Module, lr: float, buffers: list[Tensor], device: torch.device
) -> TrainableNetwork:
    # accelerate's wrapper of an optimizer would ask the device at each step whether to take it.
    optimizer = _make_optimizer(config, network.parameters(), lr)
    guard = GradScaler(optimizer, buffers, device, dynamic=config.mixed_precision == "fp16")
    return TrainableNetwork(network, objective, optimizer, guard)


def build_gan(config: Config, accelerator: Accelerator, sample_shape: tuple[int, ...]) -> GAN:
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
    generator, critic = map(distributed.convert_sync_batchnorm, (generator, critic))
    loss, penalty = LOSSES[config.loss], PENALTIES.get(config.penalty)
    if penalty and config.fast_ops:
        critic = without_second_derivatives(critic)
    generator, critic = (
        use_fast_ops(network) if config.fast_ops and not is_own_class(name) else network
        for name, network in ((config.generator, generator), (config.critic, critic))
    )
    critic_objective = CriticLoss(critic, loss, penalty, config.gp_weight)
    generator_objective = GeneratorLoss(generator, detached_critic(critic), loss)
    generator_wrapped, critic_wrapped = (
        _wrap(config, accelerator, objective) for objective in (generator_objective, critic_objective)
    )
    # Each player's forward runs both networks. Wrapping gives buffers other tensors, so they are looked up after it.
    shared = ([*generator.buffers(), *critic.buffers()], accelerator.device)
    return GAN(
        generator=_make_player(config, generator, generator_wrapped, config.generator_lr, *shared),
        critic=_make_player(config, critic, critic_wrapped, config.critic_lr, *shared),
        average=AveragedGenerator(generator, config.ema_decay),
        spec=spec,
    )
