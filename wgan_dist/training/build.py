"""Settings and the shape of a sample → both networks, wrapped for distribution, with their losses and optimizers."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from wgan_dist import distributed
from wgan_dist.config import Config
from wgan_dist.config.network_choices import is_own_class
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.losses.modules import CriticLoss, GeneratorLoss, detached_critic
from wgan_dist.models.conditional_critics import ClassifiedScores
from wgan_dist.models.fast_layers import use_fast_ops, without_second_derivatives
from wgan_dist.models.freeze import freeze_first_layers
from wgan_dist.models.from_config import network_specs
from wgan_dist.models.layers import Critic, has_batchnorm
from wgan_dist.models.registry import build_critic, build_generator
from wgan_dist.training.buffer_snapshot import BufferSnapshot
from wgan_dist.training.ema import EMAGenerator
from wgan_dist.training.grad_scaler import GradScaler
from wgan_dist.training.steps import GAN, TrainableNetwork
from wgan_dist.utils.compiler import missing_compiler
from wgan_dist.utils.device_settings import device_settings
from wgan_dist.utils.errors import UserError

DTYPES = {"float32": torch.float32, "float64": torch.float64}
HALF_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
RMSPROP_ALPHA = 0.99


def build_gan(config: Config, accelerator: Accelerator, sample_shape: tuple[int, ...], classes: int = 0) -> GAN:
    """Build both networks for samples of `sample_shape` in `classes`, 0 for none, with weights drawn from the seed.

    Raises:
        UserError: For networks that do not fit the samples, each other or the constraint, and where torch.compile
            needs a compiler and there is none.
    """
    if config.compile:
        _check_compiler(accelerator.device)
    generator, critic = _build_networks(config, accelerator.device, sample_shape, classes)
    # The average computes by torch's own operations, which every tracer and exporter knows.
    ema_network = copy.deepcopy(generator)
    generator, critic = _use_fast_ops(config, accelerator.device, generator, critic)
    freeze_first_layers(critic, config.freeze_critic)
    loss, penalty = LOSSES[config.loss], PENALTIES.get(config.penalty)
    critic_loss = CriticLoss(critic, loss, penalty, config.gp_weight, config.critic_class_weight, config.penalty_every)
    generator_loss = GeneratorLoss(generator, detached_critic(critic), loss, config.generator_class_weight)
    wrapped_generator_loss = _wrap(config, accelerator, generator_loss)
    wrapped_critic_loss = _wrap(config, accelerator, critic_loss)
    # The forward of each loss runs both networks. Wrapping replaces buffers, so they are listed after it.
    buffers = BufferSnapshot([*generator.buffers(), *critic.buffers()])
    return GAN(
        generator=_trainable(
            config, generator, wrapped_generator_loss, config.generator_lr, buffers, accelerator.device
        ),
        critic=_trainable(config, critic, wrapped_critic_loss, config.critic_lr, buffers, accelerator.device),
        ema=EMAGenerator(generator, ema_decay_of(config), ema_network),
        generate=_compile(config, generator),
        accelerator=accelerator,
        autocast_dtype=HALF_DTYPES.get(config.mixed_precision),
        clip_value=config.clip_value if config.penalty == "clip" else None,
        is_relativistic=loss.is_relativistic,
    )


def ema_decay_of(config: Config) -> float:
    """Return the decay of the generator's moving average in one generator step."""
    return config.ema_decay if config.ema_half_life is None else 0.5 ** (config.batch_size / config.ema_half_life)


def _build_networks(
    config: Config, device: torch.device, shape: tuple[int, ...], classes: int
) -> tuple[nn.Module, nn.Module]:
    dtype = DTYPES[config.dtype]
    generator_spec, critic_spec = network_specs(config, shape[0], classes)
    generator = build_generator(generator_spec, config.seed).to(device, dtype)
    critic = build_critic(critic_spec, config.seed).to(device, dtype)
    _check_networks(config, generator, critic, torch.zeros(2, *shape, device=device, dtype=dtype), bool(classes))
    generator, critic = map(distributed.convert_sync_batchnorm, (generator, critic))
    return generator, critic


def _use_fast_ops(
    config: Config, device: torch.device, generator: nn.Module, critic: nn.Module
) -> tuple[nn.Module, nn.Module]:
    if config.fast_ops and config.penalty in PENALTIES:
        critic = without_second_derivatives(critic)
    # The compiler generates its own kernels, in a memory layout that it chooses.
    if config.fast_ops and not config.compile:
        generator = _with_fast_ops(config, device, config.generator, generator)
        critic = _with_fast_ops(config, device, config.critic, critic)
    return generator, critic


