"""What a run shows: a progress line, metrics.jsonl, TensorBoard, picture grids."""

import json
import math
import os
import sys
import time
import typing
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from wgan_dist.config import Config, as_dict, to_yaml
from wgan_dist.config.command_line import STARTED, say
from wgan_dist.config.fields import show
from wgan_dist.tracking.metric_names import METRICS
from wgan_dist.tracking.trackers import Trackers
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import atomic_file, sync, write_bytes
from wgan_dist.utils.images import to_image

METRICS_FILE, SAMPLES, TRACKED = "metrics.jsonl", "samples", "trackers"
COMMUNICATION_KEYS = ("communication_bytes", "communication_ms", "communication_share")
# The only keys in which two runs of the same settings may differ.
WALL_CLOCK_KEYS = ("images_per_second", "seconds", *COMMUNICATION_KEYS)
# Names in TensorBoard: groups that belong together are drawn together.
TENSORBOARD_NAMES = {
    "wasserstein": "critic/wasserstein_estimate",
    "critic_loss": "critic/loss",
    "real_probability": "critic/real_probability",
    "fake_probability": "critic/fake_probability",
    "real_score": "critic/real_score",
    "fake_score": "critic/fake_score",
    "gradient_penalty": "critic/gradient_penalty",
    "gradient_norm": "critic/gradient_norm",
    "critic_lr": "critic/learning_rate",
    "generator_loss": "generator/loss",
    "generator_lr": "generator/learning_rate",
    "critic_skipped": "critic/skipped_updates",
    "generator_skipped": "generator/skipped_updates",
    "critic_loss_scale": "critic/loss_scale",
    "generator_loss_scale": "generator/loss_scale",
    **{name: f"evaluation/{name}" for name in METRICS},
    # Beside the estimate of training: the gap between them is over-fitting of the critic.
    "wasserstein_train": "critic/wasserstein_estimate_train",
    "wasserstein_holdout": "critic/wasserstein_estimate_holdout",
    "images_per_second": "speed/images_per_second",
    "seen_images": "speed/seen_images",
    "communication_bytes": "speed/communication_bytes",
    "communication_ms": "speed/communication_ms",
    "communication_share": "speed/communication_share",
}
# By which runs are compared in a table, the last value of each.
COMPARED = tuple(TENSORBOARD_NAMES[name] for name in ("wasserstein", *METRICS))
SKIPPED = ("critic_skipped", "generator_skipped")
# One chart of the critic's estimates, under "Custom scalars".
OVERFITTING = {"critic": {"Wasserstein estimate": ["Multiline", ["critic/wasserstein_estimate.*"]]}}
PROGRESS_NAMES = {
    "wasserstein": "W",
    "real_probability": "D(x)",
    "fake_probability": "D(G(z))",
    "real_score": "D(x)",
    "fake_score": "D(G(z))",
    "gradient_penalty": "penalty",
    "gradient_norm": "|∇D|",
    "wasserstein_holdout": "W held out",
    "sliced_wasserstein": "SWD",
    "fid": "FID",
    "frechet_distance": "Fréchet",
    "exact_wasserstein": "exact W",
    "modes_covered": "modes",
    "good_share": "good",
    "images_per_second": "img/s",
}


