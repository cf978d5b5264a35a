"""The networks for points of any dimension: three hidden layers with ReLU (Gulrajani et al. 2017)."""

from torch import Tensor, nn

from wgan_dist.models.layers import Critic


def _mlp(in_features: int, features: int, out_features: int) -> nn.Sequential:
    widths = [in_features, features, features, features]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(features, out_features))


class PointGenerator(nn.Module):
    """Dense layers from z over three hidden layers of f features to a point, unbounded."""

    def __init__(self, latent_dim: int, image_size: tuple[int, int], channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.body = _mlp(latent_dim, features, channels)

    def forward(self, z: Tensor) -> Tensor:
        """Map z [n, latent_dim] to points [n, channels]."""
        return self.body(z)


class PointCritic(Critic):
    """Dense layers from a point over three hidden layers of f features to the score."""

    def __init__(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.body = _mlp(channels, features, 1)
