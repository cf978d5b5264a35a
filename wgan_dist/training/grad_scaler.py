"""Updates that are left out because they are not finite, and fp16's loss scale: decided on the device, for all alike.

Gradients are checked after they were averaged over processes. An inf or NaN of one process is in every process's mean
then, so all leave the same update out without a word to each other, and without waiting for the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

# torch.amp.GradScaler's defaults.
INITIAL_SCALE, GROWTH, BACKOFF, GROWTH_INTERVAL = 2.0**16, 2.0, 0.5, 2000
# Halved for ever a scale becomes 0, and before that its reciprocal is no number any more.
SMALLEST_SCALE = 2.0**-10


@dataclass(frozen=True)
class GradScalerState:
    """Where a guard is: updates left out in all, the last ones in a row, the loss scale, updates since it changed."""

    skipped: int
    in_a_row: int
    scale: float
    growth: int


class GradScaler:
    """Takes the updates of one optimizer, or leaves them out, and adapts the scale of its loss if that is dynamic.

    The optimizer is one that leaves a step out by itself where its `found_inf` says so: a fused one of torch, or ours.
    """

    def __init__(self, optimizer: Optimizer, buffers: Sequence[Tensor], device: torch.device, dynamic: bool) -> None:
        """`buffers` are what else an update changes, as BatchNorm's statistics: they keep their values with it."""
        self.optimizer, self.buffers, self.dynamic = optimizer, list(buffers), dynamic
        self.kept: list[Tensor] = []
        self.scale = torch.full((), INITIAL_SCALE if dynamic else 1.0, device=device)
        self.growth = torch.zeros((), dtype=torch.int32, device=device)
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.in_a_row = torch.zeros((), dtype=torch.int64, device=device)

    def begin(self) -> None:
        """Before the forward of an update: forget gradients, and keep what the forward will change."""
        self.optimizer.zero_grad()
        self.kept = [buffer.clone() for buffer in self.buffers]

    def factor(self, loss: Tensor) -> Tensor:
        """What to multiply a loss by: the scale; NaN if the loss is not finite, so that no gradient is."""
        return self.scale + 0.0 * loss.detach()

    def step(self) -> None:
        """Take the update on the averaged gradients of the multiplied loss, or leave it out."""
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        found = torch.zeros_like(self.scale)
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, self.scale.reciprocal())
        wrong = found.bool()
        self.optimizer.found_inf, self.optimizer.grad_scale = found, None  # type: ignore[attr-defined]
        self.optimizer.step()
        _restore(wrong, self.buffers, self.kept)
        if self.dynamic:
            torch._amp_update_scale_(self.scale, self.growth, found, GROWTH, BACKOFF, GROWTH_INTERVAL)
            self.scale.clamp_(min=SMALLEST_SCALE)
        self.skipped += wrong
        self.in_a_row.add_(wrong).mul_(wrong)

    def tally(self) -> GradScalerState:
        """The counts, read back from the device: all that a resumed run needs."""
        return GradScalerState(int(self.skipped), int(self.in_a_row), float(self.scale), int(self.growth))

    def load(self, tally: GradScalerState) -> None:
        """Go on from `tally`."""
        for name, value in vars(tally).items():
            getattr(self, name).fill_(value)


def _restore(wrong: Tensor, tensors: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
    for tensor, before in zip(tensors, kept, strict=True):
        tensor.copy_(torch.where(wrong, before, tensor))
