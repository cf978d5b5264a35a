"""Nearest-neighbour upsampling and 5×5 convolutions with dropout, for images of 28×28 or 32×32."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from wgan_dist.models.layers import Critic, init_glorot, leaky_relu

SIZES = (28, 32)
# What both networks compute at inside; images are cropped from it, or padded to it with zeros.
FULL_SIZE = 32
# Of the framework this system comes from; momentum in torch's sense, the share of the new.
EPSILON, MOMENTUM = 1e-3, 0.01
# "Same" padding of a 5×5 convolution with stride 2 there: one before, two after.
SAME_PADDING = (1, 2, 1, 2)
DROPOUT_CONVOLUTIONS, DROPOUT_DENSE = 0.3, 0.2


def _margin(image_size: int) -> int:
    return (FULL_SIZE - image_size) // 2


class UpsampleGenerator(nn.Module):
    """Dense to 4×4 with 4f channels, then three times nearest ×2 and convolution 3×3: 2f, f, channels."""

    def __init__(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.margin = _margin(image_size)
        first, second, third = 4 * features, 2 * features, features
        self.body = nn.Sequential(
            nn.Linear(latent_dim, 16 * first, bias=False),
            nn.BatchNorm1d(16 * first, EPSILON, MOMENTUM),
            leaky_relu(),
            nn.Unflatten(1, (first, 4, 4)),
            *self._double(first, second),
            leaky_relu(),
            *self._double(second, third),
            leaky_relu(),
            *self._double(third, channels),
            nn.Tanh(),
        )
        init_glorot(self)

    def _double(self, width: int, following: int) -> list[nn.Module]:
        return [
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, following, 3, 1, 1, bias=False),
            nn.BatchNorm2d(following, EPSILON, MOMENTUM),
        ]

    def forward(self, z: Tensor) -> Tensor:
        """z [n, latent_dim] → images [n, channels, size, size] in [−1, 1]."""
        inner = slice(self.margin, FULL_SIZE - self.margin)
        return self.body(z)[:, :, inner, inner]


class UpsampleCritic(Critic):
    """Convolutions 5×5 with stride 2: f, 2f, 4f, 8f; dropout after the second, the third, and before the score."""

    def __init__(self, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.margin = _margin(image_size)
        widths = [channels, features, 2 * features, 4 * features, 8 * features]
        pairs = zip(widths, widths[1:], strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, following, 5, 2) for width, following in pairs)
        self.score = nn.Linear(4 * 8 * features, 1)
        self.activation = leaky_relu()
        self.dropouts = (
            (DROPOUT_CONVOLUTIONS, (2 * features, 8, 8)),
            (DROPOUT_CONVOLUTIONS, (4 * features, 4, 4)),
            (DROPOUT_DENSE, (4 * 8 * features,)),
        )
        init_glorot(self)

    def forward(self, samples: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """images [n, channels, size, size] in [−1, 1], and one mask for each of `dropouts` → scores [n]."""
        x = pad(samples, [self.margin] * 4)
        # The masks of the first and the last layer multiply nothing.
        between = [None, *masks[:2], None] if masks else [None] * 4
        for convolution, mask in zip(self.convolutions, between, strict=True):
            x = self.activation(convolution(pad(x, SAME_PADDING)))
            x = x if mask is None else x * mask
        x = x.flatten(1)
        return self.score(x * masks[2] if masks else x).flatten()
