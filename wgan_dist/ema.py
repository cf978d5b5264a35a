"""The averaged generator: what is sampled and exported."""

import copy

import torch
from torch import nn


def warmed_up_decay(decay: float, step: int) -> float:
    """min(decay, (1 + step) / (10 + step)): early averages forget the initial weights quickly."""
    return min(decay, (1 + step) / (10 + step))


class AveragedGenerator:
    """An exponential moving average of a generator's parameters and buffers, in evaluation mode."""

    def __init__(self, generator: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(generator).eval().requires_grad_(False)
        # A tensor used in two places comes once from parameters() and buffers(), and must move once.
        mine, theirs = ([*each.parameters(), *each.buffers()] for each in (self.network, generator))
        pairs = list(zip(mine, (tensor.detach() for tensor in theirs), strict=True))
        # Both sides share memory with the networks, so the lists need making only once.
        self._averaged = [mine for mine, _ in pairs if mine.is_floating_point()]
        self._followed = [theirs for mine, theirs in pairs if mine.is_floating_point()]
        self._counts = [(mine, theirs) for mine, theirs in pairs if not mine.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the generator as it is after generator step number `step` (from 0); whole numbers are copied."""
        torch._foreach_lerp_(self._averaged, self._followed, 1.0 - warmed_up_decay(self.decay, step))
        for mine, theirs in self._counts:
            mine.copy_(theirs)

    def restart(self) -> None:
        """Forget the past: become the generator as it is now."""
        for mine, theirs in [*zip(self._averaged, self._followed, strict=True), *self._counts]:
            mine.copy_(theirs)
