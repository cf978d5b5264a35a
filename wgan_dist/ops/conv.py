"""Convolutions with a double backward as fast as their backward.

A convolution is linear in its input and in its weight, and so are its derivatives. Three functions suffice for
derivatives of any order, each the derivative of the others: convolution, transposed convolution, and the gradient of
the weight. Torch computes the second derivative in another way, which takes up to five times as long as the first.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.nn.grad import conv2d_weight

from wgan_dist.ops.double_backward import INPUT_GRADIENT_ONLY

Pair = Sequence[int]
# On a CPU one matrix product is faster than a convolution whose smaller map has at most this many positions; the
# gradient of the weight in bfloat16 up to the second figure; and in float32 a transposed convolution to at most this
# many channels. Found with 32 to 64 samples of 64 to 1024 channels, AVX-512: `python -m tests.benchmarks.kernels`.
# Without matrix products a training step of DCGAN-64 (32 features, batch 16, float32) takes 1.2 times as long.
MAX_POSITIONS, MAX_POSITIONS_BF16, MAX_CHANNELS = 16, 256, 4


def _is_dense(size: Pair, kernel: Pair, padding: Pair) -> bool:
    """Return whether the kernel covers a map of `size` from its only position, as a dense layer."""
    return tuple(size) == tuple(kernel) and not any(padding)


def _has_matrix_product(x: Tensor, size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> bool:
    """Return whether a convolution of maps of `size` is implemented as a matrix product, for x's device and dtype."""
    supported = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    return supported and (_is_dense(size, kernel, padding) or tuple(kernel) == (2 * stride[0], 2 * stride[1]))


