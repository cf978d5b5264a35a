"""Write what each process of a world computes to a file, to compare worlds of different sizes.

torchrun --nproc_per_node 2 -m tests.worlds out.safetensors float64 gp-instance-1 dropout-gp-2
"""

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wgan_dist import distributed
from wgan_dist.checkpoints.train_state import AugmentationState
from wgan_dist.config import Config
from wgan_dist.config.image_size import square
from wgan_dist.data.holdout import Split
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.training.augmentation import Overfitting
from wgan_dist.training.augmentation_strength import make_strength
from wgan_dist.training.build import DTYPES, build_gan
from wgan_dist.training.noise import CriticNoise, NoiseSource, TrainingNoise
from wgan_dist.training.real_batches import RealBatch
from wgan_dist.training.steps import GAN, critic_step, generator_step
from wgan_dist.utils import rng

SHAPE, BATCH, LATENT = (1, 16, 16), 16, 4
BASE = Config(
    image_size=square(16),
    channels=1,
    generator_features=2,
    critic_features=2,
    latent_dim=LATENT,
    batch_size=BATCH,
    threads=1,
)
CONSTRAINTS = ("gp", "lp", "r1", "r1r2", "dragan", "clip", "spectral")
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
    BASE, generator="upsample", critic="upsample", accumulation=2, image_size=square(28), generator_features=2
)
CASES["relativistic-dropout-2"] = replace(CASES["dropout-gp-2"], loss="relativistic", penalty="r1r2")
CASES["relativistic-minibatch-1"] = replace(
    BASE,
    loss="relativistic",
    penalty="r1r2",
    penalty_every=2,
    generator="dcgan_upsample",
    critic="dcgan_minibatch",
    labels="auto",
)
CASES["sagan-bce-1"] = replace(BASE, generator="sagan", critic="sagan", loss="bce", penalty="none", critic_norm="batch")
# Every way to take a class: of the critic, and of the generator.
CLASSES, SHARES = 3, np.array([0.5, 0.3, 0.2])
CONDITIONAL = {
    f"{critic_labels}-{generator_labels}-{accumulation}": replace(
        BASE,
        labels="auto",
        critic_labels=critic_labels,
        generator_labels=generator_labels,
        generator_norm="batch" if generator_labels == "norm" else "none",
        accumulation=accumulation,
    )
    for critic_labels, generator_labels, accumulation in (
        ("projection", "norm", 2),
        ("acgan", "norm", 1),
        ("acgan", "embedding", 2),
        ("concat", "embedding", 1),
    )
}
CASES |= CONDITIONAL
# Augmentation; where it is adaptive, the overfitting of the critic is measured too.
CASES["augment-gp-2"] = replace(CASES["gp-instance-2"], augment="diffaugment")
CASES["augment-relativistic-2"] = replace(CASES["relativistic-dropout-2"], augment="adaptive")
CASES["augment-minibatch-1"] = replace(CASES["relativistic-minibatch-1"], augment="adaptive")
CASES["freeze-r1r2-1"] = replace(CASES["r1r2-instance-1"], freeze_critic=2)
CASES["dropout-acgan-2"] = replace(CASES["dropout-gp-2"], labels="auto", critic_labels="acgan")


