"""The traffic of gradient averaging: how much data the processes exchange, and how long it takes."""

from dataclasses import dataclass

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from wgan_dist.distributed.process_group import world


@dataclass(frozen=True)
class Traffic:
    """One averaging of a network's gradients: bytes, seconds, and the seconds that no computation hides."""

    size: int
    seconds: float
    exposed: float


def traffic(wrapped: nn.Module) -> Traffic | None:
    """Return the mean over the backward passes that DistributedDataParallel measured: the first 10, then 1 in 100.

    None for a network that is not wrapped in it, with one process, which exchanges nothing, and before the first
    measurement.
    """
    if not isinstance(wrapped, DistributedDataParallel) or world().size == 1:
        return None
    measured = wrapped._get_ddp_logging_data()  # torch has no public name for it; test_gradient_traffic.py needs it
    if "avg_backward_comm_time" not in measured:
        return None
    seconds = measured["avg_backward_comm_time"] / 1e9
    hidden = measured["avg_backward_compute_comm_overlap_time"] / 1e9
    return Traffic(measured["total_parameter_size_bytes"], seconds, max(0.0, seconds - hidden))
