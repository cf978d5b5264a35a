"""Networks against published parameter counts, layers written out by hand, and what the losses rely on."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from wgan_dist.config.image_size import ImageSize, parse_image_size, square
from wgan_dist.config.network_choices import CRITICS, GENERATORS, LIPSCHITZ, POINTS, NetworkChoice
from wgan_dist.data.synthetic import DIMENSIONS
from wgan_dist.models.layers import Critic, SelfAttention2d, has_batchnorm, norm_2d
from wgan_dist.models.registry import (
    POINT_SIZE,
    NetworkSpec,
    build_critic,
    build_generator,
    critic_spec,
    generator_spec,
)
from wgan_dist.models.resnet import DownBlock, FirstBlock, PlainBlock, UpBlock
from wgan_dist.utils.errors import UserError

LATENT_DIM = 6
Case = tuple[str, str, ImageSize, int]
# Powers of two, sizes that need cropping, and rectangles, in which all numbers of layers up to five occur.
SIZES = [
    ImageSize(*sides) for sides in ((16, 16), (8, 8), (28, 28), (32, 48), (17, 23), (64, 64), (100, 20), (128, 96))
]
# The attention of larger images looks from each position at each other: gigabytes, and nothing new.
MOST_ATTENTIVE_PIXELS = 64**2


def sizes_of(name: str, network: NetworkChoice) -> list[ImageSize]:
    """Return examples of the sizes that a network supports."""
    if network.pixels == POINTS:
        return [POINT_SIZE]
    return [size for size in SIZES if name != "sagan" or math.prod(size) <= MOST_ATTENTIVE_PIXELS]


def cases(registry: dict[str, NetworkChoice]) -> list[Case]:
    """Return (name, norm, size, channels) over a registry: every size at 3 channels, other channels at one size."""
    found = []
    for name, network in registry.items():
        sizes = sizes_of(name, network)
        images = [(size, 3) for size in sizes] + [(sizes[0], 1), (sizes[0], 4)]
        points = [(POINT_SIZE, DIMENSIONS)] if network.pixels == POINTS or network.also_points else []
        shapes = points if network.pixels == POINTS else images + points
        found += [(name, norm, size, channels) for norm in network.norms for size, channels in shapes]
    return found


def examples(registry: dict[str, NetworkChoice]) -> list[Case]:
    """Return one case of each network, with its default norm."""
    return list({case[0]: case for case in reversed(cases(registry))}.values())


# The critics whose weights spectral norm can normalise.
NORMALISED_CRITICS = {name: network for name, network in CRITICS.items() if name != LIPSCHITZ}


def sample_shape(size: ImageSize, channels: int) -> tuple[int, ...]:
    return (channels,) if size == POINT_SIZE else (channels, *size)


def make_generator(name: str, norm: str, size: ImageSize, channels: int, seed: int = 1) -> nn.Module:
    return build_generator(generator_spec(name, LATENT_DIM, size, channels, 4, norm), seed).double()


def make_critic(name: str, norm: str, size: ImageSize, channels: int, seed: int = 1) -> nn.Module:
    return build_critic(critic_spec(name, size, channels, 4, norm), seed).double()


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def parameter_count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


# The counts of the systems themselves. Those of sagan, resnet and points are added up by hand from the
# papers' lists of layers.
@pytest.mark.parametrize(
    ("name", "latent_dim", "size", "channels", "features", "count"),
    [
        ("dcgan", 100, 64, 3, 8, 378_083),
        ("dcgan_original", 100, 64, 3, None, 3_576_704),
        # Attention over C channels: f, g, h of C²/8 + C/8, v of C²/8 + C, γ; here over 128 and 64.
        ("sagan", 100, 64, 3, None, 3_576_704 + (8192 + 176 + 1) + (2048 + 88 + 1)),
        ("upsample", 128, 28, 1, None, 902_082),
        ("mlp", 100, 28, 1, None, 1_486_352),
        ("mlp_bn", 100, 28, 1, None, 1_510_032),
        # 128 → 4·4·128, three blocks (two norms, two 3×3, one 1×1), a norm, 3×3 to the colours.
        ("resnet", 128, 32, 3, None, 264_192 + 3 * (2 * 256 + 2 * 147_584 + 16_512) + 256 + 3459),
        ("points", 2, 1, 2, None, (2 * 512 + 512) + 2 * (512 * 512 + 512) + (512 * 2 + 2)),
    ],
)
def test_a_generator_has_as_many_parameters_as_published(
    name: str, latent_dim: int, size: int, channels: int, features: int | None, count: int
) -> None:
    assert (
        parameter_count(build_generator(generator_spec(name, latent_dim, square(size), channels, features, "auto")))
        == count
    )


@pytest.mark.parametrize(
    ("name", "size", "channels", "features", "count"),
    [
        ("dcgan", 64, 3, 8, 44_649),
        ("dcgan_original", 64, 3, None, 2_765_568),
        ("sagan", 64, 3, None, 2_765_568 + (32_768 + 352 + 1) + (131_072 + 704 + 1)),
        ("upsample", 28, 1, None, 4_305_409),
        ("mlp", 28, 1, None, 533_505),
        # The first block, a halving one, two plain ones, a dense layer; no norm.
        ("resnet", 32, 3, None, (3584 + 147_584 + 512) + (2 * 147_584 + 16_512) + 2 * 2 * 147_584 + 129),
        ("points", 1, 2, None, (2 * 512 + 512) + 2 * (512 * 512 + 512) + (512 + 1)),
    ],
)
def test_a_critic_has_as_many_parameters_as_published(
    name: str, size: int, channels: int, features: int | None, count: int
) -> None:
    assert parameter_count(build_critic(critic_spec(name, square(size), channels, features, "auto"))) == count


def test_the_dcgan_generator_has_12_66_million_parameters_at_its_own_width() -> None:
    count = parameter_count(build_generator(generator_spec("dcgan", 100, square(64), 3, None, "auto")))
    assert round(count / 1e6, 2) == 12.66


@pytest.mark.parametrize("size", [128, 256])
def test_dcgan_widths_stop_doubling_beyond_64_pixels(size: int) -> None:
    generator, critic = (
        make_generator("dcgan", "batch", square(size), 3),
        make_critic("dcgan", "instance", square(size), 3),
    )
    deconvolutions = [layer.out_channels for layer in generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    convolutions = [layer.out_channels for layer in critic.modules() if isinstance(layer, nn.Conv2d)]
    assert max(deconvolutions) == 16 * 4
    assert max(convolutions) == 8 * 4


def test_the_dcgan_generator_is_the_published_stack_of_layers() -> None:
    generator, z = make_generator("dcgan", "batch", square(64), 3), draw(4, LATENT_DIM)
    first, *blocks, last_weight, last_bias = generator.parameters()
    x = F.conv_transpose2d(z[:, :, None, None], first)
    for scale, shift, weight in zip(blocks[0:9:3], blocks[1:9:3], blocks[2:9:3], strict=True):
        x = F.relu(F.batch_norm(x, None, None, scale, shift, training=True))
        x = F.conv_transpose2d(x, weight, stride=2, padding=1)
    x = F.relu(F.batch_norm(x, None, None, blocks[9], blocks[10], training=True))
    expected = torch.tanh(F.conv_transpose2d(x, last_weight, last_bias, 2, 1))
    torch.testing.assert_close(generator(z), expected, rtol=1e-10, atol=0)


def test_the_dcgan_critic_is_the_published_stack_of_layers() -> None:
    critic, images = make_critic("dcgan", "instance", square(64), 3), draw(4, 3, 64, 64)
    first_weight, first_bias, *blocks, last_weight, last_bias = critic.parameters()
    x = F.leaky_relu(F.conv2d(images, first_weight, first_bias, 2, 1), 0.2)
    for weight, scale, shift in zip(blocks[0::3], blocks[1::3], blocks[2::3], strict=True):
        x = F.leaky_relu(F.instance_norm(F.conv2d(x, weight, None, 2, 1), weight=scale, bias=shift), 0.2)
    expected = F.conv2d(x, last_weight, last_bias)[:, 0, 0, 0]
    torch.testing.assert_close(critic(images), expected, rtol=1e-10, atol=0)


def test_without_a_norm_every_dcgan_layer_has_a_bias_of_its_own() -> None:
    for network in (make_generator("dcgan", "none", square(32), 3), make_critic("dcgan", "none", square(32), 3)):
        layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
        assert len(layers) == 4
        assert all(layer.bias is not None for layer in layers)


def test_the_mlp_generator_is_four_matrices_with_relu_and_tanh() -> None:
    generator, z = make_generator("mlp", "none", square(7), 3), draw(5, LATENT_DIM)
    weights = list(generator.parameters())
    x = z
    for weight, bias in zip(weights[0:6:2], weights[1:6:2], strict=True):
        x = (x @ weight.T + bias).clamp_min(0)
    expected = torch.tanh(x @ weights[6].T + weights[7]).reshape(5, 3, 7, 7)
    torch.testing.assert_close(generator(z), expected)


def test_the_mlp_bn_generator_normalises_all_hidden_layers_but_the_first_with_epsilon_0_8() -> None:
    generator, z = make_generator("mlp_bn", "batch", square(7), 3), draw(5, LATENT_DIM)
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
    critic, images = make_critic("mlp", "none", square(7), 3), draw(5, 3, 7, 7)
    weights = list(critic.parameters())
    x = F.leaky_relu(images.reshape(5, -1) @ weights[0].T + weights[1], 0.2)
    x = F.leaky_relu(x @ weights[2].T + weights[3], 0.2)
    torch.testing.assert_close(critic(images), (x @ weights[4].T + weights[5])[:, 0])


def batch_normed(x: Tensor, scale: Tensor, shift: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Return the BatchNorm of x [n, c, …] in training, written out."""
    positions = [0, *range(2, x.dim())]
    variance, mean = torch.var_mean(x, positions, correction=0, keepdim=True)
    shape = (1, -1, *[1] * (x.dim() - 2))
    return (x - mean) / (variance + epsilon).sqrt() * scale.view(shape) + shift.view(shape)


def doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def halved(x: Tensor) -> Tensor:
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def test_the_original_dcgan_pair_is_the_published_stack_of_layers() -> None:
    generator, z = make_generator("dcgan_original", "batch", square(64), 3), draw(4, LATENT_DIM)
    weights = iter(generator.parameters())
    x = batch_normed(F.conv_transpose2d(z[:, :, None, None], next(weights)), next(weights), next(weights)).relu()
    for _ in range(3):
        x = F.conv_transpose2d(x, next(weights), None, 2, 1)
        x = batch_normed(x, next(weights), next(weights)).relu()
    expected = torch.tanh(F.conv_transpose2d(x, next(weights), None, 2, 1))
    torch.testing.assert_close(generator(z), expected, rtol=1e-10, atol=0)
    assert next(weights, None) is None

    critic, images = make_critic("dcgan_original", "batch", square(64), 3), draw(4, 3, 64, 64)
    weights = iter(critic.parameters())
    x = F.leaky_relu(F.conv2d(images, next(weights), None, 2, 1), 0.2)
    for _ in range(3):
        x = F.conv2d(x, next(weights), None, 2, 1)
        x = F.leaky_relu(batch_normed(x, next(weights), next(weights)), 0.2)
    torch.testing.assert_close(critic(images), F.conv2d(x, next(weights)).flatten(), rtol=1e-9, atol=0)
    assert next(weights, None) is None


