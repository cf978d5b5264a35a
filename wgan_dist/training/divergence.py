"""Weights that are not finite: they must not replace good ones."""

from collections.abc import Iterable

from torch import Tensor, nn

from wgan_dist.utils.errors import UserError


def is_finite(values: Tensor) -> bool:
    """Return whether all values are finite. One sum shows it in a tenth of the time, unless the sum overflows."""
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def check_weights(networks: Iterable[nn.Module], step: int, learning_rates: dict[str, float]) -> None:
    """Raise UserError if any weight is not finite. Every process has the same weights, so every process raises."""
    for network in networks:
        if not all(map(is_finite, network.state_dict().values())):
            rates = " and ".join(f"{name}_lr={rate:g}" for name, rate in learning_rates.items())
            raise UserError(
                f"training has diverged: weights at step {step} are not finite; nothing was overwritten. Lower {rates}"
            )
