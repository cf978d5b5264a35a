"""The schedule of a run, as pure functions of the generator step: there is nothing to save."""

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


def learning_rate(base: float, step: int, max_steps: int, decay: str) -> float:
    """Return the learning rate at generator step `step` (from 0): constant, or linear to zero at max_steps."""
    return base * (1.0 - step / max_steps) if decay == "linear" else base


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
    checkpoint: int
    patience: int
    n_critic: int
    critic_warmup: bool
    base_learning_rates: dict[str, float]
    lr_decay: str

    def critic_iterations(self, step: int) -> int:
        """Return the number of critic iterations of generator step `step`."""
        return critic_iterations_at(step, self.n_critic, self.critic_warmup)

    def is_recorded(self, step: int) -> bool:
        """Return whether metrics, an evaluation or a checkpoint are due at `step`, or the run ends."""
        return step == self.max_steps or any(
            is_due(step, every) for every in (self.log, self.evaluate, self.checkpoint)
        )

    def learning_rates(self, step: int) -> dict[str, float]:
        """Return the learning rates of generator step `step` by network."""
        return {
            network: learning_rate(base, step, self.max_steps, self.lr_decay)
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
        checkpoint=in_steps(config.checkpoint_every, epoch),
        patience=in_steps(config.patience, epoch),
        n_critic=config.n_critic,
        critic_warmup=config.critic_warmup,
        base_learning_rates={"critic": config.critic_lr, "generator": config.generator_lr},
        lr_decay=config.lr_decay,
    )