def attention_shapes(network: nn.Module, given: Tensor) -> list[tuple[int, ...]]:
    """Return the input shapes of a network's attentions, in order, without the batch."""
    shapes: list[tuple[int, ...]] = []
    for layer in network.modules():
        if isinstance(layer, SelfAttention2d):
            layer.register_forward_hook(lambda layer, args, output: shapes.append(tuple(args[0].shape[1:])))
    network(given)
    return shapes


def test_self_attention_follows_the_third_and_the_fourth_layer_of_both_networks() -> None:
    generator, critic = make_generator("sagan", "batch", square(64), 3), make_critic("sagan", "batch", square(64), 3)
    assert attention_shapes(generator, draw(2, LATENT_DIM)) == [(2 * 4, 16, 16), (4, 32, 32)]
    assert attention_shapes(critic, draw(2, 3, 64, 64)) == [(4 * 4, 8, 8), (8 * 4, 4, 4)]


def is_of_attention(network: nn.Module, key: str) -> bool:
    """Return whether an entry of the state belongs to an attention."""
    positions = [name for name, layer in network.named_modules() if isinstance(layer, SelfAttention2d)]
    return any(key.startswith(f"{place}.") for place in positions)


def test_untrained_self_attention_passes_its_input_on() -> None:
    sagan, plain = (
        make_generator("sagan", "batch", square(32), 3),
        make_generator("dcgan_original", "batch", square(32), 3),
    )
    shared = [value for key, value in sagan.state_dict().items() if not is_of_attention(sagan, key)]
    plain.load_state_dict(dict(zip(plain.state_dict(), shared, strict=True)))
    assert torch.equal(sagan(draw(4, LATENT_DIM)), plain(draw(4, LATENT_DIM)))


def make_attention(channels: int, gamma: float) -> SelfAttention2d:
    torch.manual_seed(0)
    layer = SelfAttention2d(channels).double()
    nn.init.constant_(layer.gamma, gamma)
    return layer


@pytest.mark.parametrize(("channels", "inner"), [(64, 8), (16, 2), (8, 1), (4, 1)])
def test_attention_looks_through_an_eighth_of_the_channels(channels: int, inner: int) -> None:
    layer = SelfAttention2d(channels)
    assert [part.weight.shape for part in (layer.f, layer.g, layer.h)] == [(inner, channels, 1, 1)] * 3
    assert layer.v.weight.shape == (channels, inner, 1, 1)
    assert layer.gamma.shape == ()
    assert layer.gamma.item() == 0


def at(layer: nn.Conv2d, column: Tensor) -> Tensor:
    """Return a 1×1 convolution at one position: [c] → [c']."""
    assert layer.bias is not None
    return (layer.weight[:, :, 0, 0] @ column + layer.bias).detach()


