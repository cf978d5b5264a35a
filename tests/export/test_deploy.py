"""Rewritten networks compute the same function, in float64 up to rounding."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d

from export import network, settings
from export.deploy import (
    Choice,
    DenseTranspose,
    FourConvolutions,
    FourMatrixProducts,
    OneConvolution,
    all_convolutions,
    fold_batch_norm,
    for_cpu,
    for_cpu_bf16,
    replace_transposed_convolutions,
)
from tests.exports import export_onnx
from tests.generators import LATENT_DIM, small_spec, write_generator
from tests.own_networks import OWN, own_spec
from wgan_dist.checkpoints import generator_file
from wgan_dist.config.image_size import square
from wgan_dist.config.network_choices import GENERATORS
from wgan_dist.models.layers import UpsampleConv
from wgan_dist.models.registry import build_generator, generator_spec

EXACT = 1e-12


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def transposed(
    channels: int, out_channels: int, kernel: int = 4, bias: bool = True, **others: Any
) -> nn.ConvTranspose2d:
    """Return a transposed convolution with random weights in float64."""
    layer = nn.ConvTranspose2d(channels, out_channels, kernel, bias=bias, **others).double().requires_grad_(False)
    layer.weight.copy_(drawn(*layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(drawn(out_channels))
    return layer


@pytest.mark.parametrize("form", [FourConvolutions, FourMatrixProducts, OneConvolution])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (3, 5)])
def test_phases_are_the_transposed_convolution(form: type[nn.Module], bias: bool, height: int, width: int) -> None:
    layer = transposed(3, 5, stride=2, padding=1, bias=bias)
    x = drawn(2, 3, height, width)
    expected = nn.functional.leaky_relu(conv_transpose2d(x, layer.weight, layer.bias, 2, 1), 0.2)
    found = form(layer, nn.LeakyReLU(0.2))(x)
    assert found.shape == (2, 5, 2 * height, 2 * width)
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("bias", [True, False])
def test_a_transposed_convolution_of_one_position_is_a_dense_layer(bias: bool) -> None:
    layer = transposed(7, 3, bias=bias)
    x = drawn(2, 7, 1, 1)
    torch.testing.assert_close(DenseTranspose(layer, nn.ReLU())(x), layer(x).relu(), rtol=0, atol=EXACT)


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_upsampling_convolutions_are_replaced_too(bias: bool) -> None:
    layer = UpsampleConv(4, 6, 3, 1, 1, bias=bias).double()
    network = nn.Sequential(nn.Unflatten(1, (4, 3, 3)), layer).eval()
    z = drawn(2, 36)
    doubled = nn.functional.interpolate(z.unflatten(1, (4, 3, 3)), scale_factor=2.0)
    expected = nn.functional.conv2d(doubled, layer.weight, layer.bias, padding=1)
    found = replace_transposed_convolutions(network, 36)
    assert layers(found, FourConvolutions) == 1
    torch.testing.assert_close(found(z), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", GENERATORS)
@torch.no_grad()
def test_every_network_of_the_registry_is_the_same_function(name: str, tmp_path: Path) -> None:
    network = generator_file.load(write_generator(tmp_path, small_spec(name))).network.double()
    z = drawn(5, LATENT_DIM)
    before = network(z)
    without_norm = fold_batch_norm(network, LATENT_DIM)
    choices = (all_convolutions, for_cpu, for_cpu_bf16)
    rewritten = [
        replace_transposed_convolutions(each, LATENT_DIM, choice)
        for each in (without_norm, network)
        for choice in choices
    ]
    for each in (without_norm, *rewritten):
        torch.testing.assert_close(each(z), before, rtol=0, atol=EXACT)
    torch.testing.assert_close(network(z), before, rtol=0, atol=0)


def layers(network: nn.Module, *kinds: type[nn.Module]) -> int:
    return sum(isinstance(each, kinds) for each in network.modules())


@pytest.mark.parametrize(
    ("name", "norms"),
    [("dcgan", 0), ("dcgan_original", 0), ("sagan", 0), ("upsample", 0), ("mlp_bn", 0), ("resnet", 3)],
)
def test_batch_norm_is_folded_except_after_a_sum(name: str, norms: int, tmp_path: Path) -> None:
    network = generator_file.load(write_generator(tmp_path, small_spec(name))).network
    assert layers(network, nn.BatchNorm1d, nn.BatchNorm2d) > norms
    found = replace_transposed_convolutions(fold_batch_norm(network, LATENT_DIM), LATENT_DIM)
    assert layers(found, nn.BatchNorm1d, nn.BatchNorm2d) == norms
    assert layers(found, nn.ConvTranspose2d, UpsampleConv) == 0


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (all_convolutions, [FourConvolutions, FourConvolutions, FourConvolutions, OneConvolution]),
        (for_cpu, [FourConvolutions, nn.ConvTranspose2d, nn.ConvTranspose2d, nn.ConvTranspose2d]),
        (for_cpu_bf16, [FourMatrixProducts, FourMatrixProducts, FourConvolutions, OneConvolution]),
    ],
)
def test_the_replacement_depends_on_the_size_of_the_input(choice: Choice, expected: list[type[nn.Module]]) -> None:
    network = build_generator(generator_spec("dcgan", LATENT_DIM, square(64), 3, 8, "auto"), seed=0)
    kinds = (FourConvolutions, FourMatrixProducts, OneConvolution, nn.ConvTranspose2d)
    found = [
        type(each)
        for each in replace_transposed_convolutions(network, LATENT_DIM, choice).modules()
        if isinstance(each, kinds)
    ]
    assert found == expected


class Twice(nn.Module):
    """A network with a layer whose output is used with and without BatchNorm, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = transposed(4, 6, stride=2, padding=1), nn.BatchNorm2d(6).double()
        self.again = nn.Conv2d(6, 6, 1).double()
        self.other = nn.BatchNorm2d(6).double()
        for norm in (self.norm, self.other):
            norm.running_mean, norm.running_var = drawn(6), drawn(6).square() + 0.1

    def forward(self, z: Tensor) -> Tensor:
        x = self.first(z[:, :, None, None].expand(-1, -1, 3, 3))
        x = self.norm(x) + x
        return self.again(self.other(self.again(x)))


