"""Seconds per generator step of whole runs, as a user starts them, against the loops of `tests.benchmarks.textbook`.

    python -m tests.benchmarks.training
    python -m tests.benchmarks.training dcgan mlp_gp

By turns, each alone in its process; medians. Peak memory is of the process (resident set), torch included.
The speed of a matrix product of 2048 × 2048 is measured in the same turns.
"""

import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.processes import PYTHON, REPOSITORY
from wgan_dist.checkpoints.run_dir import METRICS_FILE

TURNS = 2
GIB = 2**20  # of the kilobytes that the system counts memory in


@dataclass(frozen=True)
class Case:
    """Runs with `flags` beside a loop of the textbook; `skip` records at the start, of `every` steps each."""

    reference: str
    flags: dict[str, str]
    steps: int = 5
    every: int = 1
    skip: int = 1


DCGAN = {"data": "photos", "image_size": "64", "channels": "3", "batch_size": "32", "latent_dim": "100"}
RESNET = {
    "recipe": "cifar10_resnet",
    "data": "photos",
    "channels": "3",
    "generator_features": "256",
    "generator_batch_size": "64",
}
MLP = {"recipe": "mnist_mlp", "data": "idx"}
GP = {"penalty": "gp", "optimizer": "adam", "reuse_latents": "false", "critic_lr": "0.0001", "generator_lr": "0.0001"}
BF16, COMPILED = {"mixed_precision": "bf16"}, {"compile": "true"}
CASES = {
    "dcgan": Case("dcgan_a", DCGAN),
    "dcgan_b": Case("dcgan_b", DCGAN),
    "dcgan_compiled": Case("dcgan_a", DCGAN | COMPILED, skip=2, steps=6),
    "dcgan_bf16": Case("dcgan_a", DCGAN | BF16),
    "dcgan_bf16_compiled": Case("dcgan_a", DCGAN | BF16 | COMPILED, skip=2, steps=8),
    "resnet": Case("resnet", RESNET, steps=3),
    "resnet_bf16": Case("resnet", RESNET | BF16, steps=3),
    "mlp_clip": Case("mlp_clip", MLP, steps=300, every=50),
    "mlp_gp": Case("mlp_gp", MLP | GP, steps=300, every=50),
}


def write_idx(folder: Path, count: int = 60_000, size: int = 28) -> None:
    """As many grey pictures as MNIST trains on, in its format."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, *pixels.shape) + pixels.tobytes())


def write_photos(folder: Path, count: int = 500, size: int = 64) -> None:
    """Pictures as a user's folder holds them."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{number:04d}.png")


def _run(*command: str, cwd: Path) -> tuple[str, int]:
    """What a command prints, and its peak resident set in KiB; all cores."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(REPOSITORY)}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        for file in (out, err):
            file.seek(0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed:\n{err.read()}")
        return out.read(), usage.ru_maxrss


def ours(case: Case, folder: Path, turn: int) -> tuple[list[float], int]:
    """Seconds per step of a run, and its peak memory."""
    run_dir = folder / f"run-{turn}"
    own = {"max_steps": str(case.steps), "log_every": str(case.every), "run_dir": str(run_dir)}
    settings = case.flags | own | {"cache_dir": str(folder / "cache")}
    _, memory = _run(
        *PYTHON, "-m", "wgan_dist.train", *(f"--{name}={value}" for name, value in settings.items()), cwd=folder
    )
    records = [json.loads(line) for line in (run_dir / METRICS_FILE).read_text().splitlines()]
    return [record["seconds"] / case.every for record in records[case.skip :]], memory


def textbook(case: Case, folder: Path) -> tuple[list[float], int]:
    """The same of the loop that a tutorial has."""
    said, memory = _run(*PYTHON, "-m", "tests.benchmarks.textbook", case.reference, str(case.steps), cwd=folder)
    return json.loads(said)[case.skip * case.every :], memory


def matrix_speed(dtype: str, folder: Path) -> float:
    """FLOP/s of a matrix product."""
    said, _ = _run(*PYTHON, "-m", "tests.benchmarks.textbook", "gemm", dtype, cwd=folder)
    return float(said)


def measure(name: str, case: Case, turns: int) -> None:
    """Print one row."""
    pairs, peaks = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write = {"idx": write_idx, "photos": write_photos}[case.flags["data"]]
        write(folder / case.flags["data"])
        for turn in range(turns):
            pairs.append((ours(case, folder, turn), textbook(case, folder)))
            peaks.append(matrix_speed("bfloat16" if "bf16" in name else "float32", folder))
            print(f"{name}: turn {turn + 1} of {turns}", file=sys.stderr, flush=True)
    mine, theirs = ([second for pair in pairs for second in pair[side][0]] for side in (0, 1))
    memory = [statistics.median(pair[side][1] for pair in pairs) / GIB for side in (0, 1)]
    speed = statistics.median(theirs) / statistics.median(mine)
    print(
        f"| {name} | {statistics.median(mine):.4g} | {case.reference} {statistics.median(theirs):.4g} | {speed:.2f} | "
        f"{memory[0]:.2f} / {memory[1]:.2f} GiB | {statistics.median(peaks) / 1e9:.0f} GFLOP/s |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", help=f"some of {', '.join(CASES)}; all by default")
    names = parser.parse_args().runs or list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"{unknown[0]}: expected some of {', '.join(CASES)}")
    print("| run | s per step | textbook | times as fast | peak memory, ours / textbook | matrix product |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in names:
        measure(name, CASES[name], TURNS)


if __name__ == "__main__":
    main()
