"""Losses and Lipschitz constraints as pure functions, and the two modules whose forward is a whole loss.

A module whose one forward returns the whole loss is what gets wrapped for distribution and compilation: the
penalty's inner gradient stays inside it, so the double backward compiles and gradients are averaged exactly.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import relu, softplus

from wgan_dist.ops import double_backward
from wgan_dist.utils.profiler import phase

Metrics = dict[str, Tensor]
# Samples and the masks of their dropout layers → scores. A network without dropout takes the samples alone.
Masks = Sequence[Tensor]
Scorer = Callable[[Tensor, Masks], Tensor]

# Inside the root of the norm: √0 has no derivative, and a critic's gradient can be exactly 0.
NORM_EPSILON = 1e-12


def wasserstein_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean D(x) − mean D(G(z)), in the unit of the scores (Arjovsky et al. 2017, eq. 2)."""
    return real_scores.mean() - fake_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """−mean D(G(z)) (Arjovsky et al. 2017, algorithm 1)."""
    return -fake_scores.mean()


def _wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    return -wasserstein_estimate(real_scores, fake_scores)


def _wasserstein_terms(real_scores: Tensor, fake_scores: Tensor) -> Metrics:
    return {"wasserstein": wasserstein_estimate(real_scores, fake_scores)}


def bce_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """−mean log σ(s(x)) − mean log(1 − σ(s(G(z)))), with the scores s as logits (Goodfellow et al. 2014, eq. 1)."""
    return softplus(-real_scores).mean() + softplus(fake_scores).mean()


def bce_generator_loss(fake_scores: Tensor) -> Tensor:
    """−mean log σ(s(G(z))), the non-saturating form (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake_scores).mean()


def _probabilities(real_scores: Tensor, fake_scores: Tensor) -> Metrics:
    return {"real_probability": real_scores.sigmoid().mean(), "fake_probability": fake_scores.sigmoid().mean()}


def hinge_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean max(0, 1 − s(x)) + mean max(0, 1 + s(G(z))) (Lim and Ye 2017; Miyato et al. 2018, eq. 16 and 17)."""
    return relu(1.0 - real_scores).mean() + relu(1.0 + fake_scores).mean()


def _mean_scores(real_scores: Tensor, fake_scores: Tensor) -> Metrics:
    return {"real_score": real_scores.mean(), "fake_score": fake_scores.mean()}


@dataclass(frozen=True)
class Loss:
    """What the critic minimises of its scores, what the generator does, and the means that tell how it goes."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    terms: Callable[[Tensor, Tensor], Metrics]


LOSSES = {
    "wasserstein": Loss(_wasserstein_critic_loss, wasserstein_generator_loss, _wasserstein_terms),
    "bce": Loss(bce_critic_loss, bce_generator_loss, _probabilities),
    "hinge": Loss(hinge_critic_loss, wasserstein_generator_loss, _mean_scores),
}


def interpolate(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """α·x + (1 − α)·G(z) with one α of [n] per sample (Gulrajani et al. 2017, algorithm 1)."""
    alpha = alpha.view(-1, *[1] * (real.dim() - 1))
    return alpha * real + (1.0 - alpha) * fake


def _at_real(real: Tensor, fake: Tensor, draw: Tensor) -> Tensor:
    return real


def perturb(real: Tensor, fake: Tensor, delta: Tensor) -> Tensor:
    """x + δ with noise δ shaped as x (Kodali et al. 2017, eq. 4)."""
    return real + delta


def input_gradient(critic: Callable[[Tensor], Tensor], samples: Tensor, scale: Tensor | None = None) -> Tensor:
    """∇ₓ D(x) for each sample, shaped as `samples`, differentiable again in the critic's parameters.

    `scale` is fp16's loss scale: it multiplies the scores, so that half-precision gradients do not underflow,
    and divides the result in the precision of `samples`.
    """

    def total(points: Tensor) -> Tensor:
        scores = critic(points).to(points.dtype).sum()
        return scores if scale is None else scores * scale

    gradient = double_backward.gradient(total, samples)
    return gradient if scale is None else gradient / scale


def gradient_norms(gradient: Tensor) -> Tensor:
    """The Euclidean norm over all values of each sample: [n, …] → [n]."""
    return (gradient.flatten(1).square().sum(1) + NORM_EPSILON).sqrt()


def two_sided_penalty(norms: Tensor) -> Tensor:
    """mean (‖∇‖ − 1)² (Gulrajani et al. 2017, eq. 3)."""
    return (norms - 1.0).square().mean()


def one_sided_penalty(norms: Tensor) -> Tensor:
    """mean max(0, ‖∇‖ − 1)², WGAN-LP (Petzka et al. 2018, eq. 8)."""
    return (norms - 1.0).clamp_min(0.0).square().mean()


def zero_centred_penalty(norms: Tensor) -> Tensor:
    """½ · mean ‖∇‖², R1 where it is measured at real samples (Mescheder et al. 2018, eq. 9)."""
    return 0.5 * norms.square().mean()


@dataclass(frozen=True)
class Penalty:
    """A function of the critic's gradient norms, and where they are measured.

    `points(real, fake, draw)`; `draws` says what they take at random: alpha, U[0, 1) per sample; noise, normal and
    shaped as the samples; nothing.
    """

    points: Callable[[Tensor, Tensor, Tensor], Tensor]
    of_norms: Callable[[Tensor], Tensor]
    draws: str


PENALTIES = {
    "gp": Penalty(interpolate, two_sided_penalty, "alpha"),
    "lp": Penalty(interpolate, one_sided_penalty, "alpha"),
    "r1": Penalty(_at_real, zero_centred_penalty, "nothing"),
    "dragan": Penalty(perturb, two_sided_penalty, "noise"),
}


@torch.no_grad()
def clip_weights(parameters: list[Tensor], bound: float) -> None:
    """Clamp every weight to [−bound, bound], in place (Arjovsky et al. 2017, algorithm 1)."""
    torch._foreach_clamp_min_(parameters, -bound)
    torch._foreach_clamp_max_(parameters, bound)


@dataclass(frozen=True)
class CriticMasks:
    """The masks of the critic's dropout layers, for each of its three inputs; empty for a critic without."""

    real: Masks = ()
    fake: Masks = ()
    penalty: Masks = ()