def _conv_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> list[int]:
    """Return the height and width of the convolution of a map of `size`."""
    dims = zip(size, kernel, stride, padding, strict=True)
    return [(length + 2 * pad - window) // step + 1 for length, window, step, pad in dims]


def _conv_transpose_size(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> list[int]:
    """Return the height and width of the transposed convolution of a map of `size`, without output_padding."""
    dims = zip(size, kernel, stride, padding, strict=True)
    return [(length - 1) * step - 2 * pad + window for length, window, step, pad in dims]


def _output_padding(positions: Pair, kernel: Pair, stride: Pair, padding: Pair, size: Pair) -> list[int]:
    """Return by how much a transposed convolution to `size` exceeds the smallest one, in height and width."""
    smallest = _conv_transpose_size(positions, kernel, stride, padding)
    return [length - least for length, least in zip(size, smallest, strict=True)]


def _rows(x: Tensor) -> Tensor:
    """Reshape [n, c, h, w] to [n · h · w, c]; no copy if channels are last in memory."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _maps(rows: Tensor, n: int, size: Pair) -> Tensor:
    """Reshape [n · h · w, c] to [n, c, h, w] with `size` (h, w)."""
    return rows.view(n, *size, -1).permute(0, 3, 1, 2)


def flattened(weight: Tensor) -> Tensor:
    """Reshape [o, c, kernel, kernel] to [o, kernel · kernel · c]; no copy if channels are last in memory."""
    return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)


def unfolded(x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """Copy the window of each output position of x [n, c, h, w] to a row: [n · positions, kernel · kernel · c]."""
    channels = x.shape[1]
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    # A kernel's row is contiguous in memory: copying it as one takes two thirds of the time.
    windows = padded.flatten(2).unfold(1, kernel[0], stride[0]).unfold(2, kernel[1] * channels, stride[1] * channels)
    rows = windows.reshape(-1, kernel[0] * kernel[1] * channels)  # from [n, *positions, kernel, kernel · c]
    return rows.contiguous()  # with one column of positions the reshape is a view


def _fold_windows(windows: Tensor, n: int, positions: Pair, stride: Pair, padding: Pair, size: Pair) -> Tensor:
    """Add up overlapping windows, the transpose of `unfolded`, to [n, c, *size]; the kernel is twice the stride."""
    (high, wide), (down, across) = positions, stride
    parts = windows.view(n, high, wide, 2, down, 2, across, -1)
    padded = windows.new_zeros(n, high + 1, down, wide + 1, across, parts.shape[-1])
    for lower in (0, 1):
        for right in (0, 1):
            part = parts[:, :, :, lower, :, right].transpose(2, 3)
            padded[:, lower : lower + high, :, right : right + wide].add_(part)
    maps = padded.view(n, (high + 1) * down, (wide + 1) * across, -1).permute(0, 3, 1, 2)
    return maps[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def _conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    kernel = weight.shape[2:]
    positions = _conv_size(x.shape[2:], kernel, stride, padding)
    if math.prod(positions) <= MAX_POSITIONS and _has_matrix_product(x, x.shape[2:], kernel, stride, padding):
        return _maps(F.linear(unfolded(x, kernel, stride, padding), flattened(weight), bias), len(x), positions)
    return F.conv2d(x, weight, bias, stride, padding)


def _conv_transpose(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, size: Pair) -> Tensor:
    positions, kernel = x.shape[2:], weight.shape[2:]
    output_padding = _output_padding(positions, kernel, stride, padding, size)
    few_channels = weight.shape[1] <= MAX_CHANNELS and x.dtype == torch.float32
    small = (few_channels or math.prod(positions) <= MAX_POSITIONS) and not any(output_padding)
    if small and _has_matrix_product(x, size, kernel, stride, padding):
        windows = F.linear(_rows(x), flattened(weight).t())
        if _is_dense(size, kernel, padding):
            result = _maps(windows, len(x), size)
        else:
            result = _fold_windows(windows, len(x), positions, stride, padding, size)
        return result if bias is None else result + bias[:, None, None]
    return F.conv_transpose2d(x, weight, bias, stride, padding, output_padding)


def _conv_weight_grad(x: Tensor, gradient: Tensor, stride: Pair, padding: Pair, kernel: Pair) -> Tensor:
    positions = gradient.shape[2:]
    most = MAX_POSITIONS if x.dtype == torch.float32 else MAX_POSITIONS_BF16
    if math.prod(positions) <= most and _has_matrix_product(x, x.shape[2:], kernel, stride, padding):
        flat = F.linear(_rows(gradient).t(), unfolded(x, kernel, stride, padding).t())
        return _maps(flat, gradient.shape[1], kernel)
    return conv2d_weight(x, (gradient.shape[1], x.shape[1], *kernel), gradient, stride, padding)


def _bias_grad(gradient: Tensor) -> Tensor:
    return gradient.sum((0, 2, 3))


def _first_derivatives(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    needed: Sequence[bool],
    transposed_size: Pair | None,
    stride: Pair,
    padding: Pair,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x, weight and bias, as far as `needed`, that are not differentiated again.

    `transposed_size` is the output size of a transposed convolution, None for a convolution. Torch has one operation
    for all of them, so that the host makes one call instead of three.
    """
    is_transposed = transposed_size is not None
    output_padding = (
        [0, 0]
        if transposed_size is None
        else _output_padding(x.shape[2:], weight.shape[2:], stride, padding, transposed_size)
    )
    bias_size, mask = [gradient.shape[1]], list(needed)
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, bias_size, stride, padding, (1, 1), is_transposed, output_padding, 1, mask
    )


class _Conv(Function):
    """Convolution of x [n, c, *size] with a weight [o, c, *kernel], to [n, o, *positions]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride_and_padding = stride, padding
        return _conv(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight), needed = gradients, ctx.saved_tensors, ctx.needs_input_grad
        weights_needed, geometry = not INPUT_GRADIENT_ONLY.is_set(), ctx.stride_and_padding
        if gradient.is_cuda and not torch.is_grad_enabled():
            first = _first_derivatives(gradient, x, weight, (needed[0], needed[1], needed[4]), None, *geometry)
            return first[0], first[1], None, None, first[2]
        return (
            _ConvTranspose.apply(gradient, weight, *geometry, None, tuple(x.shape[2:])) if needed[0] else None,
            _ConvWeightGrad.apply(x, gradient, *geometry, tuple(weight.shape[2:]))
            if needed[1] and weights_needed
            else None,
            None,
            None,
            _bias_grad(gradient) if needed[4] and weights_needed else None,
        )


class _ConvTranspose(Function):
    """Transposed convolution of x [n, o, *positions] with a weight [o, c, *kernel], to [n, c, *size]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, bias: Tensor | None, size: Pair
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride_and_padding = stride, padding
        return _conv_transpose(x, weight, bias, stride, padding, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight), needed = gradients, ctx.saved_tensors, ctx.needs_input_grad
        weights_needed, geometry = not INPUT_GRADIENT_ONLY.is_set(), ctx.stride_and_padding
        if gradient.is_cuda and not torch.is_grad_enabled():
            wanted, size = (needed[0], needed[1], needed[4]), tuple(gradient.shape[2:])
            first = _first_derivatives(gradient, x, weight, wanted, size, *geometry)
            return first[0], first[1], None, None, first[2], None
        return (
            _Conv.apply(gradient, weight, *geometry, None) if needed[0] else None,
            _ConvWeightGrad.apply(gradient, x, *geometry, tuple(weight.shape[2:]))
            if needed[1] and weights_needed
            else None,
            None,
            None,
            _bias_grad(gradient) if needed[4] and weights_needed else None,
            None,
        )


class _ConvWeightGrad(Function):
    """Gradient of the weight [o, c, *kernel] of a convolution, from its input x [n, c, *size] and the gradient of its
    output [n, o, *positions]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor, stride: Pair, padding: Pair, kernel: Pair) -> Tensor:
        ctx.save_for_backward(x, gradient)
        ctx.stride_and_padding = stride, padding
        return _conv_weight_grad(x, gradient, stride, padding, kernel)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight_gradient,), (x, gradient), needed = gradients, ctx.saved_tensors, ctx.needs_input_grad
        geometry, size = ctx.stride_and_padding, tuple(x.shape[2:])
        return (
            _ConvTranspose.apply(gradient, weight_gradient, *geometry, None, size) if needed[0] else None,
            _Conv.apply(x, weight_gradient, *geometry, None) if needed[1] else None,
            None,
            None,
            None,
        )


def _autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast float32 tensors as autocast casts the inputs of torch's convolutions."""
    device = x.device.type
    if not torch.is_autocast_enabled(device):
        return x, weight, bias
    half = torch.get_autocast_dtype(device)
    x, weight = (tensor.to(half) if tensor.dtype == torch.float32 else tensor for tensor in (x, weight))
    return x, weight, bias.to(half) if bias is not None and bias.dtype == torch.float32 else bias


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    """Return `torch.nn.functional.conv2d` of x [n, c, h, w] with a weight [out_channels, c, *kernel]."""
    x, weight, bias = _autocast(x, weight, bias)
    return _Conv.apply(x, weight, tuple(stride), tuple(padding), bias)


def conv_transpose2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, output_padding: Pair = (0, 0)
) -> Tensor:
    """Return `torch.nn.functional.conv_transpose2d` of x [n, c, h, w] with a weight [c, out_channels, *kernel]."""
    smallest = _conv_transpose_size(x.shape[2:], weight.shape[2:], stride, padding)
    size = tuple(map(sum, zip(smallest, output_padding, strict=True)))
    x, weight, bias = _autocast(x, weight, bias)
    return _ConvTranspose.apply(x, weight, tuple(stride), tuple(padding), bias, size)
