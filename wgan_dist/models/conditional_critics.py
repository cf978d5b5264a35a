"""Methods that condition a critic on the class of a sample, and the table that names them.

A new method is one class, one line in the table, and its name among the choices of `Config.critic_labels`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wgan_dist.config.image_size import ImageSize
from wgan_dist.models.layers import Critic


class ClassifiedScores(NamedTuple):
    """The scores [n] of samples, and the logits [n, classes] of their classes."""

    scores: Tensor
    logits: Tensor


def _class_layer(critic: Critic, classes: int, bias: bool) -> nn.Linear:
    """Return a layer from a critic's features, flattened, to one value for each class."""
    weight = critic.output_layer.weight
    assert isinstance(weight, Tensor)
    return nn.Linear(weight.numel(), classes, bias)


class LabelledCritic(nn.Module):
    """A critic that takes the labels of the samples, around a critic that does not."""

    def __init__(self, critic: Critic) -> None:
        super().__init__()
        self.critic, self.dropouts = critic, critic.dropouts


class ProjectionCritic(LabelledCritic):
    """A critic whose score has a term for the class, D(x, y) = ψ(φ(x)) + ⟨v_y, φ(x)⟩ (Miyato and Koyama 2018, eq. 5).

    φ are the features of the critic, and ψ is its output layer. `class_layer` computes the products with all v_y.
    """

    def __init__(self, critic: Critic, classes: int) -> None:
        super().__init__(critic)
        self.class_layer = _class_layer(critic, classes, bias=False)

    def forward(self, samples: Tensor, labels: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Map samples [n, …] and labels int64 [n] to scores [n]."""
        features = self.critic.features(samples, masks)
        of_classes: Tensor = self.class_layer(features.flatten(1))
        score: Tensor = self.critic.output_layer(features).flatten()
        return score + of_classes.gather(1, labels[:, None]).flatten()


class AuxiliaryClassifierCritic(LabelledCritic):
    """A critic that also classifies (Odena et al. 2017; with WGAN-GP, Gulrajani et al. 2017, section 5.4).

    Its scores do not depend on the labels.
    """

    def __init__(self, critic: Critic, classes: int) -> None:
        super().__init__(critic)
        self.class_layer = _class_layer(critic, classes, bias=True)

    def forward(self, samples: Tensor, labels: Tensor, masks: Sequence[Tensor] = ()) -> ClassifiedScores:
        """Map samples [n, …] to scores [n] and logits [n, classes]."""
        features = self.critic.features(samples, masks)
        return ClassifiedScores(self.critic.output_layer(features).flatten(), self.class_layer(features.flatten(1)))


class LabelMapCritic(LabelledCritic):
    """A critic of images with one more channel, a learned map of the class.

    Args:
        critic: A critic of images with one more channel.
        classes: The number of classes.
        image_size: Height and width of the images.
    """

    def __init__(self, critic: Critic, classes: int, image_size: ImageSize) -> None:
        nn.Module.__init__(self)
        self.image_size = image_size
        # Before the critic: --freeze_critic counts layers in the order in which a module holds them.
        self.maps = nn.Embedding(classes, image_size.height * image_size.width)
        self.critic, self.dropouts = critic, critic.dropouts

    def forward(self, samples: Tensor, labels: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Map images [n, c, h, w] and labels int64 [n] to scores [n]."""
        maps = self.maps(labels).view(-1, 1, *self.image_size).to(samples.dtype)
        images = torch.cat([samples, maps], 1)
        scores: Tensor = self.critic(images, masks) if masks else self.critic(images)
        return scores


@dataclass(frozen=True)
class CriticMethod:
    """A method that conditions a critic: `wrap(critic, classes, image_size)`, and the channels it adds to images."""

    wrap: Callable[[Critic, int, ImageSize], nn.Module]
    added_channels: int = 0


CRITIC_METHODS = {
    "projection": CriticMethod(lambda critic, classes, image_size: ProjectionCritic(critic, classes)),
    "acgan": CriticMethod(lambda critic, classes, image_size: AuxiliaryClassifierCritic(critic, classes)),
    "concat": CriticMethod(LabelMapCritic, added_channels=1),
}
