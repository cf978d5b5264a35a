"""The promises of one result, checked on the devices of this machine, as a table: bash launch/verify_gpu.sh"""

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export.sampler import Sampler
from tests.conftest import TINY
from tests.exports import export_onnx
from tests.faults.tiny import files, last_checkpoint, weights_apart
from tests.injections import INJECTIONS, outcomes
from tests.processes import PYTHON, metrics, run, torchrun
from tests.worlds import greatest_difference
from wgan_dist.losses import modules
from wgan_dist.models.registry import build_critic, critic_spec
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Outcome:
    """One promise: the figure found, the greatest or least that holds it, and whether it did."""

    figure: str
    held: bool


@dataclass(frozen=True)
class Machine:
    """What the checks run on: the device, how many processes, and a folder for what they write."""

    device: str
    processes: int
    scratch: Path

    def many(self) -> tuple[str, ...]:
        return torchrun(self.processes)


def _at_most(found: float, limit: float, what: str = "") -> Outcome:
    return Outcome(f"{found:.2g}{what} (at most {limit:g})", found <= limit)


def gradients(machine: Machine) -> Outcome:
    """One process against several, float64, every constraint and norm; ranks bit-equal after each step."""
    for launcher, out in ((PYTHON, "one"), (machine.many(), "many")):
        run(*launcher, "-m", "tests.worlds", out, "float64", cwd=machine.scratch)
    return _at_most(greatest_difference(machine.scratch / "one", machine.scratch / "many")[0], 1e-12)


def skips(machine: Machine) -> Outcome:
    """An inf on the last process is one skipped update on all, at every precision."""
    done = run(*machine.many(), "-m", "tests.injections", cwd=machine.scratch)
    good = sum(
        all(rank["untouched"] and rank["skipped"] == 1 and rank["finite"] for rank in ranks)
        for ranks in outcomes(done.stdout)
    )
    return Outcome(f"{good} of {len(INJECTIONS)}", good == len(INJECTIONS))


def _penalty(device: str, dtype: torch.dtype | None) -> float:
    """Of a DCGAN whose gradients have norms around 3; `dtype` None is float64."""
    critic = build_critic(critic_spec("dcgan", 32, 3, 8, "instance"), 0).to(device, torch.float64)
    images = torch.as_tensor(2.0 * rng.uniform(0, "test.real", 0, (32, 3, 32, 32)) - 1.0).to(device)
    norms = modules.gradient_norms(modules.input_gradient(critic, images))
    list(critic.parameters())[-1 if list(critic.parameters())[-1].dim() > 1 else -2].data.mul_(3.0 / norms.mean())
    precise = torch.float64 if dtype is None else torch.float32
    scale = torch.tensor(2.0**7, device=device) if dtype is torch.float16 else None
    with torch.autocast(device, dtype, enabled=dtype is not None):
        gradient = modules.input_gradient(critic.to(precise), images.to(precise), scale)
        return float(modules.two_sided_penalty(modules.gradient_norms(gradient.detach())))


def penalties(machine: Machine) -> Outcome:
    """The penalty under bf16 and fp16 against float64."""
    exact = _penalty(machine.device, None)
    return _at_most(
        max(abs(_penalty(machine.device, dtype) / exact - 1) for dtype in (torch.bfloat16, torch.float16)), 1e-2
    )


def _train(machine: Machine, name: str, launcher: tuple[str, ...], **settings: str) -> Path:
    every = {name: value for name, value in TINY.items() if name != "threads"}
    given = every | {"run_dir": name, "cache_dir": "cache", "sample_every": "0"} | settings
    run(*launcher, "-m", "wgan_dist.train", *(f"--{k}={v}" for k, v in given.items()), cwd=machine.scratch)
    return machine.scratch / name


def runs(machine: Machine) -> Outcome:
    """Fifty steps in float64 at one and several processes: the weights."""
    settings = {"dtype": "float64", "max_steps": "50", "checkpoint_every": "0"}
    folders = [_train(machine, "straight", PYTHON, **settings), _train(machine, "shared", machine.many(), **settings)]
    return _at_most(weights_apart(*folders), 1e-9)


def _records_apart(eager: list[dict[str, Any]], other: list[dict[str, Any]]) -> Outcome:
    pairs = ((a[key], b[key]) for a, b in zip(eager, other, strict=True) for key in a)
    return _at_most(max(abs(a - b) / max(1.0, abs(a)) for a, b in pairs), 1e-9)


def compiled(machine: Machine) -> Outcome:
    """--compile against eager, float64, several processes: the records."""
    settings = {"dtype": "float64", "max_steps": "3", "n_critic": "2", "log_every": "1"}
    eager = metrics(_train(machine, "eager", machine.many(), **settings))
    other = metrics(_train(machine, "compiled", machine.many(), compile="true", **settings))
    return _records_apart(eager, other)


