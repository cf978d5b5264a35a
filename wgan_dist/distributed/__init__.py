"""The world of processes: who computes which part, and what they must agree on. All of torch.distributed is here."""

import atexit
import ctypes
import os
import re
import secrets
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.functional import batch_norm
from torch.nn.parallel import DistributedDataParallel

from wgan_dist import host_memory
from wgan_dist.host_memory import Meeting
from wgan_dist.utils.errors import LostError, UserError

DEFAULT_TIMEOUT = 1800.0  # seconds, as torch has it
ROOM_FOR_WORDS = 1 << 20  # bytes: statistics of a BatchNorm of 65,536 channels in double precision
MOST_TO_READ = 4
PRECISIONS = ("no", "bf16", "fp16")
# glibc's mallopt (malloc.h): blocks below the threshold come from the heap, which grows by TOP_PAD and does not shrink.
# Older versions take no threshold above 32 MiB.
M_MMAP_THRESHOLD, THRESHOLDS = -3, (1 << 30, 32 << 20)
M_TRIM_THRESHOLD, NEVER, M_TOP_PAD, TOP_PAD = -1, (1 << 31) - 1, -2, 64 << 20
M_ARENA_MAX = -8


@dataclass(frozen=True)
class World:
    """This process's place among all."""

    rank: int
    size: int

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def _share_of_cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _is_launched() -> bool:
    """Whether torchrun or accelerate started this process; they set one thread unasked."""
    return "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def mixed_precision(asked: str) -> str:
    """The precision that was asked for, `auto` being the launcher's choice: no, bf16 or fp16.

    Raises UserError for one that is not offered, and for bf16 on a GPU that has none.
    """
    chosen = os.environ.get("ACCELERATE_MIXED_PRECISION", "no") if asked == "auto" else asked
    if chosen not in PRECISIONS:
        raise UserError(f"mixed_precision={chosen}: expected one of {', '.join(PRECISIONS)}")
    if chosen == "bf16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        raise UserError("mixed_precision=bf16: this GPU has no bfloat16; expected no or fp16")
    return chosen


def _keep_memory() -> None:
    """Let glibc keep what is freed for the next step: to get it from the system anew, page by page and cleared, takes
    up to a tenth of a step on a CPU."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt and any(mallopt(M_MMAP_THRESHOLD, size) for size in THRESHOLDS):
        mallopt(M_TRIM_THRESHOLD, NEVER)
        mallopt(M_TOP_PAD, TOP_PAD)
        mallopt(M_ARENA_MAX, 1)  # what one thread frees another takes


def start(
    threads: int | None, timeout: int | None = None, deterministic: bool = False, tf32: bool = False
) -> Accelerator:
    """Join the processes that the launcher started.

    Without a GPU it says so explicitly, since accelerate's launcher would otherwise start independent runs, and
    computes with `threads`, or with all cores shared among the processes. A wait for the others ends after `timeout`
    seconds, None: as torch has it, with an exception that `noticing_loss` is for. `deterministic` lets no GPU choose
    the order of its sums; on a CPU the order is always the same.
    """
    # One convolution of the critic; copying its gradient once costs nothing that matters.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
    _keep_memory()
    without_gpu = not torch.cuda.is_available()
    if threads or (without_gpu and _is_launched()):
        torch.set_num_threads(threads or _share_of_cores())
    # An earlier run in this process may have asked for the other; to say what is so already imports torch's compiler.
    if torch.get_deterministic_debug_mode() != (2 if deterministic else 0):
        torch.use_deterministic_algorithms(deterministic)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # NVIDIA's condition; read when its library starts
        torch.backends.cudnn.benchmark = False
    # float32 means float32, on any device, unless it is asked for otherwise.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    # Its successor is not in every torch that we allow.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    # BatchNorm is synchronised in its forward, so there is nothing to broadcast.
    wrapping = DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
    # A microsecond more, since accelerate drops a time-out equal to its own default, and gloo's is another.
    patience = timedelta(seconds=timeout, microseconds=1) if timeout else None
    accelerator = Accelerator(
        cpu=without_gpu,
        mixed_precision="no",  # the step casts by itself: accelerate knows no fp16 without a GPU, and one scale for all
        kwargs_handlers=[wrapping, InitProcessGroupKwargs(timeout=patience)],
        # Accelerate keeps one counter for all networks; ours accumulates in step.update.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
    )
    if world().size > 1 and not _hosts:
        _hosts.append(dist.new_group(backend="gloo", timeout=patience))
        _words.extend(_meetings(ROOM_FOR_WORDS, timeout or DEFAULT_TIMEOUT))
    return accelerator


_hosts: list[Any] = []  # the group of processes whose tensors are in host memory, where there are several
_words: list[Meeting] = []  # where they exchange what is small, if they are on one machine


def end() -> NoReturn:
    """End this process with status 0, without the teardown of the interpreter: torch's takes a second and 100 MB.

    What the interpreter itself does before that is done: threads are told and waited for, and what asked to run runs.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def leave() -> None:
    """Leave the world in order; where there were several processes, end this one with status 0.

    The teardown would not only take time then: torch's threads abort it now and then (torch 2.14.1 with gloo:
    "terminate called without an active exception"), and the launcher would report a finished run as failed.
    """
    if world().size > 1:
        dist.barrier()
        dist.destroy_process_group()
        end()