def duration_text(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """One line that tells where the run is and how long it will take.

    On a terminal the line is rewritten in place; in a file, a pipe or a terminal that cannot do that each is a line of
    its own. Colours there are none.
    """

    def __init__(self, first_step: int, total_steps: int) -> None:
        self.first_step, self.total = first_step, total_steps
        self.started = time.monotonic()
        self.live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def _left(self, step: int) -> str:
        per_step = (time.monotonic() - self.started) / (step - self.first_step)
        return duration_text(per_step * (self.total - step))

    def first(self, step: int) -> None:
        """Tell after the first step of this process what the whole run will take: the first record may be far off."""
        if step - self.first_step == 1 and step < self.total:
            seconds = time.monotonic() - self.started
            since = time.monotonic() - STARTED
            left = self._left(step)
            say(f"first step {seconds:.2g} s, {since:.1f} s after the start; at this rate {left} for the rest")

    def show(self, record: dict[str, Any]) -> None:
        """Print the line for a record of metrics."""
        values = " ".join(f"{short} {record[name]:.4g}" for name, short in PROGRESS_NAMES.items() if name in record)
        skipped = sum(record.get(name, 0) for name in SKIPPED)
        if "communication_ms" in record:
            size, milliseconds, share = (record[name] for name in COMMUNICATION_KEYS)
            values += f" gradients {size / 2**20:.3g} MiB in {milliseconds:.3g} ms, {share:.1%} of the time"
        values += f" {skipped} updates skipped" if skipped else ""
        line = f"step {record['step']}/{self.total}  {values}  {self._left(record['step'])} left"
        say(f"\r\x1b[K{line}" if self.live else line, end="" if self.live else "\n")

    def close(self) -> None:
        """Leave the terminal on a fresh line."""
        if self.live:
            say("")


def _step_of(line: bytes, path: Path) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: a line is damaged: {line[:80]!r}; move the file away to go on without it") from error


def _keep_until(path: Path, step: int) -> None:
    """Drop the records after `step`: the run that continues writes them again."""
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        complete = [line for line in lines if line.endswith(b"\n")]
        write_bytes(path, b"".join(line for line in complete if _step_of(line, path) <= step))


def settings_table(config: Config) -> dict[str, bool | float | str]:
    """The settings of a run as tables of runs have them: each of one type in all runs, a text unless it is a number."""
    kinds = typing.get_type_hints(Config)
    return {
        name: getattr(config, name) if kinds[name] in (bool, int, float) else show(getattr(config, name))
        for name in as_dict(config)
    }


class MetricLogger:
    """Writes everything a person watches, on the first process only."""

    def __init__(self, run_dir: Path, config: Config, step: int, total_steps: int, fresh: bool) -> None:
        """Go on after generator step `step`; a `fresh` run, trained by nothing yet, begins with its settings."""
        self.run_dir = run_dir
        self.progress = Progress(step, total_steps)
        self.writer_dir = run_dir / "tensorboard"
        if fresh:
            for begun in self.writer_dir.glob("events.*"):  # by a start that was stopped before it trained
                begun.unlink()
        self.written_before = set(self.writer_dir.glob("*"))
        self.writer = SummaryWriter(str(self.writer_dir), purge_step=0 if fresh else step + 1)
        if fresh:
            if config.holdout:
                self.writer.add_custom_scalars(OVERFITTING)
            self.writer.add_text("config", f"```yaml\n{to_yaml(config)}\n```")
            self._add_settings(config)
        self.metrics_path = run_dir / METRICS_FILE
        _keep_until(self.metrics_path, step)
        self.metrics = self.metrics_path.open("a", encoding="utf-8")
        self.trackers = Trackers(
            config.trackers, run_dir / TRACKED, settings_table(config) | {"run_dir": str(run_dir), "first_step": step}
        )

    def _add_settings(self, config: Config) -> None:
        """For the table of runs in TensorBoard, in the run's own events: add_hparams would make a run of its own."""
        experiment, session, _ = hparams(settings_table(config), dict.fromkeys(COMPARED, 0.0))
        events = self.writer._get_file_writer()
        for summary in (experiment, session):
            events.add_summary(summary, 0)

    def graph(self, generator: nn.Module, z: Tensor) -> None:
        """The generator's graph, for TensorBoard; a network that cannot be traced is left out with a word."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.*")  # TensorBoard has no other way
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            try:
                self.writer.add_graph(generator, z)
            except RuntimeError as error:
                print(f"no model graph in TensorBoard: {error}", file=sys.stderr)

    def record(self, record: dict[str, Any]) -> None:
        """One record of metrics: a line of metrics.jsonl, points in TensorBoard, the progress line.

        None stands for what is not a finite number.
        """
        self.metrics.write(json.dumps(record) + "\n")
        self.metrics.flush()
        shown = {name: math.nan if value is None else value for name, value in record.items()}
        curves = {TENSORBOARD_NAMES[name]: shown[name] for name in TENSORBOARD_NAMES if name in shown}
        for name, value in curves.items():
            self.writer.add_scalar(name, value, record["step"])
        self.trackers.log(curves, record["step"])
        self.progress.show(shown)

    def picture(self, name: str, step: int, picture: Tensor) -> Path:
        """A picture [3 or 4, height, width] in [0, 1] as samples/step-…-name.png and in TensorBoard."""
        path = self.run_dir / SAMPLES / f"step-{step:08d}-{name}.png"
        with atomic_file(path) as partial:
            to_image(picture).save(partial, "PNG")
        self.writer.add_image(f"fixed_noise/{name}", picture, step)
        return path

    def weights(self, step: int, networks: dict[str, nn.Module]) -> None:
        """Histograms of every parameter."""
        for name, network in networks.items():
            for parameter_name, parameter in network.named_parameters():
                self.writer.add_histogram(f"{name}/{parameter_name}", parameter.detach().float().cpu(), step)

    def sync(self) -> None:
        """Bring to the disk what was recorded: a checkpoint must not outlive the records before it."""
        self.writer.flush()
        for path in {self.metrics_path, *self.writer_dir.glob("*")} - self.written_before:
            sync(path)

    def close(self) -> None:
        """Flush everything to disk."""
        self.progress.close()
        self.trackers.finish()
        self.metrics.close()
        self.writer.close()
