"""The best checkpoint of a run by a measured metric: which one it is, and a generator file of it."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from wgan_dist.checkpoints.generator_file import EMA_FILE
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.tracking.metric_names import METRICS
from wgan_dist.utils.files import copy_file, write_text

BEST_FILE, BEST_GENERATOR = "best.json", "best.safetensors"
LOWER_IS_BETTER = {name: measure.lower_is_better for name, measure in METRICS.items()}


@dataclass(frozen=True)
class Best:
    """The best value of a metric so far, the generator step it is of, its checkpoint's folder, how it was measured."""

    metric: str
    value: float
    step: int
    checkpoint: str
    protocol: str = ""


def improves(best: Best | None, metric: str, value: float) -> bool:
    """Whether a value is better than the best so far; a value of another metric begins anew, none that is no number."""
    if not math.isfinite(value):
        return False
    if best is None or best.metric != metric:
        return True
    return value < best.value if LOWER_IS_BETTER[metric] else value > best.value


def publish(run_dir: Path, best: Best) -> None:
    """Write best.safetensors, the generator of the best checkpoint, and best.json, which says what it is.

    Raises UserError when the disk is full, read-only or not permitted, OSError when the checkpoint is gone.
    """
    copy_file(run_dir / CHECKPOINTS / best.checkpoint / EMA_FILE, run_dir / BEST_GENERATOR)
    about = dataclasses.asdict(best) | {"lower_is_better": LOWER_IS_BETTER[best.metric]}
    write_text(run_dir / BEST_FILE, json.dumps(about, indent=1))
