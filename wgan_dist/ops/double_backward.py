"""The gradient of a function in its input alone, differentiable again in all that the function holds."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import Function

Operation = TypeVar("Operation", bound=Callable[..., Any])

_running = [False]
_whole: list[Callable[..., Any]] = []


def opaque_to_compile(operation: Operation) -> Operation:
    """An operation with derivatives of its own, which `compiled` does not look into: the derivatives that torch.compile
    finds there under torch.func.grad are wrong, silently (torch 2.14)."""
    _whole.append(operation)
    return operation


def compiled(module: nn.Module, cuda_graphs: bool = False) -> Any:
    """A module of such operations, compiled for shapes that never change. Nothing else compiles them: they are told to
    the compiler here, since to name it imports it, 150 MB. A CPU has no CUDA graphs, and computes as without."""
    torch.compiler.allow_in_graph(_whole)
    mode = "reduce-overhead" if cuda_graphs else "default"
    # Of a second run in one process the compiler would suppose that shapes change.
    return torch.compile(module, fullgraph=True, dynamic=False, mode=mode)


def like_first(first: Tensor, *_: object) -> Tensor:
    """An empty result that is shaped, typed and laid out as the first argument is."""
    return torch.empty_like(first)


def eager_on_cpu(like: Callable[..., Any]) -> Callable[[Operation], Operation]:
    """A function of tensors, without derivatives, that a compiled step on a CPU calls as it is: what the compiler makes
    of sums over channels that are last, and of masks, is slower (torch 2.14). `like` gives results of the same kind."""

    def keep(function: Operation) -> Operation:
        operation = torch.library.custom_op(f"wgan_dist::{function.__name__.strip('_')}", function, mutates_args=())
        operation.register_fake(like)

        @functools.wraps(function)
        def call(first: Tensor, *others: Any) -> Any:
            kept = torch.compiler.is_compiling() and first.device.type == "cpu"
            return operation(first, *others) if kept else function(first, *others)

        return call  # type: ignore[return-value]

    return keep


class TwiceDifferentiable(Function):
    """Base of operations whose backward is made of such operations; they are written for torch.func, with a
    `setup_context`, and called by `of`."""

    at_once: type[Function]

    def __init_subclass__(cls) -> None:
        def forward(ctx: Any, *given: Any) -> Any:
            output = cls.forward(*given)
            cls.setup_context(ctx, given, output)
            return output

        members = {"forward": staticmethod(forward), "backward": cls.backward, "__doc__": cls.__doc__}
        cls.at_once = type(cls.__name__, (Function,), members)

    @classmethod
    def of(cls, *given: Any) -> Any:
        """As apply. Outside of torch.func in one call: with a `setup_context`, apply looks at the signature of forward
        each time, which takes as long as a small product of matrices. Where nothing is to be differentiated again, as
        in the last backward, by no more than forward."""
        if torch._C._are_functorch_transforms_active():
            return cls.apply(*given)
        return cls.at_once.apply(*given) if torch.is_grad_enabled() else cls.forward(*given)


def is_running() -> bool:
    """Whether the backward pass that runs is one of `gradient`: what it finds for weights is not looked at.

    Autograd itself tells this to torch's operations, but not to those written in Python. It is so for the whole
    process, since a GPU's backward has threads of its own: one backward at a time.
    """
    return _running[0]


def gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """∇ of a scalar `function`, shaped as `at`.

    Compiled it is torch.func.grad, which alone can be differentiated again there. That costs a tenth of a millisecond
    for each operation where nothing is compiled: there autograd's own does.
    """
    if torch.compiler.is_compiling():
        return torch.func.grad(function)(at)
    at = at.detach().requires_grad_()
    with torch.enable_grad():
        value = function(at)
        _running[0] = True
        try:
            return torch.autograd.grad(value, at, create_graph=True, materialize_grads=True)[0]
        finally:
            _running[0] = False
