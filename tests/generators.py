"""Generator files of every network, written without training."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import Description
from wgan_dist.config.image_size import ImageSize, square
from wgan_dist.data.synthetic import DIMENSIONS
from wgan_dist.models.registry import (
    POINT_SIZE,
    NetworkSpec,
    build_generator,
    generator_spec,
)
from wgan_dist.utils import rng

LATENT_DIM, SMALL_SIZE = 8, square(16)

# A module that writes a file beside itself when it is imported.
OWN_NETWORK = """
from pathlib import Path
from typing import Any
from torch import nn

Path(__file__).with_name("imported").touch()

class Own(nn.Module):
    def __init__(self, latent_dim, image_size, channels, features, norm):
        super().__init__()
        self.body = nn.Linear(latent_dim, channels * image_size[0] * image_size[1])

    def forward(self, z):
        return self.body(z).reshape(len(z), -1, 8, 8)
"""


# The name of a class that could be a number, shares that differ, and a name that is text in a page.
CLASSES, CLASS_SHARES = ("t-shirt", "3", "sneaker", '"<b>" & é'), (0.1, 0.2, 0.3, 0.4)


def small_spec(
    name: str,
    channels: int = 3,
    spectral_norm: bool = False,
    size: ImageSize = SMALL_SIZE,
    classes: int = 0,
    labels: str = "auto",
) -> NetworkSpec:
    """Return a narrow network of the registry."""
    if name == "points":
        return point_spec(DIMENSIONS)
    return generator_spec(name, LATENT_DIM, size, channels, 4, "auto", spectral_norm, classes, labels)


def point_spec(dimensions: int) -> NetworkSpec:
    """Return a narrow network for points."""
    return generator_spec("points", LATENT_DIM, POINT_SIZE, dimensions, 4, "auto")


@torch.no_grad()
def _randomise(network: nn.Module, latent_dim: int, classes: int) -> None:
    """Draw weights with which samples depend on the latents, and compute their statistics and singular vectors."""
    for number, (key, parameter) in enumerate(network.named_parameters()):
        drawn = torch.as_tensor(rng.normal(0, "weights", number, tuple(parameter.shape)), dtype=torch.float32)
        if parameter.dim() > 1:
            parameter.copy_(drawn * (parameter.shape[0] / parameter.numel()) ** 0.5)
        else:
            parameter.copy_(0.1 * drawn + key.endswith(("weight", "gamma")))
    momenta = {
        layer: layer.momentum for layer in network.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
    }
    for layer in momenta:
        layer.momentum = None  # average over all batches
        layer.reset_running_stats()
    labels = [torch.arange(64) % classes] if classes else []
    for counter in range(4):
        network(torch.as_tensor(rng.normal(0, "z", counter, (64, latent_dim)), dtype=torch.float32), *labels)
    for layer, momentum in momenta.items():
        layer.momentum = momentum


def write_generator(
    folder: Path, spec: NetworkSpec, data: str = "digits", distribution: str = "normal", **values: Any
) -> Path:
    """Write a generator file in which no weight, statistic, singular vector or attention has its initial value.

    `values` are the fields `levels`, `channel_names`, `unit`, `classes` and `class_shares` of the description; the
    classes of a conditional network are CLASSES by default.
    """
    network = build_generator(spec, seed=3)
    _randomise(network, spec.arguments["latent_dim"], spec.classes)
    if spec.classes:
        values = {"classes": CLASSES, "class_shares": CLASS_SHARES} | values
    description = Description(spec, distribution, "ema", 3, 48, 1797, data, "", "a test", "CC0-1.0", "0", **values)
    path = folder / generator_file.EMA_FILE
    path.write_bytes(generator_file.to_bytes(network.state_dict(), description))
    return path
