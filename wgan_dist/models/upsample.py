"""Nearest-neighbour upsampling and 5×5 convolutions with dropout, for images of any size."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from wgan_dist.models.init import init_glorot
from wgan_dist.models.layers import Critic, LabelSequential, batch_norm, leaky_relu
from wgan_dist.models.map_sizes import MapSizes, doublings

# The number of channels doubles with every halving of the size, up to this multiple of `features`.
MAX_MULTIPLE = 8
# BatchNorm as in Keras, from which these networks come. Torch's momentum is the weight of the new value.
EPSILON, MOMENTUM = 1e-3, 0.01
# Keras' padding="same" of a 5×5 convolution with stride 2: one before, two after.
SAME_PADDING = (1, 2, 1, 2)
CONV_DROPOUT, DENSE_DROPOUT = 0.3, 0.2


def _widths(features: int, count: int) -> list[int]:
    """Return the channels of `count` layers, the ones of the largest maps first."""
    return [features * min(2**layer, MAX_MULTIPLE) for layer in range(count)]


def _halvings(image_size: tuple[int, int]) -> int:
    """Return how often the critic halves the size: once more than the generator doubles it, down to about 2×2."""
    return doublings(image_size) + 1


class UpsampleGenerator(nn.Module):
    """A dense layer to the smallest map, then several times ×2 upsampling and a 3×3 convolution.

    At 32×32, the channels are 4f at 4×4, then 2f, f, and those of the image.
    """

    def __init__(
        self,
        latent_dim: int,
        image_size: tuple[int, int],
        channels: int,
        features: int,
        norm: str,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.map_sizes = MapSizes(image_size, 2 ** _halvings(image_size))
        height, width = (2 * side for side in self.map_sizes.smallest)
        widths = _widths(features, doublings(image_size))[::-1]
        values = height * width * widths[0]
        self.body = LabelSequential(
            nn.Linear(latent_dim, values, bias=False),
            batch_norm(values, classes, nn.BatchNorm1d, eps=EPSILON, momentum=MOMENTUM),
            leaky_relu(),
            nn.Unflatten(1, (widths[0], height, width)),
        )
        for before, after in zip(widths, widths[1:], strict=False):
            self.body.extend([*self._upsample(before, after, classes), leaky_relu()])
        self.body.extend([*self._upsample(widths[-1], channels, classes), nn.Tanh()])
        init_glorot(self)

    def _upsample(self, in_channels: int, out_channels: int, classes: int) -> list[nn.Module]:
        return [
            nn.Upsample(scale_factor=2),
            nn.Conv2d(in_channels, out_channels, 3, 1, 1, bias=False),
            batch_norm(out_channels, classes, eps=EPSILON, momentum=MOMENTUM),
        ]

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map z [n, latent_dim] and, with classes, labels int64 [n] to images [n, c, h, w] in [−1, 1]."""
        return self.map_sizes.crop(self.body(z, labels))


class UpsampleCritic(Critic):
    """5×5 convolutions with stride 2, with dropout after all but the first and the last one, and before the score.

    At 32×32, the channels are f, 2f, 4f and 8f.
    """

    def __init__(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> None:
        super().__init__()
        halvings = _halvings(image_size)
        self.map_sizes = MapSizes(image_size, 2**halvings)
        widths, (height, width) = _widths(features, halvings), self.map_sizes.smallest
        pairs = zip([channels, *widths], widths, strict=False)
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 5, 2) for before, after in pairs)
        values = height * width * widths[-1]
        self.score = nn.Linear(values, 1)
        self.activation = leaky_relu()
        scales = (2 ** (halvings - number) for number in range(2, halvings))  # of the maps, in smallest ones
        shapes = ((after, scale * height, scale * width) for after, scale in zip(widths[1:-1], scales, strict=True))
        self.dropouts = (*((CONV_DROPOUT, shape) for shape in shapes), (DENSE_DROPOUT, (values,)))
        init_glorot(self)

    @property
    def output_layer(self) -> nn.Module:
        """The dense layer that maps features to scores."""
        return self.score

    def features(self, samples: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Map images [n, channels, height, width] in [−1, 1], and one mask for each of `dropouts`, to features."""
        x = self.map_sizes.pad(samples)
        # No mask after the first and the last convolution.
        conv_masks = [None, *masks[:-1], None] if masks else [None] * len(self.convolutions)
        for convolution, mask in zip(self.convolutions, conv_masks, strict=True):
            x = self.activation(convolution(pad(x, SAME_PADDING)))
            x = x if mask is None else x * mask
        x = x.flatten(1)
        return x * masks[-1] if masks else x
