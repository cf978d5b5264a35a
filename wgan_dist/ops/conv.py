"""How the layers of a network in training multiply: the same values, by kernels that make training fast.

A convolution is linear in its input and in its weight. So are its derivatives, and theirs: three functions, each the
derivative of the others, are enough for a gradient penalty. Torch has another way for the second derivative, which
takes up to five times as long as the first.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear, pad
from torch.nn.grad import conv2d_weight

from wgan_dist.models.layers import ConvDownsample, InstanceNorm2d, StraightLeakyReLU, UpsampleConv
from wgan_dist.ops import double_backward
from wgan_dist.ops.instance_norm import normalise

Pair = Sequence[int]
# On a CPU, a convolution to or from so few places is faster as one product of matrices; in half precision the gradient
# of its weight up to more of them; and in float32 one that spreads into so few channels. Found with 32 to 64 samples of
# 64 to 1024 channels, AVX-512: `python -m tests.benchmarks.kernels`.
FEW_PLACES, FEW_PLACES_IN_HALF, FEW_CHANNELS = 16, 256, 4
# To begin takes oneDNN longer than so many products.
FEW_PRODUCTS = 2**20


def _like_product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[0])


# The compiler itself takes this operation for one whose weights never change, and fails.
@double_backward.eager_on_cpu(_like_product)
def _onednn_matrices(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    whole = None if bias is None else bias.contiguous()  # its strides are not looked at
    return torch.ops.mkldnn._linear_pointwise(a, b, whole, "none", [], "")


def _matrices(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a [m, k] · bᵀ of b [n, k] + bias [n]; on a CPU in float32 by oneDNN, twice as fast there as torch's own choice
    where the processor is not Intel's."""
    by_onednn = a.device.type == "cpu" and a.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    large = a.shape[0] * a.shape[1] * b.shape[0] >= FEW_PRODUCTS
    return _onednn_matrices(a, b, bias) if by_onednn and large else linear(a, b, bias)


def _is_dense(size: Pair, kernel: Pair, padding: Pair) -> bool:
    """Whether a kernel sees all of a map from its one place: the convolution is a dense layer."""
    return tuple(size) == tuple(kernel) and not any(padding)


