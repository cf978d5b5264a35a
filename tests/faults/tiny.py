"""The smallest run with BatchNorm, a penalty, an averaged generator and all cadences; and comparisons of two runs."""

import hashlib
import json
import logging
import math
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wgan_dist.checkpoints.checkpoint import CRITIC_FILE
from wgan_dist.checkpoints.generator_file import EMA_FILE, RAW_FILE
from wgan_dist.checkpoints.run_dir import METRICS_FILE
from wgan_dist.tracking.metric_names import SPEED_METRICS

SETTINGS = {
    "data": "digits",
    "image_size": "16",
    "generator": "mlp_bn",
    "critic": "mlp",
    "generator_features": "4",
    "critic_features": "8",
    "latent_dim": "4",
    "batch_size": "16",
    "n_critic": "3",
    "max_steps": "30",
    "log_every": "2",
    "sample_every": "4",
    "checkpoint_every": "5",
    "seed": "1",
    "threads": "1",
}

# A run may be continued to another length than the one its settings in TensorBoard began with.
# Curves that the clock decides.
CLOCKED = ("speed/images_per", "speed/communication")
LENGTH = re.compile("max_steps: [0-9]+")


def flags(settings: dict[str, str]) -> list[str]:
    """Return settings as flags."""
    return [f"--{name}={value}" for name, value in settings.items()]


def files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def records(run_dir: Path) -> list[dict[str, Any]]:
    """Return metrics.jsonl without the values that depend on time."""
    lines = (run_dir / METRICS_FILE).read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key not in SPEED_METRICS} for line in lines]


def curves(run_dir: Path) -> dict[str, list[tuple[int, Any]]]:
    """Return the (step, value) pairs of TensorBoard by tag, without speeds."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every purge
    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance=dict.fromkeys(("scalars", "images"), 0))
    events.Reload()
    tags = events.Tags()
    # None for what is no number, since it is not equal to itself.
    scalars = {
        tag: [(e.step, None if math.isnan(e.value) else e.value) for e in events.Scalars(tag)]
        for tag in tags["scalars"]
    }
    images = {tag: [(e.step, e.encoded_image_string) for e in events.Images(tag)] for tag in tags["images"]}
    texts = {
        tag: [(e.step, LENGTH.sub("", str(e.tensor_proto))) for e in events.Tensors(tag)] for tag in tags["tensors"]
    }
    return {tag: points for tag, points in (scalars | images | texts).items() if not tag.startswith(CLOCKED)}


def last_checkpoint(run_dir: Path) -> Path:
    """Return the folder of the newest checkpoint."""
    return max((run_dir / "checkpoints").iterdir())


def weights_apart(run_dir: Path, other: Path) -> float:
    """Return the greatest difference between the last weights of two float64 runs of equal length."""
    ours, others = last_checkpoint(run_dir), last_checkpoint(other)
    assert ours.name == others.name
    pairs = [(load_file(ours / name), load_file(others / name)) for name in (EMA_FILE, RAW_FILE, CRITIC_FILE)]
    return max(float((a[key] - b[key]).abs().max()) for a, b in pairs for key in a)


def assert_same_run(run_dir: Path, other: Path) -> None:
    """Assert that records and weights of two float64 runs agree up to the order of sums."""
    for record, others in zip(records(run_dir), records(other), strict=True):
        assert record == pytest.approx(others, rel=1e-9, abs=1e-12)
    assert weights_apart(run_dir, other) < 1e-9


def differences(run_dir: Path, straight: Path) -> list[str]:
    """Return how a run differs from an uninterrupted one: not at all, if resuming is exact."""
    ends = {
        "checkpoint": (files(last_checkpoint(run_dir)), files(last_checkpoint(straight))),
        "generator.safetensors": (
            files(run_dir)["generator.safetensors"],
            files(straight)["generator.safetensors"],
        ),
        "best": (files(run_dir).get("best.safetensors"), files(straight).get("best.safetensors")),
        "metrics": (records(run_dir), records(straight)),
        "TensorBoard": (curves(run_dir), curves(straight)),
        "pictures": (files(run_dir / "samples"), files(straight / "samples")),
    }
    return [name for name, (ours, others) in ends.items() if ours != others]