def world() -> World:
    """This process's rank and the number of processes; one process if nothing was launched."""
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World(0, 1)


def micro_batch_slices(batch_size: int, accumulation: int, world: World, setting: str = "batch_size") -> list[slice]:
    """This process's part of each micro-batch of a global batch.

    The parts of all processes make a micro-batch and the micro-batches make the batch, without overlap and in
    order. Raises UserError when they cannot be equal.
    """
    parts = accumulation * world.size
    if batch_size % parts:
        needed = f"a multiple of {parts} ({world.size} processes × accumulation {accumulation})"
        raise UserError(f"{setting}={batch_size}: expected {needed}")
    length = batch_size // parts
    starts = [(micro * world.size + world.rank) * length for micro in range(accumulation)]
    return [slice(start, start + length) for start in starts]


def all_reduce_mean(values: Tensor) -> Tensor:
    """The mean over all processes of equally shaped tensors."""
    if world().size == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / world().size


class _Averaging:
    """The buckets of gradients of one backward, and where the processes add them up."""

    def __init__(self, meeting: Meeting) -> None:
        self.meeting = meeting
        self.waiting: list[tuple[Tensor, Tensor, Future[Tensor]]] = []
        self.seconds = 0.0  # of all backwards but the first; none of them hidden: the backward waits here

    @property
    def backwards(self) -> int:
        """How many there were after the first, in which the processes wait for each other's start."""
        return max(0, self.meeting.round - 1)

    def add(self, flat: Tensor, is_last: bool) -> Future[Tensor]:
        """The future mean of a bucket, of the same bits on every process; all are known with the last."""
        began, is_first = time.perf_counter(), self.meeting.round == 0
        places, mean = self.meeting.places(flat), Future[Tensor]()
        torch.mul(flat, 1 / len(places), out=places[self.meeting.rank])
        self.waiting.append((flat, places, mean))
        if is_last:
            self.meeting.meet()
            for flat, places, mean_of_one in self.waiting:
                mean_of_one.set_result(torch.sum(places, 0, out=flat))
            self.waiting.clear()
        if not is_first:
            self.seconds += time.perf_counter() - began
        return mean


def _average(averaging: _Averaging, bucket: dist.GradBucket) -> Future[Tensor]:  # type: ignore[name-defined]
    return averaging.add(bucket.buffer(), bucket.is_last())


def average_in_memory(wrapped: nn.Module) -> None:
    """Let a network wrapped for distribution average its gradients in the memory that its processes share.

    Nothing changes where they share none, or are many: each reads what all have written, a ring moves less.
    """
    if not (_words and world().size <= MOST_TO_READ and isinstance(wrapped, DistributedDataParallel)):
        return
    learned = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    each = sum(host_memory.aligned(parameter.numel() * parameter.element_size()) for parameter in learned)
    for meeting in _meetings(each, _words[0].patience):
        wrapped.averaging = _Averaging(meeting)  # type: ignore[assignment]
        wrapped.register_comm_hook(wrapped.averaging, _average)


@dataclass(frozen=True)
class Traffic:
    """One averaging of a network's gradients: their bytes, and seconds, in all and not hidden behind computing."""

    size: int
    seconds: float
    exposed: float


