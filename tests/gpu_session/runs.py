"""Runs of some steps: GPU against CPU, twice, in half precision, compiled, as graphs, resumed, on another device."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.gpu_session.children import WITHOUT_GPU, outputs, started
from tests.gpu_session.machine import Machine, relative_difference
from tests.gpu_session.small_runs import DENSE, recorded, settings_in, trained_weights, weights
from tests.gpu_session.table import Row, at_most, holds, measured, not_tried
from wgan_dist.checkpoints import safetensors_io
from wgan_dist.checkpoints.checkpoint_folders import newest_checkpoint
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config import load_config
from wgan_dist.training import run as training

STEPS, COMPILED_STEPS, HALF_STEPS = 10, 3, 20
# Of half-precision runs: the last steps, at which fp16's scale has come down.
LAST = 5
# These files hold the length of a run, which a run and its continuation need not share.
STATE_FILES = {"state.json", "manifest.json"}


def train(settings: dict[str, str]) -> str:
    """Train a run as its command does, without the model card; return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        training.train(load_config(settings))
    return printed.getvalue()


def _apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Return the greatest absolute difference of two sets of weights; NaN if any is NaN."""
    assert found.keys() == expected.keys()
    return float(torch.stack([(found[name].double() - expected[name].double()).abs().max() for name in found]).max())


def _on_both(machine: Machine, name: str, settings: dict[str, str]) -> float:
    """Train a run here and in a process that sees no GPU; return how far apart the weights are."""
    out = machine.scratch / f"{name}.safetensors"
    arguments = ["weights", str(out), json.dumps(settings)]
    with started(name, arguments, machine.scratch, [WITHOUT_GPU]) as children:
        found = trained_weights(settings)
        outputs(children)
    return _apart(found, load_file(out))


def devices(machine: Machine) -> Iterator[Row]:
    """Compare a run on the device with one on a CPU, and with its own repetition under --deterministic."""
    settings = settings_in(machine.scratch, dtype="float64", max_steps=str(STEPS))
    apart = _on_both(machine, "without-gpu", settings)
    yield at_most(f"weights after {STEPS} steps, float64, {machine.device.type} against cpu", apart, 1e-9)
    settings = settings_in(machine.scratch, deterministic="true", max_steps=str(STEPS))
    first, second = (safetensors_io.digest(trained_weights(settings)) for _ in range(2))
    yield holds(f"weights after {STEPS} steps, --deterministic, twice", first == second, f"{first[:12]}, {second[:12]}")


def half_precision(machine: Machine) -> Iterator[Row]:
    """Train in half precision: the last steps are finite, and fp16 updates again once its scale has come down."""
    for precision in ("bf16", "fp16"):
        settings = settings_in(machine.scratch, mixed_precision=precision)
        run, values = recorded(settings, HALF_STEPS)
        states = {name: network.scaler.state() for name, network in run.gan.networks().items()}
        learns = all(state.skipped_in_a_row == 0 for state in states.values())
        skipped = ", ".join(f"{name} {state.skipped} skipped, scale {state.scale:g}" for name, state in states.items())
        yield holds(f"{HALF_STEPS} steps, {precision}", learns and bool(values[-LAST:].isfinite().all()), skipped)


def _against_eager(machine: Machine, what: str, **settings: str) -> Iterator[Row]:
    every = settings_in(machine.scratch, dtype="float64") | ({} if machine.has_gpu else DENSE)
    eager, expected = recorded(every, COMPILED_STEPS)
    other, found = recorded(every | settings, COMPILED_STEPS)
    yield at_most(f"metrics of {COMPILED_STEPS} steps, {what}", relative_difference(found, expected), 1e-9)
    yield at_most(f"weights after {COMPILED_STEPS} steps, {what}", _apart(weights(other), weights(eager)), 1e-9)


def compiled(machine: Machine) -> Iterator[Row]:
    """Compare compiled steps, and compiled steps replayed as CUDA graphs, with eager ones in float64."""
    torch.compiler.reset()
    yield from _against_eager(machine, "--compile", compile="true")
    if machine.has_gpu:
        yield from _against_eager(machine, "--compile --cuda_graphs", compile="true", cuda_graphs="true")
    else:
        yield not_tried("--compile --cuda_graphs", "a CPU has no graphs")


def _last_checkpoint(run_dir: Path) -> Path:
    return newest_checkpoint(run_dir / CHECKPOINTS, set_aside=False)


def _differing_files(run_dir: Path, other: Path) -> list[str]:
    ours, others = _last_checkpoint(run_dir), _last_checkpoint(other)
    assert ours.name == others.name
    names = sorted({file.name for folder in (ours, others) for file in folder.iterdir()} - STATE_FILES)
    return [name for name in names if (ours / name).read_bytes() != (others / name).read_bytes()]


def resumed(machine: Machine) -> Iterator[Row]:
    """Compare a run that stops and resumes with one that does not, and continue its checkpoint without a GPU."""
    straight, halved = machine.scratch / "straight", machine.scratch / "halved"
    settings = settings_in(machine.scratch, deterministic="true", dtype="float64", checkpoint_every="3")
    train(settings | {"run_dir": str(straight), "max_steps": "6"})
    train(settings | {"run_dir": str(halved), "max_steps": "3"})
    train({"run_dir": str(halved), "resume": "true", "max_steps": "6"})
    differing = _differing_files(halved, straight)
    what = "files of the last checkpoint, resumed against straight, --deterministic"
    yield holds(what, not differing, f"differing: {', '.join(differing) or 'none'}")
    apart = _on_both(machine, "resumed", {"run_dir": str(straight), "resume": "true", "max_steps": "7"})
    yield at_most(f"a checkpoint of {machine.device.type} continued on cpu, weights, float64", apart, 1e-9)


def first_line(machine: Machine) -> Row:
    """Return what a run prints first: what it computes on, and how."""
    printed = train(settings_in(machine.scratch, dry_run="true"))
    return measured("first line of a run", printed.splitlines()[0])
