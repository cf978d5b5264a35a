"""Run folders as a report meets them, written without a training."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from export.sampler import write_picture
from tests.generators import small_spec, write_generator
from wgan_dist.checkpoints.run_dir import EVALUATIONS, METRICS_FILE, SAMPLES
from wgan_dist.config import CONFIG_FILE, Config, to_yaml
from wgan_dist.report import report


def write_run(folder: Path, records: list[dict[str, Any]] | None = None, **settings: Any) -> Path:
    """A run of the given settings and records; None stands for no metrics.jsonl."""
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(to_yaml(Config(**settings)))
    if records is not None:
        (folder / METRICS_FILE).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def write_sample(run: Path, step: int, kind: str, level: int) -> None:
    """A picture of fixed noise, 12 pixels high and 10 wide, all of one grey level."""
    write_picture(np.full((12, 10, 3), level, np.uint8), run / SAMPLES / f"step-{step:08d}-{kind}.png")


def write_evaluation(run: Path, name: str, **changes: Any) -> None:
    """The figures that were measured of a generator file."""
    about = {
        "format": 1,
        "source": "generator.safetensors",
        "sha256": "0" * 64,
        "kind": "safetensors",
        "weights": "ema",
        "step": 6000,
        "precision": None,
        "data": "digits",
        "metrics": {"sliced_wasserstein": {"value": 16.9, "protocol": "1,024 generated, 1,024 real"}},
        "skipped": {},
    }
    (run / EVALUATIONS).mkdir(exist_ok=True)
    (run / EVALUATIONS / f"{name}.json").write_text(json.dumps(about | changes))


# As a stranger might name a folder and describe a run.
HOSTILE_NAME = "<img src=x onerror=alert(1)> & $co$"
HOSTILE_WORDS = "</script><script>alert(2)</script>"


def make_report(run_dir: Path, folder: Path, **flags: str) -> Path:
    """A page on four runs: a finished one, the same with other settings and figures under a hostile name, one of points
    that has no samples, and one that has only begun.
    """
    finished, other = folder / "runs" / "finished", folder / "runs" / HOSTILE_NAME
    for copy in (finished, other):
        shutil.copytree(run_dir, copy)
    settings = (other / CONFIG_FILE).read_text().replace("gp_weight: 10.0", "gp_weight: 7.0")
    (other / CONFIG_FILE).write_text(settings.replace("description: ''", f'description: "{HOSTILE_WORDS}"'))
    for run, value in ((finished, 16.9), (other, 17.1)):
        measured = {"sliced_wasserstein": {"value": value, "protocol": HOSTILE_WORDS}}
        write_evaluation(run, "one", metrics=measured, skipped={"fid": "no weights", "kid": "no weights"})
    points = write_run(folder / "runs" / "points", [{"step": 3, "modes_covered": 8}], data=("8gaussians",))
    write_generator(points, small_spec("points"), "8gaussians")
    begun = write_run(folder / "runs" / "begun")
    out = folder / "report.html"
    report([str(each) for each in (finished, other, points, begun)], {"timing": "false", "out": str(out)} | flags)
    return out
