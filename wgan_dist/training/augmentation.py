"""Measure how far the critic overfits held-out images, and adapt the augmentation to it (ADA; Karras et al. 2020)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import Config
from wgan_dist.data.few_images import LEAST_HELD_OUT, adaptive_holdout
from wgan_dist.data.holdout import Rows, Split
from wgan_dist.evaluation.generated_set import own_share
from wgan_dist.losses.augment import DRAWS, Augmentation, augment
from wgan_dist.training import eval_mode
from wgan_dist.training.augmentation_strength import AugmentationStrength
from wgan_dist.training.callbacks import Callback, StepResult
from wgan_dist.training.noise import NoiseSource
from wgan_dist.training.schedule import is_due
from wgan_dist.training.steps import GAN
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError

# Real images that the critic sees between two measurements, and the images of each kind in one of them: training, held
# out, generated.
IMAGES_BETWEEN, MEASURED = 2048, 64
# The real images that the critic sees while the probability goes from 0 to 1.
RAMP_IMAGES = 50_000


def with_holdout(config: Config, count: int) -> Config:
    """Return the settings with a share of `count` images held out, if adaptive augmentation needs one and has none."""
    if config.augment != "adaptive" or config.holdout:
        return config
    return dataclasses.replace(config, holdout=adaptive_holdout(count))


def check_held_out(config: Config, split: Split) -> None:
    """Raise UserError if adaptive augmentation has too few held-out images to measure overfitting by."""
    held_out, count = len(split.held_out), len(split.held_out) + len(split.training)
    if config.augment == "adaptive" and held_out < LEAST_HELD_OUT:
        raise UserError(
            f"augment=adaptive: {held_out} of {count} images are held out to measure overfitting by, and it needs "
            f"{LEAST_HELD_OUT}; expected a greater --holdout, more images, or --augment=diffaugment"
        )


class Overfitting:
    """Measures the mean scores of training, held-out and generated images, all augmented as in training.

    Each held-out image is compared with a training image and a generated one of its class, and all three are augmented
    by the same draws. All draws are functions of the seed and the step. Both networks are in evaluation mode.
    """

    def __init__(
        self,
        gan: GAN,
        source: NoiseSource,
        split: Split,
        images: Callable[[Rows], Tensor],
        labels: NDArray[np.int64] | None,
    ) -> None:
        """Measure the networks of `gan`.

        Args:
            gan: Both networks.
            source: Gives the seed, the latents and the device.
            split: The rows that are trained on and those held out.
            images: Returns the images of rows, on the device.
            labels: The class of each row, or None without classes.
        """
        self.gan, self.source, self.held_out, self.images, self.labels = gan, source, split.held_out, images, labels
        classes = np.zeros(len(split.training), np.int64) if labels is None else labels[split.training]
        self._training = split.training[np.argsort(classes, kind="stable")]
        self._counts = np.bincount(classes)
        self._starts = np.cumsum(self._counts) - self._counts

    def rows(self, step: int) -> tuple[Rows, Rows]:
        """Return the held-out rows of the measurement at a step, and for each a training row of its class."""
        uniform = rng.uniform(self.source.seed, "augment.measured", step, (MEASURED, 2))
        held_out = self.held_out[(uniform[:, 0] * len(self.held_out)).astype(np.int64)]
        classes = np.zeros(MEASURED, np.int64) if self.labels is None else self.labels[held_out]
        places = self._starts[classes] + (uniform[:, 1] * self._counts[classes]).astype(np.int64)
        return held_out, self._training[places]

    def mean_scores(self, step: int, probabilities: Tensor) -> Tensor:
        """Return the mean scores of training, held-out and generated images, [3] in float64; every process calls it."""
        share = own_share(MEASURED)
        if share.start < share.stop:
            sums = self._scores(step, share, probabilities).double().view(3, -1).sum(1)
        else:
            sums = torch.zeros(3, dtype=torch.float64, device=self.source.device)
        return distributed.all_reduce_mean(sums) * (distributed.world().size / MEASURED)

    def _scores(self, step: int, share: slice, probabilities: Tensor) -> Tensor:
        """Return the scores of this process's share of the training images, held-out images and generated ones."""
        held_out, training = (rows[share] for rows in self.rows(step))
        count, source = share.stop - share.start, self.source
        z = rng.latent(
            source.distribution, source.seed, "augment.measured.z", step, (count, source.latent_dim), share.start
        )
        draws = rng.uniform(source.seed, "augment.measured.draws", step, (count, DRAWS), share.start)
        augmentation = Augmentation(self._upload(draws, source.dtype), probabilities)
        labels = None if self.labels is None else self._upload(self.labels[held_out], torch.int64)
        generated = eval_mode.sample(self.gan.generator.network, self._upload(z, source.dtype), labels)
        images = torch.cat([self.images(training), self.images(held_out), generated])
        of_all = None if labels is None else labels.repeat(3)
        return eval_mode.score(self.gan.critic.network, augment(images, augmentation), of_all)

    def _upload(self, values: NDArray[Any], dtype: torch.dtype) -> Tensor:
        return self.source.upload(self.source.stage(values, dtype))


class AdaptiveAugmentation(Callback):
    """Lets the probability of augmentations follow the overfitting of the critic (Karras et al. 2020).

    The host waits for the device only in steps with a measurement.
    """

    def __init__(self, strength: AugmentationStrength, overfitting: Overfitting, images_per_step: int) -> None:
        """Adapt `strength` where the critic sees `images_per_step` real images in a generator step."""
        self.strength, self.overfitting = strength, overfitting
        self._every = max(1, round(IMAGES_BETWEEN / images_per_step))
        self._change = min(1.0, self._every * images_per_step / RAMP_IMAGES)

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        strength = self.strength
        if is_due(state.step, self._every):
            strength.adapt(self.overfitting.mean_scores(state.step, strength.probabilities), self._change)
        result.metrics |= {"augment_probability": strength.probability, "overfitting": strength.overfitting}