def _product_is_possible(x: Tensor, size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> bool:
    """Of x, with the larger map of `size`."""
    fitting = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    return fitting and (_is_dense(size, kernel, padding) or tuple(kernel) == (2 * stride[0], 2 * stride[1]))


def _places(size: Pair, kernel: Pair, stride: Pair, padding: Pair) -> list[int]:
    """Height and width of what a convolution makes of `size`."""
    each = zip(size, kernel, stride, padding, strict=True)
    return [(length + 2 * margin - width) // step + 1 for length, width, step, margin in each]


def _spread(places: Pair, kernel: Pair, stride: Pair, padding: Pair) -> list[int]:
    """Height and width of what a transposed convolution makes of `places`, without what a stride left over."""
    each = zip(places, kernel, stride, padding, strict=True)
    return [(length - 1) * step - 2 * margin + width for length, width, step, margin in each]


def _rows(x: Tensor) -> Tensor:
    """[n, c, h, w] → [n · h · w, c]; no copy if channels are last in memory."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _images(rows: Tensor, n: int, size: Pair) -> Tensor:
    """The transpose of `_rows`."""
    return rows.view(n, *size, -1).permute(0, 3, 1, 2)


def flattened(weight: Tensor) -> Tensor:
    """[o, c, kernel, kernel] → [o, kernel · kernel · c]; no copy if channels are last in memory."""
    return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)


def unfolded(x: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> Tensor:
    """What each place sees of x [n, c, h, w]: [n · places, kernel · kernel · c]."""
    channels = x.shape[1]
    padded = pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    # Values of a kernel's row lie together in memory: to copy them as one takes two thirds of the time.
    seen = padded.flatten(2).unfold(1, kernel[0], stride[0]).unfold(2, kernel[1] * channels, stride[1] * channels)
    rows = seen.reshape(-1, kernel[0] * kernel[1] * channels)  # of [n, *places, kernel, kernel · c]
    return rows.contiguous()  # of one column of places it is no copy yet


def _overlaid(windows: Tensor, n: int, places: Pair, stride: Pair, padding: Pair, size: Pair) -> Tensor:
    """The transpose of `unfolded`, to [n, c, *size], for a kernel of twice the stride."""
    (high, wide), (down, across) = places, stride
    parts = windows.view(n, high, wide, 2, down, 2, across, -1)
    whole = windows.new_zeros(n, high + 1, down, wide + 1, across, parts.shape[-1])
    for below in (0, 1):
        for beside in (0, 1):
            part = parts[:, :, :, below, :, beside].transpose(2, 3)
            whole[:, below : below + high, :, beside : beside + wide].add_(part)
    images = whole.view(n, (high + 1) * down, (wide + 1) * across, -1).permute(0, 3, 1, 2)
    return images[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]


def _gather(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    if weight.dim() == 2:
        return _matrices(x, weight, bias)
    kernel = weight.shape[2:]
    places = _places(x.shape[2:], kernel, stride, padding)
    if math.prod(places) <= FEW_PLACES and _product_is_possible(x, x.shape[2:], kernel, stride, padding):
        rows = _matrices(unfolded(x, kernel, stride, padding), flattened(weight), bias)
        return _images(rows, len(x), places)
    return conv2d(x, weight, bias, stride, padding)


def _scatter(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, size: Pair) -> Tensor:
    if weight.dim() == 2:
        return _matrices(x, weight.t(), bias)
    places, kernel = x.shape[2:], weight.shape[2:]
    left_over = [length - least for length, least in zip(size, _spread(places, kernel, stride, padding), strict=True)]
    narrow = weight.shape[1] <= FEW_CHANNELS and x.dtype == torch.float32
    few = narrow or math.prod(places) <= FEW_PLACES
    if few and not any(left_over) and _product_is_possible(x, size, kernel, stride, padding):
        windows = _matrices(_rows(x), flattened(weight).t())
        if _is_dense(size, kernel, padding):
            spread = _images(windows, len(x), size)
        else:
            spread = _overlaid(windows, len(x), places, stride, padding, size)
        return spread if bias is None else spread + bias[:, None, None]
    return conv_transpose2d(x, weight, bias, stride, padding, left_over)


def _correlate(x: Tensor, small: Tensor, stride: Pair, padding: Pair, kernel: Pair) -> Tensor:
    if x.dim() == 2:
        return _matrices(small.t(), x.t())
    places = small.shape[2:]
    most = FEW_PLACES if x.dtype == torch.float32 else FEW_PLACES_IN_HALF
    if math.prod(places) <= most and _product_is_possible(x, x.shape[2:], kernel, stride, padding):
        flat = _matrices(_rows(small).t(), unfolded(x, kernel, stride, padding).t())
        return _images(flat, small.shape[1], kernel)
    return conv2d_weight(x, (small.shape[1], x.shape[1], *kernel), small, stride, padding)


def _bias_gradient(gradient: Tensor) -> Tensor:
    return gradient.sum([dim for dim in range(gradient.dim()) if dim != 1])


class _Bilinear(double_backward.TwiceDifferentiable):
    """Of two tensors, stride and padding, and one thing more."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.geometry = inputs[2:4]


class _Gather(_Bilinear):
    """A convolution: of x [n, c, *size] and a weight [o, c, *kernel], the map [n, o, *places]."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, bias: Tensor | None) -> Tensor:
        return _gather(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight), needed = gradients, ctx.saved_tensors, ctx.needs_input_grad
        learning = not double_backward.is_running()
        return (
            _Scatter.of(gradient, weight, *ctx.geometry, None, tuple(x.shape[2:])) if needed[0] else None,
            _Correlate.of(x, gradient, *ctx.geometry, tuple(weight.shape[2:])) if needed[1] and learning else None,
            None,
            None,
            _bias_gradient(gradient) if needed[4] and learning else None,
        )


class _Scatter(_Bilinear):
    """A transposed convolution: of x [n, o, *places] and a weight [o, c, *kernel], the map [n, c, *size]."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, bias: Tensor | None, size: Pair) -> Tensor:
        return _scatter(x, weight, bias, stride, padding, size)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, weight), needed = gradients, ctx.saved_tensors, ctx.needs_input_grad
        learning = not double_backward.is_running()
        return (
            _Gather.of(gradient, weight, *ctx.geometry, None) if needed[0] else None,
            _Correlate.of(gradient, x, *ctx.geometry, tuple(weight.shape[2:])) if needed[1] and learning else None,
            None,
            None,
            _bias_gradient(gradient) if needed[4] and learning else None,
            None,
        )


class _Correlate(_Bilinear):
    """The gradient of a weight: of x [n, c, *size] and `small` [n, o, *places], [o, c, *kernel]."""

    @staticmethod
    def forward(x: Tensor, small: Tensor, stride: Pair, padding: Pair, kernel: Pair) -> Tensor:
        return _correlate(x, small, stride, padding, kernel)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, small), needed = gradients, ctx.saved_tensors, ctx.needs_input_grad
        return (
            _Scatter.of(small, gradient, *ctx.geometry, None, tuple(x.shape[2:])) if needed[0] else None,
            _Gather.of(x, gradient, *ctx.geometry, None) if needed[1] else None,
            None,
            None,
            None,
        )


