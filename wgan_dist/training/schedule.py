"""When things happen in a run, as pure functions of the generator step: nothing to save, nothing to lose."""

from dataclasses import dataclass

from wgan_dist.config import Config, in_steps

WARMUP_ITERATIONS, WARMUP_STEPS, WARMUP_EVERY = 100, 25, 500


def critic_iterations_at(step: int, n_critic: int, warmup: bool) -> int:
    """Critic iterations before generator step `step` (from 0).

    With warm-up, 100 for the first 25 steps and on every 500th, as the code of Arjovsky et al. 2017.
    """
    if warmup and (step < WARMUP_STEPS or step % WARMUP_EVERY == 0):
        return WARMUP_ITERATIONS
    return n_critic


def learning_rate(base: float, step: int, max_steps: int, decay: str) -> float:
    """The rate at generator step `step` (from 0): constant, or linear to zero at max_steps."""
    return base * (1.0 - step / max_steps) if decay == "linear" else base


def steps_per_epoch(batches_per_epoch: int, n_critic: int, real_batch_per: str) -> int:
    """Generator steps in which every real image is seen once (warm-up not counted)."""
    per_step = n_critic if real_batch_per == "critic" else 1
    return max(1, -(-batches_per_epoch // per_step))


def is_due(step: int, every: int) -> bool:
    """Whether a cadence of `every` generator steps falls on `step`; 0 is never."""
    return every > 0 and step % every == 0


@dataclass(frozen=True)
class Schedule:
    """The length of a run, its cadences, and the patience of its early stop, in generator steps."""

    max_steps: int
    log: int
    sample: int
    evaluate: int
    checkpoint: int
    patience: int


def make_schedule(config: Config, batches_per_epoch: int) -> Schedule:
    """Epochs to generator steps, everywhere."""
    epoch = steps_per_epoch(batches_per_epoch, config.n_critic, config.real_batch_per)
    durations = (
        config.max_steps,
        config.log_every,
        config.sample_every,
        config.evaluate_every,
        config.checkpoint_every,
        config.patience,
    )
    return Schedule(*(in_steps(duration, epoch) for duration in durations))
