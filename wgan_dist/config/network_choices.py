"""The table of what the networks of `wgan_dist.models` support, so that settings are checked without torch."""

from typing import NamedTuple

from wgan_dist.config.config import Config
from wgan_dist.config.data_choices import POINTS as POINT_DATA
from wgan_dist.config.fields import AUTO, unknown_name
from wgan_dist.config.image_size import MAX_SIDE, ImageSize
from wgan_dist.config.output_paths import ARRAYS
from wgan_dist.utils.errors import UserError


class NetworkChoice(NamedTuple):
    """The default `features` of a network, the norms it supports (default first), and the most pixels of an image.

    A network for points has no pixels; `also_points` says that a network for images is for points too.
    """

    features: int
    norms: tuple[str, ...]
    pixels: int = MAX_SIDE**2
    also_points: bool = False

    def is_for(self, points: bool) -> bool:
        """Return whether the network is for points, or else for images."""
        return self.also_points or (self.pixels == POINTS) == points


POINTS = 0
# Attention compares every position with every other: at 256×256 a gigabyte for one map of one image.
SAGAN_PIXELS = 128**2
# The critic that is 1-Lipschitz by construction.
LIPSCHITZ = "lipschitz"

GENERATORS = {
    "dcgan": NetworkChoice(64, ("batch", "instance", "none")),
    "dcgan_original": NetworkChoice(64, ("batch", "instance", "none")),
    "dcgan_upsample": NetworkChoice(64, ("batch", "instance", "none")),
    "sagan": NetworkChoice(64, ("batch", "instance", "none"), SAGAN_PIXELS),
    "resnet": NetworkChoice(128, ("batch", "instance", "none")),
    "upsample": NetworkChoice(64, ("batch",)),
    "mlp": NetworkChoice(256, ("none",)),
    "mlp_bn": NetworkChoice(128, ("batch",)),
    "points": NetworkChoice(512, ("none",), POINTS),
}
CRITICS = {
    "dcgan": NetworkChoice(64, ("instance", "layer", "batch", "none")),
    "dcgan_original": NetworkChoice(64, ("batch", "instance", "layer", "none")),
    "dcgan_minibatch": NetworkChoice(64, ("none", "instance", "layer")),
    "sagan": NetworkChoice(64, ("batch", "instance", "layer", "none"), SAGAN_PIXELS),
    "resnet": NetworkChoice(128, ("none", "layer", "instance")),
    "upsample": NetworkChoice(64, ("none",)),
    "mlp": NetworkChoice(512, ("none",)),
    "points": NetworkChoice(512, ("none",), POINTS),
    LIPSCHITZ: NetworkChoice(64, ("none",), also_points=True),
}


def is_own_class(name: str) -> bool:
    """Return whether `name` is that of a custom network, module:Class, and not one of these."""
    return ":" in name


def check_network(setting: str, name: str, image_size: ImageSize, makes_points: bool, norm: str) -> NetworkChoice:
    """Return what the network `name` supports, after checking that this includes the size, kind of data and norm.

    `setting` is generator or critic.

    Raises:
        UserError: For an unknown name, and for what the network does not support.
    """
    choices = GENERATORS if setting == "generator" else CRITICS
    if name not in choices:
        raise unknown_name(setting, name, [*choices, "module:Class"])
    network = choices[name]
    if not network.is_for(makes_points):
        data, supported = ("points", "images") if makes_points else ("images", "points")
        fitting = [other for other, choice in choices.items() if choice.is_for(makes_points)]
        expected = ", ".join([*fitting, "module:Class"])
        raise UserError(f"{setting}={name}: is for {supported}, and the data are {data}; expected {expected}")
    if not makes_points and image_size.height * image_size.width > network.pixels:
        raise UserError(f"image_size={image_size}: the {name} {setting} supports at most {network.pixels:,} pixels")
    if norm not in (AUTO, *network.norms):
        raise UserError(f"{setting}_norm={norm}: the {name} {setting} supports {', '.join(network.norms)}")
    return network


def expects_points(config: Config) -> bool:
    """Return whether a run is one of points, as far as its settings say: an array may be of points or of images."""
    is_array = config.data[0].lower().endswith(ARRAYS)
    return config.data[0] in POINT_DATA or (is_array and config.generator == "points")


def check_networks(config: Config) -> None:
    """Check both networks of a run, except custom ones, as `check_network` does.

    Whether they fit the data of an array is checked when the array is opened.
    """
    makes_points = expects_points(config)
    for setting, name, norm in (
        ("generator", config.generator, config.generator_norm),
        ("critic", config.critic, config.critic_norm),
    ):
        if not is_own_class(name):
            check_network(setting, name, config.image_size, makes_points, norm)
