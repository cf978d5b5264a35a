"""Settings are translated into the specifications of both networks."""

import pytest

from wgan_dist.config import Config, load_config
from wgan_dist.config.image_size import square
from wgan_dist.models.from_config import network_specs
from wgan_dist.models.registry import NetworkSpec
from wgan_dist.utils.errors import UserError


def test_every_setting_of_a_network_reaches_its_description() -> None:
    config = Config(
        generator="sagan",
        critic="dcgan",
        image_size=square(32),
        latent_dim=7,
        generator_features=5,
        critic_features=6,
        generator_norm="instance",
        critic_norm="layer",
        spectral_norm="critic",
    )
    shape = {"image_size": square(32), "channels": 4}
    assert network_specs(config, 4) == (
        NetworkSpec("sagan", shape | {"latent_dim": 7, "features": 5, "norm": "instance"}, spectral_norm=False),
        NetworkSpec("dcgan", shape | {"features": 6, "norm": "layer"}, spectral_norm=True),
    )


def test_what_is_left_to_the_networks_is_their_own_width_and_norm() -> None:
    generator, critic = network_specs(Config(generator="mlp_bn", critic="resnet", image_size=square(32)), 3)
    assert (generator.arguments["features"], generator.arguments["norm"]) == (128, "batch")
    assert (critic.arguments["features"], critic.arguments["norm"]) == (128, "none")


@pytest.mark.parametrize(
    ("chosen", "normalised"),
    [("none", (False, False)), ("generator", (True, False)), ("critic", (False, True)), ("both", (True, True))],
)
def test_spectral_norm_is_of_the_networks_that_are_named(chosen: str, normalised: tuple[bool, bool]) -> None:
    generator, critic = network_specs(Config(spectral_norm=chosen), 3)
    assert (generator.spectral_norm, critic.spectral_norm) == normalised


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_samples_are_images_of_the_channels_and_size_of_the_data(channels: int) -> None:
    assert [spec.sample_shape for spec in network_specs(Config(), channels)] == [(channels, 64, 64)] * 2


@pytest.mark.parametrize("recipe", ["toy_8gaussians", "toy_25gaussians", "toy_swissroll"])
def test_samples_are_points_where_the_data_are(recipe: str) -> None:
    assert [spec.sample_shape for spec in network_specs(load_config({"recipe": recipe}), 3)] == [(2,)] * 2


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (
            {"recipe": "sagan64", "image_size": "256"},
            "image_size=256: the sagan generator supports at most",
        ),
        ({"recipe": "toy_8gaussians", "generator": "mlp"}, "generator=mlp: is for images, and the data are points"),
        ({"recipe": "toy_8gaussians", "critic": "mlp"}, "critic=mlp: is for images, and the data are points"),
        ({"recipe": "digits", "generator": "points"}, "generator=points: is for points, and the data are images"),
        ({"recipe": "mnist_upsample", "critic_norm": "layer"}, "critic_norm=layer: the upsample critic supports none"),
        ({"recipe": "digits", "critic": "dcgna"}, "unknown critic dcgna; did you mean dcgan"),
    ],
)
def test_a_network_that_cannot_make_what_is_asked_for_is_refused(flags: dict[str, str], complaint: str) -> None:
    with pytest.raises(UserError) as error:
        network_specs(load_config(flags), 1)
    assert str(error.value).startswith(complaint)
