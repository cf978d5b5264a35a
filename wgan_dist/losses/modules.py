"""The two modules whose forward is a whole loss: what DistributedDataParallel and torch.compile wrap.

The penalty's inner gradient stays inside the wrapped forward, so the double backward compiles and processes average
gradients exactly.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wgan_dist.losses.adversarial import Loss
from wgan_dist.losses.gradient_penalty import Penalty, gradient_norms
from wgan_dist.models.layers import has_batchnorm
from wgan_dist.ops.double_backward import input_gradient
from wgan_dist.utils.profiler import phase

# Values to record, by name.
Metrics = dict[str, Tensor]
# The masks of a critic's dropout layers; empty for a critic without dropout, which takes the samples alone.
Masks = Sequence[Tensor]
# Maps samples and masks to scores.
ScoreFunction = Callable[[Tensor, Masks], Tensor]


@dataclass(frozen=True)
class CriticMasks:
    """The masks of the critic's dropout layers for each of its three inputs."""

    real: Masks = ()
    fake: Masks = ()
    penalty: Masks = ()


class CriticLoss(nn.Module):
    """The critic and its loss: the adversarial loss + weight · penalty.

    `penalty` is None where the constraint is not part of the loss. Real and generated samples pass through the critic
    in one batch, or in separate batches if it has BatchNorm (Radford et al. 2016). A penalty of each sample's gradient
    has no meaning under BatchNorm.
    """

    def __init__(self, critic: nn.Module, loss: Loss, penalty: Penalty | None, weight: float) -> None:
        super().__init__()
        self.critic = critic
        self.loss = loss
        self.penalty = penalty
        self.weight = weight
        self.separate_batches = has_batchnorm(critic)

    def _score(self, samples: Tensor, masks: Masks) -> Tensor:
        return (self.critic(samples, masks) if masks else self.critic(samples)).to(samples.dtype)

    def _scores(self, real: Tensor, fake: Tensor, masks: CriticMasks) -> tuple[Tensor, Tensor]:
        if self.separate_batches:
            return self._score(real, masks.real), self._score(fake, masks.fake)
        joined_masks = [torch.cat(pair) for pair in zip(masks.real, masks.fake, strict=True)]
        real_scores, fake_scores = self._score(torch.cat([real, fake]), joined_masks).chunk(2)
        return real_scores, fake_scores

    def forward(
        self, real: Tensor, fake: Tensor, noise: Tensor, masks: CriticMasks, scale: Tensor | None = None
    ) -> tuple[Tensor, Metrics]:
        """Return the loss, a scalar, and detached metrics.

        `real` and `fake` are samples [n, …], `noise` is what the penalty draws, `scale` is fp16's loss scale.
        """
        scores = self._scores(real, fake, masks)
        loss, metrics = self.loss.critic(*scores), self.loss.metrics(*scores)
        if self.penalty is not None:
            points = self.penalty.points(real, fake, noise)
            with phase("inner gradient"):
                norms = gradient_norms(input_gradient(lambda x: self._score(x, masks.penalty), points, scale))
            penalty = self.penalty.of_norms(norms)
            loss = loss + self.weight * penalty
            metrics |= {"gradient_penalty": penalty, "gradient_norm": norms.mean()}
        return loss, {name: value.detach() for name, value in ({"critic_loss": loss} | metrics).items()}


def detached_critic(critic: nn.Module) -> ScoreFunction:
    """Return the critic as a function of its input: gradients pass through it and never reach its parameters.

    Each call looks up and detaches the critic's tensors anew: preparing a network for distribution may move its
    parameters to other memory and replace buffers such as spectral norm's vectors. Switching requires_grad off instead
    would stall the gradient buckets of a wrapped critic.
    """

    def score(samples: Tensor, masks: Masks) -> Tensor:
        tensors = itertools.chain(critic.named_parameters(), critic.named_buffers())
        detached = {name: tensor.detach() for name, tensor in tensors}
        return functional_call(critic, detached, (samples, masks) if masks else (samples,))

    return score


class GeneratorLoss(nn.Module):
    """The generator and its loss. The critic is a function here and no submodule, since this loss does not train it."""

    def __init__(self, generator: nn.Module, critic: ScoreFunction, loss: Loss) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.loss = loss

    def forward(self, z: Tensor, masks: Masks = ()) -> tuple[Tensor, Metrics]:
        """Return the loss, a scalar, and detached metrics, from z [n, latent_dim] and the masks of the critic."""
        scores = self.critic(self.generator(z), masks).to(z.dtype)
        loss = self.loss.generator(scores)
        return loss, {"generator_loss": loss.detach()}
