"""The DCGAN family (Radford et al. 2016) for images of any size: its WGAN-GP form and the original."""

from collections.abc import Sequence

from torch import Tensor, nn

from wgan_dist.models.init import HE_GAIN, init_dcgan, init_glorot
from wgan_dist.models.layers import (
    Critic,
    LabelSequential,
    MinibatchStandardDeviation,
    UpsampleConv,
    leaky_relu,
    norm_2d,
)
from wgan_dist.models.map_sizes import MapSizes, doublings

# The number of channels doubles with every halving of the size, up to this multiple of `features`.
MAX_MULTIPLE = 8


def hidden_channels(features: int, image_size: tuple[int, int]) -> list[int]:
    """Return the channels of the hidden layers of a critic, from half of the image's size down by halving."""
    return [features * min(2**layer, MAX_MULTIPLE) for layer in range(doublings(image_size))]


def _map_sizes(image_size: tuple[int, int]) -> MapSizes:
    return MapSizes(image_size, 2 ** doublings(image_size))


def _generator_layers(
    latent_dim: int,
    smallest: tuple[int, int],
    hidden: list[int],
    channels: int,
    norm: str,
    classes: int,
    hidden_bias: bool,
    last_bias: bool,
) -> list[nn.Module]:
    """Return transposed convolutions: from 1×1 to the smallest map, then with kernel 4, stride 2, padding 1."""
    layers: list[nn.Module] = []
    for number, (in_channels, out_channels) in enumerate(zip([latent_dim, *hidden], hidden, strict=False)):
        kernel, stride, padding = (4, 2, 1) if number else (smallest, 1, 0)
        layers += [nn.ConvTranspose2d(in_channels, out_channels, kernel, stride, padding, bias=hidden_bias)]
        layers += [*norm_2d(norm, out_channels, classes), nn.ReLU()]
    return [*layers, nn.ConvTranspose2d(hidden[-1], channels, 4, 2, 1, bias=last_bias), nn.Tanh()]


def _critic_layers(
    channels: int, smallest: tuple[int, int], hidden: list[int], norm: str, normed_bias: bool, other_bias: bool
) -> list[nn.Module]:
    """Return convolutions: kernel 4, stride 2, padding 1, then from the smallest map to the score.

    The first one has no norm.
    """
    layers: list[nn.Module] = []
    for number, (in_channels, out_channels) in enumerate(zip([channels, *hidden], hidden, strict=False)):
        layers += [nn.Conv2d(in_channels, out_channels, 4, 2, 1, bias=normed_bias if number else other_bias)]
        layers += [*(norm_2d(norm, out_channels) if number else []), leaky_relu()]
    return [*layers, nn.Conv2d(hidden[-1], 1, smallest, bias=other_bias)]


class DCGANGenerator(nn.Module):
    """Transposed convolutions from 1×1 to the image; at 64×64 the channels are 16f, 8f, 4f, 2f."""

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
        self.map_sizes = _map_sizes(image_size)
        self.body = LabelSequential(*self._layers(latent_dim, image_size, channels, features, norm, classes))
        init_dcgan(self)

    def _layers(
        self, latent_dim: int, image_size: tuple[int, int], channels: int, features: int, norm: str, classes: int
    ) -> list[nn.Module]:
        hidden, smallest = hidden_channels(2 * features, image_size)[::-1], self.map_sizes.smallest
        # A norm layer has its own bias.
        return _generator_layers(latent_dim, smallest, hidden, channels, norm, classes, norm == "none", last_bias=True)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map z [n, latent_dim] and, with classes, labels int64 [n] to images [n, c, h, w] in [−1, 1]."""
        return self.map_sizes.crop(self.body(z[:, :, None, None], labels))


class OriginalDCGANGenerator(DCGANGenerator):
    """DCGANGenerator without biases; at 64×64 the channels are 8f, 4f, 2f, f."""

    def _layers(
        self, latent_dim: int, image_size: tuple[int, int], channels: int, features: int, norm: str, classes: int
    ) -> list[nn.Module]:
        hidden, smallest = hidden_channels(features, image_size)[::-1], self.map_sizes.smallest
        return _generator_layers(
            latent_dim, smallest, hidden, channels, norm, classes, hidden_bias=False, last_bias=False
        )


class UpsamplingDCGANGenerator(DCGANGenerator):
    """DCGANGenerator with ×2 upsampling and 3×3 convolutions, which make no checkerboard (Odena et al. 2016).

    The channels are those of OriginalDCGANGenerator: at 64×64, 8f, 4f, 2f, f.
    """

    def _layers(
        self, latent_dim: int, image_size: tuple[int, int], channels: int, features: int, norm: str, classes: int
    ) -> list[nn.Module]:
        hidden = hidden_channels(features, image_size)[::-1]
        has_bias = norm == "none"
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent_dim, hidden[0], self.map_sizes.smallest, bias=has_bias)]
        for before, after in zip(hidden, hidden[1:], strict=False):
            layers += [*norm_2d(norm, before, classes), nn.ReLU(), UpsampleConv(before, after, 3, bias=has_bias)]
        return [
            *layers,
            *norm_2d(norm, hidden[-1], classes),
            nn.ReLU(),
            UpsampleConv(hidden[-1], channels, 3),
            nn.Tanh(),
        ]


class DCGANCritic(Critic):
    """Strided convolutions from the image to one linear score; at 64×64 the channels are f, 2f, 4f, 8f."""

    def __init__(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.map_sizes = _map_sizes(image_size)
        self.body = nn.Sequential(*self._layers(image_size, channels, features, norm))
        init_dcgan(self)

    def _layers(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> list[nn.Module]:
        hidden, smallest = hidden_channels(features, image_size), self.map_sizes.smallest
        return _critic_layers(channels, smallest, hidden, norm, normed_bias=norm == "none", other_bias=True)

    def features(self, samples: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Map images [n, channels, height, width] in [−1, 1] to the smallest maps."""
        return super().features(self.map_sizes.pad(samples))


class OriginalDCGANCritic(DCGANCritic):
    """DCGANCritic without biases. Its sigmoid is part of the loss, which takes logits."""

    def _layers(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> list[nn.Module]:
        hidden, smallest = hidden_channels(features, image_size), self.map_sizes.smallest
        return _critic_layers(channels, smallest, hidden, norm, normed_bias=False, other_bias=False)


class MinibatchDCGANCritic(DCGANCritic):
    """DCGANCritic that sees the minibatch standard deviation before its last hidden convolution.

    Its weights begin as those of He et al. 2015: without a norm, those of the DCGAN would begin with scores near 0.
    """

    def __init__(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> None:
        super().__init__(image_size, channels, features, norm)
        init_glorot(self, HE_GAIN)

    def _layers(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> list[nn.Module]:
        layers = super()._layers(image_size, channels, features, norm)
        place = max(number for number, layer in enumerate(layers[:-1]) if isinstance(layer, nn.Conv2d))
        before = layers[place]
        assert isinstance(before, nn.Conv2d)
        wider = nn.Conv2d(before.in_channels + 1, before.out_channels, 4, 2, 1, bias=before.bias is not None)
        return [*layers[:place], MinibatchStandardDeviation(), wider, *layers[place + 1 :]]