def traffic(wrapped: nn.Module) -> Traffic | None:
    """What was measured: in shared memory of every backward but the first, of which nothing is hidden, and waiting for
    a slower process is a part; else by DistributedDataParallel of every hundredth. None alone, and before that."""
    if not isinstance(wrapped, DistributedDataParallel):
        return None
    found = wrapped._get_ddp_logging_data()
    if averaging := getattr(wrapped, "averaging", None):
        if not averaging.backwards:
            return None
        each = averaging.seconds / averaging.backwards
        return Traffic(found["total_parameter_size_bytes"], each, each)
    if "avg_backward_comm_time" not in found:
        return None
    seconds = found["avg_backward_comm_time"] / 1e9
    hidden = found["avg_backward_compute_comm_overlap_time"] / 1e9
    return Traffic(found["total_parameter_size_bytes"], seconds, max(0.0, seconds - hidden))


def _meetings(each: int, patience: float) -> list[Meeting]:
    """A meeting of all processes with room for so many bytes of each; none unless all are on this machine, by the
    launcher's word and by their memory, without a GPU, and none where the system refuses one of them."""
    here = world()
    near = os.environ.get("LOCAL_WORLD_SIZE") == str(here.size)
    if all_reduce_max(int(not near or torch.cuda.is_available() or not host_memory.is_offered())):
        return []
    size, secret = Meeting.needs(here.size, each), secrets.token_bytes(host_memory.ALIGNMENT)
    descriptor, secret = broadcast_from_main(lambda: (host_memory.create(size, secret), secret))
    processes = [0] * here.size
    dist.all_gather_object(processes, os.getpid(), _hosts[0])
    memory, watched = host_memory.open_of(processes[0], descriptor, size, secret), host_memory.watch(processes)
    refused = all_reduce_max(int(memory is None or watched is None))  # after this all have opened it
    if here.is_main and descriptor is not None:
        os.close(descriptor)
    if memory is None or watched is None or refused:
        return []
    return [Meeting(memory, here.rank, here.size, patience, watched)]


def _are_near(values: Tensor) -> bool:
    """Whether these are exchanged in shared memory: not in a compiled step, which would have to contain the waiting."""
    return bool(_words) and not torch.compiler.is_compiling() and _words[0].has_room(values)


def _gather(values: Tensor) -> Tensor:
    """The equally shaped values of all processes [processes, …], until the next call."""
    if _are_near(values):
        return _words[0].gather(values)
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values)
    return torch.stack(gathered)


def all_reduce_max(value: int) -> int:
    """The greatest of all processes' values: costs nothing alone, and never waits for a GPU."""
    if world().size == 1:
        return value
    box = torch.tensor(value)
    if _words:
        return int(_words[0].gather(box).max())
    dist.all_reduce(box, dist.ReduceOp.MAX, _hosts[0])
    return int(box)


def broadcast_from_main(function: Callable[[], Any]) -> Any:
    """What `function` returns on the first process, on every process.

    What it raises is raised there, and on the others as a UserError with the same words.
    """
    here = world()
    box: list[Any] = [None, None]
    failure: Exception | None = None
    if here.is_main:
        try:
            box[0] = function()
        except Exception as error:
            failure, box[1] = error, str(error)
    if here.size > 1:
        dist.broadcast_object_list(box, src=0)  # also of what went wrong: nobody must wait for a process that is gone
    if failure is not None:
        raise failure
    if box[1] is not None:
        raise UserError(box[1])
    return box[0]


