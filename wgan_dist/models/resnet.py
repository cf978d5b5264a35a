"""The residual networks of Gulrajani et al. 2017: CIFAR-10's at 32×32, and the deeper ones at 64×64 and 128×128."""

from typing import TypeVar

from torch import Tensor, nn
from torch.nn.functional import interpolate

from wgan_dist.models.layers import ConvDownsample, Critic, UpsampleConv, norm_2d

SIZES = (32, 64, 128)
# Multiples of `features`: what the generator begins with at 4×4 and has after each doubling, and what the critic has
# after its first layer and after each halving. CIFAR-10's critic is built otherwise.
GENERATOR_WIDTHS = {32: (1, 1, 1, 1), 64: (8, 8, 4, 2, 1), 128: (8, 8, 8, 4, 2, 1)}
CRITIC_WIDTHS = {64: (1, 2, 4, 8, 8), 128: (1, 2, 4, 8, 8, 8)}
CIFAR_SIZE = 32
# He's initialisation as the authors' code has it, over the mean of what comes in and goes out: √2 times Glorot's.
HE_GAIN = 2.0**0.5

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def _glorot(layer: Layer, gain: float = 1.0) -> Layer:
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _conv3(
    width: int, following: int, gain: float = HE_GAIN, bias: bool = True, kind: type[nn.Conv2d] = nn.Conv2d
) -> nn.Conv2d:
    return _glorot(kind(width, following, 3, 1, 1, bias=bias), gain)


def _conv1(width: int, following: int) -> nn.Conv2d:
    return _glorot(nn.Conv2d(width, following, 1))


def _normed_relu(norm: str, width: int) -> nn.Sequential:
    return nn.Sequential(*norm_2d(norm, width), nn.ReLU())


def _halve(x: Tensor) -> Tensor:
    """Means over 2×2 places, as sums: torch's pooling is slower on a CPU, and its second derivative, which is zero, is
    not known to autograd as such."""
    rows = x.unflatten(2, (-1, 2))
    pairs = (rows[:, :, :, 0] + rows[:, :, :, 1]).unflatten(3, (-1, 2))
    return (pairs[..., 0] + pairs[..., 1]) * 0.25


def _double(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2.0)


class UpBlock(nn.Module):
    """Norm-ReLU-double-conv3-norm-ReLU-conv3, beside a shortcut double-conv1; `bias` of the first convolution."""

    def __init__(self, width: int, following: int, norm: str, bias: bool) -> None:
        super().__init__()
        self.first = _normed_relu(norm, width)
        self.widen = _conv3(width, following, bias=bias, kind=UpsampleConv)
        self.second = nn.Sequential(*_normed_relu(norm, following), _conv3(following, following))
        self.shortcut = _conv1(width, following)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] → [n, following, 2h, 2w]."""
        # A 1×1 convolution commutes with doubling, and costs a quarter before it.
        return self.second(self.widen(self.first(x))) + _double(self.shortcut(x))


class _HalvingBlock(nn.Module):
    """A body that halves, beside a shortcut mean-conv1."""

    def __init__(self, width: int, following: int, body: nn.Sequential) -> None:
        super().__init__()
        self.body = body
        self.shortcut = _conv1(width, following)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] → [n, following, h / 2, w / 2]."""
        return self.body(x) + self.shortcut(_halve(x))


class DownBlock(_HalvingBlock):
    """Norm-ReLU-conv3-norm-ReLU-conv3-mean, beside a shortcut mean-conv1; `bias` of the first convolution."""

    def __init__(self, width: int, following: int, norm: str, bias: bool) -> None:
        body = nn.Sequential(
            *_normed_relu(norm, width),
            _conv3(width, width, bias=bias),
            *_normed_relu(norm, width),
            _conv3(width, following, kind=ConvDownsample),
        )
        super().__init__(width, following, body)


class FirstBlock(_HalvingBlock):
    """Of a critic, on the image itself: conv3-ReLU-conv3-mean, beside a shortcut mean-conv1."""

    def __init__(self, channels: int, following: int) -> None:
        body = nn.Sequential(_conv3(channels, following), nn.ReLU(), _conv3(following, following, kind=ConvDownsample))
        super().__init__(channels, following, body)


class PlainBlock(nn.Module):
    """Norm-ReLU-conv3-norm-ReLU-conv3, beside the input."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_normed_relu(norm, width), _conv3(width, width), *_normed_relu(norm, width), _conv3(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] → the same shape."""
        return self.body(x) + x


class ResNetGenerator(nn.Module):
    """Dense to 4×4, doubling blocks, norm-ReLU-conv3-tanh."""

    def __init__(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        widths = [features * multiple for multiple in GENERATOR_WIDTHS[image_size]]
        # The authors' two programs differ in these.
        bias, last_gain = (True, 1.0) if image_size == CIFAR_SIZE else (False, HE_GAIN)
        self.body = nn.Sequential(
            _glorot(nn.Linear(latent_dim, 16 * widths[0])),
            nn.Unflatten(1, (widths[0], 4, 4)),
            *(UpBlock(width, following, norm, bias) for width, following in zip(widths, widths[1:], strict=False)),
            *_normed_relu(norm, widths[-1]),
            _conv3(widths[-1], channels, last_gain),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """z [n, latent_dim] → images [n, channels, size, size] in [−1, 1]."""
        return self.body(z)


def _cifar_layers(channels: int, features: int, norm: str) -> list[nn.Module]:
    return [
        FirstBlock(channels, features),
        DownBlock(features, features, norm, bias=True),
        PlainBlock(features, norm),
        PlainBlock(features, norm),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        _glorot(nn.Linear(features, 1)),
    ]


def _halving_layers(image_size: int, channels: int, features: int, norm: str) -> list[nn.Module]:
    widths = [features * multiple for multiple in CRITIC_WIDTHS[image_size]]
    return [
        _conv3(channels, widths[0], gain=1.0),
        *(DownBlock(width, following, norm, bias=False) for width, following in zip(widths, widths[1:], strict=False)),
        nn.Flatten(),
        _glorot(nn.Linear(16 * widths[-1], 1)),
    ]


class ResNetCritic(Critic):
    """At 32×32 two halving and two plain blocks and a mean over places; above, halving blocks down to 4×4."""

    def __init__(self, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        if image_size == CIFAR_SIZE:
            layers = _cifar_layers(channels, features, norm)
        else:
            layers = _halving_layers(image_size, channels, features, norm)
        self.body = nn.Sequential(*layers)