def test_attention_is_the_papers_sum_over_positions() -> None:
    # Zhang et al. 2019, eq. 1-3, position by position: β_ji = exp s_ij / Σ_i exp s_ij, s_ij = f(x_i)ᵀ g(x_j).
    layer, x = make_attention(16, 0.7), 3.0 * draw(2, 16, 3, 2)
    positions = [(row, column) for row in range(3) for column in range(2)]
    expected = torch.empty_like(x)
    for n in range(2):
        for position in positions:
            query = at(layer.g, x[n, :, *position])
            scores = [math.exp(float(at(layer.f, x[n, :, *other]) @ query)) for other in positions]
            weighted = [
                score / sum(scores) * at(layer.h, x[n, :, *other])
                for score, other in zip(scores, positions, strict=True)
            ]
            expected[n, :, *position] = 0.7 * at(layer.v, torch.stack(weighted).sum(0)) + x[n, :, *position]
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-12)


def test_attention_has_a_double_backward() -> None:
    layer, x = make_attention(8, 0.7), draw(2, 8, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


class SoftmaxTypes(TorchDispatchMode):
    """Records the dtypes that softmaxes are computed in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[torch.dtype] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.ops.aten._softmax.default:
            self.found.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def test_attention_weighs_in_full_precision_under_autocast() -> None:
    layer = make_attention(8, 0.7).float()
    with torch.autocast("cpu", torch.bfloat16), SoftmaxTypes() as softmaxes:
        layer(draw(2, 8, 4, 4).float())
    assert softmaxes.found == [torch.float32]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return TensorFlow's "same" padding: ⌈size / stride⌉ outputs, an odd zero goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("dropping", [False, True])
def test_the_upsample_critic_is_the_published_stack_with_the_frameworks_padding(size: int, dropping: bool) -> None:
    critic, images = make_critic("upsample", "none", square(size), 1), draw(3, 1, size, size)
    assert isinstance(critic, Critic)
    dropouts = list(critic.dropouts)
    assert dropouts == [(0.3, (8, 8, 8)), (0.3, (16, 4, 4)), (0.2, (32 * 4,))]
    masks = [draw(3, *shape).gt(0).double() for _, shape in dropouts] if dropping else []
    weights, x = iter(critic.parameters()), F.pad(images, [(32 - size) // 2] * 4)
    for number in range(4):
        before, after = same_padding(x.shape[-1], 5, 2)
        assert (before, after) == (1, 2)
        x = F.leaky_relu(F.conv2d(F.pad(x, (before, after, before, after)), next(weights), next(weights), 2), 0.2)
        if dropping and number in (1, 2):
            x = x * masks[number - 1]
    x = x.reshape(3, -1) * masks[2] if dropping else x.reshape(3, -1)
    expected = (x @ next(weights).T + next(weights))[:, 0]
    torch.testing.assert_close(critic(images, masks), expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("size", [28, 32])
def test_the_upsample_generator_is_the_published_stack_cropped(size: int) -> None:
    generator, z = make_generator("upsample", "batch", square(size), 1), draw(5, LATENT_DIM)
    weights = iter(generator.parameters())
    x = batch_normed(z @ next(weights).T, next(weights), next(weights), 1e-3)
    first_mean = (z @ next(iter(generator.parameters())).T).mean(0)
    x = F.leaky_relu(x, 0.2).reshape(5, 16, 4, 4)
    for number in range(3):
        x = F.conv2d(doubled(x), next(weights), None, 1, 1)
        x = batch_normed(x, next(weights), next(weights), 1e-3)
        x = torch.tanh(x) if number == 2 else F.leaky_relu(x, 0.2)
    crop = (32 - size) // 2
    torch.testing.assert_close(generator(z), x[:, :, crop : 32 - crop, crop : 32 - crop], rtol=1e-9, atol=1e-13)
    # The framework keeps 0.99 of its running statistics, which begin at 0.
    torch.testing.assert_close(generator.state_dict()["body.1.running_mean"], 0.01 * first_mean)


def up_block(x: Tensor, weights: Iterator[Tensor], bias: bool) -> Tensor:
    """Return a generator's block with BatchNorm as published: its shortcut upsamples, then convolves."""
    h = batch_normed(x, next(weights), next(weights)).relu()
    h = F.conv2d(doubled(h), next(weights), next(weights) if bias else None, 1, 1)
    h = batch_normed(h, next(weights), next(weights)).relu()
    h = F.conv2d(h, next(weights), next(weights), 1, 1)
    return h + F.conv2d(doubled(x), next(weights), next(weights))


@pytest.mark.parametrize(("size", "widths"), [(32, [1, 1, 1, 1]), (64, [8, 8, 4, 2, 1]), (128, [8, 8, 8, 4, 2, 1])])
def test_the_resnet_generator_is_the_published_stack_of_blocks(size: int, widths: list[int]) -> None:
    generator, z = make_generator("resnet", "batch", square(size), 3), draw(3, LATENT_DIM)
    weights = iter(generator.parameters())
    x = (z @ next(weights).T + next(weights)).reshape(3, 4 * widths[0], 4, 4)
    for out_multiple in widths[1:]:
        x = up_block(x, weights, bias=size == 32)
        assert x.shape[1] == 4 * out_multiple
    x = batch_normed(x, next(weights), next(weights)).relu()
    expected = torch.tanh(F.conv2d(x, next(weights), next(weights), 1, 1))
    torch.testing.assert_close(generator(z), expected, rtol=1e-8, atol=1e-12)
    assert next(weights, None) is None


def down_block(
    x: Tensor, weights: Iterator[Tensor], first: bool = False, halve: bool = True, bias: bool = True
) -> Tensor:
    """Return a critic's block without norm as published: its shortcut convolves, then pools."""
    h = F.conv2d(x if first else x.relu(), next(weights), next(weights) if bias else None, 1, 1)
    h = F.conv2d(h.relu(), next(weights), next(weights), 1, 1)
    return halved(h) + halved(F.conv2d(x, next(weights), next(weights))) if halve else h + x


def test_the_cifar_critic_is_the_published_stack_of_blocks() -> None:
    critic, images = make_critic("resnet", "none", square(32), 3), draw(3, 3, 32, 32)
    weights = iter(critic.parameters())
    x = down_block(down_block(images, weights, first=True), weights)
    for _ in range(2):
        x = down_block(x, weights, halve=False)
    expected = (x.relu().mean((2, 3)) @ next(weights).T + next(weights))[:, 0]
    torch.testing.assert_close(critic(images), expected, rtol=1e-9, atol=1e-13)
    assert next(weights, None) is None


@pytest.mark.parametrize(("size", "widths"), [(64, [1, 2, 4, 8, 8]), (128, [1, 2, 4, 8, 8, 8])])
def test_the_deeper_critics_halve_down_to_four_by_four(size: int, widths: list[int]) -> None:
    critic, images = make_critic("resnet", "none", square(size), 3), draw(2, 3, size, size)
    weights = iter(critic.parameters())
    x = F.conv2d(images, next(weights), next(weights), 1, 1)
    assert x.shape[1] == 4 * widths[0]
    for out_multiple in widths[1:]:
        x = down_block(x, weights, bias=False)
        assert x.shape[1] == 4 * out_multiple
    assert x.shape[2:] == (4, 4)
    expected = (x.reshape(2, -1) @ next(weights).T + next(weights))[:, 0]
    torch.testing.assert_close(critic(images), expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("block", [DownBlock(4, 6, "layer", bias=True), PlainBlock(4, "layer")], ids=["down", "plain"])
def test_a_critics_blocks_normalise_before_each_convolution(block: nn.Module) -> None:
    x = draw(3, 4, 8, 8)
    weights = iter(block.double().parameters())
    h = F.group_norm(x, 1, next(weights), next(weights)).relu()
    h = F.conv2d(h, next(weights), next(weights), 1, 1)
    h = F.group_norm(h, 1, next(weights), next(weights)).relu()
    h = F.conv2d(h, next(weights), next(weights), 1, 1)
    halves = isinstance(block, DownBlock)
    expected = halved(h) + halved(F.conv2d(x, next(weights), next(weights))) if halves else h + x
    torch.testing.assert_close(block(x), expected, rtol=1e-9, atol=1e-13)


def gains(network: nn.Module) -> Iterator[tuple[str, float, float]]:
    """Yield each layer's name, deviation of the weights over Glorot's √(2 / (in + out)), and five standard errors."""
    for name, layer in network.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            weight = layer.weight.detach()
            positions = weight[0, 0].numel()
            glorot = math.sqrt(2 / (positions * (weight.shape[0] + weight.shape[1])))
            # Of a uniform distribution: σ √(0.8 / 4n).
            yield name, weight.std().item() / glorot, 5 * math.sqrt(0.2 / weight.numel())
            assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("kind", ["generator", "critic"])
def test_residual_convolutions_begin_as_he_and_all_others_as_glorot(kind: str, size: int) -> None:
    generator = build_generator(generator_spec("resnet", 128, square(size), 3, 32, "auto"))
    network = generator if kind == "generator" else build_critic(critic_spec("resnet", square(size), 3, 32, "auto"))
    found = list(gains(network))
    blocks = (UpBlock, DownBlock, FirstBlock, PlainBlock)
    inside = [name for name, layer in network.named_modules() if isinstance(layer, blocks)]
    residual = [name for name, _, _ in found if name.startswith(tuple(f"{each}." for each in inside))]
    heights = {name: math.sqrt(2) if name in residual and "shortcut" not in name else 1.0 for name, _, _ in found}
    if kind == "generator" and size > 32:  # the authors' program for these has it so
        heights[found[-1][0]] = math.sqrt(2)
    assert len(set(heights.values())) == 2
    for name, gain, error in found:
        assert gain == pytest.approx(heights[name], abs=heights[name] * error), name


def test_the_critic_that_compares_samples_begins_as_he() -> None:
    """Its features are as large in every layer, without a norm."""
    for name, gain, error in gains(build_critic(critic_spec("dcgan_minibatch", square(32), 3, 16, "auto"))):
        assert gain == pytest.approx(math.sqrt(2), abs=math.sqrt(2) * error), name


def test_the_upsample_networks_begin_as_glorot() -> None:
    networks = (
        build_generator(generator_spec("upsample", 128, square(28), 1, 32, "auto")),
        build_critic(critic_spec("upsample", square(28), 1, 32, "auto")),
    )
    for name, gain, error in (each for network in networks for each in gains(network)):
        assert gain == pytest.approx(1.0, abs=error), name


@pytest.mark.parametrize("kind", ["generator", "critic"])
def test_the_networks_of_points_are_four_matrices_with_relu_and_a_linear_end(kind: str) -> None:
    network = (
        make_generator("points", "none", square(1), 2)
        if kind == "generator"
        else make_critic("points", "none", square(1), 2)
    )
    x = given = draw(5, LATENT_DIM if kind == "generator" else 2)
    *hidden, weight, bias = network.parameters()
    for each, shift in zip(hidden[::2], hidden[1::2], strict=True):
        x = (x @ each.T + shift).clamp_min(0)
    expected = x @ weight.T + bias
    assert len(hidden) == 6
    torch.testing.assert_close(network(given), expected if kind == "generator" else expected[:, 0])


# --- spectral norm ---


def normalised_layers(network: nn.Module) -> dict[str, nn.Module]:
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, kinds)}