def has_batchnorm(network: nn.Module) -> bool:
    """Whether a network has BatchNorm, so that a sample's score depends on the others of its batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


class CriticLoss(nn.Module):
    """The critic and its loss: that of its scores + weight · penalty.

    `penalty` is None where the constraint is not part of the loss. Real and generated samples go through the critic
    in one pass, unless it mixes samples: then each kind is a batch of its own (Radford et al. 2016), and a penalty
    of each sample's gradient would mean nothing.
    """

    def __init__(self, critic: nn.Module, loss: Loss, penalty: Penalty | None, weight: float) -> None:
        super().__init__()
        self.critic = critic
        self.loss = loss
        self.penalty = penalty
        self.weight = weight
        self.apart = has_batchnorm(critic)

    def _score(self, samples: Tensor, masks: Masks) -> Tensor:
        return (self.critic(samples, masks) if masks else self.critic(samples)).to(samples.dtype)

    def _scores(self, real: Tensor, fake: Tensor, masks: CriticMasks) -> tuple[Tensor, Tensor]:
        if self.apart:
            return self._score(real, masks.real), self._score(fake, masks.fake)
        both = [torch.cat(pair) for pair in zip(masks.real, masks.fake, strict=True)]
        real_scores, fake_scores = self._score(torch.cat([real, fake]), both).chunk(2)
        return real_scores, fake_scores

    def forward(
        self, real: Tensor, fake: Tensor, draw: Tensor, masks: CriticMasks, scale: Tensor | None = None
    ) -> tuple[Tensor, Metrics]:
        """real, fake [n, …] and what the penalty draws → the loss, and its terms by name, detached."""
        scores = self._scores(real, fake, masks)
        loss, terms = self.loss.critic(*scores), self.loss.terms(*scores)
        if self.penalty is not None:
            points = self.penalty.points(real, fake, draw)
            with phase("inner gradient"):
                norms = gradient_norms(input_gradient(lambda x: self._score(x, masks.penalty), points, scale))
            penalty = self.penalty.of_norms(norms)
            loss = loss + self.weight * penalty
            terms |= {"gradient_penalty": penalty, "gradient_norm": norms.mean()}
        return loss, {name: value.detach() for name, value in ({"critic_loss": loss} | terms).items()}


def frozen(critic: nn.Module) -> Scorer:
    """The critic as a function of its input alone: gradients pass through it and never into it.

    Its tensors are looked up and detached anew at every call: preparing a network for distribution may give its
    parameters other memory, and its buffers, as spectral norm's, other tensors. Switching requires_grad instead would
    stall the buckets of a wrapped critic.
    """

    def score(samples: Tensor, masks: Masks) -> Tensor:
        state = itertools.chain(critic.named_parameters(), critic.named_buffers())
        detached = {name: value.detach() for name, value in state}
        return functional_call(critic, detached, (samples, masks) if masks else (samples,))

    return score


class GeneratorLoss(nn.Module):
    """The generator and its loss. The critic is a function here, not a submodule: it is not this one's to train."""

    def __init__(self, generator: nn.Module, critic: Scorer, loss: Loss) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.loss = loss

    def forward(self, z: Tensor, masks: Masks = ()) -> tuple[Tensor, Metrics]:
        """z [n, latent_dim] and the masks of the critic's dropout → the loss, and its terms by name, detached."""
        scores = self.critic(self.generator(z), masks).to(z.dtype)
        loss = self.loss.generator(scores)
        return loss, {"generator_loss": loss.detach()}
