"""The exponential moving average of the generator: what is sampled and exported."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def warmed_up_decay(decay: float, step: int) -> float:
    """Return min(decay, (1 + step) / (10 + step)): early averages forget the initial weights quickly."""
    return min(decay, (1 + step) / (10 + step))


def _parametrization_buffers(network: nn.Module) -> set[int]:
    """Return the ids of buffers of parametrizations: spectral norm's vectors have unit length, their mean has not."""
    return {id(buffer) for name, buffer in network.named_buffers() if "parametrizations" in name.split(".")}


class EMAGenerator:
    """An exponential moving average of a generator's parameters and buffers, in evaluation mode.

    Integers, and the singular vectors of spectral norm, are copied instead.
    """

    def __init__(self, generator: nn.Module, decay: float, network: nn.Module | None = None) -> None:
        """Average `generator` into `network`, by default a copy of it, whose parameters have the same order."""
        self.decay = decay
        self.network = (copy.deepcopy(generator) if network is None else network).eval().requires_grad_(False)
        # A tensor used in two places comes once from parameters() and buffers(), and must move once.
        ours, sources = ([*network.parameters(), *network.buffers()] for network in (self.network, generator))
        pairs = list(zip(ours, (tensor.detach() for tensor in sources), strict=True))
        for average, source in pairs:  # the same layout in memory, over which averaging passes side by side
            average.data = torch.empty_like(source).copy_(average)
        copied = _parametrization_buffers(self.network)
        # Both sides share memory with the networks, so the lists are made once.
        averaged = [pair for pair in pairs if pair[0].is_floating_point() and id(pair[0]) not in copied]
        self._averages = [average for average, _ in averaged]
        self._sources = [source for _, source in averaged]
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point() or id(pair[0]) in copied]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the generator as it is after generator step number `step`, counted from 0."""
        get_ema_multi_avg_fn(warmed_up_decay(self.decay, step))(self._averages, self._sources, step)
        for average, source in self._copied:
            average.copy_(source)

    @torch.no_grad()
    def restart(self) -> None:
        """Forget the past and become the generator as it is now."""
        for average, source in [*zip(self._averages, self._sources, strict=True), *self._copied]:
            average.copy_(source)