def largest_singular_value(layer: nn.Module) -> float:
    """Return that of the weight the layer computes with, as a matrix from inputs to outputs."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    weight = weight.detach()
    matrix = weight.transpose(0, 1).flatten(1) if isinstance(layer, nn.ConvTranspose2d) else weight.flatten(1)
    return torch.linalg.svdvals(matrix)[0].item()


def raw_weight(layer: nn.Module) -> Tensor:
    return layer.get_parameter("parametrizations.weight.original").detach()


def train_and_measure(network: nn.Module, given: Tensor) -> None:
    before = {name: raw_weight(layer).clone() for name, layer in normalised_layers(network).items()}
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        outputs = network(given)
        (outputs.square().mean() - (outputs * draw(*outputs.shape)).mean()).backward()
        optimizer.step()
    network(given)  # one more power iteration, on the weights as they are
    for name, layer in normalised_layers(network.eval()).items():
        assert largest_singular_value(layer) == pytest.approx(1.0, abs=0.05), name
        assert not torch.equal(before[name], raw_weight(layer)), name


@pytest.mark.parametrize(("name", "norm", "size", "channels"), examples(GENERATORS))
def test_every_weight_of_a_trained_generator_has_spectral_norm_one(
    name: str, norm: str, size: ImageSize, channels: int
) -> None:
    spec = generator_spec(name, LATENT_DIM, size, channels, 4, norm, spectral_norm=True)
    train_and_measure(attend(build_generator(spec).double()), draw(16, LATENT_DIM))


@pytest.mark.parametrize(("name", "norm", "size", "channels"), examples(NORMALISED_CRITICS))
def test_every_weight_of_a_trained_critic_has_spectral_norm_one(
    name: str, norm: str, size: ImageSize, channels: int
) -> None:
    spec = critic_spec(name, size, channels, 4, norm, spectral_norm=True)
    train_and_measure(attend(build_critic(spec).double()), draw(16, *sample_shape(size, channels)))


@pytest.mark.parametrize(("name", "norm", "size", "channels"), examples(GENERATORS))
def test_spectral_norm_adds_no_parameter(name: str, norm: str, size: ImageSize, channels: int) -> None:
    plain, normalised = (
        build_generator(generator_spec(name, LATENT_DIM, size, channels, 4, norm, each)) for each in (False, True)
    )
    assert parameter_count(plain) == parameter_count(normalised)


def test_without_spectral_norm_weights_are_as_they_are() -> None:
    assert all(
        key.endswith(("weight", "bias")) for key, _ in make_critic("mlp", "none", square(7), 3).named_parameters()
    )


def test_layer_norm_is_over_all_values_of_a_sample() -> None:
    (layer,), x = norm_2d("layer", 3), draw(4, 3, 5, 5).float() * torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1)
    variance, mean = torch.var_mean(x, (1, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(layer(x), (x - mean) / (variance + 1e-5).sqrt())


@pytest.mark.parametrize(("name", "norm", "size", "channels"), cases(GENERATORS))
def test_a_generator_makes_samples_of_the_asked_shape_and_bounds_images(
    name: str, norm: str, size: ImageSize, channels: int
) -> None:
    # Huge latents drive the last layer far beyond the range where nothing bounds it.
    samples = make_generator(name, norm, size, channels)(1e12 * draw(16, LATENT_DIM))
    assert samples.shape == (16, *sample_shape(size, channels))
    if channels == DIMENSIONS:
        assert samples.abs().max() > 1e6
    else:
        assert -1 <= samples.min() < 0 < samples.max() <= 1


@pytest.mark.parametrize(("name", "norm", "size", "channels"), cases(CRITICS))
def test_a_critic_scores_every_sample_by_itself_unless_it_mixes_the_batch(
    name: str, norm: str, size: ImageSize, channels: int
) -> None:
    critic, samples = make_critic(name, norm, size, channels), draw(4, *sample_shape(size, channels))
    scores = critic(samples)
    assert scores.shape == (4,)
    some = critic(samples[[2, 0]])  # others gone, and the order another
    has_norm = norm == "batch" and size != square(8)  # whose only hidden layer is the first one, which has no norm
    mixes = has_norm or name == "dcgan_minibatch"
    assert torch.allclose(scores[[2, 0]], some, rtol=1e-9, atol=1e-13) == (not mixes)
    assert has_batchnorm(critic) == has_norm


@pytest.mark.parametrize(("name", "norm", "size", "channels"), cases(CRITICS))
def test_nothing_bounds_a_critics_scores(name: str, norm: str, size: ImageSize, channels: int) -> None:
    critic, samples = make_critic(name, norm, size, channels).eval(), draw(2, *sample_shape(size, channels))
    scores, last = critic(samples), list(critic.parameters())[-1]
    nn.init.constant_(last, 1000.0)
    assert (critic(samples) - scores).abs().min() > 2


def attend(network: nn.Module) -> nn.Module:
    """Set γ of all attentions, which starts at 0, and return the network."""
    for layer in network.modules():
        if isinstance(layer, SelfAttention2d):
            nn.init.constant_(layer.gamma, 0.5)
    return network


def unreached(network: nn.Module) -> list[str]:
    """Return the parameters without a gradient, except the keys' bias of an attention, which softmax cancels."""
    parameters = [(key, each) for key, each in network.named_parameters() if not key.endswith(".f.bias")]
    return [key for key, each in parameters if each.grad is None or not each.grad.any()]


