"""What each process of a world computes, written to a file that worlds of other sizes are compared with.

torchrun --nproc_per_node 2 -m tests.worlds out.safetensors float64 gp-instance-1 dropout-gp-2
"""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wgan_dist import distributed
from wgan_dist.config import Config
from wgan_dist.losses.gradient_penalty import PENALTIES, clip_weights
from wgan_dist.training.build import DTYPES, GAN, build_gan, make_engine
from wgan_dist.training.steps import CriticNoise, Engine, NoiseSource, critic_iteration, critic_noise, generator_step
from wgan_dist.utils import rng

SHAPE, BATCH, LATENT = (1, 16, 16), 16, 4
BASE = Config(
    image_size=16, channels=1, generator_features=2, critic_features=2, latent_dim=LATENT, batch_size=BATCH, threads=1
)
CONSTRAINTS = ("gp", "lp", "r1", "dragan", "clip", "spectral")
NORMS = ("instance", "layer", "none")


def _with(constraint: str, norm: str, accumulation: int) -> Config:
    config = replace(BASE, critic_norm=norm, accumulation=accumulation)
    if constraint == "spectral":  # under the Wasserstein loss a norm layer would undo it, and is refused
        return replace(config, spectral_norm="both", penalty="none", loss="hinge")
    return replace(config, penalty=constraint, optimizer="rmsprop" if constraint == "clip" else "adam")


CASES = {
    f"{constraint}-{norm}-{accumulation}": _with(constraint, norm, accumulation)
    for constraint, norm, accumulation in itertools.product(CONSTRAINTS, NORMS, (1, 2))
}
# Dropout in the critic, and BatchNorm in both networks.
CASES["dropout-gp-2"] = replace(
    BASE, generator="upsample", critic="upsample", accumulation=2, image_size=28, generator_features=2
)
CASES["sagan-bce-1"] = replace(BASE, generator="sagan", critic="sagan", loss="bce", penalty="none", critic_norm="batch")


class World:
    """Two players as the trainer makes them, and what one of their steps takes."""

    def __init__(self, config: Config) -> None:
        self.config = config
        accelerator = distributed.start(config.threads)
        self.shape = (1, config.image_size, config.image_size)
        self.players: GAN = build_gan(config, accelerator, self.shape)
        self.engine: Engine = make_engine(config, accelerator)
        self.dtype = DTYPES[config.dtype]
        shares = distributed.micro_batch_slices(BATCH, config.accumulation, distributed.world())
        place = (accelerator.device, self.dtype)
        self.draws = NoiseSource(config.seed, BATCH, config.latent_dim, config.latent_distribution, shares, *place)
        self.dropouts = getattr(self.players.critic.network, "dropouts", ())

    def reals(self, iteration: int) -> list[Tensor]:
        whole = torch.as_tensor(2.0 * rng.uniform(7, "test.real", iteration, (BATCH, *self.shape)) - 1.0)
        return [whole[share].to(self.draws.device, self.dtype) for share in self.draws.shares]

    def drawn(self, iteration: int) -> CriticNoise:
        penalty = PENALTIES.get(self.config.penalty)
        return critic_noise(self.draws, penalty, iteration, self.shape, self.config.dragan_std, self.dropouts)

    def critic_iteration(self, iteration: int) -> dict[str, Tensor]:
        players = self.players
        reals, drawn = self.reals(iteration), self.drawn(iteration)
        terms = critic_iteration(players.critic, players.generator.network, reals, drawn, self.engine)
        if self.config.penalty == "clip":
            clip_weights(list(players.critic.network.parameters()), self.config.clip_value)
        return terms

    def generator_step(self, step: int) -> dict[str, Tensor]:
        latents = self.draws.latents("generator.z", step)
        masks = self.draws.masks("generator.dropout", step, self.dropouts)
        return generator_step(self.players.generator, latents, masks, self.engine)

    def learn_at(self, rate: float) -> None:
        for player in (self.players.critic, self.players.generator):
            for group in player.optimizer.param_groups:
                group["lr"] = rate


def state_of(network: nn.Module) -> Tensor:
    """Every parameter and buffer in one vector."""
    return torch.cat([value.detach().double().flatten() for value in network.state_dict().values()])


def assert_ranks_equal(world: World, when: str) -> None:
    """Bit-equal on all processes: their mean is then what each has, and so is the mean of squares."""
    for network in (world.players.critic.network, world.players.generator.network):
        mine = state_of(network)
        first = distributed.broadcast_from_main(mine.tolist)
        assert mine.tolist() == first, f"rank {distributed.world().rank} differs from the first {when}"


def _taken(name: str, network: nn.Module, terms: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    gradients = [parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None]
    yield f"{name}.gradient", torch.cat(gradients).cpu().clone()
    yield f"{name}.terms", distributed.all_reduce_mean(torch.stack(list(terms.values()))).reshape(-1).cpu()
    yield f"{name}.buffers", torch.cat([torch.zeros(1), *(b.double().flatten().cpu() for b in network.buffers())])


def gradients(dtype: str, cases: list[str]) -> dict[str, Tensor]:
    """Of each case: averaged gradients, terms and buffers, at the first weights; then three steps that learn."""
    found: dict[str, Tensor] = {}
    for case in cases:
        world = World(replace(CASES[case], dtype=dtype))
        world.learn_at(0.0)
        for count in range(2):  # the second time the buffers are not the first ones
            for name, network, terms in (
                ("critic", world.players.critic.network, world.critic_iteration(count)),
                ("generator", world.players.generator.network, world.generator_step(count)),
            ):
                found |= dict(_taken(f"{case}.{count}.{name}", network, terms))
        world.learn_at(1e-3)
        for step in range(3):
            world.critic_iteration(10 + step)
            assert_ranks_equal(world, f"after critic iteration {step} of {case}")
            world.generator_step(10 + step)
            assert_ranks_equal(world, f"after generator step {step} of {case}")
    return found


def greatest_difference(one: Path, many: Path) -> tuple[float, str]:
    """Between two such files: relative, of each gradient, all terms and all buffers; and whose it is."""
    alone, together = load_file(one), load_file(many)
    assert alone.keys() == together.keys()
    assert alone
    return max((float((alone[key] - together[key]).norm() / alone[key].norm().clamp_min(1e-30)), key) for key in alone)


def main() -> None:
    out, dtype, *cases = sys.argv[1:]
    found = gradients(dtype, cases or list(CASES))
    if distributed.world().is_main:
        save_file(found, Path(out))
    distributed.leave()


if __name__ == "__main__":
    main()
