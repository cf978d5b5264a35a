"""Networks against published parameter counts, layers written out by hand, and the promises the objectives rely on."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wgan_dist.errors import UserError
from wgan_dist.models import (
    CRITICS,
    GENERATORS,
    Network,
    NetworkSpec,
    build_critic,
    build_generator,
    critic_spec,
    generator_spec,
)
from wgan_dist.models.blocks import norm_2d

LATENT_DIM = 6
Case = tuple[str, str, int, int]


def cases(registry: dict[str, Network]) -> list[Case]:
    """(name, norm, size, channels) over a registry: every size at 3 channels, every number of channels at one size."""
    images = [(size, 3) for size in (1, 7, 16, 28, 32, 64, 128, 256)] + [(16, channels) for channels in (1, 2, 4, 5)]
    return [
        (name, norm, size, channels)
        for name, network in registry.items()
        for norm in network.norms
        for size, channels in images
        if size in network.sizes
    ]


def make_generator(name: str, norm: str, size: int, channels: int, seed: int = 1) -> nn.Module:
    return build_generator(generator_spec(name, LATENT_DIM, size, channels, 4, norm), seed).double()


def make_critic(name: str, norm: str, size: int, channels: int, seed: int = 1) -> nn.Module:
    return build_critic(critic_spec(name, size, channels, 4, norm), seed).double()


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# FACTS §1: the counts of the systems themselves.
@pytest.mark.parametrize(
    ("name", "size", "channels", "features", "count"),
    [
        ("dcgan", 64, 3, 8, 378_083),
        ("mlp", 28, 1, None, 1_486_352),
        ("mlp_bn", 28, 1, None, 1_510_032),
    ],
)
def test_a_generator_has_as_many_parameters_as_published(
    name: str, size: int, channels: int, features: int | None, count: int
) -> None:
    assert parameter_count(build_generator(generator_spec(name, 100, size, channels, features, "auto"))) == count


@pytest.mark.parametrize(
    ("name", "size", "channels", "features", "count"), [("dcgan", 64, 3, 8, 44_649), ("mlp", 28, 1, None, 533_505)]
)
def test_a_critic_has_as_many_parameters_as_published(
    name: str, size: int, channels: int, features: int | None, count: int
) -> None:
    assert parameter_count(build_critic(critic_spec(name, size, channels, features, "auto"))) == count


def test_the_dcgan_generator_has_12_66_million_parameters_at_its_own_width() -> None:
    count = parameter_count(build_generator(generator_spec("dcgan", 100, 64, 3, None, "auto")))
    assert round(count / 1e6, 2) == 12.66


@pytest.mark.parametrize("size", [128, 256])
def test_dcgan_widths_stop_doubling_beyond_64_pixels(size: int) -> None:
    generator, critic = make_generator("dcgan", "batch", size, 3), make_critic("dcgan", "instance", size, 3)
    deconvolutions = [layer.out_channels for layer in generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    convolutions = [layer.out_channels for layer in critic.modules() if isinstance(layer, nn.Conv2d)]
    assert max(deconvolutions) == 16 * 4
    assert max(convolutions) == 8 * 4


def test_the_dcgan_generator_is_the_published_stack_of_layers() -> None:
    generator, z = make_generator("dcgan", "batch", 64, 3), draw(4, LATENT_DIM)
    first, *blocks, last_weight, last_bias = generator.parameters()
    x = F.conv_transpose2d(z[:, :, None, None], first)
    for scale, shift, weight in zip(blocks[0:9:3], blocks[1:9:3], blocks[2:9:3], strict=True):
        x = F.relu(F.batch_norm(x, None, None, scale, shift, training=True))
        x = F.conv_transpose2d(x, weight, stride=2, padding=1)
    x = F.relu(F.batch_norm(x, None, None, blocks[9], blocks[10], training=True))
    expected = torch.tanh(F.conv_transpose2d(x, last_weight, last_bias, 2, 1))
    torch.testing.assert_close(generator(z), expected, rtol=1e-10, atol=0)


def test_the_dcgan_critic_is_the_published_stack_of_layers() -> None:
    critic, images = make_critic("dcgan", "instance", 64, 3), draw(4, 3, 64, 64)
    first_weight, first_bias, *blocks, last_weight, last_bias = critic.parameters()
    x = F.leaky_relu(F.conv2d(images, first_weight, first_bias, 2, 1), 0.2)
    for weight, scale, shift in zip(blocks[0::3], blocks[1::3], blocks[2::3], strict=True):
        x = F.leaky_relu(F.instance_norm(F.conv2d(x, weight, None, 2, 1), weight=scale, bias=shift), 0.2)
    expected = F.conv2d(x, last_weight, last_bias)[:, 0, 0, 0]
    torch.testing.assert_close(critic(images), expected, rtol=1e-10, atol=0)


def test_without_a_norm_every_dcgan_layer_has_a_bias_of_its_own() -> None:
    for network in (make_generator("dcgan", "none", 32, 3), make_critic("dcgan", "none", 32, 3)):
        layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
        assert len(layers) == 4
        assert all(layer.bias is not None for layer in layers)


def test_the_mlp_generator_is_four_matrices_with_relu_and_tanh() -> None:
    generator, z = make_generator("mlp", "none", 7, 3), draw(5, LATENT_DIM)
    weights = list(generator.parameters())
    x = z
    for weight, bias in zip(weights[0:6:2], weights[1:6:2], strict=True):
        x = (x @ weight.T + bias).clamp_min(0)
    expected = torch.tanh(x @ weights[6].T + weights[7]).reshape(5, 3, 7, 7)
    torch.testing.assert_close(generator(z), expected)


def test_the_mlp_bn_generator_normalises_all_hidden_layers_but_the_first_with_epsilon_0_8() -> None:
    generator, z = make_generator("mlp_bn", "batch", 7, 3), draw(5, LATENT_DIM)
    parameters = list(generator.parameters())
    x = F.leaky_relu(z @ parameters[0].T + parameters[1], 0.2)
    for k in (2, 6, 10):
        weight, bias, scale, shift = parameters[k : k + 4]
        x = x @ weight.T + bias
        x = (x - x.mean(0)) / (x.var(0, correction=0) + 0.8).sqrt() * scale + shift
        x = F.leaky_relu(x, 0.2)
    expected = torch.tanh(x @ parameters[14].T + parameters[15]).reshape(5, 3, 7, 7)
    torch.testing.assert_close(generator(z), expected)


def test_the_mlp_critic_is_three_matrices_with_leaky_relu_and_a_linear_end() -> None:
    critic, images = make_critic("mlp", "none", 7, 3), draw(5, 3, 7, 7)
    weights = list(critic.parameters())
    x = F.leaky_relu(images.reshape(5, -1) @ weights[0].T + weights[1], 0.2)
    x = F.leaky_relu(x @ weights[2].T + weights[3], 0.2)
    torch.testing.assert_close(critic(images), (x @ weights[4].T + weights[5])[:, 0])


def test_layer_norm_is_over_all_values_of_a_sample() -> None:
    (layer,), x = norm_2d("layer", 3), draw(4, 3, 5, 5).float() * torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1)
    variance, mean = torch.var_mean(x, (1, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(layer(x), (x - mean) / (variance + 1e-5).sqrt())


@pytest.mark.parametrize(("name", "norm", "size", "channels"), cases(GENERATORS))
def test_a_generator_makes_images_of_the_asked_shape_between_minus_one_and_one(
    name: str, norm: str, size: int, channels: int
) -> None:
    # Huge latents drive the last layer far beyond the range where nothing bounds it.
    images = make_generator(name, norm, size, channels)(1e12 * draw(3, LATENT_DIM))
    assert images.shape == (3, channels, size, size)
    assert -1 <= images.min() < 0 < images.max() <= 1


@pytest.mark.parametrize(("name", "norm", "size", "channels"), cases(CRITICS))
def test_a_critic_scores_every_image_by_itself(name: str, norm: str, size: int, channels: int) -> None:
    critic, images = make_critic(name, norm, size, channels), draw(3, channels, size, size)
    scores = critic(images)
    assert scores.shape == (3,)
    alone = torch.cat([critic(image) for image in images.split(1)])
    torch.testing.assert_close(scores, alone, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(("name", "norm", "size", "channels"), cases(GENERATORS))
def test_gradients_reach_every_parameter_of_a_generator(name: str, norm: str, size: int, channels: int) -> None:
    generator = make_generator(name, norm, size, channels)
    images = generator(draw(8, LATENT_DIM))
    (images * draw(*images.shape)).sum().backward()
    unreached = [key for key, each in generator.named_parameters() if each.grad is None or not each.grad.any()]
    assert unreached == []


@pytest.mark.parametrize(("name", "norm", "size", "channels"), cases(CRITICS))
def test_gradients_reach_every_parameter_of_a_critic(name: str, norm: str, size: int, channels: int) -> None:
    critic = make_critic(name, norm, size, channels)
    critic(draw(8, channels, size, size)).square().sum().backward()
    unreached = [key for key, each in critic.named_parameters() if each.grad is None or not each.grad.any()]
    assert unreached == []


@pytest.mark.parametrize("norm", ["batch", "instance", "layer"])
def test_dcgan_weights_start_at_a_deviation_of_0_02_and_norm_scales_around_one(norm: str) -> None:
    spec = critic_spec("dcgan", 64, 3, 64, norm) if norm == "layer" else generator_spec("dcgan", 100, 64, 3, 16, norm)
    network = build_critic(spec) if norm == "layer" else build_generator(spec)
    weights = [each.flatten() for each in network.parameters() if each.dim() == 4 and each.numel() > 2000]
    vectors = {key: each for key, each in network.named_parameters() if each.dim() == 1}
    scales = torch.cat([each for key, each in vectors.items() if key.endswith("weight")])
    shifts = torch.cat([each for key, each in vectors.items() if key.endswith("bias")])
    for weight in weights:
        # Five standard errors: of the deviation σ/√(2n), of the mean σ/√n.
        assert weight.std().item() == pytest.approx(0.02, abs=5 * 0.02 / math.sqrt(2 * len(weight)))
        assert weight.mean().item() == pytest.approx(0.0, abs=5 * 0.02 / math.sqrt(len(weight)))
    assert scales.mean().item() == pytest.approx(1.0, abs=5 * 0.02 / math.sqrt(len(scales)))
    assert scales.std().item() == pytest.approx(0.02, abs=5 * 0.02 / math.sqrt(2 * len(scales)))
    assert not shifts.any()


@pytest.mark.parametrize("name", GENERATORS)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    spec = generator_spec(name, LATENT_DIM, 16, 1, 4, "auto")
    states = []
    for global_seed, seed in ((0, 1), (99, 1), (0, 2)):
        torch.manual_seed(global_seed)
        states.append(torch.cat([each.flatten() for each in build_generator(spec, seed).parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_generator_and_critic_do_not_start_from_the_same_numbers() -> None:
    # Both begin with a matrix of 16 values drawn the same way: equal streams would make them equal.
    generator = build_generator(generator_spec("mlp", 4, 2, 1, 4, "auto"), 3)
    critic = build_critic(critic_spec("mlp", 2, 1, 4, "auto"), 3)
    first, other = next(generator.parameters()), next(critic.parameters())
    assert first.shape == other.shape
    assert not torch.equal(first, other)


def test_building_leaves_the_global_random_state_untouched() -> None:
    before = torch.get_rng_state()
    make_generator("dcgan", "batch", 16, 1)
    make_critic("dcgan", "instance", 16, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_width_and_norm_default_to_the_networks_own() -> None:
    assert generator_spec("dcgan", 100, 64, 3, None, "auto") == generator_spec("dcgan", 100, 64, 3, 64, "batch")
    assert critic_spec("mlp", 28, 1, None, "auto") == critic_spec("mlp", 28, 1, 512, "none")


@pytest.mark.parametrize(("given", "nearest"), [("dcgn", "dcgan"), ("mlp_nb", "mlp_bn")])
def test_an_unknown_network_suggests_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"unknown generator {given}; did you mean {nearest}"):
        generator_spec(given, 100, 64, 3, None, "auto")


@pytest.mark.parametrize("size", [1, 4, 8, 48, 63, 512])
def test_a_size_the_network_cannot_make_is_refused_with_those_it_can(size: int) -> None:
    with pytest.raises(UserError, match=f"image_size={size}: .*dcgan.* 16, 32, 64, 128, 256"):
        critic_spec("dcgan", size, 3, None, "auto")


def test_a_norm_the_network_does_not_take_is_refused_with_those_it_does() -> None:
    with pytest.raises(UserError, match="generator_norm=layer: .*dcgan.* batch, instance, none"):
        generator_spec("dcgan", 100, 64, 3, None, "layer")
    # BatchNorm in a critic would mix the samples of a batch.
    with pytest.raises(UserError, match="critic_norm=batch: .*dcgan.* instance, layer, none"):
        critic_spec("dcgan", 64, 3, None, "batch")


OWN_NETWORKS = """
import torch
from torch import nn