@pytest.mark.parametrize(("name", "norm", "size", "channels"), cases(GENERATORS))
def test_gradients_reach_every_parameter_of_a_generator(name: str, norm: str, size: ImageSize, channels: int) -> None:
    generator = attend(make_generator(name, norm, size, channels))
    samples = generator(draw(8, LATENT_DIM))
    (samples * draw(*samples.shape)).sum().backward()
    assert unreached(generator) == []


@pytest.mark.parametrize(("name", "norm", "size", "channels"), cases(CRITICS))
def test_gradients_reach_every_parameter_of_a_critic(name: str, norm: str, size: ImageSize, channels: int) -> None:
    critic = attend(make_critic(name, norm, size, channels))
    critic(draw(8, *sample_shape(size, channels))).square().sum().backward()
    assert unreached(critic) == []


@pytest.mark.parametrize("norm", ["batch", "instance", "layer"])
def test_dcgan_weights_start_at_a_deviation_of_0_02_and_norm_scales_around_one(norm: str) -> None:
    spec = (
        critic_spec("dcgan", square(64), 3, 64, norm)
        if norm == "layer"
        else generator_spec("dcgan", 100, square(64), 3, 16, norm)
    )
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


def weights_of(network: nn.Module) -> Tensor:
    return torch.cat([value.flatten().double() for value in network.state_dict().values()])


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize(("name", "norm", "size", "channels"), examples(GENERATORS))
def test_a_generators_weights_depend_on_the_seed_alone(
    name: str, norm: str, size: ImageSize, channels: int, spectral_norm: bool
) -> None:
    spec, states = generator_spec(name, LATENT_DIM, size, channels, 4, norm, spectral_norm), []
    for global_seed, seed in ((0, 1), (99, 1), (0, 2)):
        torch.manual_seed(global_seed)
        states.append(weights_of(build_generator(spec, seed)))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("spectral_norm", [False, True])
