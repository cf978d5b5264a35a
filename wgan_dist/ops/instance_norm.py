"""Instance normalisation with the first two derivatives written out, for channels that are last in memory.

y = w · (x − μ) · r + b with r = 1 / √(σ² + ε); μ and σ² are the mean and the variance over the positions of each
sample's map. Torch's own operation copies to channels-first memory in every derivative, and composes its second
derivative of twenty operations. On a GPU each of the four pieces below is a kernel of `instance_norm_triton`.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from wgan_dist.ops.double_backward import INPUT_GRADIENT_ONLY
from wgan_dist.utils.compiler import missing_compiler

POSITIONS = (2, 3)
SAMPLES_AND_POSITIONS = (0, 2, 3)


def _mean(x: Tensor) -> Tensor:
    return x.mean(POSITIONS, keepdim=True)


def _position_count(x: Tensor) -> int:
    return x.shape[2] * x.shape[3]


def _per_map(per_channel: Tensor) -> Tensor:
    return per_channel[:, None, None]


def _centred(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return x − μ and r in the precision of the weight."""
    precise = x.to(weight.dtype)
    centred = precise - _mean(precise)
    return centred, (_mean(centred * centred) + epsilon).rsqrt()


def _means(gradient: Tensor, centred: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """Return the means of a gradient and of its product with x̂ = (x − μ) · r."""
    return _mean(gradient), _mean(gradient * centred) * r


def _projected(gradient: Tensor, weight: Tensor, centred: Tensor, r: Tensor, mean: Tensor, slope: Tensor) -> Tensor:
    """Return w · r · (u − mean(u) − x̂ · mean(u x̂)) of the gradient u (Ioffe and Szegedy 2015, section 3)."""
    scale = r * _per_map(weight)
    return torch.addcmul(-scale * mean, gradient, scale).addcmul_(centred, -scale * r * slope)


def _normalise(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return y in the precision of x, and x − μ and r in that of the weight."""
    centred, r = _centred(x, weight, epsilon)
    return torch.addcmul(_per_map(bias), centred, r * _per_map(weight)).to(x.dtype), centred, r


def _input_grad(gradient: Tensor, weight: Tensor, centred: Tensor, r: Tensor) -> Tensor:
    """Return the gradient of x, which is linear in the gradient of y, by a symmetric matrix."""
    precise = gradient.to(weight.dtype)
    return _projected(precise, weight, centred, r, *_means(precise, centred, r)).to(gradient.dtype)


def _all_grads(gradient: Tensor, weight: Tensor, centred: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, weight and bias; the last two are sums of means that the first needs."""
    precise = gradient.to(weight.dtype)
    mean, slope = _means(precise, centred, r)
    count = _position_count(gradient)
    weight_grad, bias_grad = (means.sum(SAMPLES_AND_POSITIONS) * count for means in (slope, mean))
    return _projected(precise, weight, centred, r, mean, slope).to(gradient.dtype), weight_grad, bias_grad


def _second_grads(
    gradient: Tensor, grad_grad: Tensor, weight: Tensor, centred: Tensor, r: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivatives of v · _input_grad(u) with respect to u, the weight and x, for u, v = the two gradients.

    The product is symmetric in u and v and depends on x through x̂ and r: ∂x̂ is r times the projection of
    `_projected`, ∂r = −r² · x̂ / positions.
    """
    u, v = (vector.to(weight.dtype) for vector in (gradient, grad_grad))
    (u_mean, u_slope), (v_mean, v_slope) = (_means(vector, centred, r) for vector in (u, v))
    both = _mean(u * v) - u_mean * v_mean - u_slope * v_slope
    scale = -r * r * _per_map(weight)
    x_grad = torch.addcmul(-scale * (u_mean * v_slope + v_mean * u_slope), u, scale * v_slope)
    x_grad = x_grad.addcmul_(v, scale * u_slope).addcmul_(centred, scale * r * (both - 2.0 * u_slope * v_slope))
    u_grad = _projected(v, weight, centred, r, v_mean, v_slope).to(gradient.dtype)
    return u_grad, (r * both).sum(SAMPLES_AND_POSITIONS) * _position_count(u), x_grad


class _Pieces(NamedTuple):
    """The four pieces that the Functions below consist of."""

    normalise: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor, Tensor]]
    input_grad: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    all_grads: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    second_grads: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


_SINGLE_OPERATIONS = _Pieces(_normalise, _input_grad, _all_grads, _second_grads)


@functools.cache
def gpu_kernels_fail() -> str:
    """Return why the GPU's kernels cannot be compiled or launched here, or else an empty text.

    Triton needs a compiler, a cache folder that it can write, and a GPU that it knows. One small launch shows it.
    """
    if missing := missing_compiler(torch.device("cuda")):
        return f"they need {missing}, and there is none"
    from wgan_dist.ops import instance_norm_triton as kernels

    maps, channels = torch.ones(2, 2, 2, 2, device="cuda"), torch.ones(2, device="cuda")
    try:
        kernels.normalise(maps, channels, channels, 1e-5)
    except Exception as error:  # of whatever kind: the single operations compute the same
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


@functools.cache
def _gpu_pieces() -> _Pieces:
    if gpu_kernels_fail():
        return _SINGLE_OPERATIONS
    from wgan_dist.ops import instance_norm_triton as kernels

    return _Pieces(kernels.normalise, kernels.input_grad, kernels.all_grads, kernels.second_grads)


def _pieces(x: Tensor) -> _Pieces:
    return _gpu_pieces() if x.is_cuda else _SINGLE_OPERATIONS


class _InstanceNorm(Function):
    """Returns y, x − μ and r.

    The second output stands for x in the double backward, so that x need not be kept: a gradient of it is one of x, and
    includes the part of r.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
        y, centred, r = _pieces(x).normalise(x, weight, bias, epsilon)
        ctx.dtype, ctx.epsilon = x.dtype, epsilon
        ctx.mark_non_differentiable(r)
        ctx.save_for_backward(weight, centred, r)
        ctx.set_materialize_grads(False)
        return y, centred, r

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (gradient, x_grad), (weight, centred, r) = gradients[:2], ctx.saved_tensors
        x_grad = None if x_grad is None else x_grad.to(ctx.dtype)
        if gradient is None:
            return x_grad, None, None, None
        if not torch.is_grad_enabled():
            input_grad, weight_grad, bias_grad = _pieces(centred).all_grads(gradient, weight, centred, r)
            return input_grad if x_grad is None else x_grad + input_grad, weight_grad, bias_grad, None
        input_grad = _InputGrad.apply(gradient, weight, centred, r)
        x_grad = input_grad if x_grad is None else x_grad + input_grad
        if INPUT_GRADIENT_ONLY.is_set():
            return x_grad, None, None, None
        precise = gradient.to(weight.dtype)
        centred, r = _centred(centred, weight, ctx.epsilon)  # the saved r is not differentiable
        weight_grad = (precise * centred * r).sum(SAMPLES_AND_POSITIONS)
        return x_grad, weight_grad, precise.sum(SAMPLES_AND_POSITIONS), None


class _InputGrad(Function):
    """The gradient of x; its own derivative with respect to `centred` is that with respect to x."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, centred: Tensor, r: Tensor) -> Tensor:
        ctx.save_for_backward(gradient, weight, centred, r)
        return _pieces(centred).input_grad(gradient, weight, centred, r)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight, centred, r = ctx.saved_tensors
        u_grad, weight_grad, x_grad = _pieces(centred).second_grads(gradient, gradients[0], weight, centred, r)
        return u_grad, weight_grad, x_grad, None


def instance_norm(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Normalise each map of x [n, c, h, w]; returns the shape and dtype of x, computed in the weight's precision.

    Differentiable twice with respect to x, weight [c] and bias [c]; a third derivative raises RuntimeError.
    """
    return _InstanceNorm.apply(x, weight, bias, epsilon)[0]
