"""Adam and RMSprop by one kernel, torch's fused Adam, which passes over memory once.

torch's own classes would import its compiler, 150 MB, to keep it out of themselves, and keep Adam's mean where it is
the gradient.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# Adam without a mean, and so long ago begun that its bias correction is 1 to the last bit, is RMSprop: with a smoothing
# of 0.99, 1 − 0.99^(2²⁰) = 1.
LONG_AGO = 2.0**20


class _Fused(Optimizer):
    """As torch's fused ones it leaves a step out where the tensor `found_inf`, set on it, 0 or 1, is 1, and takes each
    gradient to lie in memory as its parameter does, as autograd's do."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)

    def zero_grad(self) -> None:  # type: ignore[override]
        """Forget the gradients. torch's own tells its profiler of it, which takes longer than the rest."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of state_dict. Of what torch's own keep besides, and versions that had them, nothing is taken.

        Raises ValueError where something is missing.
        """
        inspect.unwrap(Optimizer.load_state_dict)(self, state_dict)
        for group in self.param_groups:
            for name in group.keys() - self.defaults.keys() - {"params"}:
                del group[name]
            for parameter in group["params"]:
                self._take(parameter, self._names(group))

    def _take(self, parameter: Tensor, names: Iterable[str]) -> None:
        state = self.state.pop(parameter, {})
        if missing := [name for name in names if state and name not in state]:
            raise ValueError(f"there is no {missing[0]}")
        # torch leaves the number of steps on the CPU, where the kernel of another device cannot read it.
        if state:
            self.state[parameter] = {name: state[name].to(parameter.device) for name in names}

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Of what is kept for each parameter of a group."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step on the gradients that are there."""
        for group in self.param_groups:
            parameters = [each for each in group["params"] if each.grad is not None]
            if parameters:
                self._update(group, parameters, getattr(self, "found_inf", None))

    # As zero_grad; torch wraps what does not say that it is wrapped, to call hooks that nobody has here.
    step.hooked = True  # type: ignore[attr-defined]

    def _update(self, group: dict[str, Any], parameters: list[Tensor], found_inf: Tensor | None) -> None:
        raise NotImplementedError

    def _kept(
        self, parameters: list[Tensor], name: str, zero: Callable[[Tensor], Tensor] = torch.zeros_like
    ) -> list[Tensor]:
        """What is kept under a name for each parameter, from `zero` of it."""
        for each in parameters:
            if name not in self.state[each]:
                self.state[each][name] = zero(each)
        return [self.state[each][name] for each in parameters]


def _no_step(parameter: Tensor) -> Tensor:
    """The number of steps that a parameter has taken, on its device, where torch has it."""
    return torch.zeros((), device=parameter.device)


def _rows(tensors: list[Tensor], channels_last: list[bool]) -> list[Tensor]:
    """The same memory, row by row: the kernel copies what does not lie so."""
    return [each.permute(0, 2, 3, 1) if last else each for each, last in zip(tensors, channels_last, strict=True)]


def _step(
    group: dict[str, Any],
    parameters: list[Tensor],
    means: list[Tensor] | None,
    squares: list[Tensor],
    numbers: list[Tensor],
    betas: tuple[float, float],
    found_inf: Tensor | None,
) -> None:
    """The kernel; `means` is None for β₁ = 0, where the mean is the gradient itself."""
    last = [not each.is_contiguous() and each.is_contiguous(memory_format=torch.channels_last) for each in parameters]
    gradients = _rows([each.grad for each in parameters if each.grad is not None], last)
    torch._fused_adam_(
        _rows(parameters, last),
        gradients,
        gradients if means is None else _rows(means, last),
        _rows(squares, last),
        [],
        numbers,
        lr=group["lr"],
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=0.0,
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
        found_inf=found_inf,
    )


class Adam(_Fused):
    """Kingma and Ba 2015, algorithm 1, as torch's: m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², corrected for their
    start at 0, θ ← θ − lr · m / (√v + ε). It goes on from the state of torch's own Adam."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    def _update(self, group: dict[str, Any], parameters: list[Tensor], found_inf: Tensor | None) -> None:
        means = self._kept(parameters, "exp_avg") if group["betas"][0] else None
        numbers = self._kept(parameters, "step", _no_step)
        # A step that will be left out does not count.
        taken = torch.ones_like(numbers[0]) if found_inf is None else 1.0 - found_inf
        torch._foreach_add_(numbers, [taken] * len(numbers))
        _step(group, parameters, means, self._kept(parameters, "exp_avg_sq"), numbers, group["betas"], found_inf)

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", "step") if group["betas"][0] else ("exp_avg_sq", "step")


class RMSprop(_Fused):
    """Tieleman and Hinton 2012: v ← α v + (1 − α) g², θ ← θ − lr · g / (√v + ε). It goes on from the state of torch's
    own RMSprop."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__(parameters, {"lr": lr, "alpha": alpha, "eps": eps})

    def _update(self, group: dict[str, Any], parameters: list[Tensor], found_inf: Tensor | None) -> None:
        numbers = [torch.full((), LONG_AGO, device=parameters[0].device)] * len(parameters)
        _step(group, parameters, None, self._kept(parameters, "square_avg"), numbers, (0.0, group["alpha"]), found_inf)

    def _names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("square_avg",)
