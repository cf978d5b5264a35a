"""The state of a run as plain values, which a checkpoint saves and restores."""

from dataclasses import dataclass

# The greatest number of anything counted: the whole numbers up to it are exact in JSON of every reader.
MAX_COUNT = 2**53


@dataclass(frozen=True)
class Best:
    """The best value of a metric so far, where it was measured and how."""

    metric: str
    value: float
    lower_is_better: bool
    step: int
    checkpoint: str
    protocol: str = ""


@dataclass(frozen=True)
class GradScalerState:
    """The loss scale of one optimizer and its skipped updates.

    Attributes:
        skipped: Updates skipped so far because their gradients were not finite.
        skipped_in_a_row: The latest of them without an update in between.
        scale: The factor of the loss; 1 without fp16.
        growth_tracker: Updates since the scale changed.
    """

    skipped: int
    skipped_in_a_row: int
    scale: float
    growth_tracker: int


@dataclass(frozen=True)
class AugmentationState:
    """The probability of augmentations, in [0, 1], and the overfitting of the critic that was measured last."""

    probability: float
    overfitting: float


@dataclass
class TrainState:
    """The counters of a run.

    Attributes:
        step: Finished generator steps.
        critic_iteration: Critic iterations already made within the current step.
        total_critic_iterations: Critic iterations of all steps.
        best: The best generator measured so far.
    """

    step: int = 0
    critic_iteration: int = 0
    total_critic_iterations: int = 0
    best: Best | None = None

    def seen_images(self, batch_size: int) -> int:
        """Return how many real images the critic has seen over all processes, repetitions counted."""
        return self.total_critic_iterations * batch_size

    def finish_critic_iteration(self) -> None:
        """Count one critic iteration."""
        self.critic_iteration += 1
        self.total_critic_iterations += 1

    def finish_step(self) -> None:
        """Count one generator step."""
        self.step += 1
        self.critic_iteration = 0
