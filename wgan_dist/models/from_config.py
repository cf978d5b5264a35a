"""Translate settings into the specifications of both networks."""

from wgan_dist.config import Config
from wgan_dist.data.points import point_dimensions
from wgan_dist.models.registry import POINT_SIZE, NetworkSpec, critic_spec, generator_spec

# Where the data are not open yet.
ASSUMED_CHANNELS = 3


def network_specs(config: Config, channels: int, classes: int = 0) -> tuple[NetworkSpec, NetworkSpec]:
    """Return the specifications of the generator and the critic, for images of `channels`, or for points.

    `classes` is the number of classes of the images, 0 without labels.

    Raises UserError for a network that does not exist or does not support the image size, the data or the norm, and as
    `point_dimensions` does.
    """
    size = config.image_size
    dimensions = point_dimensions(config.data)
    if dimensions is not None:
        size, channels = POINT_SIZE, dimensions
    normalised = config.spectral_norm
    generator = generator_spec(
        config.generator,
        config.latent_dim,
        size,
        channels,
        config.generator_features,
        config.generator_norm,
        normalised in ("generator", "both"),
        classes,
        config.generator_labels,
    )
    critic = critic_spec(
        config.critic,
        size,
        channels,
        config.critic_features,
        config.critic_norm,
        normalised in ("critic", "both"),
        classes,
        config.critic_labels,
    )
    return generator, critic
