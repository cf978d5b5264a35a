"""The gradient of a function with respect to its input, differentiable again: the inner gradient of a penalty."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# Set while the backward pass of an input gradient runs: the gradients of weights are not used then. Autograd tells this
# to its own operations, but not to a Function in Python. The flag holds for the whole process, since CUDA's backward
# runs on threads of its own.
INPUT_GRADIENT_ONLY = threading.Event()


@contextmanager
def input_gradient_only() -> Iterator[None]:
    """Skip the gradients of weights in the backward pass that runs inside; entering it twice raises RuntimeError."""
    if INPUT_GRADIENT_ONLY.is_set():
        raise RuntimeError("input_gradient_only: another input gradient is being computed in this process")
    INPUT_GRADIENT_ONLY.set()
    try:
        yield
    finally:
        INPUT_GRADIENT_ONLY.clear()


def input_gradient(function: Callable[[Tensor], Tensor], inputs: Tensor, scale: Tensor | None = None) -> Tensor:
    """Return ∇ₓ Σ f(x) with the shape of `inputs`, differentiable again in all tensors that f holds.

    If f maps each sample to its own score, this is the gradient of each score. `scale` is fp16's loss scale: it
    multiplies the sum, so that gradients in half precision do not underflow, and divides the result in the precision of
    `inputs`.
    """

    def total(x: Tensor) -> Tensor:
        summed = function(x).to(x.dtype).sum()
        return summed if scale is None else summed * scale

    gradient = _gradient(total, inputs)
    return gradient if scale is None else gradient / scale


def _gradient(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        # The only gradient that can be differentiated again inside of a compiled step; in eager mode it costs 0.1 ms
        # for each operation.
        return torch.func.grad(function)(inputs)
    inputs = inputs.detach().requires_grad_()
    with torch.enable_grad():
        value = function(inputs)
        with input_gradient_only():
            return torch.autograd.grad(value, inputs, create_graph=True, materialize_grads=True)[0]
