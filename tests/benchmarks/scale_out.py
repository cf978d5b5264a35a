"""Predict what communication and the host cost with more processes: `python -m tests.benchmarks.scale_out`.

Print, for two recipes on assumed GPUs and networks, every assumption with its source, from how many GPUs on
communication takes a tenth of a step, and the efficiency at 8 and 64 GPUs. With `check`, compare the communication in
the model with 1, 2 and 4 processes on as many hosts of this machine (network namespaces, which need root) whose links
are limited by tc.

In the model the GPU of a process computes for FLOPs / speed seconds a step and then communicates; nothing overlaps,
although DDP overlaps a part. A ring of n processes all-reduces B bytes in 2(n − 1)/n · B / bandwidth + 2(n − 1) ·
latency (Patarasuk and Yuan 2009), and gathers B bytes of each process in (n − 1) · (B / bandwidth + latency).

The host part of a process launches kernels, draws noise and agrees with the others on stop signals. Two designs are
compared. In the synchronous one, which the package had before, each process draws the noise of the global batch, and an
iteration begins with the agreement, the draws and their upload, which waits for the GPU. In the asynchronous one, a
process draws its own rows one iteration ahead and uploads them without waiting, and reads the agreement at the next
iteration.
"""

import argparse
import contextlib
import copy
import datetime
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, register_flop_formula
from torch.utils.hooks import RemovableHandle

from tests.cluster.namespaces import hosts, limit_here
from tests.processes import HANG_SECONDS
from tests.single_steps import steps_of
from wgan_dist import distributed
from wgan_dist.config import Config, load_config
from wgan_dist.data.datasets import open_images
from wgan_dist.data.image_settings import image_settings
from wgan_dist.distributed import collectives, process_group, sync_batchnorm
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.models.layers import Critic
from wgan_dist.reporting.environment import describe_machine
from wgan_dist.training.build import DTYPES, build_gan
from wgan_dist.training.build_run import build_run
from wgan_dist.training.noise import NoiseSource, TrainingNoise
from wgan_dist.training.real_batches import RealBatch
from wgan_dist.training.steps import critic_step, generator_step
from wgan_dist.utils import rng

MODULE = "tests.benchmarks.scale_out"
# DistributedDataParallel's own: gradients travel in buckets, the first of them small.
FIRST_BUCKET, BUCKET = 1 << 20, 25 << 20
FLOAT = 4
SHARE = 0.1
MOST = 1_000_000


@dataclass(frozen=True)
class Link:
    """The connection of two processes: bytes per second, and seconds per message of any size."""

    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Work:
    """The work of one process in a generator step and its critic iterations; sizes in bytes, one per collective."""

    flops: float
    gradients: tuple[int, ...]
    sums: tuple[int, ...]
    gathers: tuple[int, ...]

    @property
    def gradient_bytes(self) -> int:
        return sum(self.gradients)


def all_reduce_seconds(size: float, processes: int, link: Link) -> float:
    """Return the seconds of an all-reduce of `size` bytes over a ring."""
    return 2 * (processes - 1) * (size / processes / link.bandwidth + link.latency)


def gather_seconds(size: float, processes: int, link: Link) -> float:
    """Return the seconds of gathering `size` bytes from each process over a ring."""
    return (processes - 1) * (size / link.bandwidth + link.latency)


def communication_seconds(work: Work, processes: int, link: Link) -> float:
    """Return the seconds of the communication between GPUs in a generator step."""
    reduced = sum(all_reduce_seconds(size, processes, link) for size in (*work.gradients, *work.sums))
    return reduced + sum(gather_seconds(size, processes, link) for size in work.gathers)


