"""Measure how long a generator file takes to draw an image, in a process of its own."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.loaders import open_generator
from export.sampler import to_uint8
from wgan_dist.config import command_line
from wgan_dist.reporting.timing import BATCH_SIZES, MIN_SECONDS, WARM_UP_CALLS, Timing
from wgan_dist.utils.console import print_now

MIN_CALLS = 3
TIMEOUT_SECONDS = 600


def milliseconds_per_image(draw: Callable[[slice], Any], batch_size: int) -> float:
    """Return the median time per sample of repeated calls of `draw`, which draws the samples of a slice of numbers."""
    for _ in range(WARM_UP_CALLS):
        draw(slice(batch_size))
    seconds: list[float] = []
    while len(seconds) < MIN_CALLS or sum(seconds) < MIN_SECONDS:
        start = time.perf_counter()
        draw(slice(batch_size))
        seconds.append(time.perf_counter() - start)
    return 1000.0 * statistics.median(seconds) / batch_size


def open_drawing(path: Path, own_class: str) -> Callable[[slice], NDArray[Any]]:
    """Return a function that draws the samples of a slice of numbers from a generator file.

    It returns uint8 images, or points float32 [n, d]. Raises UserError for a file that is not a generator.
    """
    generator = open_generator(path, own_class, max(BATCH_SIZES), seed=0)

    def draw(part: slice) -> NDArray[Any]:
        samples = generator.draw(part).numpy()
        return to_uint8(samples) if samples.ndim == 4 and samples.dtype == np.float32 else samples

    return draw


def measure(path: Path, own_class: str) -> dict[int, float]:
    """Return the milliseconds per image at each batch size, measured in this process."""
    draw = open_drawing(path, own_class)
    return {batch_size: milliseconds_per_image(draw, batch_size) for batch_size in BATCH_SIZES}


def print_times() -> None:
    """Print what `measure` returns as JSON, for the file and the class in the arguments of this process."""
    command_line.guarded(lambda: print_now(json.dumps(measure(Path(sys.argv[1]), sys.argv[2]))))


def _environment(own_class: str) -> dict[str, str]:
    """Return the environment of a process on the CPU that imports from where this process does.

    A class that the user named may also lie in the working folder.
    """
    paths = [*sys.path, *([str(Path.cwd())] if own_class else [])]
    # onnxruntime would use a GPU, torch would not.
    return os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}


def time_file(path: Path, own_class: str) -> Timing:
    """Time a generator file in a process of its own, on the CPU. A program is run: the caller trusts it."""
    command = [sys.executable, "-c", f"from {__name__} import print_times; print_times()", str(path), own_class]
    size = path.stat().st_size
    try:
        done = subprocess.run(
            command, env=_environment(own_class), capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
        )
    except subprocess.TimeoutExpired:
        return Timing(path.name, size, {}, f"not finished after {TIMEOUT_SECONDS} seconds")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"ended with status {error.returncode}"]
        return Timing(path.name, size, {}, lines[-1].removeprefix("error: "))
    milliseconds = json.loads(done.stdout.splitlines()[-1])
    return Timing(path.name, size, {int(batch_size): float(value) for batch_size, value in milliseconds.items()})