NUMBER = 3

class Own(nn.Module):
    def __init__(self, latent_dim, image_size, channels, features, norm):
        super().__init__()
        self.arguments = (latent_dim, image_size, channels, features, norm)
        self.weight = nn.Parameter(torch.randn(4))

class Narrow(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()

class NotANetwork:
    pass
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module with networks of one's own."""
    (tmp_path / "own_networks.py").write_text(OWN_NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_networks"


def test_a_class_of_ones_own_gets_the_settings_and_the_seed(own_module: str) -> None:
    spec = generator_spec(f"{own_module}:Own", 100, 48, 3, None, "auto")
    network = build_generator(spec, 5)
    assert network.arguments == (100, 48, 3, None, "auto")
    state, again, other = (build_generator(spec, seed).state_dict()["weight"] for seed in (5, 5, 6))
    assert torch.equal(state, again)
    assert not torch.equal(state, other)


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (":Missing", "cannot be imported"),
        (":", "cannot be imported"),
        (":NotANetwork", "torch.nn.Module"),
        (":NUMBER", "torch.nn.Module"),
        (":Narrow", "is called with latent_dim, image_size, channels, features, norm"),
        ("_missing:Own", "cannot be imported"),
    ],
)
def test_a_class_that_cannot_be_a_network_is_refused_by_name(own_module: str, ending: str, reason: str) -> None:
    name = own_module + ending
    with pytest.raises(UserError, match=f"generator={name}: .*{reason}"):
        build_generator(NetworkSpec(name, generator_spec("mlp", 100, 28, 1, None, "auto").arguments))


@pytest.mark.parametrize("name", [":Own", ".own_networks:Own", "..:Own"])
def test_a_module_name_that_python_cannot_import_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="critic=.*cannot be imported"):
        build_critic(critic_spec(name, 28, 1, None, "auto"))
