"""Fully connected networks for small images, as in the first WGANs on MNIST."""

import math

from torch import Tensor, nn

from wgan_dist.models.layers import Critic, LabelSequential, batch_norm, leaky_relu

# From the implementation that MLPBatchNormGenerator reproduces.
BN_EPSILON = 0.8


class MLPGenerator(nn.Module):
    """Dense layers of f, 2f and 4f features with ReLU, then the image with tanh."""

    def __init__(self, latent_dim: int, image_size: tuple[int, int], channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.shape = (channels, *image_size)
        widths = [latent_dim, features, 2 * features, 4 * features]
        layers: list[nn.Module] = []
        for in_features, out_features in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(in_features, out_features), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Linear(widths[-1], math.prod(self.shape)), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """Map z [n, latent_dim] to images [n, channels, height, width] in [−1, 1]."""
        return self.body(z).unflatten(1, self.shape)


class MLPBatchNormGenerator(nn.Module):
    """Dense layers of f, 2f, 4f and 8f features with LeakyReLU, all but the first with BatchNorm, then the image with
    tanh."""

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
        self.shape = (channels, *image_size)
        widths = [features, 2 * features, 4 * features, 8 * features]
        layers: list[nn.Module] = [nn.Linear(latent_dim, features), leaky_relu()]
        for in_features, out_features in zip(widths, widths[1:], strict=False):
            norm_layer = batch_norm(out_features, classes, nn.BatchNorm1d, eps=BN_EPSILON)
            layers += [nn.Linear(in_features, out_features), norm_layer, leaky_relu()]
        self.body = LabelSequential(*layers, nn.Linear(widths[-1], math.prod(self.shape)), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map z [n, latent_dim] and, with classes, labels int64 [n] to images [n, c, h, w] in [−1, 1]."""
        return self.body(z, labels).unflatten(1, self.shape)


class MLPCritic(Critic):
    """Dense layers of f and f/2 features with LeakyReLU, then the score."""

    def __init__(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> None:
        super().__init__()
        half = max(1, features // 2)
        self.body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * math.prod(image_size), features),
            leaky_relu(),
            nn.Linear(features, half),
            leaky_relu(),
            nn.Linear(half, 1),
        )
