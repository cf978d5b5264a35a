"""Lipschitz constraints of the critic: gradient penalties, the table that names them, and weight clipping."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Added inside the root of the gradient norm: √0 has no derivative, and a critic's gradient can be exactly 0.
GRADIENT_NORM_EPSILON = 1e-12


def interpolate(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """Return α·x + (1 − α)·G(z) with one α of [n] for each sample (Gulrajani et al. 2017, algorithm 1)."""
    alpha = alpha.view(-1, *[1] * (real.dim() - 1))
    return alpha * real + (1.0 - alpha) * fake


def perturb(real: Tensor, fake: Tensor, delta: Tensor) -> Tensor:
    """Return x + δ with noise δ shaped as x (DRAGAN; Kodali et al. 2017, eq. 4)."""
    return real + delta


def _real_samples(real: Tensor, fake: Tensor, nothing: Tensor) -> Tensor:
    return real


def _real_and_generated(real: Tensor, fake: Tensor, nothing: Tensor) -> Tensor:
    return torch.cat([real, fake])


def gradient_norms(gradient: Tensor) -> Tensor:
    """Return the Euclidean norm of each sample's gradient: [n, …] → [n]."""
    return (gradient.flatten(1).square().sum(1) + GRADIENT_NORM_EPSILON).sqrt()


def two_sided_penalty(norms: Tensor) -> Tensor:
    """Return mean (‖∇‖ − 1)² (Gulrajani et al. 2017, eq. 3)."""
    return (norms - 1.0).square().mean()


def one_sided_penalty(norms: Tensor) -> Tensor:
    """Return mean max(0, ‖∇‖ − 1)² (WGAN-LP; Petzka et al. 2018, eq. 8)."""
    return (norms - 1.0).clamp_min(0.0).square().mean()


def zero_centred_penalty(norms: Tensor) -> Tensor:
    """Return ½ · mean ‖∇‖², which at real samples is R1 (Mescheder et al. 2018, eq. 9)."""
    return 0.5 * norms.square().mean()


def summed_zero_centred_penalty(norms: Tensor) -> Tensor:
    """Return R1 + R2, ½ · mean ‖∇‖² at real samples plus the same at generated ones (Mescheder et al. 2018, eq. 9, 10).

    `norms` [2n] are those of both, n each.
    """
    return norms.square().mean()


@dataclass(frozen=True)
class Penalty:
    """A gradient penalty: where the critic's gradient is taken, and the penalty of its norms.

    `points(real, fake, noise)` returns n samples, or 2n: n like the real and then n like the generated ones; `of_norms`
    maps their norms to a scalar. `draws` names the noise: "alpha" is U[0, 1) [n], "noise" is normal and shaped as the
    samples, "nothing" is an empty tensor.
    """

    points: Callable[[Tensor, Tensor, Tensor], Tensor]
    of_norms: Callable[[Tensor], Tensor]
    draws: str


PENALTIES = {
    "gp": Penalty(interpolate, two_sided_penalty, "alpha"),
    "lp": Penalty(interpolate, one_sided_penalty, "alpha"),
    "r1": Penalty(_real_samples, zero_centred_penalty, "nothing"),
    "r1r2": Penalty(_real_and_generated, summed_zero_centred_penalty, "nothing"),
    "dragan": Penalty(perturb, two_sided_penalty, "noise"),
}


@torch.no_grad()
def clip_weights(parameters: Sequence[Tensor], bound: float) -> None:
    """Clamp every weight to [−bound, bound], in place (Arjovsky et al. 2017, algorithm 1)."""
    for parameter in parameters:
        parameter.clamp_(-bound, bound)
