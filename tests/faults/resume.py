"""A run that is stopped anywhere and resumed produces the same bytes as an uninterrupted run."""

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorboard.summary.writer import event_file_writer

import wgan_dist.train
from tests.faults import Row
from tests.faults.tiny import SETTINGS, differences, flags, last_checkpoint
from tests.processes import TORCHRUN_2, run
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config.command_line import EXIT_STOPPED
from wgan_dist.losses.modules import Metrics
from wgan_dist.train import train
from wgan_dist.training import grad_scaler, trainer
from wgan_dist.training.callbacks import StopSignal
from wgan_dist.training.noise import CriticNoise
from wgan_dist.training.real_batches import RealBatch
from wgan_dist.training.steps import GAN
from wgan_dist.utils import signals
from wgan_dist.utils.errors import Stopped

BATCHES = 50


@dataclass(frozen=True)
class Point:
    """Where a run is stopped: before critic iteration `at` of the run, counted from 0."""

    name: str
    at: int
    settings: dict[str, str] = field(default_factory=dict)


# 1,797 digits in batches of 16: 112 batches an epoch. Three critic iterations a step.
SKIPS = {"mixed_precision": "fp16"}
SMALL_EPOCH = {"batch_size": "512", "max_steps": "20"}
POINTS = [
    Point("an epoch's edge", 6, SMALL_EPOCH),
    Point("within an epoch", 7, SMALL_EPOCH),
    Point("before the first critic iteration of all", 0),
    Point("within the first step", 2),
    Point("phase 0 of n_critic, nothing saved there yet", 18),
    Point("phase 0 of n_critic, just saved", 15),
    Point("phase 1 of n_critic", 19),
    Point("phase 2 of n_critic", 20),
    Point(
        "phase 1 of n_critic, one real batch per generator step", 19, {"real_batch_per": "generator", "flip": "true"}
    ),
    Point("after a skipped update, in fp16", 5, SKIPS),
    Point("between skipped updates, one of them the generator's", 3, SKIPS),
    Point("within warm-up", 150, {"critic_warmup": "true", "max_steps": "3"}),
    Point("learning rate decaying", 31, {"lr_decay": "linear"}),
    Point("accumulation, mirrored images", 22, {"accumulation": "4", "flip": "true"}),
    Point("two data loader workers", 23, {"workers": "2"}),
    Point("with evaluation", 40, {"evaluate_every": "12", "max_steps": "32", "keep_checkpoints": "1"}),
    Point("with weight clipping and RMSprop", 16, {"penalty": "clip", "optimizer": "rmsprop"}),
    Point("with fresh averages", 10, {"ema_decay": "0", "weight_histograms": "true"}),
]
TWO_PROCESSES = [
    Point("two processes, within a step, mirrored images", 19, {"flip": "true"}),
    Point("two processes, accumulation, evaluation, an epoch's edge", 12, SMALL_EPOCH | {"evaluate_every": "2"}),
]


@contextmanager
def watched(at: int | None) -> Iterator[list[str]]:
    """Yield a list that fills with the SHA-256 of each real batch; send a real SIGTERM before critic iteration `at`."""
    seen: list[str] = []
    module: Any = trainer
    step, check = module.critic_step, StopSignal.on_critic_iteration_begin

    def watching(gan: GAN, real: RealBatch, noise: CriticNoise, with_penalty: bool) -> Metrics:
        seen.append(hashlib.sha256(b"".join(part.numpy().tobytes() for part in real.samples)).hexdigest())
        return step(gan, real, noise, with_penalty)

    def signalling(self: StopSignal, state: TrainState) -> None:
        if state.total_critic_iterations == at:
            signal.raise_signal(signal.SIGTERM)
        check(self, state)

    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    signals.install_handlers()
    module.critic_step, StopSignal.on_critic_iteration_begin = watching, signalling  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        module.critic_step, StopSignal.on_critic_iteration_begin = step, check  # type: ignore[method-assign]
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def great_first_scale() -> Iterator[None]:
    """Make the first loss scale so great that the updates of both networks are skipped under fp16."""
    usual, grad_scaler.INITIAL_SCALE = grad_scaler.INITIAL_SCALE, 2.0**40
    try:
        yield
    finally:
        grad_scaler.INITIAL_SCALE = usual


# TensorBoard reads the event files of one second in the order of their names, which end in a counter of the process:
# it would read number 10 before number 9.
event_file_writer._global_uid = event_file_writer.AtomicCounter(1000)


def attempt(settings: dict[str, str], at: int | None) -> list[str]:
    """Train in this process until the end or until it is stopped; return the real batches it saw."""
    with watched(at) as seen, great_first_scale():
        try:
            train(settings)
        except Stopped:
            return seen
        assert at is None, "the run was not stopped"
    return seen


def check(point: Point, scratch: Path, cache_dir: Path) -> list[str]:
    """Return how an uninterrupted run differs from one that was stopped at `point` and resumed."""
    settings = SETTINGS | point.settings | {"cache_dir": str(cache_dir)}
    straight, halved = {"run_dir": str(scratch / "straight")}, {"run_dir": str(scratch / "halved")}
    all_batches = attempt(settings | straight, None)
    first = attempt(settings | halved, point.at)
    second = attempt(halved | {"resume": "true"}, None)
    differing = differences(scratch / "halved", scratch / "straight")
    if len(first) != point.at:
        differing.append(f"stopped after {len(first)} critic iterations")
    if first + second != all_batches or len(second) < BATCHES:
        differing.append("batches")
    if point.settings is SKIPS and not _skipped(scratch / "straight"):
        differing.append("no step was skipped")
    return differing


def _skipped(run_dir: Path) -> bool:
    state = json.loads((last_checkpoint(run_dir) / "state.json").read_text())
    return all(0 < each["skipped"] and each["skipped_in_a_row"] == 0 for each in state["grad_scalers"].values())


def check_two(point: Point, scratch: Path, cache_dir: Path) -> list[str]:
    """Do the same with two real processes, and stop the second one."""
    settings = SETTINGS | point.settings | {"cache_dir": str(cache_dir)}
    module = (*TORCHRUN_2, "-m", "tests.faults.resume")
    run(*module, "none", *flags(settings), "--run_dir=straight", cwd=scratch)
    # torchrun itself ends with 1, whatever its processes end with, and says what that was.
    stopped = run(*module, str(point.at), *flags(settings), "--run_dir=halved", cwd=scratch, fails=1)
    run(*TORCHRUN_2, "-m", "wgan_dist.train", "--run_dir=halved", "--resume", f"--cache_dir={cache_dir}", cwd=scratch)
    differing = differences(scratch / "halved", scratch / "straight")
    ended = re.findall(r"exitcode *: (-?[0-9]+)", stopped.stderr)
    return differing if set(ended) == {str(EXIT_STOPPED)} else [*differing, f"exit statuses {ended}"]


def rows(scratch: Path, cache_dir: Path) -> Row:
    """Stop at every point."""
    row = Row("stopped and resumed against straight, equal bytes")
    for number, point in enumerate([*POINTS, *TWO_PROCESSES]):
        folder = scratch / str(number)
        folder.mkdir()
        differing = (check_two if point in TWO_PROCESSES else check)(point, folder, cache_dir)
        row.expect(not differing, f"{point.name}: {', '.join(differing)}")
    return row


def main() -> None:
    """Run one of several processes; the last one stops itself."""
    at = sys.argv.pop(1)
    is_last = os.environ["RANK"] == "1"
    with watched(int(at) if is_last and at != "none" else None):
        wgan_dist.train.main()


if __name__ == "__main__":
    main()