@pytest.mark.parametrize(("name", "norm", "size", "channels"), examples(NORMALISED_CRITICS))
def test_a_critics_weights_depend_on_the_seed_alone(
    name: str, norm: str, size: ImageSize, channels: int, spectral_norm: bool
) -> None:
    spec, states = critic_spec(name, size, channels, 4, norm, spectral_norm), []
    for global_seed, seed in ((0, 1), (99, 1), (0, 2)):
        torch.manual_seed(global_seed)
        states.append(weights_of(build_critic(spec, seed)))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_generator_and_critic_do_not_start_from_the_same_numbers() -> None:
    # Both begin with a matrix of 16 values drawn the same way: equal streams would make them equal.
    generator = build_generator(generator_spec("mlp", 4, square(2), 1, 4, "auto"), 3)
    critic = build_critic(critic_spec("mlp", square(2), 1, 4, "auto"), 3)
    first, other = next(generator.parameters()), next(critic.parameters())
    assert first.shape == other.shape
    assert not torch.equal(first, other)


def test_building_leaves_the_global_random_state_untouched() -> None:
    before = torch.get_rng_state()
    make_generator("dcgan", "batch", square(16), 1)
    make_critic("dcgan", "instance", square(16), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_width_and_norm_default_to_the_networks_own() -> None:
    assert generator_spec("dcgan", 100, square(64), 3, None, "auto") == generator_spec(
        "dcgan", 100, square(64), 3, 64, "batch"
    )
    assert critic_spec("mlp", square(28), 1, None, "auto") == critic_spec("mlp", square(28), 1, 512, "none")


@pytest.mark.parametrize(("given", "nearest"), [("dcgn", "dcgan"), ("mlp_nb", "mlp_bn")])
def test_an_unknown_network_suggests_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"unknown generator {given}; did you mean {nearest}"):
        generator_spec(given, 100, square(64), 3, None, "auto")


