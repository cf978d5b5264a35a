"""The DCGAN family (Radford et al. 2016) for images of any power-of-two size: its WGAN-GP form, the original, and
the original with self-attention."""

from torch import Tensor, nn

from wgan_dist.models.layers import Critic, SelfAttention2d, init_dcgan, leaky_relu, norm_2d

SIZES = (16, 32, 64, 128, 256)
# Attention looks from every place at every other: at 256×256 a gigabyte for one map of one image.
ATTENTIVE_SIZES = SIZES[:-1]
# Widths double with every halving of the size up to this multiple of `features`.
WIDEST = 8
# The self-attention of SAGAN follows the last hidden layers, at 64×64 the third and the fourth.
ATTENTIVE_LAYERS = 2


def _hidden_layers(image_size: int) -> int:
    """From image_size down to 4×4, by halving."""
    return image_size.bit_length() - 3


def _widths(features: int, count: int) -> list[int]:
    return [features * min(2**k, WIDEST) for k in range(count)]


def _generator_layers(
    latent_dim: int, widths: list[int], channels: int, norm: str, biases: tuple[bool, bool], attentive: int = 0
) -> list[nn.Module]:
    """Transposed convolutions 4/1/0, then 4/2/1; `biases` of the hidden layers and the last."""
    layers: list[nn.Module] = []
    for number, (width, following) in enumerate(zip([latent_dim, *widths], widths, strict=False)):
        stride, padding = (2, 1) if number else (1, 0)
        layers += [nn.ConvTranspose2d(width, following, 4, stride, padding, bias=biases[0])]
        layers += [*norm_2d(norm, following), nn.ReLU()]
        if number >= len(widths) - attentive:
            layers.append(SelfAttention2d(following))
    return [*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=biases[1]), nn.Tanh()]


def _critic_layers(
    channels: int, widths: list[int], norm: str, biases: tuple[bool, bool], attentive: int = 0
) -> list[nn.Module]:
    """Convolutions 4/2/1, then 4/2/0 to the score; the first has no norm. `biases` of the normed layers and others."""
    layers: list[nn.Module] = []
    for number, (width, following) in enumerate(zip([channels, *widths], widths, strict=False)):
        layers += [nn.Conv2d(width, following, 4, 2, 1, bias=biases[0] if number else biases[1])]
        layers += [*(norm_2d(norm, following) if number else []), leaky_relu()]
        if number >= len(widths) - attentive:
            layers.append(SelfAttention2d(following))
    return [*layers, nn.Conv2d(widths[-1], 1, 4, 2, 0, bias=biases[1])]


class DCGANGenerator(nn.Module):
    """Transposed convolutions from 1×1 to the image; at 64×64 widths 16f, 8f, 4f, 2f."""

    attentive = 0

    def __init__(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.body = nn.Sequential(*self._layers(latent_dim, image_size, channels, features, norm))
        init_dcgan(self)

    def _layers(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> list[nn.Module]:
        widths = _widths(2 * features, _hidden_layers(image_size))[::-1]
        return _generator_layers(latent_dim, widths, channels, norm, (norm == "none", True))  # a norm has its own bias

    def forward(self, z: Tensor) -> Tensor:
        """z [n, latent_dim] → images [n, channels, size, size] in [−1, 1]."""
        return self.body(z[:, :, None, None])


class OriginalDCGANGenerator(DCGANGenerator):
    """As DCGANGenerator without a bias anywhere; at 64×64 widths 8f, 4f, 2f, f."""

    def _layers(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> list[nn.Module]:
        widths = _widths(features, _hidden_layers(image_size))[::-1]
        return _generator_layers(latent_dim, widths, channels, norm, (False, False), self.attentive)


class SAGANGenerator(OriginalDCGANGenerator):
    """OriginalDCGANGenerator with self-attention after its last two hidden layers."""

    attentive = ATTENTIVE_LAYERS


class DCGANCritic(Critic):
    """Strided convolutions from the image to one linear score; at 64×64 widths f, 2f, 4f, 8f."""

    attentive = 0

    def __init__(self, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        widths = _widths(features, _hidden_layers(image_size))
        biases = self._biases(norm)
        self.body = nn.Sequential(*_critic_layers(channels, widths, norm, biases, self.attentive))
        init_dcgan(self)

    def _biases(self, norm: str) -> tuple[bool, bool]:
        return norm == "none", True


class OriginalDCGANCritic(DCGANCritic):
    """As DCGANCritic without a bias anywhere. Its sigmoid is part of the loss, which takes logits."""

    def _biases(self, norm: str) -> tuple[bool, bool]:
        return False, False


class SAGANCritic(OriginalDCGANCritic):
    """OriginalDCGANCritic with self-attention after its last two hidden layers."""

    attentive = ATTENTIVE_LAYERS
