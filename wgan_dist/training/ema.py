"""The averaged generator: what is sampled and exported."""

import copy

import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm


def warmed_up_decay(decay: float, step: int) -> float:
    """min(decay, (1 + step) / (10 + step)): early averages forget the initial weights quickly."""
    return min(decay, (1 + step) / (10 + step))


def _singular_vectors(network: nn.Module) -> set[int]:
    """The ids of spectral norm's estimates: of unit length, which a mean of them is not."""
    norms = [module for module in network.modules() if isinstance(module, _SpectralNorm)]
    return {id(buffer) for norm in norms for buffer in norm.buffers()}


class AveragedGenerator:
    """An exponential moving average of a generator's parameters and buffers, in evaluation mode.

    Whole numbers, and the singular vectors of spectral norm, are copied.
    """

    def __init__(self, generator: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(generator).eval().requires_grad_(False)
        # A tensor used in two places comes once from parameters() and buffers(), and must move once.
        mine, theirs = ([*each.parameters(), *each.buffers()] for each in (self.network, generator))
        pairs = list(zip(mine, (tensor.detach() for tensor in theirs), strict=True))
        copied = _singular_vectors(self.network)
        # Both sides share memory with the networks, so the lists need making only once.
        averaged = [pair for pair in pairs if pair[0].is_floating_point() and id(pair[0]) not in copied]
        self._averaged = [mine for mine, _ in averaged]
        self._followed = [theirs for _, theirs in averaged]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point() or id(pair[0]) in copied]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the generator as it is after generator step number `step` (from 0)."""
        torch._foreach_lerp_(self._averaged, self._followed, 1.0 - warmed_up_decay(self.decay, step))
        for mine, theirs in self._copied:
            mine.copy_(theirs)

    def restart(self) -> None:
        """Forget the past: become the generator as it is now."""
        for mine, theirs in [*zip(self._averaged, self._followed, strict=True), *self._copied]:
            mine.copy_(theirs)