@pytest.mark.parametrize("size", ["129", "64x257"])
def test_a_size_that_is_too_large_for_a_network_is_refused(size: str) -> None:
    with pytest.raises(UserError, match=f"image_size={size}: the sagan critic supports at most 16,384 pixels"):
        critic_spec("sagan", parse_image_size(size), 3, None, "auto")
    assert critic_spec("sagan", parse_image_size("64x256"), 3, None, "auto").sample_shape == (3, 64, 256)


def test_a_norm_the_network_does_not_take_is_refused_with_those_it_does() -> None:
    with pytest.raises(UserError, match="generator_norm=layer: .*dcgan.* batch, instance, none"):
        generator_spec("dcgan", 100, square(64), 3, None, "layer")
    with pytest.raises(UserError, match="critic_norm=batch: .*resnet.* none, layer, instance"):
        critic_spec("resnet", square(64), 3, None, "batch")


def spec_of(setting: str, name: str, size: ImageSize, channels: int) -> NetworkSpec:
    if setting == "generator":
        return generator_spec(name, 2, size, channels, None, "auto")
    return critic_spec(name, size, channels, None, "auto")


@pytest.mark.parametrize(("setting", "registry"), [("generator", GENERATORS), ("critic", CRITICS)])
def test_networks_of_images_and_of_points_do_not_take_each_others_data(
    setting: str, registry: dict[str, NetworkChoice]
) -> None:
    for name, network in registry.items():
        if network.also_points:
            continue
        made, other = ("points", "images") if network.pixels == POINTS else ("images", "points")
        size, channels = (square(32), 3) if other == "images" else (POINT_SIZE, DIMENSIONS)
        message = f"^{setting}={name}: is for {made}, and the data are {other}; expected .*module:Class$"
        with pytest.raises(UserError, match=message):
            spec_of(setting, name, size, channels)


@pytest.mark.parametrize(
    ("name", "size", "channels", "shape"),
    [("points", POINT_SIZE, 2, (2,)), ("mlp", ImageSize(16, 24), 2, (2, 16, 24)), ("mlp", square(8), 3, (3, 8, 8))],
)
def test_a_spec_knows_the_shape_of_one_sample(
    name: str, size: ImageSize, channels: int, shape: tuple[int, ...]
) -> None:
    assert generator_spec(name, 2, size, channels, None, "auto").sample_shape == shape
    assert critic_spec(name, size, channels, None, "auto").sample_shape == shape


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
    """Return the name of an importable module with custom networks."""
    (tmp_path / "own_networks.py").write_text(OWN_NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_networks"


def test_a_custom_class_gets_the_settings_and_the_seed(own_module: str) -> None:
    spec = generator_spec(f"{own_module}:Own", 100, square(48), 3, None, "auto")
    network = build_generator(spec, 5)
    assert network.arguments == (100, (48, 48), 3, None, "auto")
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
        build_generator(NetworkSpec(name, generator_spec("mlp", 100, square(28), 1, None, "auto").arguments))


@pytest.mark.parametrize("name", [":Own", ".own_networks:Own", "..:Own"])
def test_a_module_name_that_python_cannot_import_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="critic=.*cannot be imported"):
        build_critic(critic_spec(name, square(28), 1, None, "auto"))
