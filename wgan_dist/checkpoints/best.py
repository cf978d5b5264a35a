"""The best generator of a run by a measured metric."""

import dataclasses
import json
import math
from pathlib import Path

from wgan_dist.checkpoints.generator_file import EMA_FILE
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.checkpoints.train_state import Best
from wgan_dist.utils.files import copy_file, write_text

BEST_FILE, BEST_GENERATOR = "best.json", "best.safetensors"


def improves(best: Best | None, new: Best) -> bool:
    """Return whether a new value is better than the best so far.

    The first value of another metric or protocol is an improvement; a value that is not finite never is.
    """
    if not math.isfinite(new.value):
        return False
    if best is None or (best.metric, best.protocol) != (new.metric, new.protocol):
        return True
    return new.value < best.value if new.lower_is_better else new.value > best.value


def publish(run_dir: Path, best: Best) -> None:
    """Write best.safetensors, the generator of the best checkpoint, and best.json, which describes it.

    Raises:
        UserError: When the disk is full, read-only or not permitted.
        OSError: When the checkpoint is gone.
    """
    copy_file(run_dir / CHECKPOINTS / best.checkpoint / EMA_FILE, run_dir / BEST_GENERATOR)
    write_text(run_dir / BEST_FILE, json.dumps(dataclasses.asdict(best), indent=1))
