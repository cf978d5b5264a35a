"""The sampling times of a run's exported files, as a report shows them; `export.timing` measures them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wgan_dist.checkpoints.generator_file import EMA_FILE

BATCH_SIZES = (1, 64)
WARM_UP_CALLS, MIN_SECONDS = 2, 1.0
PROTOCOL = (
    "Time from latent vectors to uint8 images on the CPU, with the library's default number of threads: the median of "
    f"repeated calls over at least {MIN_SECONDS:g} second, after {WARM_UP_CALLS} warm-up calls. Each file was timed "
    "alone, in a process of its own, on the machine described below, when this page was made."
)
NOT_RUN = "this file is a program; if you trust it, --trust runs it"


@dataclass(frozen=True)
class Timing:
    """Milliseconds per image of a generator file by batch size, or the reason why they could not be measured."""

    file: str
    size_bytes: int
    milliseconds: dict[int, float]
    error: str = ""


# Times a generator file.
Timer = Callable[[Path], Timing]


def exported_files(run_dir: Path) -> list[Path]:
    """Return the generator files of a run folder: the run's own, and the exported ones beside it."""
    exports = [path for suffix in ("*.onnx", "*.pt", "*.pt2") for path in sorted(run_dir.glob(suffix))]
    return [path for path in (run_dir / EMA_FILE, *exports) if path.is_file()]
