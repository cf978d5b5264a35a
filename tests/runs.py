"""Write run folders without training, for tests of the report and the model card."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from export.sampler import write_picture
from tests.generators import small_spec, write_generator
from wgan_dist.checkpoints.run_dir import EVALUATIONS, METRICS_FILE, SAMPLES
from wgan_dist.config import CONFIG_FILE, Config, to_yaml
from wgan_dist.config.fields import typed_values
from wgan_dist.report import report
from wgan_dist.reporting.options import ReportOptions


def write_run(folder: Path, records: list[dict[str, Any]] | None = None, **settings: Any) -> Path:
    """Write a run folder with the given settings and records; None stands for no metrics.jsonl."""
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(to_yaml(Config(**settings)))
    if records is not None:
        (folder / METRICS_FILE).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def write_sample(run: Path, step: int, weights: str, level: int) -> None:
    """Write a picture of fixed noise, 12 pixels high and 10 wide, all of one grey level."""
    write_picture(np.full((12, 10, 3), level, np.uint8), run / SAMPLES / f"step-{step:08d}-{weights}.png")


def write_evaluation(run: Path, name: str, **changes: Any) -> None:
    """Write the metrics of a generator file, as `python -m wgan_dist.evaluate` does."""
    evaluation = {
        "format": 1,
        "source": "generator.safetensors",
        "sha256": "0" * 64,
        "kind": "safetensors",
        "weights": "ema",
        "step": 6000,
        "precision": None,
        "data": "digits",
        "metrics": {
            "sliced_wasserstein": {
                "value": 16.9,
                "protocol": "1,024 generated, 1,024 real",
                "real_against_real": {"value": 9.5, "spread": 0.25, "protocol": "1,024 real against 1,024 other real"},
            }
        },
        "skipped": {},
    }
    (run / EVALUATIONS).mkdir(exist_ok=True)
    (run / EVALUATIONS / f"{name}.json").write_text(json.dumps(evaluation | changes))


def report_on(runs: list[str], **flags: str) -> None:
    """Write a report without timings, as the command line does."""
    report(ReportOptions(**typed_values(ReportOptions, {"timing": "false"} | flags | ({"runs": runs} if runs else {}))))


# A folder name and a description that must not be interpreted as HTML.
HOSTILE_NAME = "<img src=x onerror=alert(1)> & $co$"
HOSTILE_WORDS = "</script><script>alert(2)</script>"


def make_report(run_dir: Path, folder: Path, **flags: str) -> Path:
    """Write a report on four runs and return the page.

    They are a finished run, the same run with other settings and metrics under a hostile name, a run of points without
    samples, and a run that has only started.
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
    report_on([str(run) for run in (finished, other, points, begun)], out=str(out), **flags)
    return out
