"""The networks of the papers' two-dimensional experiments: three hidden layers, ReLU (Gulrajani et al. 2017)."""

from torch import Tensor, nn

from wgan_dist.models.layers import Critic


def _three_layers(width: int, features: int, out: int) -> nn.Sequential:
    widths = [width, features, features, features]
    layers: list[nn.Module] = []
    for here, following in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(here, following), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(features, out))


class PointGenerator(nn.Module):
    """z → f → f → f → a point, unbounded."""

    def __init__(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.body = _three_layers(latent_dim, features, channels)

    def forward(self, z: Tensor) -> Tensor:
        """z [n, latent_dim] → points [n, 2]."""
        return self.body(z)


class PointCritic(Critic):
    """A point → f → f → f → score."""

    def __init__(self, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.body = _three_layers(channels, features, 1)
