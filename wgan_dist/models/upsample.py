"""Nearest-neighbour upsampling and 5×5 convolutions with dropout, for images of 28×28 or 32×32."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from wgan_dist.models.init import init_glorot
from wgan_dist.models.layers import Critic, leaky_relu

# Both networks compute at this size; images are cropped from it, or padded to it with zeros.
INNER_SIZE = 32
# BatchNorm as in Keras, from which these networks come. Torch's momentum is the weight of the new value.
EPSILON, MOMENTUM = 1e-3, 0.01
# Keras' padding="same" of a 5×5 convolution with stride 2: one before, two after.
SAME_PADDING = (1, 2, 1, 2)
CONV_DROPOUT, DENSE_DROPOUT = 0.3, 0.2


def _margin(image_size: int) -> int:
    return (INNER_SIZE - image_size) // 2


class UpsampleGenerator(nn.Module):
    """A dense layer to 4×4 with 4f channels, then three times ×2 upsampling and a 3×3 convolution: 2f, f, channels."""

    def __init__(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.margin = _margin(image_size)
        first, second, third = 4 * features, 2 * features, features
        self.body = nn.Sequential(
            nn.Linear(latent_dim, 16 * first, bias=False),
            nn.BatchNorm1d(16 * first, EPSILON, MOMENTUM),
            leaky_relu(),
            nn.Unflatten(1, (first, 4, 4)),
            *self._upsample(first, second),
            leaky_relu(),
            *self._upsample(second, third),
            leaky_relu(),
            *self._upsample(third, channels),
            nn.Tanh(),
        )
        init_glorot(self)

    def _upsample(self, in_channels: int, out_channels: int) -> list[nn.Module]:
        return [
            nn.Upsample(scale_factor=2),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels, EPSILON, MOMENTUM),
        ]

    def forward(self, z: Tensor) -> Tensor:
        """Map z [n, latent_dim] to images [n, channels, size, size] in [−1, 1]."""
        inner = slice(self.margin, INNER_SIZE - self.margin)
        return self.body(z)[:, :, inner, inner]


class UpsampleCritic(Critic):
    """5×5 convolutions with stride 2 to f, 2f, 4f and 8f channels, with dropout after the second, the third, and before
    the score."""

    def __init__(self, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.margin = _margin(image_size)
        widths = [channels, features, 2 * features, 4 * features, 8 * features]
        pairs = zip(widths, widths[1:], strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 5, 2) for before, after in pairs)
        self.score = nn.Linear(4 * 8 * features, 1)
        self.activation = leaky_relu()
        self.dropouts = (
            (CONV_DROPOUT, (2 * features, 8, 8)),
            (CONV_DROPOUT, (4 * features, 4, 4)),
            (DENSE_DROPOUT, (4 * 8 * features,)),
        )
        init_glorot(self)

    def forward(self, samples: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Map images [n, channels, size, size] in [−1, 1], and one mask for each of `dropouts`, to scores [n]."""
        x = pad(samples, [self.margin] * 4)
        # No mask after the first and the last convolution.
        conv_masks = [None, *masks[:2], None] if masks else [None] * 4
        for convolution, mask in zip(self.convolutions, conv_masks, strict=True):
            x = self.activation(convolution(pad(x, SAME_PADDING)))
            x = x if mask is None else x * mask
        x = x.flatten(1)
        return self.score(x * masks[2] if masks else x).flatten()
