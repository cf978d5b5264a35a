"""Layers as training computes them: torch's own values, and its first and second derivatives."""

import copy
import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, instance_norm, linear
from torch.nn.grad import conv2d_weight

from wgan_dist.losses.modules import gradient_norms, input_gradient, two_sided_penalty
from wgan_dist.models.dcgan import DCGANCritic, DCGANGenerator
from wgan_dist.models.layers import ConvDownsample, InstanceNorm2d, UpsampleConv, init_dcgan, without_second_derivatives
from wgan_dist.ops import conv, double_backward
from wgan_dist.ops.conv import convolve, convolve_transposed, multiply, use_fast_ops
from wgan_dist.ops.instance_norm import normalise

# Stride and padding, kernel, smaller map: of products of matrices and of none, with something left over and without.
GEOMETRIES = [(2, 1, 4, 4), (2, 1, 4, 9), (2, 0, 4, 2), (1, 0, 2, 3), (1, 1, 3, 4), (2, 2, 5, 3), (2, 1, 4, 1)]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def sides(stride: int, padding: int, kernel: int, places: int, left_over: int) -> int:
    return (places - 1) * stride - 2 * padding + kernel + left_over


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("biased", [True, False])
def test_derivatives_of_both_orders_are_those_of_finite_differences(
    geometry: tuple[int, int, int, int], biased: bool
) -> None:
    stride, padding, kernel, places = geometry
    side = sides(*geometry, left_over=stride - 1)
    large, small, weight = (
        draw(2, 3, side, side, seed=1),
        draw(2, 2, places, places, seed=2),
        draw(2, 3, kernel, kernel),
    )
    biases = (draw(2, seed=3), draw(3, seed=4)) if biased else (None, None)
    pairs = (stride, stride), (padding, padding)

    def gather(x: Tensor, w: Tensor, *bias: Tensor) -> Tensor:
        return convolve(x, w, bias[0] if bias else None, *pairs)

    def scatter(x: Tensor, w: Tensor, *bias: Tensor) -> Tensor:
        return convolve_transposed(x, w, bias[0] if bias else None, *pairs, (stride - 1, stride - 1))

    for function, x, bias in ((gather, large, biases[0]), (scatter, small, biases[1])):
        inputs = [each.requires_grad_() for each in (x.clone(), weight.clone(), bias) if each is not None]
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
    assert torch.equal(gather(large, weight), conv2d(large, weight, None, stride, padding))
    expected = conv_transpose2d(small, weight, None, stride, padding, stride - 1)
    torch.testing.assert_close(scatter(small, weight), expected)


def test_dense_layers_and_instance_norm_have_both_derivatives() -> None:
    x, weight, bias = (draw(*shape, seed=9).requires_grad_() for shape in ((4, 3), (2, 3), (2,)))
    assert torch.equal(multiply(x, weight, bias), linear(x, weight, bias))
    images, scale, shift = (draw(*shape, seed=8).requires_grad_() for shape in ((2, 3, 3, 2), (3,), (3,)))
    torch.testing.assert_close(normalise(images, scale, shift, 1e-5), instance_norm(images, None, None, scale, shift))
    cases: list[tuple[Any, tuple[Tensor, ...]]] = [
        (multiply, (x, weight, bias)),
        (functools.partial(normalise, epsilon=1e-5), (images, scale, shift)),
    ]
    for function, inputs in cases:
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)


def test_windows_that_overlap_in_one_column_of_one_sample_are_multiplied() -> None:
    """The one case whose windows would be a view, which oneDNN takes for no matrix."""
    x, small = draw(1, 256, 8, 4, seed=5), draw(1, 256, 3, 1, seed=6)
    expected = conv2d_weight(x, (256, 256, 4, 4), small, 2, 0)
    for layout in (torch.channels_last, torch.contiguous_format):
        large, few = (each.float().contiguous(memory_format=layout) for each in (x, small))
        found = conv._correlate(large, few, (2, 2), (0, 0), (4, 4))
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(GEOMETRIES), st.sampled_from([1, 3, 8]), st.sampled_from([2, 16]), st.booleans(), st.booleans())
def test_products_of_matrices_are_convolutions(
    geometry: tuple[int, int, int, int], narrow: int, wide: int, last: bool, half: bool
) -> None:
    """The paths in float32 and bfloat16, which finite differences do not see, against torch's own in float64."""
    stride, padding, kernel, places = geometry
    side = sides(*geometry, left_over=0)
    dtype, rounding = (torch.bfloat16, 3e-2) if half else (torch.float32, 2e-5)
    layout = torch.channels_last if last else torch.contiguous_format
    large, small = draw(3, narrow, side, side, seed=5).to(dtype), draw(3, wide, places, places, seed=6).to(dtype)
    weight = draw(wide, narrow, kernel, kernel, seed=7).to(dtype)
    large, small, weight = (each.contiguous(memory_format=layout) for each in (large, small, weight))
    pairs = (stride, stride), (padding, padding)
    found = (
        conv._gather(large, weight, None, *pairs),
        conv._scatter(small, weight, None, *pairs, (side, side)),
        conv._correlate(large, small, *pairs, (kernel, kernel)),
    )
    x, y, w = (each.double().requires_grad_() for each in (large, small, weight))
    forward = conv2d(x, w, None, stride, padding)
    expected = (forward, *torch.autograd.grad(forward, (x, w), y))
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == dtype
        error = (mine.double() - theirs).abs().max() / theirs.abs().max()
        assert error <= rounding