def reaches(share: float, compute: Callable[[int], float], work: Work, link: Link) -> int | None:
    """Return the fewest processes at which communication takes `share` of a step that computes `compute(n)` seconds."""
    processes = 2
    while processes <= MOST:
        spent = communication_seconds(work, processes, link)
        if spent >= share * (spent + compute(processes)):
            return processes
        processes += max(1, processes // 1000)
    return None


@dataclass(frozen=True)
class HostSeconds:
    """The seconds that one process's host works in a generator step and its critic iterations."""

    launches: float
    noise: float
    agreements: float


def exposed_synchronous(gpu: float, host: HostSeconds) -> float:
    """Return the seconds that the host adds to a step whose GPU works for `gpu` seconds, in the synchronous design.

    Since the upload of the noise waits for the GPU, an iteration ends when the GPU has finished its kernels and the
    host has launched them and then agreed and drawn for the next iteration. The iterations of a step count as alike.
    """
    return max(0.0, host.launches + host.noise + host.agreements - gpu)


def exposed_asynchronous(gpu: float, host: HostSeconds) -> float:
    """Return the seconds that the host adds to a step if launches, noise and agreements go on side by side."""
    return max(0.0, max(host.launches, host.noise, host.agreements) - gpu)


# --- what a step consists of, counted on a real one ---

COUNTED_BATCH = 2


@register_flop_formula(torch.ops.mkldnn._linear_pointwise)
def _matrices_flops(a_shape: torch.Size, b_shape: torch.Size, *_: object, **__: object) -> int:
    """Return the FLOPs of a [m, k] · bᵀ with b [n, k]."""
    return 2 * a_shape.numel() * b_shape[0]


class _Flops(TorchDispatchMode):
    """Count the multiplications and additions of convolutions and matrix products, by torch's own formulas.

    Torch's FlopCounterMode counts per module, by hooks on the backward pass that torch.func.grad does not allow.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def _buckets(parameters: int) -> tuple[int, ...]:
    size = parameters * FLOAT
    if size <= FIRST_BUCKET:
        return (size,)
    full, rest = divmod(size - FIRST_BUCKET, BUCKET)
    return (FIRST_BUCKET, *[BUCKET] * full, *([rest] if rest else []))


def _watch_norms(network: nn.Module, gathers: list[int], sums: list[int]) -> list[RemovableHandle]:
    """Record what each BatchNorm would exchange: mean and variance forward, two sums backward."""

    def note(norm: Any, inputs: Any, output: torch.Tensor) -> None:
        gathers.append(2 * norm.num_features * FLOAT)
        if output.requires_grad:
            sums.append(2 * norm.num_features * FLOAT)

    norms = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return [norm.register_forward_hook(note) for norm in norms]


def _counted(
    step: Callable[[], object], networks: tuple[nn.Module, ...], parameters: int, repeated: int, scale: float
) -> Work:
    """Return the work of a step of one network that is `repeated`, with its FLOPs times `scale`."""
    gathers: list[int] = []
    sums: list[int] = []
    hooks = [hook for network in networks for hook in _watch_norms(network, gathers, sums)]
    with _Flops() as counted:
        step()
    for hook in hooks:
        hook.remove()
    return Work(
        flops=counted.total * scale * repeated,
        gradients=_buckets(parameters) * repeated,
        sums=tuple(sums * repeated),
        gathers=tuple(gathers * repeated),
    )


def count(config: Config, accelerator: Accelerator, channels: int) -> Work:
    """Return what one process does in a generator step and its critic iterations, at the batch sizes of `config`.

    It does real steps on noise with a small batch: FLOPs are proportional to the batch, the rest does not depend on it.
    """
    shape, device, dtype = (channels, *config.image_size), accelerator.device, DTYPES[config.dtype]
    gan = build_gan(config, accelerator, shape)
    critic, generator = gan.critic.network, gan.generator.network
    whole = [slice(0, COUNTED_BATCH)]
    draws = NoiseSource(config.seed, config.latent_dim, config.latent_distribution, whole, device, dtype)
    dropouts = critic.dropouts if isinstance(critic, Critic) else ()
    penalty = PENALTIES.get(config.penalty)
    real = RealBatch([torch.rand(COUNTED_BATCH, *shape).to(device, dtype)], [None])
    noise = TrainingNoise(draws, draws, penalty, shape, config.dragan_std, dropouts, reuse_latents=False)
    sizes = [sum(value.numel() for value in network.parameters()) for network in (critic, generator)]
    first = _counted(
        lambda: critic_step(gan, real, noise.critic(0)),
        (critic, generator),
        sizes[0],
        config.n_critic,
        config.batch_size / COUNTED_BATCH,
    )
    second = _counted(
        lambda: generator_step(gan, noise.generator(0, noise.critic(0)), real),
        (critic, generator),
        sizes[1],
        1,
        (config.generator_batch_size or config.batch_size) / COUNTED_BATCH,
    )
    return Work(
        first.flops + second.flops,
        first.gradients + second.gradients,
        first.sums + second.sums,
        first.gathers + second.gathers,
    )


# --- the prediction for GPUs ---

RECIPES = ("catfaces64", "resnet128")
# Assumptions, whose sources `_assumptions` names: FLOP/s that a GPU sustains, the connection of GPUs in each direction,
# the seconds of launching the kernels of an iteration, and those of an agreement by number of GPUs.
SPEEDS = {"float32, 15": 15e12, "bf16, 150": 150e12}
LINKS = {"25 GB/s": Link(25e9, 10e-6), "100 GB/s": Link(100e9, 10e-6), "NVLink, 450 GB/s": Link(450e9, 3e-6)}
LAUNCHES = 3e-3
AGREEMENTS = {1: 0.0, 8: 0.3e-3, 64: 4e-3}
DRAWN_ROWS, DRAWS = 4_096, 20


@dataclass(frozen=True)
class Recipe:
    """A recipe, the work of one process at its batch size, and the seconds in which a host draws one row of z."""

    name: str
    config: Config
    work: Work
    row_seconds: float

    @property
    def rows(self) -> int:
        """Return the number of rows of z that a step needs for each process."""
        config = self.config
        generator = 0 if config.reuse_latents else config.generator_batch_size or config.batch_size
        return config.n_critic * config.batch_size + generator

    def host_seconds(self, batches: int, agreement: float) -> HostSeconds:
        """Return what a host does in a step if it draws the noise of `batches` processes."""
        return HostSeconds(
            launches=(self.config.n_critic + 1) * LAUNCHES,
            noise=batches * self.rows * self.row_seconds,
            agreements=self.config.n_critic * agreement,
        )


@dataclass(frozen=True)
class Prediction:
    """The seconds of a step on each of several GPUs: its parts on the GPU, and what the host adds in either design."""

    compute: float
    communication: float
    synchronous: float
    asynchronous: float

    def efficiency(self, exposed: float) -> float:
        """Return the share of computation in a step to which the host adds `exposed` seconds."""
        return self.compute / (self.compute + self.communication + exposed)


def predict_step(recipe: Recipe, speed: float, link: Link, gpus: int) -> Prediction:
    """Return the parts of a step with the recipe's batch on each of `gpus` GPUs, a number in `AGREEMENTS`."""
    compute, communication = recipe.work.flops / speed, communication_seconds(recipe.work, gpus, link)
    busy, agreement = compute + communication, AGREEMENTS[gpus]
    synchronous = exposed_synchronous(busy, recipe.host_seconds(gpus, agreement))
    asynchronous = exposed_asynchronous(busy, recipe.host_seconds(1, agreement))
    return Prediction(compute, communication, synchronous, asynchronous)


def _row_seconds(config: Config) -> float:
    """Measure the processor time of drawing one row of z, which other programs on the machine affect little."""
    shape = (DRAWN_ROWS, config.latent_dim)
    seconds = []
    for counter in range(DRAWS):
        began = time.thread_time()
        rng.latent(config.latent_distribution, config.seed, "critic.z", counter, shape)
        seconds.append(time.thread_time() - began)
    return statistics.median(seconds) / DRAWN_ROWS


def _assumptions(recipes: list[Recipe]) -> list[tuple[str, str, str]]:
    """Return the name, value and source of each assumption."""
    float32, bf16 = (f"{speed / 1e12:g} TFLOP/s sustained" for speed in SPEEDS.values())
    slow, fast, nvlink = (f"{link.bandwidth / 1e9:g} GB/s each way" for link in LINKS.values())
    network, switch = (f"{LINKS[name].latency * 1e6:g} µs" for name in ("25 GB/s", "NVLink, 450 GB/s"))
    one_host, hosts_of_8 = (f"{AGREEMENTS[gpus] * 1e3:g} ms" for gpus in (8, 64))
    return [
        ("GPU in float32", float32, "estimated: three quarters of the 19.5 that NVIDIA states for an A100"),
        ("GPU in bf16", bf16, "estimated: half of the 312 that NVIDIA states for an A100"),
        ("slow link", slow, "line rate of a network adapter of 200 Gbit/s"),
        ("fast link", fast, "line rate of two network adapters of 400 Gbit/s"),
        ("NVLink, between all GPUs", nvlink, "NVIDIA states 900 GB/s, both ways together, for an H100"),
        ("latency of a message", f"{network}, NVLink {switch}", "estimated"),
        ("computation beside communication", "none", "pessimistic: DistributedDataParallel overlaps a part"),
        ("launches of an iteration", f"{LAUNCHES * 1e3:g} ms", "estimated for 300 kernels of 10 µs each"),
        *(
            (
                f"a row of z, {recipe.config.latent_dim} numbers ({recipe.name})",
                f"{recipe.row_seconds * 1e6:.2g} µs",
                f"measured here: processor time, median of {DRAWS} draws of {DRAWN_ROWS:,} rows",
            )
            for recipe in recipes
        ),
        ("agreement of 8 processes", one_host, "estimated for gloo on one host with 8 GPUs: 0.2 to 0.4 ms"),
        ("agreement of 64 processes", hosts_of_8, "estimated for gloo on 8 hosts: 3 to 5 ms"),
        (
            "upload of noise, synchronous",
            "waits for the GPU once an iteration",
            "PyTorch's source: a blocking copy to a GPU waits for the stream",
        ),
    ]


def _print_assumptions(recipes: list[Recipe]) -> None:
    machine = describe_machine()
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{datetime.date.today()}, {machine['Processor']}, {machine['Cores']} cores, load averages {load}\n")
    print("| assumption | value | source |\n|---|---|---|")
    for row in _assumptions(recipes):
        print(f"| {' | '.join(row)} |")


def _gpus(work: Work, speed: float, link: Link, strong: bool) -> str:
    gpus = reaches(SHARE, lambda n: work.flops / speed / (n if strong else 1), work, link)
    return f"{gpus:,}" if gpus else f"> {MOST:,}"


def _print_reach(recipes: list[Recipe]) -> None:
    """Print for each recipe from how many GPUs on communication takes a tenth of the step.

    The first number is for the recipe's batch on every GPU, the second for that batch divided among all.
    """
    print("\n| recipe | TFLOP a step | gradients, MB a step | collectives | TFLOP/s | " + " | ".join(LINKS) + " |")
    print("|---" * (5 + len(LINKS)) + "|")
    for recipe in recipes:
        work = recipe.work
        collectives = len(work.gradients + work.sums + work.gathers)
        for name, speed in SPEEDS.items():
            cells = " | ".join(
                " / ".join(_gpus(work, speed, link, s) for s in (False, True)) for link in LINKS.values()
            )
            print(
                f"| {recipe.name}, batch {recipe.config.batch_size} | {work.flops / 1e12:.3g} "
                f"| {work.gradient_bytes / 1e6:.0f} | {collectives} | {name} | {cells} |"
            )


def _in_both(step: Prediction, text: Callable[[float], str]) -> str:
    """Return the texts of what the host adds in the synchronous and the asynchronous design, with an arrow between."""
    return f"{text(step.synchronous)} → {text(step.asynchronous)}"


def _efficiency(step: Prediction) -> str:
    return _in_both(step, lambda exposed: f"{100 * step.efficiency(exposed):.0f} %")


def _parts(step: Prediction) -> str:
    """Return what a step on several GPUs takes beside its computation, and the efficiency."""
    added = _in_both(step, lambda exposed: f"{exposed * 1e3:.1f}")
    return f"{step.communication * 1e3:.1f} | {added} | {_efficiency(step)}"


def _print_efficiency(recipes: list[Recipe]) -> None:
    """Print the milliseconds of a step and the share of computation, with the recipe's batch on every GPU."""
    print("\nMilliseconds a step; left of the arrow the synchronous design, right of it the asynchronous one:\n")
    one, *several = AGREEMENTS
    columns = [f"{gpus} GPUs: communication | host adds | efficiency" for gpus in several]
    print("| recipe | TFLOP/s | link | computation | 1 GPU: efficiency | " + " | ".join(columns) + " |")
    print("|---" * (5 + 3 * len(columns)) + "|")
    for recipe, (name, speed), (link_name, link) in itertools.product(recipes, SPEEDS.items(), LINKS.items()):
        alone = predict_step(recipe, speed, link, one)
        cells = " | ".join(_parts(predict_step(recipe, speed, link, gpus)) for gpus in several)
        print(f"| {recipe.name} | {name} | {link_name} | {alone.compute * 1e3:.1f} | {_efficiency(alone)} | {cells} |")


def predict() -> None:
    """Print the assumptions, where communication takes a tenth of a step, and the efficiency at 8 and 64 GPUs."""
    accelerator = distributed.start(None)
    configs = {name: load_config({"recipe": name}) for name in RECIPES}
    recipes = [
        Recipe(name, config, count(config, accelerator, 3), _row_seconds(config)) for name, config in configs.items()
    ]
    _print_assumptions(recipes)
    _print_reach(recipes)
    _print_efficiency(recipes)


# --- held against processes that are really there ---

SETTINGS = {
    "data": "digits",
    "image_size": "64",
    "generator": "dcgan",
    "critic": "dcgan",
    "generator_features": "16",
    "critic_features": "16",
    "max_steps": "1000",
    "threads": "1",
}
SHARE_OF_BATCH = 4
PROCESSES = (1, 2, 4)
MEGABITS = (50, 200)
ROUNDS, WARM_UP, STEPS = 3, 2, 7
SMALL, LARGE = 2, 1 << 20  # floats


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Let this process compute as if it were the only one."""
    with contextlib.ExitStack() as stack:
        for module in (distributed, process_group, collectives, sync_batchnorm):
            stack.enter_context(mock.patch.object(module, "world", return_value=distributed.World(0, 1)))
        yield


def _make_step(accelerator: Accelerator) -> Callable[[], object]:
    """Return a function that does a step of a real run."""
    config = load_config(SETTINGS | {"batch_size": str(SHARE_OF_BATCH * distributed.world().size)})
    images = open_images(
        config.data,
        image_settings(config),
        config.cache_dir,
    )
    return steps_of(build_run(config, accelerator, images))


def _seconds_of_slowest(action: Callable[[], object]) -> float:
    """Return the seconds of the slowest process; all start the action at once."""
    distributed.barrier()
    began = time.perf_counter()
    action()
    seconds = torch.tensor(time.perf_counter() - began)
    if distributed.world().size > 1:
        dist.all_reduce(seconds, dist.ReduceOp.MAX)
    return float(seconds)


def _median_of_slowest(action: Callable[[], object], times: int) -> float:
    return statistics.median(_seconds_of_slowest(action) for _ in range(times))


def work() -> None:
    """Run as one process of several; the main one prints the medians in seconds, by link rate, as JSON."""
    accelerator = distributed.start(1, 600)
    single = copy.copy(accelerator)
    single.prepare = lambda *objects: objects
    together = _make_step(accelerator)
    with _apart():
        step_apart = _make_step(single)

    def apart() -> None:
        with _apart():
            step_apart()

    medians: dict[int, dict[str, float]] = {}
    for rate in MEGABITS:
        limit_here(rate)
        medians[rate] = {"small": _all_reduce(SMALL, 50), "large": _all_reduce(LARGE, 5)}
        # In turn, so that other load on the machine affects both alike.
        pairs = [(_seconds_of_slowest(apart), _seconds_of_slowest(together)) for _ in range(WARM_UP + STEPS)]
        compute, step = zip(*pairs[WARM_UP:], strict=True)
        spent = [whole - part for part, whole in pairs[WARM_UP:]]
        samples = {"compute": compute, "step": step, "spent": spent}
        medians[rate] |= {name: statistics.median(seconds) for name, seconds in samples.items()}
    if distributed.world().is_main:
        print(json.dumps(medians))
    distributed.leave()
    distributed.end()


def _all_reduce(length: int, times: int) -> float:
    values = torch.zeros(length)
    return _median_of_slowest(lambda: distributed.all_reduce_mean(values), times)


def _measure(processes: int) -> dict[str, dict[str, float]]:
    """Return what the processes of a run measured, one on each host."""
    with hosts(processes) as machines:
        world = {"WORLD_SIZE": str(processes), "MASTER_ADDR": machines[0].name, "MASTER_PORT": "29500"}
        started = []
        for rank, host in enumerate(machines):
            member = world | {"RANK": str(rank), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": "1"}
            command = host.command(sys.executable, "-m", MODULE, "work")
            out = None if rank else subprocess.PIPE
            started.append(subprocess.Popen(command, env=os.environ | member, stdout=out, text=True))
        said = started[0].communicate(timeout=HANG_SECONDS)[0]
        return json.loads(said.splitlines()[-1])


def _link(pairs: list[dict[str, float]]) -> Link:
    """Return the speed and latency of a link, measured by all-reduces between two processes."""
    small, large = (statistics.median(pair[name] for pair in pairs) for name in ("small", "large"))
    return Link(LARGE * FLOAT / (large - small), small / 2)


def check() -> None:
    """Print predicted and measured steps side by side."""
    config = load_config(SETTINGS | {"batch_size": str(SHARE_OF_BATCH)})
    counted = count(config, distributed.start(1), 1)
    rounds = [{processes: _measure(processes) for processes in PROCESSES} for _ in range(ROUNDS)]
    print(f"{counted.gradient_bytes / 1e6:.2f} MB of gradients a step, {counted.flops / 1e9:.1f} GFLOP a process")
    print("| cable | processes | compute | communicate, predicted | measured | step, predicted | measured | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for rate in MEGABITS:
        link = _link([measured[2][str(rate)] for measured in rounds])
        for processes in PROCESSES:
            samples = [measured[processes][str(rate)] for measured in rounds]
            communication = communication_seconds(counted, processes, link)
            _print_row(f"{rate} Mbit/s", link, processes, communication, samples)


def _print_row(cable: str, link: Link, processes: int, communication: float, samples: list[dict[str, float]]) -> None:
    compute, spent, step = (
        statistics.median(sample[name] for sample in samples) for name in ("compute", "spent", "step")
    )
    predicted, steps = compute + communication, [sample["step"] for sample in samples]
    print(
        f"| {cable}: {link.bandwidth / 1e6:.1f} MB/s, {link.latency * 1e6:.0f} µs | {processes} | {compute:.2f} s "
        f"| {communication:.2f} s | {spent:.2f} s | {predicted:.2f} s | {step:.2f} s ({min(steps):.2f} to "
        f"{max(steps):.2f}) | {step / predicted:.2f} |"
    )


if __name__ == "__main__":
    tasks = {"predict": predict, "check": check, "work": work}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", default="predict", choices=tasks)
    tasks[parser.parse_args().task]()
