"""Several processes: BatchNorm over the global batch, gradients of two processes against one, and skipped updates."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests import injections, worlds
from tests.gpu_session.children import outputs, started, two_processes
from tests.gpu_session.machine import Machine, draw, greatest_difference
from tests.gpu_session.table import Row, at_most, holds, not_tried
from wgan_dist import distributed
from wgan_dist.training import grad_scaler

# All ways to use the processes: micro-batches, every norm, noise shaped as samples, clipping, dropout, BatchNorm.
CASES = ["gp-instance-2", "dragan-layer-1", "r1-none-2", "clip-none-1", "dropout-gp-2", "sagan-bce-1"]
CHANNELS = 6


@contextmanager
def _process_group_of_one(machine: Machine) -> Iterator[None]:
    """Join a group of this process alone, with the backend that several processes would have."""
    backend = "nccl" if machine.has_gpu else "gloo"
    dist.init_process_group(backend, init_method=f"file://{machine.scratch}/group", rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _results(norm: nn.Module, x: Tensor, gradient: Tensor) -> list[Tensor]:
    """Return the output, the gradients and the buffers of a BatchNorm layer after one forward and backward pass."""
    leaf = x.detach().requires_grad_()
    y = norm(leaf)
    y.backward(gradient)
    tensors = [y, leaf.grad, *(parameter.grad for parameter in norm.parameters()), *norm.buffers()]
    return [tensor for tensor in tensors if tensor is not None]


def _norms(machine: Machine, x: Tensor) -> tuple[nn.Module, nn.Module]:
    """Return a SyncBatchNorm on the device and torch's own layer on the CPU, in float64, with equal weights."""
    precise = torch.float64 if x.dtype == torch.float64 else torch.float32
    ours = distributed.SyncBatchNorm(CHANNELS)
    theirs = nn.BatchNorm2d(CHANNELS) if x.dim() == 4 else nn.BatchNorm1d(CHANNELS)
    with torch.no_grad():
        ours.weight.copy_(draw(CHANNELS, seed=1))
        ours.bias.copy_(draw(CHANNELS, seed=2))
    theirs.load_state_dict(ours.state_dict())
    return ours.to(machine.device, precise), theirs.double()


def batch_norm(machine: Machine) -> Iterator[Row]:
    """Compare SyncBatchNorm in a process group of one with torch's: output, gradients, running statistics."""
    maps = draw(8, CHANNELS, 5, 5, seed=3) + 1.0
    inputs = {
        "channels first, float64": (maps, 1e-12),
        "channels last, float64": (maps.contiguous(memory_format=torch.channels_last), 1e-12),
        "[n, c], float64": (maps[:, :, 0, 0].contiguous(), 1e-12),
        "channels last, float32": (maps.float().contiguous(memory_format=torch.channels_last), 1e-5),
        "channels last, bfloat16 input": (maps.bfloat16().contiguous(memory_format=torch.channels_last), 3e-2),
    }
    with _process_group_of_one(machine):
        for name, (x, limit) in inputs.items():
            ours, theirs = _norms(machine, x)
            gradient = torch.empty_like(x).copy_(draw(*x.shape, seed=4))
            found = _results(ours, x.to(machine.device), gradient.to(machine.device))
            expected = _results(theirs, x.double(), gradient.double())
            yield at_most(name, greatest_difference(found, expected), limit)


def _against_one(machine: Machine, what: str, share_device: bool) -> Iterator[Row]:
    """Compare gradients, terms and buffers of two processes with those of this one, which computes at the same time."""
    one, two = machine.scratch / f"{what}-one.safetensors", machine.scratch / f"{what}-two.safetensors"
    arguments = ["worlds", str(two), *CASES]
    with started(f"worlds-{what}", arguments, machine.scratch, two_processes(share_device)) as children:
        save_file(worlds.gradients("float64", CASES), one)
        outputs(children)
    alone, together = load_file(one), load_file(two)
    for case in CASES:
        keys = [key for key in alone if key.startswith(case)]
        difference = greatest_difference([together[key] for key in keys], [alone[key] for key in keys])
        yield at_most(f"{what}, {case}, float64", difference, 1e-12)


def two_worlds(machine: Machine) -> Iterator[Row]:
    """Compare two processes with one: on the same device, and on two GPUs where there are two."""
    yield from _against_one(machine, "gloo", share_device=True)
    if torch.cuda.device_count() > 1:
        yield from _against_one(machine, "nccl", share_device=False)
    else:
        yield not_tried("nccl", "it needs two GPUs")


def _is_skipped(result: dict[str, object]) -> bool:
    return bool(result["untouched"] and result["skipped"] == 1 and result["finite"] and result["learned_after"])


def _skips(what: str, results: list[list[dict[str, object]]]) -> Iterator[Row]:
    """Yield a row for each precision: how many injections were one skipped update on all processes."""
    for precision in ("no", "bf16", "fp16"):
        ranks = [each for each in results if each[0]["precision"] == precision]
        count = sum(all(map(_is_skipped, each)) for each in ranks)
        tried = sum(each.precision == precision for each in injections.INJECTIONS)
        yield holds(f"{what}, autocast {precision}", count == tried, f"{count} of {tried} skipped once, then learning")


@contextmanager
def _small_scale() -> Iterator[None]:
    """Begin with a loss scale at which no gradient of these small networks overflows by itself."""
    before, grad_scaler.INITIAL_SCALE = grad_scaler.INITIAL_SCALE, injections.SCALE
    try:
        yield
    finally:
        grad_scaler.INITIAL_SCALE = before


def non_finite_updates(machine: Machine) -> Iterator[Row]:
    """Inject an inf into one update: it is skipped, and on all processes if the inf is on the last one alone."""
    with started("injections", ["injections"], machine.scratch, two_processes(share_device=True)) as children:
        with _small_scale():
            alone = [[injections.run_injection(injection)] for injection in injections.INJECTIONS]
        yield from _skips("one process", alone)
        first, _ = outputs(children)
    yield from _skips("the last of two processes", injections.outcomes(first))
