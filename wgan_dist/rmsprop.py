"""RMSprop in one pass over memory."""

import torch
from torch import Tensor

# Adam without a mean, and so long ago begun that its bias correction is 1 to the last bit, is RMSprop: with a smoothing
# of 0.99, 1 − 0.99^(2²⁰) = 1.
LONG_AGO = 2.0**20


class RMSprop(torch.optim.RMSprop):
    """torch's without momentum (Tieleman and Hinton 2012), by the kernel of its fused Adam, as torch has none of this.

    As fused Adam it leaves a step out where the tensor `found_inf`, set on it, is not 0.
    """

    _step_supports_amp_scaling = True
    found_inf: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step on the gradients that are there."""
        for group in self.param_groups:
            parameters = [each for each in group["params"] if each.grad is not None]
            gradients = [each.grad for each in parameters]
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
                found_inf=self.found_inf,
            )

    def _square(self, parameter: Tensor) -> Tensor:
        """The average square of a parameter's gradients, from 0."""
        state = self.state[parameter]
        if "square_avg" not in state:
            state["square_avg"] = torch.zeros_like(parameter)
        return state["square_avg"]
