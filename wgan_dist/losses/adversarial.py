"""Adversarial losses as functions of the critic's scores, and the table that names them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus


def wasserstein_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return mean D(x) − mean D(G(z)), in the unit of the scores (Arjovsky et al. 2017, eq. 2)."""
    return real_scores.mean() - fake_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """Return −mean D(G(z)) (Arjovsky et al. 2017, algorithm 1)."""
    return -fake_scores.mean()


def _wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    return -wasserstein_estimate(real_scores, fake_scores)


def _wasserstein_metrics(real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
    return {"wasserstein": wasserstein_estimate(real_scores, fake_scores)}


def bce_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return −mean log σ(D(x)) − mean log(1 − σ(D(G(z)))) of logits D (Goodfellow et al. 2014, eq. 1)."""
    return softplus(-real_scores).mean() + softplus(fake_scores).mean()


def bce_generator_loss(fake_scores: Tensor) -> Tensor:
    """Return the non-saturating −mean log σ(D(G(z))) of logits D (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake_scores).mean()


def _mean_probabilities(real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
    return {"real_probability": real_scores.sigmoid().mean(), "fake_probability": fake_scores.sigmoid().mean()}


def hinge_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return mean max(0, 1 − D(x)) + mean max(0, 1 + D(G(z))) (Lim and Ye 2017; Miyato et al. 2018, eq. 16, 17)."""
    return relu(1.0 - real_scores).mean() + relu(1.0 + fake_scores).mean()


def relativistic_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return mean softplus(D(G(z)) − D(x)) over pairs (Jolicoeur-Martineau 2019, section 4.1.1, RpGAN)."""
    return softplus(fake_scores - real_scores).mean()


def relativistic_generator_loss(fake_scores: Tensor, real_scores: Tensor) -> Tensor:
    """Return mean softplus(D(x) − D(G(z))) over pairs (Jolicoeur-Martineau 2019, section 4.1.1, RpGAN)."""
    return softplus(real_scores - fake_scores).mean()


def _pairs_in_order(real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
    in_order = (real_scores > fake_scores).to(real_scores.dtype).mean()
    return {"score_difference": wasserstein_estimate(real_scores, fake_scores), "pairs_in_order": in_order}


def _mean_scores(real_scores: Tensor, fake_scores: Tensor) -> dict[str, Tensor]:
    return {"real_score": real_scores.mean(), "fake_score": fake_scores.mean()}


@dataclass(frozen=True)
class Loss:
    """An adversarial loss: what the critic minimises, what the generator minimises, and metrics to record.

    `critic` and `metrics` take real and fake scores [n]. `generator` takes fake scores, and with `is_relativistic` also
    as many real scores, of the last critic iteration's batch. All return scalars.
    """

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[..., Tensor]
    metrics: Callable[[Tensor, Tensor], dict[str, Tensor]]
    is_relativistic: bool = False


LOSSES = {
    "wasserstein": Loss(_wasserstein_critic_loss, wasserstein_generator_loss, _wasserstein_metrics),
    "bce": Loss(bce_critic_loss, bce_generator_loss, _mean_probabilities),
    "hinge": Loss(hinge_critic_loss, wasserstein_generator_loss, _mean_scores),
    "relativistic": Loss(relativistic_critic_loss, relativistic_generator_loss, _pairs_in_order, is_relativistic=True),
}