@torch.no_grad()
def test_outputs_that_are_used_twice_are_not_changed() -> None:
    network, z = Twice().eval(), drawn(2, 4)
    found = replace_transposed_convolutions(fold_batch_norm(network, LATENT_DIM), 4)
    torch.testing.assert_close(found(z), network(z), rtol=0, atol=EXACT)
    assert layers(found, nn.BatchNorm2d) == 2


@pytest.mark.parametrize(
    ("kernel", "others"),
    [
        (3, {"stride": 2, "padding": 1, "output_padding": 1}),
        (4, {"stride": 2, "padding": 1, "groups": 2}),
        (4, {"stride": 2, "padding": 0}),
        (4, {"stride": 2, "padding": 1, "dilation": 2}),
        (4, {"stride": 1, "padding": 1}),
    ],
)
@torch.no_grad()
def test_transposed_convolutions_of_other_geometry_are_kept(kernel: int, others: dict[str, Any]) -> None:
    network = nn.Sequential(nn.Unflatten(1, (4, 3, 3)), transposed(4, 6, kernel, **others)).eval()
    found, z = replace_transposed_convolutions(network, 36), drawn(2, 36)
    assert layers(found, nn.ConvTranspose2d) == 1
    torch.testing.assert_close(found(z), network(z), rtol=0, atol=EXACT)


class Choosing(nn.Module):
    """A network whose path depends on its values."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4).double()

    def forward(self, z: Tensor) -> Tensor:
        return self.dense(z) if z.sum() > 0 else self.dense(-z)


def test_batch_norm_is_folded_beside_a_layer_whose_path_depends_on_values() -> None:
    norm = nn.BatchNorm1d(4).double()
    norm.running_mean = drawn(4)
    network = nn.Sequential(Choosing(), nn.Linear(4, 4).double(), norm).eval()
    found, z = fold_batch_norm(network, 4), drawn(3, 4)
    assert layers(found, nn.BatchNorm1d) == 0
    torch.testing.assert_close(found(z), network(z), rtol=0, atol=EXACT)


@pytest.mark.parametrize("name", OWN)
@torch.no_grad()
def test_a_custom_network_keeps_its_function(name: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, own_spec(name, LATENT_DIM))
    export = network.load(settings.ExportSettings(ckpt=str(path), generator=f"tests.own_networks:{name}"), ".x")
    z = drawn(7, LATENT_DIM).float()
    expected = export.original(z)
    for found in (export.network, network.with_convolutions(export), network.in_precision(export, settings.FP32)):
        torch.testing.assert_close(found(z), expected, rtol=0, atol=1e-5)
    for precision in (settings.BF16, settings.FP16):
        near = network.in_precision(export, precision)(z)
        assert near.dtype == torch.float32
        assert 0 < (near - expected).abs().max() < 0.2
    torch.testing.assert_close(export.network(z), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_a_custom_network_is_exported(name: str, tmp_path: Path) -> None:
    path = write_generator(tmp_path, own_spec(name, LATENT_DIM))
    export_onnx({"ckpt": str(path), "generator": f"tests.own_networks:{name}", "tolerance": "1e-5"})
    assert path.with_suffix(".onnx").is_file()


class Tied(nn.Module):
    """A network that uses the weights of a layer a second time: folding BatchNorm into them changes its function."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(4, 4).double(), nn.BatchNorm1d(4).double()
        self.norm.running_mean, self.norm.running_var = drawn(4), drawn(4).square() + 0.1

    def forward(self, z: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.dense(z))
        return nn.functional.linear(normed, self.dense.weight)


def test_a_network_that_rewriting_changes_is_not_rewritten() -> None:
    network = Tied().eval()
    assert fold_batch_norm(network, 4) is network


def test_activations_are_computed_before_the_phases_are_merged(tmp_path: Path) -> None:
    network = generator_file.load(write_generator(tmp_path, small_spec("dcgan"))).network
    found = replace_transposed_convolutions(fold_batch_norm(network, LATENT_DIM), LATENT_DIM)
    activations = [type(layer.activation) for layer in found.modules() if isinstance(layer, FourConvolutions)]
    assert activations == [nn.ReLU]
    assert type(next(layer for layer in found.modules() if isinstance(layer, DenseTranspose)).activation) is nn.ReLU


@torch.no_grad()
def test_batch_norm_after_an_activation_in_place_is_not_folded() -> None:
    norm = nn.BatchNorm1d(4).double()
    norm.running_mean, norm.running_var = drawn(4), drawn(4).square() + 0.1
    network = nn.Sequential(nn.Linear(4, 4).double(), nn.ReLU(inplace=True), norm, nn.Linear(4, 4).double()).eval()
    found, z = fold_batch_norm(network, 4), drawn(3, 4)
    assert layers(found, nn.BatchNorm1d) == 1
    torch.testing.assert_close(found(z), network(z), rtol=0, atol=EXACT)
