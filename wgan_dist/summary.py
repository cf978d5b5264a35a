"""The command line that shows both networks of a run: layers, shapes, parameters, multiply-adds."""

import dataclasses
from typing import TYPE_CHECKING

from wgan_dist.config import Config, command_line, load_config
from wgan_dist.utils.errors import UserError

if TYPE_CHECKING:  # --help should not wait for torch
    from torch import nn

USAGE = """
Show the networks that a recipe or settings describe: layers, parameters, multiply-adds.

  python -m wgan_dist.summary --recipe=catfaces64
  python -m wgan_dist.summary --recipe=catfaces64 --generator_features=8 --critic_features=8 --batch_size=8

Takes every setting of training. The data are not opened: --channels is 3 unless the recipe or you say otherwise, or the
data are the embedded digits.
"""


def summarise(flags: dict[str, str]) -> None:
    """Print the tables for texts of settings; what the command line does."""
    config = load_config(flags)
    print("\n\n".join(f"{name}\n{table}" for name, table in tables(config).items()))
    if config.spectral_norm != "none":
        print(f"spectral_norm={config.spectral_norm}: every weight is divided by its spectral norm, not shown above")


def _table(network: "nn.Module", shape: tuple[int, ...]) -> str:
    import torch
    import torchinfo
    from torch.utils.flop_counter import FlopCounterMode

    from wgan_dist.models.layers import ConvDownsample, UpsampleConv

    columns = ("input_size", "output_size", "num_params", "mult_adds")
    table = str(torchinfo.summary(network, shape, col_names=columns, device="cpu", verbose=0))
    if not any(isinstance(module, (ConvDownsample, UpsampleConv)) for module in network.modules()):
        return table
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network.to("meta")(torch.empty(shape))
    note = "Convolutions that halve or double are counted above as the 3×3 ones whose weights they have"
    return f"{table}\n{note}; computed are {counter.get_total_flops() / 2e6:,.2f} M multiply-adds."


def tables(config: Config) -> dict[str, str]:
    """torchinfo's table for each network, at the batch it is trained with."""
    import torch

    from wgan_dist.models.from_config import ASSUMED_CHANNELS, network_specs
    from wgan_dist.models.registry import build_critic, build_generator

    # torchinfo counts no multiply-adds where a weight is computed, and spectral norm adds no parameter.
    plain = dataclasses.replace(config, spectral_norm="none")
    generator, critic = network_specs(plain, config.channels or (1 if config.data == ("digits",) else ASSUMED_CHANNELS))
    pairs = {
        f"generator {generator.name}": (
            build_generator(generator, config.seed),
            (config.generator_batch_size or config.batch_size, config.latent_dim),
        ),
        f"critic {critic.name}": (build_critic(critic, config.seed), (config.batch_size, *critic.sample_shape)),
    }
    with torch.random.fork_rng(devices=[]):
        try:
            return {name: _table(network, shape) for name, (network, shape) in pairs.items()}
        except RuntimeError as error:
            raise UserError(
                f"generator={config.generator}, critic={config.critic}: {error.__cause__ or error}"
            ) from error


if __name__ == "__main__":
    command_line.run(summarise, Config, USAGE)