def _as_autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """What autocast would do with the inputs of a convolution."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return x, weight, bias
    half = torch.get_autocast_dtype(kind)
    x, weight = (each.to(half) if each.dtype == torch.float32 else each for each in (x, weight))
    return x, weight, bias.to(half) if bias is not None and bias.dtype == torch.float32 else bias


@double_backward.opaque_to_compile
def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    """As torch's conv2d, on x [n, c, h, w] with a weight [following, c, *kernel]."""
    x, weight, bias = _as_autocast(x, weight, bias)
    return _Gather.of(x, weight, tuple(stride), tuple(padding), bias)


@double_backward.opaque_to_compile
def convolve_transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, left_over: Pair = (0, 0)
) -> Tensor:
    """As torch's conv_transpose2d, on x [n, c, h, w] with a weight [c, following, *kernel]; `left_over` is its
    output_padding."""
    least = _spread(x.shape[2:], weight.shape[2:], stride, padding)
    size = tuple(map(sum, zip(least, left_over, strict=True)))
    x, weight, bias = _as_autocast(x, weight, bias)
    return _Scatter.of(x, weight, tuple(stride), tuple(padding), bias, size)


@double_backward.opaque_to_compile
def multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As torch's linear, on x [n, width] with a weight [following, width]."""
    x, weight, bias = _as_autocast(x, weight, bias)
    return _Gather.of(x, weight, (), (), bias)


@double_backward.eager_on_cpu(double_backward.like_first)
def _leaky(x: Tensor, slope: float) -> Tensor:
    return torch.ops.aten.leaky_relu(x, slope)


@double_backward.eager_on_cpu(double_backward.like_first)
def _leak(gradient: Tensor, y: Tensor, slope: float) -> Tensor:
    """The gradient where y is positive, `slope` times it elsewhere, laid out as it, on which the compiler relies."""
    out = torch.empty_like(gradient)
    return torch.ops.aten.leaky_relu_backward.grad_input(gradient, y, slope, True, grad_input=out)


