"""Instance normalisation with the first two derivatives written out, for channels that are last in memory.

y = w · (x − μ) · r + b with r = 1 / √(σ² + ε), the mean μ and the variance σ² over the places of each sample's map.
Torch's own turns the memory around in every derivative, and takes its second derivative in twenty operations.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from wgan_dist.ops import double_backward

PLACES = (2, 3)


def _mean(x: Tensor) -> Tensor:
    return x.mean(PLACES, keepdim=True)


def _places(x: Tensor) -> int:
    return x.shape[2] * x.shape[3]


def _maps(per_channel: Tensor) -> Tensor:
    return per_channel[:, None, None]


def _centred(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """x − μ and r, in the precision of the weight."""
    precise = x.to(weight.dtype)
    centred = precise - _mean(precise)
    return centred, (_mean(centred * centred) + epsilon).rsqrt()


def _along(gradient: Tensor, centred: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """The means of a gradient and of its product with x̂ = (x − μ) · r."""
    return _mean(gradient), _mean(gradient * centred) * r


def _projected(gradient: Tensor, centred: Tensor, r: Tensor, weight: Tensor, mean: Tensor, slope: Tensor) -> Tensor:
    scale = r * _maps(weight)
    return torch.addcmul(-scale * mean, gradient, scale).addcmul_(centred, -scale * r * slope)


def _like_normal(x: Tensor, weight: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    precise = torch.empty_like(x, dtype=weight.dtype)
    return torch.empty_like(x), precise, precise.new_empty(*x.shape[:2], 1, 1)


@double_backward.eager_on_cpu(_like_normal)
def _normal(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """y, x − μ and r."""
    centred, r = _centred(x, weight, epsilon)
    return torch.addcmul(_maps(bias), centred, r * _maps(weight)).to(x.dtype), centred, r


@double_backward.eager_on_cpu(double_backward.like_first)
def _across(gradient: Tensor, centred: Tensor, r: Tensor, weight: Tensor) -> Tensor:
    """w · r · (u − ū − x̂ · mean(u x̂)) of a gradient u (Ioffe and Szegedy 2015, section 3): linear in u, symmetric."""
    return _projected(gradient, centred, r, weight, *_along(gradient, centred, r))


def _like_gradients(gradient: Tensor, centred: Tensor, r: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(gradient), torch.empty_like(weight), torch.empty_like(weight)


@double_backward.eager_on_cpu(_like_gradients)
def _gradients(gradient: Tensor, centred: Tensor, r: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients in x, weight and bias: the last two are sums of what the first needs."""
    mean, slope = _along(gradient, centred, r)
    of_weight, of_bias = (each.sum((0, *PLACES)) * _places(gradient) for each in (slope, mean))
    return _projected(gradient, centred, r, weight, mean, slope), of_weight, of_bias


def _like_twice(u: Tensor, v: Tensor, centred: Tensor, r: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(u), torch.empty_like(weight)


@double_backward.eager_on_cpu(_like_twice)
def _across_twice(u: Tensor, v: Tensor, centred: Tensor, r: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives of v · _across(u) in x and in the weight.

    Symmetric in u and v, and of x through x̂ and r: ∂x̂ is r times the same projection, ∂r = −r² · x̂ / places.
    """
    (u_mean, u_slope), (v_mean, v_slope) = (_along(each, centred, r) for each in (u, v))
    both = _mean(u * v) - u_mean * v_mean - u_slope * v_slope
    scale = -r * r * _maps(weight)
    of_x = torch.addcmul(-scale * (u_mean * v_slope + v_mean * u_slope), u, scale * v_slope)
    of_x = of_x.addcmul_(v, scale * u_slope).addcmul_(centred, scale * r * (both - 2.0 * u_slope * v_slope))
    return of_x, (r * both).sum((0, *PLACES)) * _places(u)


class _Normalise(double_backward.TwiceDifferentiable):
    """y, x − μ and r. The second stands for x in what is differentiated again, so that x need not be kept: what it is
    given as a gradient is one of x, and r's share is in it."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
        return _normal(x, weight, bias, epsilon)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, _, ctx.epsilon = inputs
        ctx.kind = x.dtype
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(weight, *output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        (gradient, of_x), (weight, centred, r) = gradients[:2], ctx.saved_tensors
        of_x = None if of_x is None else of_x.to(ctx.kind)
        if gradient is None:
            return of_x, None, None, None
        precise = gradient.to(weight.dtype)
        if not torch.is_grad_enabled():
            across, of_weight, of_bias = _gradients(precise, centred, r, weight)
            across = across.to(ctx.kind)
            return across if of_x is None else of_x + across, of_weight, of_bias, None
        across = _Across.of(gradient, weight, centred, r)
        of_x = across if of_x is None else of_x + across
        if double_backward.is_running():
            return of_x, None, None, None
        centred, r = _centred(centred, weight, ctx.epsilon)  # the r that was kept does not say where it comes from
        return of_x, (precise * centred * r).sum((0, *PLACES)), precise.sum((0, *PLACES)), None


class _Across(double_backward.TwiceDifferentiable):
    """The gradient in x, whose own derivative in x is that in `centred`."""

    @staticmethod
    def forward(gradient: Tensor, weight: Tensor, centred: Tensor, r: Tensor) -> Tensor:
        return _across(gradient.to(weight.dtype), centred, r, weight).to(gradient.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        u, weight, centred, r = ctx.saved_tensors
        kind = u.dtype
        u, v = (each.to(weight.dtype) for each in (u, gradients[0]))
        of_x, of_weight = _across_twice(u, v, centred, r, weight)
        return _across(v, centred, r, weight).to(kind), of_weight, of_x, None


@double_backward.opaque_to_compile
def normalise(x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """x [n, c, h, w] → the same shape and dtype, each map normalised by itself, computed in the weight's precision.

    Differentiable twice, in x, weight [c] and bias [c]; a third time is an error.
    """
    return _Normalise.of(x, weight, bias, epsilon)[0]
