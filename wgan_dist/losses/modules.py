"""The two modules whose forward is a whole loss: what DistributedDataParallel and torch.compile wrap.

The penalty's inner gradient stays inside the wrapped forward, so the double backward compiles and processes average
gradients exactly.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from wgan_dist.losses.adversarial import Loss
from wgan_dist.losses.augment import Augmentation, augment
from wgan_dist.losses.gradient_penalty import Penalty, gradient_norms
from wgan_dist.models.conditional_critics import ClassifiedScores
from wgan_dist.models.layers import has_batchnorm
from wgan_dist.ops.double_backward import input_gradient
from wgan_dist.utils.profiler import phase

# Values to record, by name.
Metrics = dict[str, Tensor]
# The masks of a critic's dropout layers; empty for a critic without dropout, which takes the samples alone.
Masks = Sequence[Tensor]
# Maps samples, labels and masks to scores, and to logits of the classes or None.
CriticFunction = Callable[[Tensor, Tensor | None, Masks], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class CriticMasks:
    """The masks of the critic's dropout layers for each of its three inputs."""

    real: Masks = ()
    fake: Masks = ()
    penalty: Masks = ()


def _arguments(samples: Tensor, labels: Tensor | None, masks: Masks) -> tuple[Any, ...]:
    """Return the arguments of a critic: without labels and masks, the samples alone."""
    return samples, *(() if labels is None else (labels,)), *((masks,) if masks else ())


