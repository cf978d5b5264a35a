"""Fully connected networks for small images, as the first WGANs on MNIST used them."""

import math

from torch import Tensor, nn

from wgan_dist.models.layers import Critic, leaky_relu


class MLPGenerator(nn.Module):
    """z → f → 2f → 4f → image, ReLU, tanh."""

    def __init__(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.shape = (channels, image_size, image_size)
        widths = [latent_dim, features, 2 * features, 4 * features]
        layers: list[nn.Module] = []
        for width, following in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(width, following), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], math.prod(self.shape)), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """z [n, latent_dim] → images [n, channels, size, size] in [−1, 1]."""
        return self.body(z).unflatten(1, self.shape)


class MLPBatchNormGenerator(nn.Module):
    """z → f → 2f → 4f → 8f → image, LeakyReLU, BatchNorm (ε = 0.8) on all hidden layers but the first, tanh."""

    EPSILON = 0.8  # of the system this is: a value, not a slip to mend

    def __init__(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.shape = (channels, image_size, image_size)
        widths = [features, 2 * features, 4 * features, 8 * features]
        layers: list[nn.Module] = [nn.Linear(latent_dim, features), leaky_relu()]
        for width, following in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(width, following), nn.BatchNorm1d(following, self.EPSILON), leaky_relu()]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], math.prod(self.shape)), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """z [n, latent_dim] → images [n, channels, size, size] in [−1, 1]."""
        return self.body(z).unflatten(1, self.shape)


class MLPCritic(Critic):
    """image → f → f/2 → score, LeakyReLU."""

    def __init__(self, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        half = max(1, features // 2)
        self.body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * image_size * image_size, features),
            leaky_relu(),
            nn.Linear(features, half),
            leaky_relu(),
            nn.Linear(half, 1),
        )
