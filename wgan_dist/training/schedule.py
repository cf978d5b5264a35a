"""The schedule of a run, as pure functions of the generator step: there is nothing to save."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from wgan_dist.config import Config, in_steps

WARMUP_ITERATIONS, WARMUP_STEPS, WARMUP_EVERY = 100, 25, 500


def critic_iterations_at(step: int, n_critic: int, warmup: bool) -> int:
    """Return the number of critic iterations before generator step `step`, counted from 0.

    With warm-up there are 100 for the first 25 steps and on every 500th, as in the code of Arjovsky et al. 2017.
    """
    if warmup and (step < WARMUP_STEPS or step % WARMUP_EVERY == 0):
        return WARMUP_ITERATIONS
    return n_critic


# The factor of the learning rate by the share of the decay that has passed, in [0, 1).
DECAYS: Mapping[str, Callable[[float], float]] = {
    "none": lambda passed: 1.0,
    "linear": lambda passed: 1.0 - passed,
    "cosine": lambda passed: 0.5 * (1.0 + math.cos(math.pi * passed)),  # Loshchilov and Hutter 2017, eq. 5
}


def learning_rate(base: float, step: int, max_steps: int, decay: str, start: float = 0.0) -> float:
    """Return the learning rate at generator step `step`, counted from 0.

    It is constant up to the share `start` of the run, and then decays as DECAYS[decay] says, to zero at max_steps.
    """
    first = start * max_steps
    return base * DECAYS[decay](max(0.0, step - first) / (max_steps - first))


def steps_per_epoch(batches_per_epoch: int, n_critic: int, real_batch_per: str) -> int:
    """Return the generator steps in which every real image is seen once; warm-up is not counted."""
    per_step = n_critic if real_batch_per == "critic" else 1
    return max(1, -(-batches_per_epoch // per_step))


def is_due(step: int, every: int) -> bool:
    """Return whether a cadence of `every` generator steps falls on `step`; 0 is never."""
    return every > 0 and step % every == 0


@dataclass(frozen=True)
class Schedule:
    """The course of a run: its length, critic iterations, learning rates, cadences; durations in generator steps."""

    max_steps: int
    log: int
    sample: int
    evaluate: int
    certify: int
    checkpoint: int
    patience: int
    n_critic: int
    critic_warmup: bool
    base_learning_rates: dict[str, float]
    lr_decay: str
    lr_decay_start: float = 0.0
    penalty_every: int = 1

    def critic_iterations(self, step: int) -> int:
        """Return the number of critic iterations of generator step `step`."""
        return critic_iterations_at(step, self.n_critic, self.critic_warmup)

    def has_penalty(self, iteration: int) -> bool:
        """Return whether critic iteration number `iteration`, counted from 0 over the run, has the gradient penalty."""
        return is_due(iteration + 1, self.penalty_every)

    def is_recorded(self, step: int) -> bool:
        """Return whether metrics, an evaluation, a certified estimate or a checkpoint are due, or the run ends."""
        cadences = (self.log, self.evaluate, self.certify, self.checkpoint)
        return step == self.max_steps or any(is_due(step, every) for every in cadences)

    def learning_rates(self, step: int) -> dict[str, float]:
        """Return the learning rates of generator step `step` by network."""
        return {
            network: learning_rate(base, step, self.max_steps, self.lr_decay, self.lr_decay_start)
            for network, base in self.base_learning_rates.items()
        }


def make_schedule(config: Config, batches_per_epoch: int) -> Schedule:
    """Return the schedule of a run, with epochs converted to generator steps."""
    epoch = steps_per_epoch(batches_per_epoch, config.n_critic, config.real_batch_per)
    return Schedule(
        max_steps=in_steps(config.max_steps, epoch),
        log=in_steps(config.log_every, epoch),
        sample=in_steps(config.sample_every, epoch),
        evaluate=in_steps(config.evaluate_every, epoch),
        certify=in_steps(config.certify_every, epoch),
        checkpoint=in_steps(config.checkpoint_every, epoch),
        patience=in_steps(config.patience, epoch),
        n_critic=config.n_critic,
        critic_warmup=config.critic_warmup,
        base_learning_rates={"critic": config.critic_lr, "generator": config.generator_lr},
        lr_decay=config.lr_decay,
        lr_decay_start=config.lr_decay_start,
        penalty_every=config.penalty_every,
    )