def penalty_gradients(critic: nn.Module, images: Tensor) -> list[Tensor]:
    critic.zero_grad()
    (two_sided_penalty(gradient_norms(input_gradient(critic, images))) + critic(images).mean()).backward()
    return [parameter.grad.clone() for parameter in critic.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_critic_in_training_has_the_penalty_of_the_plain_one(dtype: torch.dtype) -> None:
    plain = DCGANCritic(32, 3, 8, "instance").to(dtype)
    images, rounding = draw(4, 3, 32, 32, dtype=dtype), 1e-12 if dtype == torch.float64 else 1e-4
    expected = penalty_gradients(plain, images)
    fast = use_fast_ops(copy.deepcopy(plain))
    for mine, theirs in zip(penalty_gradients(fast, images), expected, strict=True):
        assert (mine - theirs).abs().max() <= rounding * theirs.abs().max()
        assert mine.is_contiguous(memory_format=torch.channels_last) or mine.dim() != 4


def test_a_bias_may_lie_anywhere_in_memory() -> None:
    a, b, spread = draw(3, 5, dtype=torch.float32), draw(4, 5, seed=1, dtype=torch.float32), torch.arange(8.0)[::2]
    for bias in (spread, torch.ones(1).expand(4)):
        torch.testing.assert_close(multiply(a, b, bias), linear(a, b, bias))


def test_a_third_derivative_is_refused() -> None:
    x, weight, bias = (draw(*shape).requires_grad_() for shape in ((2, 3, 2, 2), (3,), (3,)))
    first = torch.autograd.grad(normalise(x, weight, bias, 1e-5).square().sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="twice"):
        second.sum().backward()


def test_the_gradient_of_what_does_not_look_at_its_input_is_zero() -> None:
    assert input_gradient(lambda x: torch.ones(len(x)).requires_grad_(), torch.ones(2, 3)).tolist() == [[0.0] * 3] * 2


def test_layers_that_are_not_plain_stay() -> None:
    layers: list[Any] = [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
        InstanceNorm2d(4, affine=True, track_running_stats=True),
    ]
    kinds = [type(layer) for layer in layers]
    assert [type(layer) for layer in use_fast_ops(nn.Sequential(*layers)).children()] == kinds
    changed = (nn.Conv2d(4, 4, 3), nn.ConvTranspose2d(4, 4, 4), nn.Linear(2, 2), InstanceNorm2d(4, affine=True))
    names = list(nn.Sequential(*copy.deepcopy(changed)).state_dict())
    network = use_fast_ops(nn.Sequential(*changed, ConvDownsample(4, 4, 3), UpsampleConv(4, 4, 3)))
    assert all(type(layer).__module__ == conv.__name__ for layer in network.children())
    assert list(network.state_dict())[: len(names)] == names


@torch.no_grad()
def test_a_generator_in_training_makes_the_same_images() -> None:
    plain = DCGANGenerator(16, 32, 3, 8, "batch")
    z = draw(8, 16, dtype=torch.float32)
    expected = copy.deepcopy(plain)(z)
    assert (use_fast_ops(plain)(z) - expected).abs().max() <= 1e-5


def test_an_inner_gradient_computes_no_gradient_of_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tensor] = []
    usual = conv._correlate

    def correlate(x: Tensor, *others: Any) -> Tensor:
        made.append(x)
        return usual(x, *others)

    monkeypatch.setattr(conv, "_correlate", correlate)
    critic = use_fast_ops(DCGANCritic(16, 3, 4, "none"))
    init_dcgan(critic)
    norms = gradient_norms(input_gradient(critic, draw(2, 3, 16, 16, dtype=torch.float32)))
    assert not made
    assert not double_backward.is_running()
    norms.sum().backward()
    assert made
    assert all(parameter.grad is not None for name, parameter in critic.named_parameters() if "weight" in name)


class Penalty(nn.Module):
    """The penalty and the mean score of a critic, as something to compile."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, images: Tensor) -> Tensor:
        """Images → a scalar."""
        return two_sided_penalty(gradient_norms(input_gradient(self.critic, images))) + self.critic(images).mean()


@pytest.mark.slow
def test_compiled_a_critic_in_training_has_the_gradients_of_the_plain_one() -> None:
    for dtype, rounding in ((torch.float64, 1e-11), (torch.float32, 1e-3)):
        plain = without_second_derivatives(DCGANCritic(64, 3, 8, "instance").to(dtype))
        images = draw(4, 3, 64, 64, dtype=dtype)
        expected = penalty_gradients(plain, images)
        fast = use_fast_ops(copy.deepcopy(plain))
        fast.zero_grad()
        double_backward.compiled(Penalty(fast))(images).backward()
        for mine, theirs in zip(fast.parameters(), expected, strict=True):
            assert mine.grad is not None
            assert (mine.grad - theirs).abs().max() <= rounding * theirs.abs().max()


@pytest.mark.slow
def test_compiled_in_bfloat16_a_critic_in_training_has_the_gradients_of_the_uncompiled_one() -> None:
    """At places enough that a weight's gradient alone is a product of matrices: 16 × 16 and 8 × 8."""
    critic = use_fast_ops(without_second_derivatives(DCGANCritic(32, 3, 8, "instance")))
    images = draw(4, 3, 32, 32, dtype=torch.float32)
    found: list[list[Tensor]] = []
    for objective in (Penalty(critic), double_backward.compiled(Penalty(critic))):
        critic.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = objective(images)
        loss.backward()
        found.append([parameter.grad.clone() for parameter in critic.parameters() if parameter.grad is not None])
    for eager, compiled in zip(*found, strict=True):
        assert (compiled - eager).norm() <= 0.03 * eager.norm()
