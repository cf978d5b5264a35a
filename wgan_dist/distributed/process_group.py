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

from wgan_dist.distributed.launcher import cores_per_process, is_launched
from wgan_dist.utils.errors import LostError


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


def _configure_torch(threads: int | None, deterministic: bool, tf32: bool) -> None:
    if threads or (is_launched() and not torch.cuda.is_available()):
        torch.set_num_threads(threads or cores_per_process())
    # Setting the mode imports torch's compiler, so it is set only where an earlier run of this process left another.
    if torch.get_deterministic_debug_mode() != (2 if deterministic else 0):
        torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires it and reads it when it loads
        torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32


def start(
    threads: int | None, timeout: int | None = None, deterministic: bool = False, tf32: bool = False
) -> Accelerator:
    """Join the processes that the launcher started, and return accelerate's handle on them.

    `threads` is the number of CPU threads; None takes torch's own, or without a GPU the cores divided among the
    processes of this machine. `timeout` is how many seconds a collective waits for the other processes, None for
    torch's default. `deterministic` makes GPU kernels sum in a fixed order, as CPU kernels always do. `tf32` lets GPUs
    round float32 products to TF32; torch's own default does so for convolutions.
    """
    global _host_group
    _configure_torch(threads, deterministic, tf32)
    # It concerns the gradient of one convolution of the critic, whose copy takes no time that can be measured.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
    # Their successors do not exist in the oldest torch that the package supports.
    for name in ("broadcast_buffers", "torch.distributed.all_gather_into_tensor"):
        warnings.filterwarnings("ignore", f"`{name}` is deprecated", FutureWarning)
    # Accelerate ignores a time-out equal to its own default, although gloo's default is another: add a microsecond.
    wait = timedelta(seconds=timeout, microseconds=1) if timeout else None
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # without it, accelerate's launcher starts independent runs on CPU
        mixed_precision="no",  # the training step casts: accelerate has no fp16 on CPU, and one loss scale for all
        kwargs_handlers=[
            # SyncBatchNorm keeps the buffers equal, so that there is nothing to broadcast.
            DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=wait),
        ],
        # Accelerate keeps one counter for all networks, so the training step accumulates by itself.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
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
