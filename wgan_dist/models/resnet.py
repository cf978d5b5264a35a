"""The residual networks of Gulrajani et al. 2017: CIFAR-10's up to the area of 32×32, and the deeper ones above."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from wgan_dist.models.init import HE_GAIN, init_glorot
from wgan_dist.models.layers import ConvDownsample, Critic, LabelSequential, TakesLabels, UpsampleConv, norm_2d
from wgan_dist.models.map_sizes import MapSizes, doublings

# The networks for CIFAR-10 have as many channels everywhere: a generator of three blocks that double the size, and a
# critic of two that halve it.
CIFAR_DOUBLINGS, CIFAR_POOLINGS = 3, 2
# The deeper networks have up to this multiple of `features` as channels.
MAX_MULTIPLE = 8


def critic_multiples(blocks: int) -> list[int]:
    """Return the channels of a deep critic as multiples of `features`: after its first layer and after each block.

    Those of a generator are the same in the reverse order, from its smallest map on.
    """
    return [min(2**block, MAX_MULTIPLE) for block in range(blocks)] + [MAX_MULTIPLE]


def _conv3x3(
    in_channels: int, out_channels: int, gain: float = HE_GAIN, bias: bool = True, layer: type[nn.Conv2d] = nn.Conv2d
) -> nn.Conv2d:
    return init_glorot(layer(in_channels, out_channels, 3, 1, 1, bias=bias), gain)


def _conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    return init_glorot(nn.Conv2d(in_channels, out_channels, 1))


def _norm_relu(norm: str, channels: int, classes: int = 0) -> nn.Sequential:
    return LabelSequential(*norm_2d(norm, channels, classes), nn.ReLU())


def _mean_pool(x: Tensor) -> Tensor:
    """Return 2×2 mean pooling, written as sums.

    Torch's pooling is slower on a CPU, and autograd does not know that its second derivative is zero.
    """
    rows = x.unflatten(2, (-1, 2))
    pairs = (rows[:, :, :, 0] + rows[:, :, :, 1]).unflatten(3, (-1, 2))
    return (pairs[..., 0] + pairs[..., 1]) * 0.25


def _upsample(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2.0)


class UpBlock(TakesLabels):
    """Norm, ReLU, ×2 upsampling, 3×3 convolution, norm, ReLU, 3×3 convolution; the shortcut is upsampling and a 1×1
    convolution. `bias` is that of the first convolution."""

    def __init__(self, in_channels: int, out_channels: int, norm: str, classes: int, bias: bool) -> None:
        super().__init__()
        self.first = _norm_relu(norm, in_channels, classes)
        self.widen = _conv3x3(in_channels, out_channels, bias=bias, layer=UpsampleConv)
        self.second = LabelSequential(*_norm_relu(norm, out_channels, classes), _conv3x3(out_channels, out_channels))
        self.shortcut = _conv1x1(in_channels, out_channels)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map [n, in_channels, h, w] and, with classes, labels int64 [n] to [n, out_channels, 2h, 2w]."""
        # A 1×1 convolution commutes with upsampling, and costs a quarter before it.
        return self.second(self.widen(self.first(x, labels)), labels) + _upsample(self.shortcut(x))


class _PoolingBlock(nn.Module):
    """A body that halves the size; the shortcut is mean pooling and a 1×1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body
        self.shortcut = _conv1x1(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, in_channels, h, w] to [n, out_channels, h / 2, w / 2]."""
        return self.body(x) + self.shortcut(_mean_pool(x))


class DownBlock(_PoolingBlock):
    """Norm, ReLU, 3×3 convolution, norm, ReLU, 3×3 convolution, mean pooling. `bias` is that of the first
    convolution."""

    def __init__(self, in_channels: int, out_channels: int, norm: str, bias: bool) -> None:
        body = nn.Sequential(
            *_norm_relu(norm, in_channels),
            _conv3x3(in_channels, in_channels, bias=bias),
            *_norm_relu(norm, in_channels),
            _conv3x3(in_channels, out_channels, layer=ConvDownsample),
        )
        super().__init__(in_channels, out_channels, body)


