"""RMSprop in one pass over memory."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

# Adam without a mean, and so long ago begun that its bias correction is 1 to the last bit, is RMSprop: with a smoothing
# of 0.99, 1 − 0.99^(2²⁰) = 1.
LONG_AGO = 2.0**20


class RMSprop(Optimizer):
    """Tieleman and Hinton 2012: v ← α v + (1 − α) g², θ ← θ − lr · g / (√v + ε), by the kernel of torch's fused Adam.

    As fused Adam it leaves a step out where the tensor `found_inf`, set on it, is not 0, divides gradients by
    `grad_scale`, and takes each to lie in memory as its parameter does, as autograd's do. It goes on from the state of
    torch's own RMSprop.
    """

    _step_supports_amp_scaling = True

    def __init__(self, parameters: Iterable[Tensor], lr: float, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__(parameters, {"lr": lr, "alpha": alpha, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step on the gradients that are there."""
        # As torch's own: its scaler sets them, and takes them away.
        scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        for group in self.param_groups:
            parameters = [each for each in group["params"] if each.grad is not None]
            if not parameters:
                continue
            gradients = [each.grad for each in parameters]
            if scale is not None:
                torch._foreach_div_(gradients, scale)
            squares = [self._square(each) for each in parameters]
            torch._fused_adam_(
                parameters,
                gradients,
                gradients,  # with β₁ = 0 the mean is the gradient itself
                squares,
                [],
                [torch.full((), LONG_AGO, device=parameters[0].device)] * len(parameters),
                lr=group["lr"],
                beta1=0.0,
                beta2=group["alpha"],
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                found_inf=found_inf,
            )

    def _square(self, parameter: Tensor) -> Tensor:
        """The average square of a parameter's gradients, from 0."""
        state = self.state[parameter]
        if "square_avg" not in state:
            state["square_avg"] = torch.zeros_like(parameter)
        return state["square_avg"]
