"""SAGAN: the original DCGAN with self-attention after the last two hidden layers (Zhang et al. 2019)."""

from torch import nn

from wgan_dist.models import dcgan
from wgan_dist.models.layers import SelfAttention2d

ATTENTION_LAYERS = 2


def _insert_attention(layers: list[nn.Module], hidden: list[int], activation: type[nn.Module]) -> list[nn.Module]:
    """Insert self-attention after the last two activations, at 64×64 after the third and the fourth."""
    positions = [position for position, layer in enumerate(layers) if isinstance(layer, activation)]
    last = list(zip(positions, hidden, strict=True))[-ATTENTION_LAYERS:]
    for position, channels in reversed(last):
        layers.insert(position + 1, SelfAttention2d(channels))
    return layers


class SAGANGenerator(dcgan.OriginalDCGANGenerator):
    """OriginalDCGANGenerator with self-attention after its last two hidden layers."""

    def _layers(
        self, latent_dim: int, image_size: tuple[int, int], channels: int, features: int, norm: str, classes: int
    ) -> list[nn.Module]:
        layers = super()._layers(latent_dim, image_size, channels, features, norm, classes)
        return _insert_attention(layers, dcgan.hidden_channels(features, image_size)[::-1], nn.ReLU)


class SAGANCritic(dcgan.OriginalDCGANCritic):
    """OriginalDCGANCritic with self-attention after its last two hidden layers."""

    def _layers(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> list[nn.Module]:
        layers = super()._layers(image_size, channels, features, norm)
        return _insert_attention(layers, dcgan.hidden_channels(features, image_size), nn.LeakyReLU)
