"""Measure the images per second of a generator in every export format, at batch sizes 1, 8 and 64.

    python -m tests.benchmarks.sampling

The generator is a DCGAN-64 with 64 features unless --ckpt names another. The formats take turns, each in its own
process. Sampler computes uint8 images from latents, the others float images.
"""

import datetime
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from export.program_file import open_program
from export.sampler import Sampler
from tests.exports import export_onnx, export_program, export_torchscript
from tests.generators import write_generator
from tests.processes import run
from wgan_dist.checkpoints import generator_file
from wgan_dist.config import command_line
from wgan_dist.config.fields import setting
from wgan_dist.config.image_size import square
from wgan_dist.models.registry import generator_spec

MODULE = "tests.benchmarks.sampling"
BATCHES = (1, 8, 64)
WARM_UP, LEAST_SECONDS = 3, 1.0
STREAMED = 10_000
GEMM_SIZE, GEMM_REPEATS = 2048, 20
# Format → the exporter, its flags, and the file it writes.
EXPORTS: dict[str, tuple[Callable[[dict[str, str]], None], dict[str, str], str]] = {
    "ONNX fp32": (export_onnx, {}, "fp32.onnx"),
    "ONNX int8": (export_onnx, {"precision": "int8"}, "int8.onnx"),
    "ONNX int8, uint8 images": (export_onnx, {"precision": "int8", "uint8": "true"}, "int8_levels.onnx"),
    "TorchScript fp32": (export_torchscript, {}, "fp32.pt"),
    "TorchScript bf16": (export_torchscript, {"precision": "bf16"}, "bf16.pt"),
    "exported program fp32": (export_program, {}, "fp32.pt2"),
    "AOTInductor fp32": (export_program, {"compiled": "true"}, "fp32.compiled.pt2"),
    "AOTInductor bf16": (export_program, {"compiled": "true", "precision": "bf16"}, "bf16.compiled.pt2"),
}
EAGER = "PyTorch eager fp32"
# The rows of the table: runtime, name, file.
ROWS = [
    ("eager", EAGER, "generator.safetensors"),
    ("onnxruntime", "ONNX fp32, bare session.run", "fp32.onnx"),
    ("sampler", "ONNX fp32, Sampler", "fp32.onnx"),
    ("onnxruntime", "ONNX int8, bare session.run", "int8.onnx"),
    ("sampler", "ONNX int8, Sampler", "int8.onnx"),
    ("sampler", "ONNX int8 --uint8, Sampler", "int8_levels.onnx"),
    ("torchscript", "TorchScript fp32", "fp32.pt"),
    ("torchscript", "TorchScript bf16", "bf16.pt"),
    ("program", "exported program fp32", "fp32.pt2"),
    ("program", "AOTInductor fp32", "fp32.compiled.pt2"),
    ("program", "AOTInductor bf16", "bf16.compiled.pt2"),
]

Generate = Callable[[NDArray[np.float32]], Any]


@dataclass(frozen=True)
class Settings:
    """The settings of the benchmark."""

    ckpt: str = setting("", "generator to export; by default a DCGAN-64 with random weights")
    folder: str = setting("", "folder to keep the exported files in for the next run; by default a temporary folder")
    rounds: int = setting(3, "number of turns of each format", least=1)


def _write_generator(folder: Path) -> Path:
    """Write a DCGAN-64 with random weights, and the BatchNorm statistics of these weights."""
    return write_generator(folder, generator_spec("dcgan", 128, square(64), 3, 64, "auto"))


def _export(settings: Settings, folder: Path) -> None:
    source = folder / generator_file.EMA_FILE
    if not source.is_file():
        source.write_bytes(Path(settings.ckpt).read_bytes()) if settings.ckpt else _write_generator(folder)
    for name, (export, flags, file) in EXPORTS.items():
        if not (folder / file).is_file():
            print(f"exporting {name}", file=sys.stderr, flush=True)
            # Random weights saturate tanh, which lowers the PSNR; the default minimum is for trained weights.
            export(flags | {"ckpt": str(source), "out": str(folder / file), "psnr": "20"})


def _open(runtime: str, path: Path) -> Generate:
    if runtime == "sampler":
        return Sampler(path).images
    if runtime == "onnxruntime":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda z: session.run(None, {"z": z})[0]
    if runtime == "program":
        generate = open_program(path)[1]
    elif runtime == "torchscript":
        generate = torch.no_grad()(torch.jit.load(str(path)))
    else:
        generate = torch.no_grad()(generator_file.load(path).network)
    return lambda z: generate(torch.from_numpy(z))


def _images_per_second(generate: Generate, z: NDArray[np.float32]) -> float:
    for _ in range(WARM_UP):
        generate(z)
    took: list[float] = []
    while sum(took) < LEAST_SECONDS:
        started = time.perf_counter()
        generate(z)
        took.append(time.perf_counter() - started)
    return len(z) / statistics.median(took)


def measure(runtime: str, path: Path, latent_dim: int) -> dict[int, float]:
    """Measure the images per second at each batch size, in this process."""
    generate = _open(runtime, path)
    z = np.random.default_rng(0).standard_normal((max(BATCHES), latent_dim), dtype=np.float32)
    return {size: _images_per_second(generate, z[:size]) for size in BATCHES}