def _scores_and_logits(output: Tensor | ClassifiedScores, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    scores, logits = output if isinstance(output, ClassifiedScores) else (output, None)
    return scores.to(dtype), None if logits is None else logits.to(dtype)


class CriticInputs(NamedTuple):
    """The inputs of `CriticLoss` for n samples of each kind.

    Attributes:
        real, fake: Samples [n, …]: images in [−1, 1], or points.
        noise: What the penalty draws: α [n], δ [n, …], or nothing.
        masks: The masks of the critic's dropout layers.
        scale: The loss scale of fp16, or None.
        labels: The classes int64 [n] of both: a point between a real and a generated sample has the class of both.
        with_penalty: Whether this iteration has the penalty.
        augmentation: The augmentation of both and of the penalty's points, or None.
    """

    real: Tensor
    fake: Tensor
    noise: Tensor
    masks: CriticMasks
    scale: Tensor | None = None
    labels: Tensor | None = None
    with_penalty: bool = True
    augmentation: Augmentation | None = None


class GeneratorInputs(NamedTuple):
    """The inputs of `GeneratorLoss` for n samples.

    Attributes:
        z: Latents [n, latent_dim].
        masks: The masks of the critic's dropout layers.
        labels: The classes int64 [n] to generate, or None.
        augmentation: The augmentation of all samples, or None.
        real: Real samples [n, …] of the same classes, with which a relativistic loss compares, or None.
        real_masks: The masks of the critic's dropout layers for real samples.
    """

    z: Tensor
    masks: Masks = ()
    labels: Tensor | None = None
    augmentation: Augmentation | None = None
    real: Tensor | None = None
    real_masks: Masks = ()


class CriticLoss(nn.Module):
    """The critic and its loss: the adversarial loss + weight · penalty.

    `penalty` is None where the constraint is not part of the loss. Of `every` iterations one has the penalty, whose
    weight is multiplied by `every` (lazy regularisation; Karras et al. 2020, appendix B).

    Real and generated samples pass through the critic in one batch, or in separate batches if it has BatchNorm (Radford
    et al. 2016). A penalty of each sample's gradient has no meaning under BatchNorm.

    A critic that classifies also learns the classes of the real samples: class_weight · cross-entropy.

    Augmentation is part of the critic: the penalty is of the gradient with respect to the image before it. The n-th
    real image, the n-th generated one and the n-th of the penalty are augmented alike.
    """

    def __init__(
        self,
        critic: nn.Module,
        loss: Loss,
        penalty: Penalty | None,
        weight: float,
        class_weight: float = 1.0,
        every: int = 1,
    ) -> None:
        super().__init__()
        self.critic = critic
        self.loss = loss
        self.penalty = penalty
        self.weight = weight * every
        self.class_weight = class_weight
        self.separate_batches = has_batchnorm(critic)

    def _output(self, samples: Tensor, labels: Tensor | None, masks: Masks) -> tuple[Tensor, Tensor | None]:
        return _scores_and_logits(self.critic(*_arguments(samples, labels, masks)), samples.dtype)

    def _outputs(
        self, real: Tensor, fake: Tensor, labels: Tensor | None, masks: CriticMasks
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the scores of real and of generated samples, and the logits of real ones."""
        if self.separate_batches:
            real_scores, logits = self._output(real, labels, masks.real)
            return real_scores, self._output(fake, labels, masks.fake)[0], logits
        joined_masks = [torch.cat(pair) for pair in zip(masks.real, masks.fake, strict=True)]
        joined_labels = None if labels is None else torch.cat([labels, labels])
        scores, logits = self._output(torch.cat([real, fake]), joined_labels, joined_masks)
        real_scores, fake_scores = scores.chunk(2)
        return real_scores, fake_scores, None if logits is None else logits.chunk(2)[0]

    def _penalty_norms(
        self,
        points: Tensor,
        labels: Tensor | None,
        masks: Masks,
        scale: Tensor | None,
        augmentation: Augmentation | None,
    ) -> Tensor:
        """Return the norms of the critic's gradient at n points of `labels`, or at twice as many, n and then n."""
        if labels is not None:
            labels = labels.repeat(len(points) // len(labels))
        masks = [mask.repeat(len(points) // len(mask), *[1] * (mask.dim() - 1)) for mask in masks]

        def scores(x: Tensor) -> Tensor:
            return self._output(augment(x, augmentation), labels, masks)[0]

        with phase("inner gradient"):
            return gradient_norms(input_gradient(scores, points, scale))

    def forward(
        self,
        real: Tensor,
        fake: Tensor,
        noise: Tensor,
        masks: CriticMasks,
        scale: Tensor | None = None,
        labels: Tensor | None = None,
        with_penalty: bool = True,
        augmentation: Augmentation | None = None,
    ) -> tuple[Tensor, Metrics]:
        """Return the loss, a scalar, and detached metrics, for the fields of `CriticInputs`."""
        augmented = augment(real, augmentation), augment(fake, augmentation)
        real_scores, fake_scores, logits = self._outputs(*augmented, labels, masks)
        loss, metrics = self.loss.critic(real_scores, fake_scores), self.loss.metrics(real_scores, fake_scores)
        if logits is not None and labels is not None:
            class_loss = cross_entropy(logits, labels)
            loss = loss + self.class_weight * class_loss
            metrics |= {"real_class_loss": class_loss}
        if self.penalty is not None and with_penalty:
            points = self.penalty.points(real, fake, noise)
            norms = self._penalty_norms(points, labels, masks.penalty, scale, augmentation)
            penalty = self.penalty.of_norms(norms)
            loss = loss + self.weight * penalty
            metrics |= {"gradient_penalty": penalty, "gradient_norm": norms.mean()}
        return loss, {name: value.detach() for name, value in ({"critic_loss": loss} | metrics).items()}


def detached_critic(critic: nn.Module) -> CriticFunction:
    """Return the critic as a function of its input: gradients pass through it and never reach its parameters.

    Each call looks up and detaches the critic's tensors anew: preparing a network for distribution may move its
    parameters to other memory and replace buffers such as spectral norm's vectors. Switching requires_grad off instead
    would stall the gradient buckets of a wrapped critic.
    """

    def output(samples: Tensor, labels: Tensor | None, masks: Masks) -> tuple[Tensor, Tensor | None]:
        tensors = itertools.chain(critic.named_parameters(), critic.named_buffers())
        detached = {name: tensor.detach() for name, tensor in tensors}
        output = functional_call(critic, detached, _arguments(samples, labels, masks))
        return _scores_and_logits(output, samples.dtype)

    return output


class GeneratorLoss(nn.Module):
    """The generator and its loss. The critic is a function here and no submodule, since this loss does not train it.

    With a critic that classifies, generated samples are also to be of their classes: class_weight · cross-entropy.
    """

    def __init__(self, generator: nn.Module, critic: CriticFunction, loss: Loss, class_weight: float = 0.1) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.loss = loss
        self.class_weight = class_weight

    def forward(
        self,
        z: Tensor,
        masks: Masks = (),
        labels: Tensor | None = None,
        augmentation: Augmentation | None = None,
        real: Tensor | None = None,
        real_masks: Masks = (),
    ) -> tuple[Tensor, Metrics]:
        """Return the loss, a scalar, and detached metrics, for the fields of `GeneratorInputs`."""
        fake = self.generator(z) if labels is None else self.generator(z, labels)
        scores, logits = self.critic(augment(fake, augmentation), labels, masks)
        compared = [] if real is None else [self._real_scores(augment(real, augmentation), labels, real_masks)]
        loss, metrics = self.loss.generator(scores.to(z.dtype), *compared), {}
        if logits is not None and labels is not None:
            class_loss = cross_entropy(logits.to(z.dtype), labels)
            loss = loss + self.class_weight * class_loss
            metrics = {"fake_class_loss": class_loss.detach()}
        return loss, {"generator_loss": loss.detach()} | metrics

    @torch.no_grad()
    def _real_scores(self, real: Tensor, labels: Tensor | None, masks: Masks) -> Tensor:
        return self.critic(real, labels, masks)[0]