def graphs(machine: Machine) -> Outcome:
    """--cuda_graphs against eager, float64, one process: the records."""
    settings = {"dtype": "float64", "max_steps": "6", "n_critic": "2", "log_every": "2"}
    eager = metrics(_train(machine, "alone", PYTHON, **settings))
    other = metrics(_train(machine, "replayed", PYTHON, compile="true", cuda_graphs="true", **settings))
    return _records_apart(eager, other)


def half_precision_runs(machine: Machine) -> Outcome:
    """A run in fp16, several processes: it learns on after the scale has come down."""
    records = metrics(_train(machine, "half", machine.many(), mixed_precision="fp16", max_steps="20", log_every="1"))
    last = records[-1]
    finite = [record for record in records[-5:] if record["critic_loss"] is not None]
    return Outcome(f"{last['critic_skipped'] + last['generator_skipped']} updates skipped at first", len(finite) == 5)


def resumed(machine: Machine) -> Outcome:
    """--deterministic: stopped and resumed against straight, bytes of the last checkpoint."""
    settings = {"deterministic": "true", "checkpoint_every": "3"}
    straight = _train(machine, "whole", machine.many(), **settings)
    _train(machine, "halved", machine.many(), max_steps="3", **settings)
    run(*machine.many(), "-m", "wgan_dist.train", "--run_dir=halved", "--resume", "--max_steps=6", cwd=machine.scratch)
    found = files(last_checkpoint(machine.scratch / "halved"))
    differing = [name for name, content in files(last_checkpoint(straight)).items() if found.get(name) != content]
    # The length of a run is in its state: nothing else may differ.
    return Outcome(", ".join(differing) or "none differs", not set(differing) - {"state.json", "manifest.json"})


def sampled(machine: Machine) -> Outcome:
    """The ONNX file through the device's provider against the CPU's, images in [-1, 1]."""
    source = machine.scratch / "whole"
    with contextlib.redirect_stdout(io.StringIO()):
        export_onnx({"ckpt": str(source), "out": str(machine.scratch / "generator.onnx")})
    images = [
        Sampler(str(machine.scratch / "generator.onnx"), device).sample(64, seed=0).astype(np.float32) / 127.5
        for device in ("cpu", machine.device)
    ]
    return _at_most(float(np.abs(images[0] - images[1]).max()), 1 / 127)


CHECKS: dict[str, Callable[[Machine], Outcome]] = {
    "gradients, one process against several": gradients,
    "an inf on one process": skips,
    "penalty in bf16 and fp16 against fp64": penalties,
    "fifty steps, one process against several": runs,
    "compiled against eager": compiled,
    "CUDA graphs against eager": graphs,
    "a run in fp16": half_precision_runs,
    "resumed against straight, --deterministic": resumed,
    "sampling through the device's provider": sampled,
}


# What says nothing with a single process.
SEVERAL = (gradients, runs)


def _machine(arguments: list[str], scratch: Path) -> Machine:
    if arguments not in ([], ["--cpu"]):
        raise UserError(f"unexpected {' '.join(arguments)}: expected nothing, or --cpu")
    if arguments:
        return Machine("cpu", 2, scratch)
    if not torch.cuda.is_available():
        raise UserError("no GPU was found; --cpu goes the same ways without one")
    # What the batches of the checks can be shared among.
    return Machine("cuda", max(size for size in (1, 2, 4, 8) if size <= torch.cuda.device_count()), scratch)


def verify(arguments: list[str]) -> Iterator[tuple[str, Outcome]]:
    """Each check and its outcome; one that raises did not hold, and says why."""
    with tempfile.TemporaryDirectory() as folder:
        machine = _machine(arguments, Path(folder))
        print(f"{machine.device}, {machine.processes} processes, torch {torch.__version__}", flush=True)
        for name, check in CHECKS.items():
            if machine.processes == 1 and check in SEVERAL:
                yield name, Outcome("not tried: there is one GPU", held=False)
                continue
            try:
                yield name, check(machine)
            except Exception as error:  # the other rows still tell something
                yield name, Outcome(f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}", held=False)


def main() -> None:
    """Print the table; exit status 1 if a promise was not held."""
    width = max(map(len, CHECKS))
    held = True
    try:
        for name, outcome in verify(sys.argv[1:]):
            held &= outcome.held
            print(f"{name:{width}}  {'held' if outcome.held else 'NOT HELD':8}  {outcome.figure}", flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(not held)


if __name__ == "__main__":
    main()
