"""The pieces of instance normalisation as Triton kernels: one launch each, and one more for a sum over the samples.

The formulas are those of the functions of the same names in `instance_norm`. A program computes some channels of one
sample in tiles [rows, columns] of positions and channels, in the precision of the weight. It reads them once for the
sums of each map, twice where there is a variance, and once more for the results. The sizes of the tiles are fixed:
tuning takes time at the start, and processes could end up with different ones. No GPU has run these kernels; Triton's
interpreter has computed their values.
"""

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE_SIZE = 2048
WARPS = 8
# By whether channels are last in memory, so that consecutive threads read consecutive addresses.
MAX_ROWS = {True: 64, False: 256}


@triton.jit
def _tile(
    start: tl.tensor,
    columns: tl.constexpr,
    rows: tl.constexpr,
    channels: tl.constexpr,
    positions: tl.constexpr,
    channels_last: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Return the offsets [rows, columns] of the positions from `start` on, and which of the positions exist."""
    position = start + tl.arange(0, rows)[:, None]
    channel = tl.program_id(1) * columns + tl.arange(0, columns)[None, :]
    offset = position * channels + channel if channels_last else channel * positions + position
    return tl.program_id(0).to(tl.int64) * (channels * positions) + offset, position < positions


@triton.jit
def _mean(total: tl.tensor, positions: tl.constexpr) -> tl.tensor:
    return tl.sum(total, 0, keep_dims=True) / positions


@triton.jit
def _normalise_kernel(
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    y: tl.tensor,
    centred: tl.tensor,
    r: tl.tensor,
    epsilon: tl.constexpr,
    columns: tl.constexpr,
    rows: tl.constexpr,
    channels: tl.constexpr,
    positions: tl.constexpr,
    channels_last: tl.constexpr,
) -> None:
    precision = weight.dtype.element_ty
    total = tl.zeros((rows, columns), precision)
    for start in range(0, positions, rows):
        at, exists = _tile(start, columns, rows, channels, positions, channels_last)
        total += tl.load(x + at, exists, 0.0).to(precision)
    mean = _mean(total, positions)
    squares = tl.zeros((rows, columns), precision)
    for start in range(0, positions, rows):
        at, exists = _tile(start, columns, rows, channels, positions, channels_last)
        d = tl.where(exists, tl.load(x + at, exists, 0.0).to(precision) - mean, 0.0)
        squares += d * d
    scale = tl.rsqrt(_mean(squares, positions) + epsilon)
    channel = tl.program_id(1) * columns + tl.arange(0, columns)[None, :]
    tl.store(r + tl.program_id(0) * channels + channel, scale)
    scale *= tl.load(weight + channel)
    shift = tl.load(bias + channel)
    for start in range(0, positions, rows):
        at, exists = _tile(start, columns, rows, channels, positions, channels_last)
        d = tl.load(x + at, exists, 0.0).to(precision) - mean
        tl.store(centred + at, d, exists)
        tl.store(y + at, d * scale + shift, exists)


@triton.jit
def _grads_kernel(
    gradient: tl.tensor,
    weight: tl.tensor,
    centred: tl.tensor,
    r: tl.tensor,
    x_grad: tl.tensor,
    sums: tl.tensor,
    columns: tl.constexpr,
    rows: tl.constexpr,
    channels: tl.constexpr,
    positions: tl.constexpr,
    channels_last: tl.constexpr,
) -> None:
    """Write the gradient of x and, unless `sums` is None, each map's part of those of weight and bias [2, n, c]."""
    precision = weight.dtype.element_ty
    total, products = tl.zeros((rows, columns), precision), tl.zeros((rows, columns), precision)
    for start in range(0, positions, rows):
        at, exists = _tile(start, columns, rows, channels, positions, channels_last)
        u = tl.load(gradient + at, exists, 0.0).to(precision)
        total += u
        products += u * tl.load(centred + at, exists, 0.0)
    channel = tl.program_id(1) * columns + tl.arange(0, columns)[None, :]
    maps = tl.program_id(0) * channels + channel
    scale = tl.load(r + maps)
    mean, slope = _mean(total, positions), _mean(products, positions) * scale
    if sums is not None:
        tl.store(sums + maps, slope * positions)
        tl.store(sums + tl.num_programs(0) * channels + maps, mean * positions)
    factor = scale * tl.load(weight + channel)
    for start in range(0, positions, rows):
        at, exists = _tile(start, columns, rows, channels, positions, channels_last)
        u, x_hat = tl.load(gradient + at, exists, 0.0).to(precision), tl.load(centred + at, exists, 0.0) * scale
        tl.store(x_grad + at, factor * (u - mean - x_hat * slope), exists)


@triton.jit
def _second_grads_kernel(
    gradient: tl.tensor,
    grad_grad: tl.tensor,
    weight: tl.tensor,
    centred: tl.tensor,
    r: tl.tensor,
    u_grad: tl.tensor,
    x_grad: tl.tensor,
    sums: tl.tensor,
    columns: tl.constexpr,
    rows: tl.constexpr,
    channels: tl.constexpr,
    positions: tl.constexpr,
    channels_last: tl.constexpr,
) -> None:
    """Write the derivatives with respect to u and x, and each map's part of that of the weight [n, c]."""
    precision = weight.dtype.element_ty
    u_total, v_total = tl.zeros((rows, columns), precision), tl.zeros((rows, columns), precision)
    u_products, v_products = tl.zeros((rows, columns), precision), tl.zeros((rows, columns), precision)
    uv_products = tl.zeros((rows, columns), precision)
    for start in range(0, positions, rows):
        at, exists = _tile(start, columns, rows, channels, positions, channels_last)
        u, v = tl.load(gradient + at, exists, 0.0).to(precision), tl.load(grad_grad + at, exists, 0.0).to(precision)
        d = tl.load(centred + at, exists, 0.0)
        u_total += u
        v_total += v
        u_products += u * d
        v_products += v * d
        uv_products += u * v
    channel = tl.program_id(1) * columns + tl.arange(0, columns)[None, :]
    maps = tl.program_id(0) * channels + channel
    scale = tl.load(r + maps)
    u_mean, u_slope = _mean(u_total, positions), _mean(u_products, positions) * scale
    v_mean, v_slope = _mean(v_total, positions), _mean(v_products, positions) * scale
    both = _mean(uv_products, positions) - u_mean * v_mean - u_slope * v_slope
    tl.store(sums + maps, scale * both * positions)
    factor = scale * tl.load(weight + channel)
    for start in range(0, positions, rows):
        at, exists = _tile(start, columns, rows, channels, positions, channels_last)
        u = tl.load(gradient + at, exists, 0.0).to(precision) - u_mean
        v = tl.load(grad_grad + at, exists, 0.0).to(precision) - v_mean
        x_hat = tl.load(centred + at, exists, 0.0) * scale
        tl.store(u_grad + at, factor * (v - x_hat * v_slope), exists)
        change = u * v_slope + v * u_slope + x_hat * (both - 2.0 * u_slope * v_slope)
        tl.store(x_grad + at, -factor * scale * change, exists)


@functools.cache
def _tile_sizes(channels: int, positions: int, channels_last: bool) -> tuple[int, int]:
    """Return columns and rows, both powers of 2, which Triton requires; columns divide the channels."""
    rows = min(MAX_ROWS[channels_last], triton.next_power_of_2(positions))
    return min(TILE_SIZE // rows, channels & -channels), rows


def _launch(kernel: Any, maps: Tensor, *arguments: Any) -> None:
    """Run a kernel over tensors in the shape and the memory format of `maps`, on its device."""
    n, channels, height, width = maps.shape
    shape = channels, height * width, not maps.is_contiguous()
    columns, rows = _tile_sizes(*shape)
    with torch.cuda.device_of(maps):  # Triton launches on the current device
        kernel[n, channels // columns](*arguments, columns, rows, *shape, num_warps=WARPS)


def _contiguous(x: Tensor) -> Tensor:
    return x if x.is_contiguous(memory_format=torch.channels_last) else x.contiguous()


def _in_format_of(maps: Tensor, x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.contiguous_format if maps.is_contiguous() else torch.channels_last)


def normalise(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return y in the precision of x, and x − μ and r in that of the weight."""
    x = _contiguous(x)
    y, centred = torch.empty_like(x), torch.empty_like(x, dtype=weight.dtype)
    r = weight.new_empty(*x.shape[:2], 1, 1)
    _launch(_normalise_kernel, x, x, weight, bias, y, centred, r, epsilon)
    return y, centred, r


def input_grad(gradient: Tensor, weight: Tensor, centred: Tensor, r: Tensor) -> Tensor:
    """Return the gradient of x."""
    gradient = _in_format_of(centred, gradient)
    x_grad = torch.empty_like(gradient)
    _launch(_grads_kernel, centred, gradient, weight, centred, r, x_grad, None)
    return x_grad


def all_grads(gradient: Tensor, weight: Tensor, centred: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias."""
    gradient = _in_format_of(centred, gradient)
    x_grad, sums = torch.empty_like(gradient), weight.new_empty(2, *centred.shape[:2])
    _launch(_grads_kernel, centred, gradient, weight, centred, r, x_grad, sums)
    weight_grad, bias_grad = sums.sum(1)
    return x_grad, weight_grad, bias_grad


def second_grads(
    gradient: Tensor, grad_grad: Tensor, weight: Tensor, centred: Tensor, r: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of v · input_grad(u) with respect to u, the weight and x, for u, v = the two gradients."""
    gradient, grad_grad = _in_format_of(centred, gradient), _in_format_of(centred, grad_grad)
    u_grad, x_grad = torch.empty_like(gradient), torch.empty_like(centred)
    sums = weight.new_empty(centred.shape[:2])
    _launch(_second_grads_kernel, centred, gradient, grad_grad, weight, centred, r, u_grad, x_grad, sums)
    return u_grad, sums.sum(0), x_grad
