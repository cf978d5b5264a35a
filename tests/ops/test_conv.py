"""Convolutions against torch's: their values, and their first and second derivatives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.nn.grad import conv2d_weight

from wgan_dist.ops import conv
from wgan_dist.ops.conv import conv2d, conv_transpose2d

# Stride, padding, kernel, positions of the smaller map: with and without matrix products, with and without output
# padding.
GEOMETRIES = [(2, 1, 4, 4), (2, 1, 4, 9), (2, 0, 4, 2), (1, 0, 2, 3), (1, 1, 3, 4), (2, 2, 5, 3), (2, 1, 4, 1)]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def larger_side(stride: int, padding: int, kernel: int, positions: int, output_padding: int) -> int:
    return (positions - 1) * stride - 2 * padding + kernel + output_padding


# In float64 the number of positions changes nothing but the time that this takes.
@pytest.mark.parametrize("geometry", [geometry for geometry in GEOMETRIES if geometry[3] <= 4])
@pytest.mark.parametrize("biased", [True, False])
def test_derivatives_of_both_orders_are_those_of_finite_differences(
    geometry: tuple[int, int, int, int], biased: bool
) -> None:
    stride, padding, kernel, positions = geometry
    side = larger_side(*geometry, output_padding=stride - 1)
    large, small = draw(2, 3, side, side, seed=1), draw(2, 2, positions, positions, seed=2)
    weight = draw(2, 3, kernel, kernel)
    biases = (draw(2, seed=3), draw(3, seed=4)) if biased else (None, None)
    pairs = (stride, stride), (padding, padding)

    def convolve(x: Tensor, w: Tensor, *bias: Tensor) -> Tensor:
        return conv2d(x, w, bias[0] if bias else None, *pairs)

    def convolve_transposed(x: Tensor, w: Tensor, *bias: Tensor) -> Tensor:
        return conv_transpose2d(x, w, bias[0] if bias else None, *pairs, (stride - 1, stride - 1))

    for function, x, bias in ((convolve, large, biases[0]), (convolve_transposed, small, biases[1])):
        inputs = [tensor.requires_grad_() for tensor in (x.clone(), weight.clone(), bias) if tensor is not None]
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
    assert torch.equal(convolve(large, weight), F.conv2d(large, weight, None, stride, padding))
    expected = F.conv_transpose2d(small, weight, None, stride, padding, stride - 1)
    torch.testing.assert_close(convolve_transposed(small, weight), expected)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("needed", [(True, True, True), (True, False, False), (False, True, True)])
def test_first_derivatives_by_torchs_operation_are_those_of_the_functions(
    geometry: tuple[int, int, int, int], needed: tuple[bool, bool, bool]
) -> None:
    """A GPU takes torch's operation where nothing is differentiated again; the functions are held above."""
    stride, padding, kernel, positions = geometry
    side = larger_side(*geometry, output_padding=stride - 1)
    large, small, weight = draw(2, 3, side, side), draw(2, 2, positions, positions), draw(2, 3, kernel, kernel)
    pairs, size = ((stride, stride), (padding, padding)), (side, side)
    for samples, bias, transposed in ((large, draw(2), None), (small, draw(3), size)):
        inputs = [tensor.requires_grad_() for tensor in (samples, weight.detach().clone(), bias)]
        x, w, b = inputs
        if transposed is None:
            y = conv2d(x, w, b, *pairs)
        else:
            y = conv_transpose2d(x, w, b, *pairs, (stride - 1, stride - 1))
        gradient = draw(*y.shape, seed=9)
        expected = torch.autograd.grad(y, inputs, gradient)
        found = conv._first_derivatives(gradient, x.detach(), w.detach(), needed, transposed, *pairs)
        for ours, theirs, is_needed in zip(found, expected, needed, strict=True):
            assert ours is not None or not is_needed
            if is_needed:
                torch.testing.assert_close(ours, theirs)


def test_windows_that_overlap_in_one_column_of_one_sample_are_multiplied() -> None:
    """In this case alone the windows would be a view with overlapping rows."""
    x, gradient = draw(1, 256, 8, 4, seed=5), draw(1, 256, 3, 1, seed=6)
    expected = conv2d_weight(x, (256, 256, 4, 4), gradient, 2, 0)
    for layout in (torch.channels_last, torch.contiguous_format):
        large, small = (tensor.float().contiguous(memory_format=layout) for tensor in (x, gradient))
        actual = conv._conv_weight_grad(large, small, (2, 2), (0, 0), (4, 4))
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(GEOMETRIES), st.sampled_from([1, 3, 8]), st.sampled_from([2, 16]), st.booleans(), st.booleans())
def test_matrix_products_are_convolutions(
    geometry: tuple[int, int, int, int], narrow: int, wide: int, last: bool, half: bool
) -> None:
    """The paths in float32 and bfloat16, which finite differences do not reach, against torch's own in float64."""
    stride, padding, kernel, positions = geometry
    side = larger_side(*geometry, output_padding=0)
    dtype, rounding = (torch.bfloat16, 3e-2) if half else (torch.float32, 2e-5)
    layout = torch.channels_last if last else torch.contiguous_format
    large, small = draw(3, narrow, side, side, seed=5).to(dtype), draw(3, wide, positions, positions, seed=6).to(dtype)
    weight = draw(wide, narrow, kernel, kernel, seed=7).to(dtype)
    large, small, weight = (tensor.contiguous(memory_format=layout) for tensor in (large, small, weight))
    pairs = (stride, stride), (padding, padding)
    ours = (
        conv._conv(large, weight, None, *pairs),
        conv._conv_transpose(small, weight, None, *pairs, (side, side)),
        conv._conv_weight_grad(large, small, *pairs, (kernel, kernel)),
    )
    x, y, w = (tensor.double().requires_grad_() for tensor in (large, small, weight))
    forward = F.conv2d(x, w, None, stride, padding)
    expected = (forward, *torch.autograd.grad(forward, (x, w), y))
    for actual, exact in zip(ours, expected, strict=True):
        assert actual.dtype == dtype
        error = (actual.double() - exact).abs().max() / exact.abs().max()
        assert error <= rounding


@pytest.mark.parametrize("positions", [2, 9])
def test_a_bias_may_lie_anywhere_in_memory(positions: int) -> None:
    side = larger_side(2, 1, 4, positions, output_padding=0)
    x, weight = (draw(*shape, dtype=torch.float32) for shape in ((2, 3, side, side), (4, 3, 4, 4)))
    for bias in (torch.arange(8.0)[::2], torch.ones(1).expand(4)):
        expected = F.conv2d(x, weight, bias, 2, 1)
        torch.testing.assert_close(conv2d(x, weight, bias, (2, 2), (1, 1)), expected, rtol=1e-4, atol=1e-4)


def test_autocast_casts_as_it_does_for_torchs_convolutions() -> None:
    x, weight, bias = (draw(*shape, dtype=torch.float32) for shape in ((2, 3, 8, 8), (4, 3, 4, 4), (4,)))
    with torch.autocast("cpu", torch.bfloat16):
        actual, expected = conv2d(x, weight, bias, (2, 2), (1, 1)), F.conv2d(x, weight, bias, 2, 1)
    assert actual.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(actual, expected, rtol=3e-2, atol=3e-2)
