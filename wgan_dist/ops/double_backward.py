"""The gradient of a function with respect to its input alone, and operations that can be differentiated twice."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import Function

Operation = TypeVar("Operation", bound=Callable[..., Any])

_opaque_operations: list[Callable[..., Any]] = []
_input_gradient_only = False


def opaque_to_compile(operation: Operation) -> Operation:
    """Mark an operation with its own derivatives, which `compiled` keeps whole.

    torch.compile must not trace into it: under torch.func.grad it then computes wrong derivatives without an error
    (torch 2.14). A compiler that was not told so, as a plain torch.compile, gets a RuntimeError.
    """

    @functools.wraps(operation)
    def call(*inputs: Any) -> Any:
        if torch.compiler.is_dynamo_compiling():
            raise RuntimeError(f"{operation.__name__} compiles only under wgan_dist.ops.double_backward.compiled")
        return operation(*inputs)

    _opaque_operations.append(call)
    return call  # type: ignore[return-value]


def compiled(module: nn.Module, cuda_graphs: bool = False) -> Any:
    """Compile a module that contains opaque operations, for shapes that never change.

    A CPU has no CUDA graphs and ignores `cuda_graphs`.
    """
    # Not where operations are marked: this call imports the compiler, 150 MB.
    torch.compiler.allow_in_graph(_opaque_operations)
    mode = "reduce-overhead" if cuda_graphs else "default"
    # Without dynamic=False the compiler treats shapes as dynamic from the second run in one process on.
    return torch.compile(module, fullgraph=True, dynamic=False, mode=mode)


def like_first(first: Tensor, *_: object) -> Tensor:
    """Return an empty tensor with the shape, dtype and memory layout of the first argument."""
    return torch.empty_like(first)


def eager_on_cpu(empty_result: Callable[..., Any]) -> Callable[[Operation], Operation]:
    """Make a compiled step on a CPU call a function of tensors as it is; the function has no derivatives.

    The compiler's own code for sums over channels that are last in memory is slower there (torch 2.14).
    `empty_result` takes the function's arguments and returns empty tensors shaped and laid out as its results.
    """

    def decorate(function: Operation) -> Operation:
        operation = torch.library.custom_op(f"wgan_dist::{function.__name__.strip('_')}", function, mutates_args=())
        operation.register_fake(empty_result)

        @functools.wraps(function)
        def call(first: Tensor, *others: Any) -> Any:
            eager = torch.compiler.is_compiling() and first.device.type == "cpu"
            return operation(first, *others) if eager else function(first, *others)

        return call  # type: ignore[return-value]

    return decorate


class TwiceDifferentiable(Function):
    """Base of operations whose backward consists of such operations.

    Subclasses define `forward` without a context, `setup_context` and `backward`, and are called by `call`.
    """

    @classmethod
    def call(cls, *inputs: Any) -> Any:
        """Return what `apply` returns, with less overhead where torch.func is not involved."""
        # Private, since torch.func has no public way to ask: a compiled step differentiates by torch.func.grad, which
        # takes only functions with a `setup_context`.
        if torch._C._are_functorch_transforms_active():
            return cls.apply(*inputs)
        return _WithContext.apply(*inputs, cls) if torch.is_grad_enabled() else cls.forward(*inputs)


class _WithContext(Function):
    """Runs another operation, its last input, by one `forward(ctx, …)`.

    Torch takes 50 µs longer for each call of a function with a `setup_context`, in a DCGAN-64 critic iteration 1 to
    2 ms, of 9.5 ms of host time.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        *inputs_of_operation, ctx.operation = inputs
        output = ctx.operation.forward(*inputs_of_operation)
        ctx.operation.setup_context(ctx, tuple(inputs_of_operation), output)
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        return (*ctx.operation.backward(ctx, *gradients), None)


@contextmanager
def input_gradient_only() -> Iterator[None]:
    """Skip the gradients of weights in the backward pass that runs inside.

    Autograd tells its own operations which gradients are used, but not a Function in Python. The flag is global to the
    process, since CUDA's backward runs on threads of its own; entering it twice raises RuntimeError.
    """
    global _input_gradient_only  # noqa: PLW0603
    if _input_gradient_only:
        raise RuntimeError("input_gradient_only: another input gradient is being computed in this process")
    _input_gradient_only = True
    try:
        yield
    finally:
        _input_gradient_only = False


def needs_weight_gradients() -> bool:
    """Return False inside of `input_gradient_only`."""
    return not _input_gradient_only


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
