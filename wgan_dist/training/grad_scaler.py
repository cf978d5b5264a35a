"""The loss scale of one optimizer, and updates that are skipped because their gradients are not finite.

Gradients are checked after they were averaged over the processes. An inf or NaN of one process is in the mean of every
process, so all skip the same update without exchanging a word.
"""

import torch
from torch import Tensor
from torch.optim import Optimizer

from wgan_dist.checkpoints.train_state import GradScalerState
from wgan_dist.training.buffer_snapshot import BufferSnapshot

INITIAL_SCALE, GROWTH_INTERVAL = 2.0**16, 2000
# Halved without end, a scale would become 0, and before that its reciprocal infinite.
SMALLEST_SCALE = 2.0**-10


class GradScaler:
    """A `torch.amp.GradScaler` that skips updates in every precision, restores buffers, and counts what it skips.

    With a dynamic scale it is torch's scaler for fp16. With a static one the scale stays 1, and an update whose
    gradients are not finite is skipped all the same. A fused optimizer decides on the device; others, as RMSprop, read
    one value back from it in each update.
    """

    def __init__(self, optimizer: Optimizer, buffers: BufferSnapshot, device: torch.device, dynamic: bool) -> None:
        """Scale the loss of `optimizer`.

        Args:
            optimizer: The optimizer whose updates are taken or skipped.
            buffers: What the forward changes: a skipped update restores it.
            device: The device of the parameters.
            dynamic: Whether the scale adapts, as fp16 needs.
        """
        self.optimizer, self.buffers, self.dynamic = optimizer, buffers, dynamic
        initial = INITIAL_SCALE if dynamic else 1.0
        self._scaler = torch.amp.GradScaler(device.type, init_scale=initial, growth_interval=GROWTH_INTERVAL)
        self._one = torch.ones((), device=device)
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.skipped_in_a_row = torch.zeros((), dtype=torch.int64, device=device)

    def loss_scale(self) -> Tensor:
        """Return the loss scale, a tensor [] on the device."""
        return self._scaler.scale(self._one)

    def backward(self, loss: Tensor, micro_batches: int = 1) -> None:
        """Add the gradients of scale · loss / `micro_batches`; a loss that is not finite makes every gradient NaN."""
        share = loss.detach().mul(0.0).add_(1.0 / micro_batches)
        loss.backward(self._scaler.scale(share))

    def step(self, is_whole_loss: bool = True) -> None:
        """Update the parameters with the gradients of the scaled loss, or skip the update.

        An update on a part of the loss, that without a lazy penalty, does not end a row of skipped ones: the rest may
        never be finite.
        """
        self._scaler.unscale_(self.optimizer)
        # The scaler's own check; it has no public accessor, and a second one would read every gradient again.
        (found_inf,) = self._scaler._found_inf_per_device(self.optimizer).values()
        self._scaler.step(self.optimizer)
        self._scaler.update(None if self.dynamic else 1.0)
        if self.dynamic:
            self._scaler.update(self.loss_scale().clamp(min=SMALLEST_SCALE))
        skipped = found_inf.bool()
        self.buffers.restore(skipped)
        self.skipped += skipped
        self.skipped_in_a_row.add_(skipped)
        if is_whole_loss:
            self.skipped_in_a_row.mul_(skipped)

    def state(self) -> GradScalerState:
        """Return everything that a resumed run needs, read back from the device."""
        scaler = self._scaler.state_dict()
        return GradScalerState(
            int(self.skipped), int(self.skipped_in_a_row), float(scaler["scale"]), int(scaler["_growth_tracker"])
        )

    def load(self, state: GradScalerState) -> None:
        """Restore what `state` returned."""
        saved = {"scale": state.scale, "_growth_tracker": state.growth_tracker}
        self._scaler.load_state_dict(self._scaler.state_dict() | saved)
        self.skipped.fill_(state.skipped)
        self.skipped_in_a_row.fill_(state.skipped_in_a_row)
