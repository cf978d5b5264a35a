"""The values of the Triton kernels, in Triton's interpreter, against the derivatives of the definition."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.ops.test_conv import draw
from tests.processes import PYTHON, run

CONTIGUOUS, CHANNELS_LAST = torch.contiguous_format, torch.channels_last
ODD_SHAPE = (1, 5, 7, 3)  # five programs; less positions than a tile has rows
LARGE_SHAPE = (2, 12, 20, 13)  # three programs for each sample, of four channels; two tiles or more in each format
EPSILON = 0.1  # the variance is about 1
ERRORS = {torch.float32: 1e-5, torch.bfloat16: 4e-3, torch.float16: 5e-4}


def test_values_are_those_of_automatic_differentiation(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    # Triton reads the variable when it is imported, and other tests may have imported it.
    run("env", "TRITON_INTERPRET=1", *PYTHON, "-m", __name__, cwd=tmp_path)


def expected_values(x: Tensor, u: Tensor, v: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    """Return y, the three gradients for u as the gradient of y, and the three of v times the first of them."""
    # Not torch's F.instance_norm: for one sample whose gradient has channels last it returns a wrong one (2.14, CPU).
    x, weight, bias, u = (tensor.double().requires_grad_() for tensor in (x, weight, bias, u))
    centred = x - x.mean((2, 3), keepdim=True)
    x_hat = centred / (centred.square().mean((2, 3), keepdim=True) + EPSILON).sqrt()
    y = weight[:, None, None] * x_hat + bias[:, None, None]
    gradients = torch.autograd.grad(y, (x, weight, bias), u, create_graph=True)
    values = y, *gradients, *torch.autograd.grad(gradients[0], (u, weight, x), v.double())
    return tuple(value.detach() for value in values)


def kernel_values(x: Tensor, u: Tensor, v: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
    from wgan_dist.ops import instance_norm_triton as kernels

    y, centred, r = kernels.normalise(x, weight, bias, EPSILON)
    assert y.stride() == centred.stride() == x.stride()
    assert centred.dtype == r.dtype == weight.dtype
    gradients = kernels.all_grads(u, weight, centred, r)
    assert torch.equal(kernels.input_grad(u, weight, centred, r), gradients[0])
    return y, *gradients, *kernels.second_grads(u, v, weight, centred, r)


def check_values(
    shape: tuple[int, ...],
    x_format: torch.memory_format,
    u_format: torch.memory_format,
    dtype: torch.dtype,
    error: float,
) -> None:
    """Compare for maps whose mean is not zero, of this precision, in the memory formats of x and of the gradients."""
    x, u, v = ((draw(*shape, seed=seed) + 1.0).to(dtype) for seed in range(3))
    x, u, v = x.to(memory_format=x_format), u.to(memory_format=u_format), v.to(memory_format=u_format)
    precise = torch.promote_types(dtype, torch.float32)
    weight, bias = (draw(shape[1], seed=seed).to(precise) for seed in (3, 4))
    values = kernel_values(x, u, v, weight, bias)
    assert [value.dtype for value in values] == [dtype, dtype, precise, precise, dtype, precise, precise]
    for value, expected in zip(values, expected_values(x, u, v, weight, bias), strict=True):
        torch.testing.assert_close(value.double(), expected, rtol=error, atol=error * float(expected.abs().max()))


if __name__ == "__main__":
    check_values(ODD_SHAPE, CHANNELS_LAST, CONTIGUOUS, torch.float64, 1e-12)
    check_values(ODD_SHAPE, CONTIGUOUS, CHANNELS_LAST, torch.float64, 1e-12)
    check_values(LARGE_SHAPE, CHANNELS_LAST, CHANNELS_LAST, torch.float64, 1e-12)
    check_values(LARGE_SHAPE, CONTIGUOUS, CONTIGUOUS, torch.float64, 1e-12)
    for dtype, error in ERRORS.items():
        check_values(ODD_SHAPE, CHANNELS_LAST, CHANNELS_LAST, dtype, error)
