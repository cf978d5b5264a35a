"""Losses and Lipschitz constraints as pure functions, and the two modules whose forward is a whole loss.

A module whose one forward returns the whole loss is what gets wrapped for distribution and compilation: the
penalty's inner gradient stays inside it, so the double backward compiles and gradients are averaged exactly.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

Scorer = Callable[[Tensor], Tensor]
Terms = dict[str, Tensor]

# Inside the root of the norm: √0 has no derivative, and a critic's gradient can be exactly 0.
NORM_EPSILON = 1e-12


def wasserstein_estimate(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean D(x) − mean D(G(z)), in the unit of the scores (Arjovsky et al. 2017, eq. 2)."""
    return real_scores.mean() - fake_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """−mean D(G(z)) (Arjovsky et al. 2017, algorithm 1)."""
    return -fake_scores.mean()


def interpolate(real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """α·x + (1 − α)·G(z) with one α of [n] per sample (Gulrajani et al. 2017, algorithm 1)."""
    alpha = alpha.view(-1, *[1] * (real.dim() - 1))
    return alpha * real + (1.0 - alpha) * fake


def input_gradient(critic: Scorer, samples: Tensor, scale: Tensor | None = None) -> Tensor:
    """∇ₓ D(x) for each sample, shaped as `samples`, differentiable again in the critic's parameters.

    `scale` is fp16's loss scale: it multiplies the scores, so that half-precision gradients do not underflow,
    and divides the result in the precision of `samples`.
    """

    def total(points: Tensor) -> Tensor:
        scores = critic(points).to(points.dtype).sum()
        return scores if scale is None else scores * scale

    gradient = torch.func.grad(total)(samples)
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


PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {"gp": two_sided_penalty, "lp": one_sided_penalty}


@torch.no_grad()
def clip_weights(parameters: list[Tensor], bound: float) -> None:
    """Clamp every weight to [−bound, bound], in place (Arjovsky et al. 2017, algorithm 1)."""
    torch._foreach_clamp_min_(parameters, -bound)
    torch._foreach_clamp_max_(parameters, bound)


class CriticObjective(nn.Module):
    """The critic and its loss: −Wasserstein estimate + weight · penalty.

    `penalty` is a function of gradient norms, or None where the constraint is not part of the loss. The critic
    must score each sample by itself: real and generated samples go through it in one pass.
    """

    def __init__(self, critic: nn.Module, penalty: Callable[[Tensor], Tensor] | None, weight: float) -> None:
        super().__init__()
        self.critic = critic
        self.penalty = penalty
        self.weight = weight

    def forward(self, real: Tensor, fake: Tensor, alpha: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Terms]:
        """real, fake [n, …], alpha [n] in [0, 1) → the loss, and its terms by name, detached."""
        real_scores, fake_scores = self.critic(torch.cat([real, fake])).to(real.dtype).chunk(2)
        estimate = wasserstein_estimate(real_scores, fake_scores)
        loss, terms = -estimate, {"wasserstein": estimate.detach()}
        if self.penalty is not None:
            norms = gradient_norms(input_gradient(self.critic, interpolate(real, fake, alpha), scale))
            penalty = self.penalty(norms)
            loss = loss + self.weight * penalty
            terms |= {"gradient_penalty": penalty.detach(), "gradient_norm": norms.mean().detach()}
        return loss, {"critic_loss": loss.detach()} | terms


def frozen(critic: nn.Module) -> Scorer:
    """The critic as a function of its input alone: gradients pass through it and never into it.

    Detached anew at every call: preparing a network for distribution may give its parameters other memory.
    Switching requires_grad instead would stall the buckets of a wrapped critic.
    """
    state = dict([*critic.named_parameters(), *critic.named_buffers()])

    def score(samples: Tensor) -> Tensor:
        detached = {name: value.detach() for name, value in state.items()}
        return functional_call(critic, detached, (samples,))

    return score


class GeneratorObjective(nn.Module):
    """The generator and its loss. The critic is a function here, not a submodule: it is not this one's to train."""

    def __init__(self, generator: nn.Module, critic: Scorer) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic

    def forward(self, z: Tensor) -> tuple[Tensor, Terms]:
        """z [n, latent_dim] → the loss, and its terms by name, detached."""
        scores = self.critic(self.generator(z)).to(z.dtype)
        loss = wasserstein_generator_loss(scores)
        return loss, {"generator_loss": loss.detach()}