def _with_fast_ops(config: Config, device: torch.device, name: str, network: nn.Module) -> nn.Module:
    # Custom networks keep their convolutions and their memory layout, at which they may look.
    if is_own_class(name):
        return network
    settings = device_settings(device, config.dtype, config.mixed_precision, config.tf32, config.deterministic)
    return use_fast_ops(network).to(memory_format=settings.memory_format)


def _trainable(
    config: Config, network: nn.Module, loss: nn.Module, lr: float, buffers: BufferSnapshot, device: torch.device
) -> TrainableNetwork:
    # accelerate's wrapper of an optimizer would wait for the device in every step.
    parameters = (parameter for parameter in network.parameters() if parameter.requires_grad)
    optimizer = _build_optimizer(config, parameters, lr)
    scaler = GradScaler(optimizer, buffers, device, dynamic=config.mixed_precision == "fp16")
    return TrainableNetwork(network, loss, optimizer, scaler)


def _build_optimizer(config: Config, parameters: Iterator[nn.Parameter], lr: float) -> Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr, betas=config.betas, eps=config.adam_eps, fused=True)
    return torch.optim.RMSprop(parameters, lr, alpha=RMSPROP_ALPHA)


class _CUDAGraphs(nn.Module):
    """A compiled module under CUDA graphs, with those outputs copied that are used after the next replay.

    The outputs of a graph lie in memory that its next replay overwrites. A loss is used before that; its metrics, and
    generated samples, are not.
    """

    def __init__(self, module: Callable[..., Any]) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any) -> Any:
        """Return what the module returns: samples, or a loss and metrics."""
        torch.compiler.cudagraph_mark_step_begin()
        outputs = self.module(*inputs)
        if isinstance(outputs, Tensor):
            return outputs.clone()
        loss, metrics = outputs
        return loss, {name: value.clone() for name, value in metrics.items()}


def _compile(config: Config, module: nn.Module) -> nn.Module:
    if not config.compile:
        return module
    # A CPU ignores CUDA graphs. Without dynamic=False the compiler treats shapes as dynamic from the second run in one
    # process on.
    mode = "reduce-overhead" if config.cuda_graphs else "default"
    compiled: Any = torch.compile(module, fullgraph=True, dynamic=False, mode=mode)
    return _CUDAGraphs(compiled) if config.cuda_graphs else compiled


def _wrap(config: Config, accelerator: Accelerator, loss: nn.Module) -> nn.Module:
    return accelerator.prepare(_compile(config, loss))


def _check_compiler(device: torch.device) -> None:
    if missing := missing_compiler(device):
        raise UserError(f"compile=true: needs {missing}, and there is none; without: compile=false")


@torch.no_grad()
def _check_networks(
    config: Config, generator: nn.Module, critic: nn.Module, samples: Tensor, is_conditional: bool
) -> None:
    """Run two samples through both networks: a custom network may not fit, and should not fail in the first step."""
    _check_norms(config, generator, critic)
    z = samples.new_zeros(2, config.latent_dim)
    labels = [torch.zeros(2, dtype=torch.int64, device=samples.device)] if is_conditional else []
    _check_output("generator", config.generator, generator, [z, *labels], tuple(samples.shape))
    output = _check_output("critic", config.critic, critic, [samples, *labels], (2,))
    if is_conditional:
        _check_takes_labels(config, critic, output)


def _check_takes_labels(config: Config, critic: nn.Module, output: Any) -> None:
    if isinstance(critic, Critic) and type(critic).forward is Critic.forward:  # it would take labels for masks
        raise UserError(f"critic={config.critic}: takes no labels; expected forward(samples, labels)")
    if isinstance(output, ClassifiedScores) != (config.critic_labels == "acgan"):
        raise UserError(
            f"critic={config.critic} with critic_labels={config.critic_labels}: returns {type(output).__name__}; "
            "expected ClassifiedScores with acgan, and only with it"
        )


def _check_output(setting: str, name: str, network: nn.Module, inputs: list[Tensor], expected: tuple[int, ...]) -> Any:
    was_training, given = network.training, " and ".join(str(list(part.shape)) for part in inputs)
    try:
        output = network.eval()(*inputs)
        shape = tuple((output.scores if isinstance(output, ClassifiedScores) else output).shape)
    except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(f"{setting}={name}: fails on an input of {given}: {error}") from error
    if shape != expected:
        raise UserError(f"{setting}={name}: returns {list(shape)} for {given}: expected {list(expected)}")
    network.train(was_training)
    return output


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
        own_size = getattr(config, name)
        size, given = own_size or config.batch_size, name if own_size else "batch_size"
        smallest = min(size, config.batch_size) // config.accumulation
        if smallest < 2 and has_batchnorm(network):
            raise UserError(
                f"{given}={size} with accumulation={config.accumulation}: BatchNorm needs two samples at a time"
            )
