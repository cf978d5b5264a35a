"""The values of buffers that a forward changes, as BatchNorm's statistics, kept until the update is taken."""

from collections.abc import Iterable

import torch
from torch import Tensor

# Each buffer begins at a multiple of this many values: kernels load several values at once from aligned addresses.
ALIGNMENT = 64


class BufferSnapshot:
    """Saves and restores buffers with one operation for each data type.

    The buffers move into one tensor of each data type and become views of it.
    """

    def __init__(self, buffers: Iterable[Tensor]) -> None:
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for buffer in buffers:
            by_dtype.setdefault(buffer.dtype, []).append(buffer)
        self._flat = [_flatten(group) for group in by_dtype.values()]
        self._saved = [flat.clone() for flat in self._flat]

    @torch.no_grad()
    def save(self) -> None:
        """Remember the values of the buffers."""
        for flat, saved in zip(self._flat, self._saved, strict=True):
            saved.copy_(flat)

    @torch.no_grad()
    def restore(self, condition: Tensor) -> None:
        """Give the buffers their saved values if `condition`, a bool tensor [] on the device, is True."""
        for flat, saved in zip(self._flat, self._saved, strict=True):
            torch.where(condition, saved, flat, out=flat)


def _flatten(tensors: list[Tensor]) -> Tensor:
    """Copy tensors of one data type into one tensor [total size], and make each of them a view of its part."""
    sizes = [-(-tensor.numel() // ALIGNMENT) * ALIGNMENT for tensor in tensors]
    flat = tensors[0].new_zeros(sum(sizes))
    for tensor, part in zip(tensors, flat.split(sizes), strict=True):
        tensor.data = part[: tensor.numel()].view(tensor.shape).copy_(tensor)
    return flat
