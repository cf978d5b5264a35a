"""The processes that train one run together: join them, know one's rank, leave them, report that one is lost."""

import atexit
import os
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin, InitProcessGroupKwargs

from wgan_dist.distributed.launcher import check_launcher, cores_per_process, is_launched, uses_cpu
from wgan_dist.utils.errors import LostError, UserError


@dataclass(frozen=True)
class World:
    """The rank of this process and the number of all processes."""

    rank: int
    size: int

    @property
    def is_main(self) -> bool:
        """Return whether this is the process that writes files and prints."""
        return self.rank == 0


def world() -> World:
    """Return this process's rank and the number of processes: rank 0 of 1 if no launcher started several."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World(0, 1)


_host_group: Any = None  # a ProcessGroup, once there are several processes


def host_group() -> Any:
    """Return the gloo group of all processes, for objects and for tensors in host memory.

    An exchange in it never waits for a GPU, nor runs into the watchdog of NCCL. None before `start`.
    """
    return _host_group


def nccl_version() -> str:
    """Return the version of NCCL, or an empty text where torch has none."""
    return ".".join(map(str, torch.cuda.nccl.version())) if dist.is_nccl_available() else ""


def _join_by_nccl(timeout: timedelta | None) -> None:
    """Join the processes of the launcher by NCCL, with the group bound to this process's GPU.

    Accelerate takes a group that exists. It cannot bind the one that it makes, and NCCL then guesses the GPU.
    """
    local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local_rank >= gpus:
        raise UserError(f"LOCAL_RANK={local_rank}: expected less than {gpus}, the number of GPUs that it sees")
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", timeout=timeout, device_id=device)


def _join(timeout: timedelta | None) -> Accelerator:
    """Join the processes of the launcher and return accelerate's handle on them."""
    if not uses_cpu() and "LOCAL_RANK" in os.environ and not dist.is_initialized():
        _join_by_nccl(timeout)
    return Accelerator(
        cpu=uses_cpu(),  # without it, accelerate's launcher starts independent runs on CPU
        mixed_precision="no",  # the training step casts: accelerate has no fp16 on CPU, and one loss scale for all
        kwargs_handlers=[
            # SyncBatchNorm keeps the buffers equal, so that there is nothing to broadcast.
            DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=timeout),
        ],
        # Accelerate keeps one counter for all networks, so the training step accumulates by itself.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )


def _check_accelerator(accelerator: Accelerator) -> None:
    """Check what accelerate made of its settings; a program may have made an Accelerator before, and both share them.

    Raises:
        UserError: For processes, a device or a compiler that training does not work with.
    """
    found = {
        "distributed_type": (accelerator.distributed_type.value, ("NO", "MULTI_CPU", "MULTI_GPU")),
        "device": (accelerator.device.type, ("cpu", "cuda")),
        "dynamo_backend": (accelerator.state.dynamo_plugin.backend.value, ("NO",)),
        "parallelism_config": ("None" if accelerator.parallelism_config is None else "given", ("None",)),
    }
    for name, (value, accepted) in found.items():
        if value not in accepted:
            raise UserError(f"accelerate has {name}={value}: expected {' or '.join(accepted)}")


def _ignore_warnings() -> None:
    # It concerns the gradient of one convolution of the critic, whose copy takes no time that can be measured.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
    # Their successors do not exist in the oldest torch that the package supports.
    for name in ("broadcast_buffers", "torch.distributed.all_gather_into_tensor"):
        warnings.filterwarnings("ignore", f"`{name}` is deprecated", FutureWarning)


def start(threads: int | None, timeout: int | None = None) -> Accelerator:
    """Join the processes that the launcher started, and return accelerate's handle on them.

    Args:
        threads: The number of CPU threads. None divides the cores among the processes of this machine, and without a
            launcher takes torch's own number.
        timeout: How many seconds a collective waits for the other processes; None for torch's default.

    Raises:
        UserError: For a setting of the launcher that training does not honour, or that accelerate refuses.
    """
    global _host_group
    check_launcher()
    _ignore_warnings()
    # Accelerate ignores a time-out equal to its own default, although gloo's default is another: add a microsecond.
    wait = timedelta(seconds=timeout, microseconds=1) if timeout else None
    try:
        accelerator = _join(wait)
    except (ImportError, NotImplementedError, ValueError) as error:  # what accelerate raises for settings
        raise UserError(f"cannot start: {' '.join(str(error).split())}") from error
    _check_accelerator(accelerator)
    if threads or is_launched():
        torch.set_num_threads(threads or cores_per_process())
    if world().size > 1 and _host_group is None:
        _host_group = dist.new_group(backend="gloo", timeout=wait)
    return accelerator


def barrier() -> None:
    """Wait until every process has come here."""
    if world().size > 1:
        dist.barrier(_host_group)


def _destroy_process_groups() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def leave() -> None:
    """Wait until every process has finished; the process groups are destroyed when the interpreter exits.

    They stay until then because torch cannot join the processes of one launch twice, and the caller may train again.
    """
    if world().size > 1:
        barrier()
        atexit.unregister(_destroy_process_groups)
        atexit.register(_destroy_process_groups)


def _innermost_functions(error: BaseException) -> str:
    """Return the names of the two innermost functions of this package that an exception passed through."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    ours = [frame for frame in frames if frame.f_globals.get("__name__", "").startswith("wgan_dist.")]
    return ", ".join(frame.f_code.co_qualname for frame in ours[-2:])


@contextmanager
def report_lost_processes() -> Iterator[None]:
    """Turn a failed exchange between processes in this block into a LostError with rank, place and reason.

    Under NCCL torch's watchdog may come first: it ends the process and logs rank and collective.
    """
    try:
        yield
    except RuntimeError as error:
        # gloo raises plain RuntimeErrors, which contain the name of its source file.
        if not isinstance(error, dist.DistError) and "/gloo/" not in str(error):
            raise
        rank, size = (os.environ.get(name, "?") for name in ("RANK", "WORLD_SIZE"))
        reason = re.sub(r"^\[[^ ]*\] ", "", str(error).splitlines()[0]).partition(". This is typically")[0]
        raise LostError(f"rank {rank} of {size} lost the others in {_innermost_functions(error)}: {reason}") from error