class FirstBlock(_PoolingBlock):
    """A critic's block on the image itself: 3×3 convolution, ReLU, 3×3 convolution, mean pooling."""

    def __init__(self, channels: int, out_channels: int) -> None:
        first, second = _conv3x3(channels, out_channels), _conv3x3(out_channels, out_channels, layer=ConvDownsample)
        body = nn.Sequential(first, nn.ReLU(), second)
        super().__init__(channels, out_channels, body)


class PlainBlock(nn.Module):
    """Norm, ReLU, 3×3 convolution, norm, ReLU, 3×3 convolution; the shortcut is the input."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_norm_relu(norm, channels),
            _conv3x3(channels, channels),
            *_norm_relu(norm, channels),
            _conv3x3(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, channels, h, w] to the same shape."""
        return self.body(x) + x


class ResNetGenerator(nn.Module):
    """A dense layer to the smallest map, upsampling blocks, then norm, ReLU, 3×3 convolution and tanh."""

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
        blocks = doublings(image_size)
        is_deep = blocks > CIFAR_DOUBLINGS
        self.map_sizes = MapSizes(image_size, 2**blocks)
        multiples = critic_multiples(blocks)[::-1] if is_deep else [1] * (blocks + 1)
        widths, smallest = [features * multiple for multiple in multiples], self.map_sizes.smallest
        # The authors' two programs differ here.
        bias, last_gain = (False, HE_GAIN) if is_deep else (True, 1.0)
        self.body = LabelSequential(
            init_glorot(nn.Linear(latent_dim, math.prod(smallest) * widths[0])),
            nn.Unflatten(1, (widths[0], *smallest)),
            *(UpBlock(before, after, norm, classes, bias) for before, after in zip(widths, widths[1:], strict=False)),
            *_norm_relu(norm, widths[-1], classes),
            _conv3x3(widths[-1], channels, last_gain),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map z [n, latent_dim] and, with classes, labels int64 [n] to images [n, c, h, w] in [−1, 1]."""
        return self.map_sizes.crop(self.body(z, labels))


def _cifar_layers(channels: int, features: int, norm: str) -> list[nn.Module]:
    return [
        FirstBlock(channels, features),
        DownBlock(features, features, norm, bias=True),
        PlainBlock(features, norm),
        PlainBlock(features, norm),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        init_glorot(nn.Linear(features, 1)),
    ]


def _deep_layers(blocks: int, smallest: tuple[int, int], channels: int, features: int, norm: str) -> list[nn.Module]:
    widths = [features * multiple for multiple in critic_multiples(blocks)]
    return [
        _conv3x3(channels, widths[0], gain=1.0),
        *(DownBlock(before, after, norm, bias=False) for before, after in zip(widths, widths[1:], strict=False)),
        nn.Flatten(),
        init_glorot(nn.Linear(math.prod(smallest) * widths[-1], 1)),
    ]


class ResNetCritic(Critic):
    """Up to the area of 32×32 two pooling and two plain blocks and a mean over positions; above, pooling blocks down to
    the smallest map."""

    def __init__(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> None:
        super().__init__()
        blocks = doublings(image_size)
        is_deep = blocks > CIFAR_DOUBLINGS
        self.map_sizes = MapSizes(image_size, 2 ** (blocks if is_deep else CIFAR_POOLINGS))
        if is_deep:
            layers = _deep_layers(blocks, self.map_sizes.smallest, channels, features, norm)
        else:
            layers = _cifar_layers(channels, features, norm)
        self.body = nn.Sequential(*layers)

    def features(self, samples: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Map images [n, channels, height, width] in [−1, 1] to features [n, …]."""
        return super().features(self.map_sizes.pad(samples))
