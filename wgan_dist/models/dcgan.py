"""The DCGAN family (Radford et al. 2016) for images of any power-of-two size: its WGAN-GP form and the original."""

from torch import Tensor, nn

from wgan_dist.models.init import init_dcgan
from wgan_dist.models.layers import Critic, leaky_relu, norm_2d

# The number of channels doubles with every halving of the size, up to this multiple of `features`.
MAX_MULTIPLE = 8


def hidden_channels(features: int, image_size: int) -> list[int]:
    """Return the channels of the hidden layers of a critic, from image_size / 2 down to 4×4 by halving."""
    return [features * min(2**layer, MAX_MULTIPLE) for layer in range(image_size.bit_length() - 3)]


def _generator_layers(
    latent_dim: int, hidden: list[int], channels: int, norm: str, hidden_bias: bool, last_bias: bool
) -> list[nn.Module]:
    """Return transposed convolutions: kernel 4, stride 1, padding 0 to 4×4, then 4, 2, 1."""
    layers: list[nn.Module] = []
    for number, (in_channels, out_channels) in enumerate(zip([latent_dim, *hidden], hidden, strict=False)):
        stride, padding = (2, 1) if number else (1, 0)
        layers += [nn.ConvTranspose2d(in_channels, out_channels, 4, stride, padding, bias=hidden_bias)]
        layers += [*norm_2d(norm, out_channels), nn.ReLU()]
    return [*layers, nn.ConvTranspose2d(hidden[-1], channels, 4, 2, 1, bias=last_bias), nn.Tanh()]


def _critic_layers(channels: int, hidden: list[int], norm: str, normed_bias: bool, other_bias: bool) -> list[nn.Module]:
    """Return convolutions: kernel 4, stride 2, padding 1, then 4, 2, 0 to the score; the first one has no norm."""
    layers: list[nn.Module] = []
    for number, (in_channels, out_channels) in enumerate(zip([channels, *hidden], hidden, strict=False)):
        layers += [nn.Conv2d(in_channels, out_channels, 4, 2, 1, bias=normed_bias if number else other_bias)]
        layers += [*(norm_2d(norm, out_channels) if number else []), leaky_relu()]
    return [*layers, nn.Conv2d(hidden[-1], 1, 4, 2, 0, bias=other_bias)]


class DCGANGenerator(nn.Module):
    """Transposed convolutions from 1×1 to the image; at 64×64 the channels are 16f, 8f, 4f, 2f."""

    def __init__(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(*self._layers(latent_dim, image_size, channels, features, norm))
        init_dcgan(self)

    def _layers(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> list[nn.Module]:
        hidden = hidden_channels(2 * features, image_size)[::-1]
        # A norm layer has its own bias.
        return _generator_layers(latent_dim, hidden, channels, norm, hidden_bias=norm == "none", last_bias=True)

    def forward(self, z: Tensor) -> Tensor:
        """Map z [n, latent_dim] to images [n, channels, size, size] in [−1, 1]."""
        return self.body(z[:, :, None, None])


class OriginalDCGANGenerator(DCGANGenerator):
    """DCGANGenerator without biases; at 64×64 the channels are 8f, 4f, 2f, f."""

    def _layers(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> list[nn.Module]:
        hidden = hidden_channels(features, image_size)[::-1]
        return _generator_layers(latent_dim, hidden, channels, norm, hidden_bias=False, last_bias=False)


class DCGANCritic(Critic):
    """Strided convolutions from the image to one linear score; at 64×64 the channels are f, 2f, 4f, 8f."""

    def __init__(self, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(*self._layers(image_size, channels, features, norm))
        init_dcgan(self)

    def _layers(self, image_size: int, channels: int, features: int, norm: str) -> list[nn.Module]:
        hidden = hidden_channels(features, image_size)
        return _critic_layers(channels, hidden, norm, normed_bias=norm == "none", other_bias=True)


class OriginalDCGANCritic(DCGANCritic):
    """DCGANCritic without biases. Its sigmoid is part of the loss, which takes logits."""

    def _layers(self, image_size: int, channels: int, features: int, norm: str) -> list[nn.Module]:
        hidden = hidden_channels(features, image_size)
        return _critic_layers(channels, hidden, norm, normed_bias=False, other_bias=False)