def stream(path: Path) -> dict[str, float]:
    """Stream images in this process: return images per second, the chosen batch size, and by how many MiB the peak
    memory grew after the first tenth.
    """
    sampler, drawn, early = Sampler(path), 0, 0
    started = time.perf_counter()
    for batch in sampler.stream(STREAMED):
        drawn += len(batch)
        if drawn >= STREAMED // 10 and not early:
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early) / 1024
    return {"images_per_second": drawn / seconds, "batch_size": sampler.batch_size, "grown_mebibytes": grown}


def _median_seconds(call: Callable[[], Any]) -> float:
    for _ in range(WARM_UP):
        call()
    took = []
    for _ in range(GEMM_REPEATS):
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def _onnx_product(weights: NDArray[Any], kind: int, operation: str, out: int) -> Any:
    make, size = onnx.helper.make_tensor_value_info, list(weights.shape)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operation, ["a", "b"], ["y"])],
        "product",
        [make("a", kind, size)],
        [make("y", out, size)],
        [onnx.numpy_helper.from_array(weights, "b")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def peaks(library: str) -> dict[str, float]:
    """Measure the GFLOP/s of products of two square matrices, by number format, in this process."""
    n, rng = GEMM_SIZE, np.random.default_rng(0)
    floats, small = rng.standard_normal((n, n), dtype=np.float32), rng.integers(-100, 100, (n, n), np.int8)
    if library == "torch":
        a = {"fp32": torch.from_numpy(floats), "bf16": torch.from_numpy(floats).bfloat16()}
        calls: dict[str, Callable[[], Any]] = {name: functools.partial(torch.matmul, x, x) for name, x in a.items()}
    else:
        types = onnx.TensorProto
        whole = _onnx_product(small, types.UINT8, "MatMulInteger", types.INT32)
        real = _onnx_product(floats, types.FLOAT, "MatMul", types.FLOAT)
        calls = {
            "fp32": lambda: real.run(None, {"a": floats}),
            "uint8 × int8": lambda: whole.run(None, {"a": small.view(np.uint8)}),
        }
    return {name: 2 * n**3 / _median_seconds(call) / 1e9 for name, call in calls.items()}


def _in_own_process(*words: str) -> Any:
    """Run one part of this benchmark in its own process and return its result."""
    command = [sys.executable, "-W", "ignore", "-m", MODULE, *words]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def _first_image_seconds(path: Path, rounds: int) -> float:
    """Measure the seconds from the start of Python to an image on disk."""
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        out = path.with_suffix(".png")
        run(sys.executable, "-m", "export.sampler", str(path), "--count=1", f"--out={out}", cwd=path.parent)
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    family = f" family {fields['cpu family']} model {fields['model']}" if "cpu family" in fields else ""
    return fields.get("model name", platform.processor()) + family


def _print_conditions() -> None:
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    print(f"{datetime.date.today()}, {_processor()}, {len(os.sched_getaffinity(0))} cores, {versions}")
    for library in ("torch", "onnxruntime"):
        rates = ", ".join(f"{name} {value:.0f}" for name, value in _in_own_process("peaks", library).items())
        print(f"products of {GEMM_SIZE}×{GEMM_SIZE} matrices by {library}, GFLOP/s: {rates}")


def _print_table(measured: dict[str, list[dict[str, float]]]) -> None:
    medians = {
        name: {size: statistics.median(rates[str(size)] for rates in rounds) for size in BATCHES}
        for name, rounds in measured.items()
    }
    print("| images per second (times eager) | " + " | ".join(f"batch {size}" for size in BATCHES) + " |")
    print("|---|" + "---|" * len(BATCHES))
    for name, rates in medians.items():
        cells = [f"{rates[size]:.0f} ({rates[size] / medians[EAGER][size]:.2f})" for size in BATCHES]
        print(f"| {name} | " + " | ".join(cells) + " |")


def _compare(settings: Settings, folder: Path) -> None:
    _export(settings, folder)
    latent_dim = str(generator_file.load(folder / generator_file.EMA_FILE).description.latent_dim)
    _print_conditions()
    measured: dict[str, list[dict[str, float]]] = {name: [] for _, name, _ in ROWS}
    for turn in range(settings.rounds):
        for runtime, name, file in ROWS:
            measured[name].append(_in_own_process("measure", runtime, str(folder / file), latent_dim))
        print(f"round {turn + 1} of {settings.rounds}", file=sys.stderr, flush=True)
    _print_table(measured)
    for file in ("fp32.onnx", "int8.onnx"):
        result = _in_own_process("stream", str(folder / file))
        print(
            f"{file}: {STREAMED} streamed images at {result['images_per_second']:.0f} images per second in batches of "
            f"{result['batch_size']:.0f}; memory grew by {result['grown_mebibytes']:.1f} MiB after the first tenth"
        )
        print(f"{file}: {_first_image_seconds(folder / file, 5):.2f} s from the start of Python to an image on disk")


def benchmark(settings: Settings) -> None:
    """Export the missing files, measure every format, and print the table."""
    if settings.folder:
        Path(settings.folder).mkdir(parents=True, exist_ok=True)
        _compare(settings, Path(settings.folder))
        return
    with tempfile.TemporaryDirectory() as scratch:
        _compare(settings, Path(scratch))


PARTS: dict[str, Callable[..., Any]] = {
    "measure": lambda runtime, path, latent_dim: measure(runtime, Path(path), int(latent_dim)),
    "stream": lambda path: stream(Path(path)),
    "peaks": peaks,
}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in PARTS:
        print(json.dumps(PARTS[sys.argv[1]](*sys.argv[2:])))
    else:
        command_line.run_command(f"{MODULE}:benchmark", Settings, __doc__ or "")
