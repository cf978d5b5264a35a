"""Tables of both networks of a run: layers, shapes, parameters and multiply-adds."""

import dataclasses

import torch
import torchinfo
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wgan_dist.config import Config
from wgan_dist.config.config import NO_LABELS
from wgan_dist.config.data_choices import BUILT_IN
from wgan_dist.models.from_config import ASSUMED_CHANNELS, network_specs
from wgan_dist.models.layers import ConvDownsample, UpsampleConv
from wgan_dist.models.lipschitz import is_lipschitz
from wgan_dist.models.registry import build_critic, build_generator
from wgan_dist.utils.console import print_lines, print_now
from wgan_dist.utils.errors import UserError

# The number of classes, which only the data know.
ASSUMED_CLASSES = 10
COLUMNS = ("input_size", "output_size", "num_params", "mult_adds")


def _table(network: nn.Module, *inputs: torch.Tensor) -> str:
    table = str(torchinfo.summary(network, input_data=inputs, col_names=COLUMNS, device="cpu", verbose=0))
    if is_lipschitz(network):
        computed = _multiply_adds(network, *inputs)
        return f"{table}\nProducts with orthonormal weights are not counted above: {computed} multiply-adds in all."
    if not any(isinstance(module, (ConvDownsample, UpsampleConv)) for module in network.modules()):
        return table
    with torch.device("meta"):
        computed = _multiply_adds(network.to("meta"), *(each.to("meta") for each in inputs))
    return (
        f"{table}\nConvolutions that halve or double the size are counted above as the 3×3 convolutions whose weights "
        f"they have; computed are {computed} multiply-adds."
    )


def _multiply_adds(network: nn.Module, *inputs: torch.Tensor) -> str:
    """Return the multiply-adds of all products of matrices in a forward pass, in millions."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(*inputs)
    return f"{counter.get_total_flops() / 2e6:,.2f} M"


def _labels(samples: torch.Tensor, classes: int) -> list[torch.Tensor]:
    """Return labels for a conditional network, or nothing for another one."""
    return [torch.zeros(len(samples), dtype=torch.int64)] if classes else []


def tables(config: Config) -> dict[str, str]:
    """Return a table of each network at its training batch size, by the network's name.

    Raises:
        UserError: For networks that do not exist or do not fit the settings.
    """
    # torchinfo counts no multiply-adds of a layer whose weight is computed; spectral norm adds no parameters.
    plain = dataclasses.replace(config, spectral_norm="none")
    channels = config.channels or (1 if set(config.data) <= set(BUILT_IN) else ASSUMED_CHANNELS)
    classes = ASSUMED_CLASSES if config.labels != NO_LABELS else 0
    generator, critic = network_specs(plain, channels, classes)
    latents = torch.zeros(config.generator_batch_size or config.batch_size, config.latent_dim)
    samples = torch.zeros(config.batch_size, *critic.sample_shape)
    with torch.random.fork_rng(devices=[]):
        try:
            return {
                f"generator {generator.name}": _table(
                    build_generator(generator, config.seed), latents, *_labels(latents, classes)
                ),
                f"critic {critic.name}": _table(build_critic(critic, config.seed), samples, *_labels(samples, classes)),
            }
        except RuntimeError as error:
            raise UserError(
                f"generator={config.generator}, critic={config.critic}: {error.__cause__ or error}"
            ) from error


def print_summary(config: Config) -> None:
    """Print the tables of both networks; raises UserError as `tables` does."""
    text = "\n\n".join(f"{name}\n{table}" for name, table in tables(config).items())
    print_lines(text.split("\n"))
    if config.labels != NO_LABELS:
        print_now(f"labels={config.labels}: shown for {ASSUMED_CLASSES} classes; a run has those of its data")
    if config.spectral_norm != "none":
        print_now(f"spectral_norm={config.spectral_norm} divides every weight by its spectral norm, which is not shown")