def _where(error: BaseException) -> str:
    """The two innermost functions of this package that an exception passed through."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    ours = [frame for frame in frames if frame.f_globals.get("__name__", "").startswith("wgan_dist.")]
    return ", ".join(frame.f_code.co_qualname for frame in ours[-2:])


@contextmanager
def report_lost_processes() -> Iterator[None]:
    """What fails between processes in this block is a LostError: this rank, what it was in, and why.

    Under NCCL the watchdog may be first: it ends the process by itself, and names rank and collective.
    """
    try:
        yield
    except RuntimeError as error:
        # gloo has no type of error of its own, but names its source file.
        if not isinstance(error, (dist.DistError, host_memory.LostProcessError)) and "/gloo/" not in str(error):
            raise
        rank, size = (os.environ.get(name, "?") for name in ("RANK", "WORLD_SIZE"))
        reason = re.sub(r"^\[[^ ]*\] ", "", str(error).splitlines()[0]).partition(". This is typically")[0]
        raise LostError(f"rank {rank} of {size} lost the others in {_where(error)}: {reason}") from error


def run_on_all_ranks(function: Callable[[], Any]) -> Any:
    """What `function` returns on this process.

    What it raises on any process is raised there, and on the others as a UserError with the same words: nobody must
    wait for a process that is gone.
    """
    if world().size == 1:
        return function()
    result, failure = None, None
    try:
        result = function()
    except Exception as error:
        failure = error
    words: list[str | None] = [None] * world().size
    dist.all_gather_object(words, None if failure is None else str(failure), _hosts[0])
    if failure is not None:
        raise failure
    for said in words:
        if said is not None:
            raise UserError(said)
    return result


def rank_slice(count: int) -> slice:
    """This process's part of `count` things; the parts of all are in order, without overlap, and as equal as can be."""
    here = world()
    return slice(count * here.rank // here.size, count * (here.rank + 1) // here.size)


def gather(rows: Tensor) -> Tensor:
    """The rows [n, …] of all processes, in their order, on the first one; the others get none. In host memory."""
    here = world()
    rows = rows.cpu()
    if here.size == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.int64) for _ in range(here.size)]
    dist.all_gather(counts, torch.tensor([len(rows)]), _hosts[0])
    longest = max(int(count) for count in counts)
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    boxes = [torch.empty_like(padded) for _ in counts] if here.is_main else None
    dist.gather(padded, boxes, group=_hosts[0])
    if boxes is None:
        return rows[:0]
    return torch.cat([box[: int(count)] for box, count in zip(boxes, counts, strict=True)])


def barrier() -> None:
    """Wait for every process."""
    if world().size > 1:
        dist.barrier()


def _sum_over_processes(values: Tensor) -> Tensor:
    if _are_near(values):
        return _words[0].gather(values).sum(0)
    dist.all_reduce(values)
    return values


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))


def _global_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over the batch of all processes."""
    mean, variance = torch.ops.aten.batch_norm_update_stats(x, None, None, 0.0)  # on a CPU four times var_mean's speed
    means, variances = _gather(torch.stack([mean, variance])).unbind(1)
    # Chan et al. 1979: variances of equal parts combine through the parts' means.
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)


class _NormaliseGlobally(torch.autograd.Function):
    """w · (x − mean) / √(var + ε) + b over the batch of all processes, with the derivative of both statistics.

    Torch's kernels of a BatchNorm whose statistics are given do the work; what their derivative lacks is added.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _global_statistics(x)
        ctx.epsilon = epsilon
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.mark_non_differentiable(mean, variance)
        return batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance = ctx.saved_tensors
        of_x, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradients[0], x, weight, mean, variance, None, None, False, ctx.epsilon, [True, True, True]
        )
        count = x.numel() // x.shape[1] * dist.get_world_size()
        means = _sum_over_processes(torch.stack([of_bias, of_weight])) / count
        # Ioffe and Szegedy 2015, section 3: less the mean gradient, and x̂ times its mean with x̂; affine in x.
        deviation = (variance + ctx.epsilon).rsqrt()
        slope = weight * deviation.square() * means[1]
        offset = weight * deviation * means[0] - slope * mean
        of_x = of_x.addcmul(x, _per_channel(slope, x), value=-1.0).sub_(_per_channel(offset, x))
        return of_x, of_weight, of_bias, None


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the batch of all processes, on any backend: torch's own refuses CPU tensors, and one is enough."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        precise = input.to(self.weight.dtype)  # statistics never in half precision
        normalised, mean, variance = _NormaliseGlobally.apply(precise, self.weight, self.bias, self.eps)
        self._track(mean, variance, input.numel() // input.shape[1] * world().size)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


def _as_global(norm: nn.modules.batchnorm._BatchNorm) -> SyncBatchNorm:
    """The same layer over the same parameters and buffers."""
    converted = SyncBatchNorm(norm.num_features, norm.eps, norm.momentum)
    converted.weight, converted.bias = norm.weight, norm.bias
    converted.running_mean, converted.running_var = norm.running_mean, norm.running_var
    converted.num_batches_tracked = norm.num_batches_tracked
    return converted


def convert_sync_batchnorm(network: nn.Module) -> nn.Module:
    """Let every BatchNorm of `network` use the statistics of the global batch; parameter names stay the same."""
    if world().size == 1:
        return network
    for name, child in network.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(network, name, _as_global(child))
        else:
            convert_sync_batchnorm(child)
    return network
