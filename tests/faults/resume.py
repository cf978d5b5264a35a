"""A run that is stopped anywhere and resumed ends where one that never stopped ends, to the byte."""

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

import torch
from torch import Tensor

import wgan_dist.train
import wgan_dist.trainer
from tests.faults import Row
from tests.faults.tiny import SETTINGS, differences, flags
from tests.processes import TORCHRUN_2, run
from wgan_dist import distributed, signals
from wgan_dist.cli import EXIT_STOPPED
from wgan_dist.errors import Stopped
from wgan_dist.train import train
from wgan_dist.trainer import Trainer

BATCHES = 50


@dataclass(frozen=True)
class Point:
    """Where a run is stopped: before critic iteration number `at` of the run; `at` counts from 0."""

    name: str
    at: int
    settings: dict[str, str] = field(default_factory=dict)
    skips: bool = False


# 1,797 digits in batches of 16: 112 batches an epoch. Three critic iterations a step.
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
    Point("phase 1 of n_critic, one real batch per generator step", 19, {"real_batch_per": "generator"}),
    Point("after a skipped step of the loss scaler", 5, skips=True),
    Point("between skipped steps, one of them the generator's", 3, skips=True),
    Point("within warm-up", 150, {"critic_warmup": "true", "max_steps": "3"}),
    Point("learning rate decaying", 31, {"lr_decay": "linear"}),
    Point("accumulation", 22, {"accumulation": "4"}),
    Point("two data loader workers", 23, {"workers": "2"}),
    Point("with evaluation", 40, {"evaluate_every": "12", "max_steps": "32", "keep_checkpoints": "1"}),
    Point("with weight clipping and RMSprop", 16, {"penalty": "clip", "optimizer": "rmsprop"}),
    Point("with fresh averages", 10, {"ema_decay": "0", "weight_histograms": "true"}),
]
TWO_PROCESSES = [
    Point("two processes, within a step", 19),
    Point("two processes, accumulation, evaluation, an epoch's edge", 12, SMALL_EPOCH | {"evaluate_every": "2"}),
]


@contextmanager
def watched(at: int | None) -> Iterator[list[str]]:
    """Yields a list that fills with the SHA-256 of every real batch; before critic iteration `at`, a real SIGTERM."""
    seen: list[str] = []
    module: Any = wgan_dist.trainer
    iteration, heed = module.critic_iteration, Trainer._heed

    def watching(critic: Any, generator: Any, reals: list[Tensor], *more: Any) -> Any:
        seen.append(hashlib.sha256(b"".join(part.numpy().tobytes() for part in reals)).hexdigest())
        return iteration(critic, generator, reals, *more)

    def telling(self: Trainer, run_dir: Path) -> None:
        if self.critic_iterations == at:
            signal.raise_signal(signal.SIGTERM)
        heed(self, run_dir)

    before = {each: signal.getsignal(each) for each in signals.STOPPING}
    signals.listen()
    module.critic_iteration, Trainer._heed = watching, telling  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        module.critic_iteration, Trainer._heed = iteration, heed  # type: ignore[method-assign]
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def scaled(skips: bool) -> Iterator[None]:
    """With `skips`, fp16's loss scaler at work on the CPU, in float32: its scale is beyond float32 at first.

    accelerate itself refuses fp16 without a GPU; skipping steps and halving the scale are the scaler's own.
    """
    original = distributed.start

    def start(mixed_precision: str | None, threads: int | None, timeout: int | None = None) -> Any:
        accelerator = original(mixed_precision, threads, timeout)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=3)
        return accelerator

    if skips:
        distributed.start = start
    try:
        yield
    finally:
        distributed.start = original


def attempt(settings: dict[str, str], at: int | None, skips: bool = False) -> list[str]:
    """Train in this process until the end or until it is stopped; the real batches it saw."""
    with watched(at) as seen, scaled(skips):
        try:
            train(settings)
        except Stopped:
            return seen
        assert at is None, "the run was not stopped"
    return seen


def check(point: Point, scratch: Path, cache_dir: Path) -> list[str]:
    """What differs between a straight run and one that was stopped at `point` and resumed."""
    settings = SETTINGS | point.settings | {"cache_dir": str(cache_dir)}
    straight, halved = {"run_dir": str(scratch / "straight")}, {"run_dir": str(scratch / "halved")}
    all_batches = attempt(settings | straight, None, point.skips)
    first = attempt(settings | halved, point.at, point.skips)
    second = attempt(halved | {"resume": "true"}, None, point.skips)
    found = differences(scratch / "halved", scratch / "straight")
    if len(first) != point.at:
        found.append(f"stopped after {len(first)} critic iterations")
    if first + second != all_batches or len(second) < BATCHES:
        found.append("batches")
    if point.skips and not _skipped(scratch / "straight"):
        found.append("no step was skipped")
    return found


def _skipped(run_dir: Path) -> bool:
    state = json.loads(next((run_dir / "checkpoints").glob("*/state.json")).read_text())
    return bool(0 < state["scaler"]["scale"] < 2.0**127)


def check_two(point: Point, scratch: Path, cache_dir: Path) -> list[str]:
    """The same with two real processes, the second of which is told to stop."""
    settings = SETTINGS | point.settings | {"cache_dir": str(cache_dir)}
    module = (*TORCHRUN_2, "-m", "tests.faults.resume")
    run(*module, "none", *flags(settings), "--run_dir=straight", cwd=scratch)
    # torchrun itself ends with 1, whatever its processes end with, and says what that was.
    stopped = run(*module, str(point.at), *flags(settings), "--run_dir=halved", cwd=scratch, fails=1)
    run(*TORCHRUN_2, "-m", "wgan_dist.train", "--run_dir=halved", "--resume", cwd=scratch)
    found = differences(scratch / "halved", scratch / "straight")
    ended = re.findall(r"exitcode *: (-?[0-9]+)", stopped.stderr)
    return found if set(ended) == {str(EXIT_STOPPED)} else [*found, f"exit statuses {ended}"]


def rows(scratch: Path, cache_dir: Path) -> Row:
    """Every point."""
    row = Row("stopped and resumed against straight, equal bytes")
    for number, point in enumerate([*POINTS, *TWO_PROCESSES]):
        folder = scratch / str(number)
        folder.mkdir()
        found = (check_two if point in TWO_PROCESSES else check)(point, folder, cache_dir)
        row.expect(not found, f"{point.name}: {', '.join(found)}")
    return row


def main() -> None:
    """One process of several: the last one tells itself to stop."""
    at = sys.argv.pop(1)
    is_last = os.environ["RANK"] == "1"
    with watched(int(at) if is_last and at != "none" else None):
        wgan_dist.train.main()


if __name__ == "__main__":
    main()