class World:
    """Both networks as a run builds them, and what one of their steps takes."""

    def __init__(self, config: Config) -> None:
        self.config = config
        accelerator = distributed.start(config.threads)
        self.shape = (1, *config.image_size)
        self.is_conditional = config.labels != "none"
        self.gan: GAN = build_gan(config, accelerator, self.shape, CLASSES if self.is_conditional else 0)
        dtype = DTYPES[config.dtype]
        self.augmentation = make_strength(config.augment, config.augment_policy, accelerator.device, dtype)
        if self.augmentation and config.augment == "adaptive":
            self.augmentation.load(AugmentationState(probability=0.6, overfitting=0.0))
        slices = distributed.micro_batch_slices(BATCH, config.accumulation, distributed.world())
        latents = (config.latent_dim, config.latent_distribution)
        self.source = NoiseSource(config.seed, *latents, slices, accelerator.device, dtype)
        self.noise = TrainingNoise(
            critic_source=self.source,
            generator_source=self.source,
            penalty=PENALTIES.get(config.penalty),
            sample_shape=self.shape,
            delta_std=config.dragan_std,
            dropouts=getattr(self.gan.critic.network, "dropouts", ()),
            reuse_latents=False,
            class_shares=SHARES if self.is_conditional else None,
            is_relativistic=self.gan.is_relativistic,
            augmentation=self.augmentation,
        )

    def overfitting(self, step: int) -> Tensor:
        """Return the mean scores of training, held-out and generated images, of a set of a hundred."""
        assert self.augmentation
        images = torch.as_tensor(2.0 * rng.uniform(7, "test.set", 0, (100, *self.shape)) - 1.0)
        labels = np.arange(100) % CLASSES if self.is_conditional else None
        split = Split(training=np.arange(70), held_out=np.arange(70, 100))
        of_rows = images.to(self.source.device, self.source.dtype).__getitem__
        return Overfitting(self.gan, self.source, split, of_rows, labels).mean_scores(
            step, self.augmentation.probability
        )

    def reals(self, iteration: int) -> RealBatch:
        whole = torch.as_tensor(2.0 * rng.uniform(7, "test.real", iteration, (BATCH, *self.shape)) - 1.0)
        parts = [whole[rows].to(self.source.device, self.source.dtype) for rows in self.source.slices]
        if not self.is_conditional:
            return RealBatch(parts, [None] * len(parts))
        labels = torch.as_tensor(3.0 * rng.uniform(7, "test.label", iteration, (BATCH,))).long()
        return RealBatch(parts, [labels[rows].to(self.source.device) for rows in self.source.slices])

    def critic_noise(self, iteration: int) -> CriticNoise:
        return self.noise.critic(iteration)

    def critic_iteration(self, iteration: int) -> dict[str, Tensor]:
        return critic_step(self.gan, self.reals(iteration), self.critic_noise(iteration))

    def generator_step(self, step: int) -> dict[str, Tensor]:
        return generator_step(self.gan, self.noise.generator(step, self.critic_noise(0)), self.reals(0))

    def learn_at(self, rate: float) -> None:
        for network in self.gan.networks().values():
            for group in network.optimizer.param_groups:
                group["lr"] = rate


def state_of(network: nn.Module) -> Tensor:
    """Return all parameters and buffers as one vector."""
    return torch.cat([value.detach().double().flatten() for value in network.state_dict().values()])


def assert_ranks_equal(world: World, when: str) -> None:
    """Bit-equal on all processes: their mean is then what each has, and so is the mean of squares."""
    for network in (world.gan.critic.network, world.gan.generator.network):
        mine = state_of(network)
        first = distributed.broadcast_from_main(mine.tolist)
        assert mine.tolist() == first, f"rank {distributed.world().rank} differs from the first {when}"


def _taken(name: str, network: nn.Module, terms: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    gradients = [parameter.grad.flatten() for parameter in network.parameters() if parameter.grad is not None]
    yield f"{name}.gradient", torch.cat(gradients).cpu().clone()
    yield f"{name}.terms", distributed.all_reduce_mean(torch.stack(list(terms.values()))).reshape(-1).cpu()
    yield f"{name}.buffers", torch.cat([torch.zeros(1), *(b.double().flatten().cpu() for b in network.buffers())])


def gradients(dtype: str, cases: list[str]) -> dict[str, Tensor]:
    """Return the averaged gradients, terms and buffers of each case at its first weights; then train three steps."""
    found: dict[str, Tensor] = {}
    for case in cases:
        world = World(replace(CASES[case], dtype=dtype))
        world.learn_at(0.0)
        for count in range(2):  # the second time the buffers are not the first ones
            critic, generator = world.gan.critic.network, world.gan.generator.network
            found |= dict(_taken(f"{case}.{count}.critic", critic, world.critic_iteration(count)))
            found |= dict(_taken(f"{case}.{count}.generator", generator, world.generator_step(count)))
            if world.config.augment == "adaptive":
                found[f"{case}.{count}.overfitting"] = world.overfitting(count).cpu()
        world.learn_at(1e-3)
        for step in range(3):
            world.critic_iteration(10 + step)
            assert_ranks_equal(world, f"after critic iteration {step} of {case}")
            world.generator_step(10 + step)
            assert_ranks_equal(world, f"after generator step {step} of {case}")
    return found


def greatest_difference(one: Path, many: Path) -> tuple[float, str]:
    """Return the greatest relative difference between two files, of gradients, terms or buffers, and its name."""
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
    distributed.end()


if __name__ == "__main__":
    main()