class _Leak(double_backward.TwiceDifferentiable):
    """Linear in its first argument, constant in the second."""

    @staticmethod
    def forward(gradient: Tensor, y: Tensor, slope: float) -> Tensor:
        return _leak(gradient, y, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.slope = inputs[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _Leak.of(gradients[0], *ctx.saved_tensors, ctx.slope), None, None


class _Leaky(double_backward.TwiceDifferentiable):
    """Keeps its output, which the next layer keeps anyway, and which has the signs of its input."""

    @staticmethod
    def forward(x: Tensor, slope: float) -> Tensor:
        return _leaky(x, slope)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.slope = inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _Leak.of(gradients[0], *ctx.saved_tensors, ctx.slope), None


@double_backward.opaque_to_compile
def leak(x: Tensor, slope: float) -> Tensor:
    """As torch's leaky_relu with a positive slope, without a second derivative."""
    return _Leaky.of(x, slope)


class _InTraining(nn.Module):
    """Before a layer's class: computes what it does, but with `fast`."""

    def forward(self, input: Tensor) -> Tensor:
        """As the layer's own, which a tracer gets to see: it knows torch's operations alone."""
        tracing: bool = torch.jit.is_tracing()  # type: ignore[no-untyped-call, attr-defined]
        return super().forward(input) if tracing else self.fast(input)

    def fast(self, input: Tensor) -> Tensor:
        """As forward."""
        raise NotImplementedError


class _Conv2d(_InTraining, nn.Conv2d):
    def fast(self, input: Tensor) -> Tensor:
        return convolve(input, self.weight, self.bias, self.stride, self.padding)  # type: ignore[arg-type]


class _ConvTranspose2d(_InTraining, nn.ConvTranspose2d):  # type: ignore[misc]
    def fast(self, input: Tensor) -> Tensor:
        geometry = (self.stride, self.padding, self.output_padding)
        return convolve_transposed(input, self.weight, self.bias, *geometry)  # type: ignore[arg-type]


class _ConvThenHalve(_InTraining, ConvDownsample):
    def fast(self, input: Tensor) -> Tensor:
        return convolve(input, self.kernel(), self.bias, (2, 2), (1, 1))


class _DoubleThenConv(_InTraining, UpsampleConv):
    def fast(self, input: Tensor) -> Tensor:
        return convolve_transposed(input, self.kernel(), self.bias, (2, 2), (1, 1))


class _Linear(_InTraining, nn.Linear):
    def fast(self, input: Tensor) -> Tensor:
        return multiply(input, self.weight, self.bias) if input.dim() == 2 else nn.Linear.forward(self, input)


class _InstanceNorm2d(_InTraining, InstanceNorm2d):
    def fast(self, input: Tensor) -> Tensor:
        return normalise(input, self.weight, self.bias, self.eps)


class _LeakyReLU(_InTraining, StraightLeakyReLU):
    def fast(self, input: Tensor) -> Tensor:
        # To call torch's own takes a fifth of the time, and where there are no maps that counts for more than memory.
        own = input.dim() == 2 and not torch.compiler.is_compiling()
        return StraightLeakyReLU.forward(self, input) if own else leak(input, self.negative_slope)


FASTER: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: _Conv2d,
    nn.ConvTranspose2d: _ConvTranspose2d,
    nn.Linear: _Linear,
    ConvDownsample: _ConvThenHalve,
    UpsampleConv: _DoubleThenConv,
    InstanceNorm2d: _InstanceNorm2d,
    StraightLeakyReLU: _LeakyReLU,
}


def _is_plain(layer: nn.Module) -> bool:
    if isinstance(layer, InstanceNorm2d):
        return layer.affine and not layer.track_running_stats
    if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        return True
    return (
        layer.groups == 1
        and set(layer.dilation) == {1}
        and isinstance(layer.padding, tuple)
        and layer.padding_mode == "zeros"
    )


def use_fast_ops(network: nn.Module) -> nn.Module:
    """The same network, computing the same with faster kernels, channels last in memory.

    For the networks of this package: others may look at the memory, as `view` does, or call their layers in other ways.
    Layers of other classes, grouped and dilated convolutions, and layers with a parametrization stay as they are.
    """
    for layer in network.modules():
        if type(layer) in FASTER and _is_plain(layer):
            layer.__class__ = FASTER[type(layer)]  # parameters, hooks and name stay
    return network.to(memory_format=torch.channels_last)
