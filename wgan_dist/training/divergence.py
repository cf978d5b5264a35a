"""Weights that must not replace good ones: they are not finite, or the processes have different ones."""

from collections.abc import Iterable

import torch
from torch import nn

from wgan_dist import distributed
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.finite import is_finite


def check_weights(networks: Iterable[nn.Module], step: int, learning_rates: dict[str, float]) -> None:
    """Raise UserError if any weight is not finite. Every process has the same weights, so every process raises."""
    for network in networks:
        if not all(map(is_finite, network.state_dict().values())):
            rates = " and ".join(f"{name}_lr={rate:g}" for name, rate in learning_rates.items())
            raise UserError(
                f"training has diverged: weights at step {step} are not finite; nothing was overwritten. Lower {rates}"
            )


def check_replicas(networks: dict[str, nn.Module], step: int) -> None:
    """Raise UserError, on every process, if a parameter or buffer has other bits on any process than on the first.

    A checksum of each tensor is computed on its device. Nothing is averaged between processes but gradients and
    BatchNorm's statistics, so that ranks which have once drifted apart would stay apart. Spectral norm's vectors are
    left out: GPUs of different kinds may round them differently, and each update corrects them.
    """
    if distributed.world().size == 1:
        return
    tensors = {
        f"{name}.{key}": torch.view_as_real(value) if value.is_complex() else value
        for name, network in networks.items()
        for key, value in network.state_dict().items()
        if not ("parametrizations" in key.split(".") and key.endswith(("._u", "._v")))
    }
    checksums = torch.stack([torch.hash_tensor(tensor).view(torch.int64) for tensor in tensors.values()]).tolist()
    by_rank = distributed.all_gather_objects(checksums)
    for rank, others in enumerate(by_rank):
        for name, first, other in zip(tensors, by_rank[0], others, strict=True):
            if first != other:
                raise UserError(
                    f"the processes have drifted apart: {name} of rank {rank} is not that of rank 0 at step {step}; "
                    "nothing was overwritten. Resume from the last checkpoint; if it happens again, suspect the "
                    "hardware of that rank, or random numbers in a custom network"
                )
