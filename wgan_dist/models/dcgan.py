"""The DCGAN family (Radford et al. 2016) for images of any power-of-two size."""

from torch import Tensor, nn

from wgan_dist.models.blocks import Critic, init_dcgan, leaky_relu, norm_2d

SIZES = (16, 32, 64, 128, 256)
# Widths double with every halving of the size up to these multiples of `features`.
WIDEST_GENERATOR, WIDEST_CRITIC = 16, 8


def _halvings(image_size: int) -> int:
    """From image_size down to 4×4."""
    return image_size.bit_length() - 3


class DCGANGenerator(nn.Module):
    """Transposed convolutions from 1×1 to the image; at 64×64 widths 16f, 8f, 4f, 2f."""

    def __init__(self, latent_dim: int, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        widths = [features * min(2**k, WIDEST_GENERATOR) for k in range(_halvings(image_size), 0, -1)]
        bias = norm == "none"  # a norm has its own
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent_dim, widths[0], 4, 1, 0, bias=bias)]
        for width, following in zip(widths, widths[1:], strict=False):
            layers += [*norm_2d(norm, width), nn.ReLU(), nn.ConvTranspose2d(width, following, 4, 2, 1, bias=bias)]
        layers += [*norm_2d(norm, widths[-1]), nn.ReLU(), nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh()]
        self.body = nn.Sequential(*layers)
        init_dcgan(self)

    def forward(self, z: Tensor) -> Tensor:
        """z [n, latent_dim] → images [n, channels, size, size] in [−1, 1]."""
        return self.body(z[:, :, None, None])


class DCGANCritic(Critic):
    """Strided convolutions from the image to one linear score; at 64×64 widths f, 2f, 4f, 8f."""

    def __init__(self, image_size: int, channels: int, features: int, norm: str) -> None:
        super().__init__()
        widths = [features * min(2**k, WIDEST_CRITIC) for k in range(_halvings(image_size))]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), leaky_relu()]
        for width, following in zip(widths, widths[1:], strict=False):
            convolution = nn.Conv2d(width, following, 4, 2, 1, bias=norm == "none")
            layers += [convolution, *norm_2d(norm, following), leaky_relu()]
        layers.append(nn.Conv2d(widths[-1], 1, 4, 2, 0))
        self.body = nn.Sequential(*layers)
        init_dcgan(self)
