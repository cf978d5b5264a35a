"""The metric logger: writes what a run records to metrics.jsonl, TensorBoard, other trackers and the progress line."""

import json
import math
import textwrap
import typing
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from wgan_dist.checkpoints.run_dir import METRICS_FILE, SAMPLES, TENSORBOARD, TRACKERS
from wgan_dist.config import Config, as_dict, to_yaml
from wgan_dist.config.fields import show
from wgan_dist.tracking.metric_names import METRICS, RECORDED, TRAINING_METRICS
from wgan_dist.tracking.progress import ProgressLine
from wgan_dist.tracking.records import DAMAGED, parse_record
from wgan_dist.tracking.trackers import Trackers
from wgan_dist.utils.console import escape_unprintable, print_to_stderr
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import MAX_RECORD_BYTES, atomic_file, read_file, sync, write_bytes
from wgan_dist.utils.images import enlarged, to_image

# The columns of TensorBoard's table of runs: it shows the last value of each.
TABLE_TAGS = (TRAINING_METRICS["wasserstein"].tensorboard_tag, *(metric.tensorboard_tag for metric in METRICS.values()))
# One chart of all estimates of the critic, under "Custom scalars".
CRITIC_CHART = {"critic": {"Wasserstein estimate": ["Multiline", ["critic/wasserstein_estimate.*"]]}}


def _step_of(line: bytes, path: Path) -> float:
    try:
        return parse_record(line)["step"]
    except DAMAGED as error:
        raise UserError(f"{path}: damaged line {line[:80]!r}; move the file away to resume without it") from error


def drop_records_after(path: Path, step: int) -> None:
    """Drop the records after `step` and an incomplete last line: a resumed run records these steps again.

    Raises:
        UserError: If a complete line is not a record, and for a file that cannot be read.
    """
    try:
        content = read_file(path, MAX_RECORD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; move it away to resume without it") from error
    complete = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    write_bytes(path, b"".join(line for line in complete if _step_of(line, path) <= step))


def settings_table(config: Config) -> dict[str, bool | float | str]:
    """Return the settings for a table of runs: numbers and booleans as they are, everything else as text.

    A setting has the same type in every run: one that may be `auto` is a text even where it is a number.
    """
    types = typing.get_type_hints(Config)
    return {
        name: getattr(config, name)
        if types[name] in (bool, int, float)
        else escape_unprintable(show(getattr(config, name)))
        for name in as_dict(config)
    }


class MetricLogger:
    """Records metrics, sample grids and weight histograms of a run. Only the first process has one."""

    def __init__(self, run_dir: Path, config: Config, step: int, total_steps: int, fresh: bool) -> None:
        """Open the files of a run after generator step `step`; `fresh` unless the run is resumed.

        Raises:
            UserError: If metrics.jsonl is damaged or a tracker cannot be started.
        """
        self.run_dir = run_dir
        self.progress = ProgressLine(step, total_steps)
        self.writer_dir = run_dir / TENSORBOARD
        if fresh:
            # Events of a start that was stopped before it trained.
            for abandoned in self.writer_dir.glob("events.out.tfevents.*"):
                abandoned.unlink()
        self.existing_events = set(self.writer_dir.glob("*"))
        self.writer = SummaryWriter(str(self.writer_dir), purge_step=0 if fresh else step + 1)
        if fresh:
            if config.holdout:
                self.writer.add_custom_scalars(CRITIC_CHART)
            # Markdown ends an indented block at no text in it, unlike one between ```.
            self.writer.add_text("config", textwrap.indent(to_yaml(config), "    "))
            self._add_settings(config)
        self.metrics_path = run_dir / METRICS_FILE
        drop_records_after(self.metrics_path, step)
        self.metrics = self.metrics_path.open("a", encoding="utf-8")
        settings = settings_table(config) | {"run_dir": str(run_dir), "first_step": step}
        self.trackers = Trackers(config.trackers, run_dir / TRACKERS, settings)

    def _add_settings(self, config: Config) -> None:
        """Write the row of TensorBoard's table of runs to the run's own events; add_hparams would start another run."""
        experiment, session, _ = hparams(settings_table(config), dict.fromkeys(TABLE_TAGS, 0.0))
        for summary in (experiment, session):
            self.writer.file_writer.add_summary(summary, 0)  # type: ignore[attr-defined]  # typed as None

    def graph(self, generator: nn.Module, *inputs: Tensor) -> None:
        """Write the generator's graph to TensorBoard; a network that cannot be traced gives a warning instead.

        `inputs` are latents and, with classes, labels.
        """
        # Without gradients, since the tracer cannot read a Function that a custom generator may contain.
        with warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("ignore", message=".*torch.jit.*")  # TensorBoard has no other way
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
            try:
                self.writer.add_graph(generator, inputs)
            except RuntimeError as error:
                print_to_stderr(f"TensorBoard shows no model graph: {error}")

    def record(self, record: dict[str, Any]) -> None:
        """Write a record of metrics: a line of metrics.jsonl, points of curves, the progress line.

        `record` holds "step" and names of the metric registry; None stands for a value that is not finite.
        """
        self.metrics.write(json.dumps(record) + "\n")
        self.metrics.flush()
        values = {name: math.nan if value is None else value for name, value in record.items()}
        curves = {
            metric.tensorboard_tag: values[name]
            for name, metric in RECORDED.items()
            if metric.tensorboard_tag and name in values
        }
        for tag, value in curves.items():
            self.writer.add_scalar(tag, value, record["step"])
        self.trackers.log(curves, record["step"])
        self.progress.show(values)

    def picture(self, name: str, step: int, picture: Tensor) -> Path:
        """Write a picture uint8 [3 or 4, height, width] as samples/step-…-name.png and to TensorBoard.

        The file is enlarged to at least 512 pixels in width. TensorBoard gets the pixels as they are, since it enlarges
        pictures itself and its events grow with every picture.
        """
        path = self.run_dir / SAMPLES / f"step-{step:08d}-{name}.png"
        with atomic_file(path) as partial:
            enlarged(to_image(picture)).save(partial, "PNG")
        self.writer.add_image(f"fixed_noise/{name}", picture, step)
        return path

    def weights(self, step: int, networks: dict[str, nn.Module]) -> None:
        """Write a histogram of every parameter to TensorBoard."""
        for name, network in networks.items():
            for parameter_name, parameter in network.named_parameters():
                self.writer.add_histogram(f"{name}/{parameter_name}", parameter.detach().float().cpu(), step)

    def sync(self) -> None:
        """Wait until all records are on the disk: a checkpoint must not outlive the records before it."""
        self.writer.flush()
        for path in {self.metrics_path, *self.writer_dir.glob("*")} - self.existing_events:
            sync(path)

    def close(self) -> None:
        """Write everything to disk and close all files and trackers.

        Raises:
            OSError: If an event could not be written.
        """
        self.progress.close()
        self.trackers.finish()
        self.metrics.close()
        # TensorBoard writes in a thread, which is of no public name. To flush waits for the events, but may look for an
        # error just before the thread stores it; to close waits for the thread, and does not look.
        thread = self.writer.file_writer.event_writer._async_writer._worker  # type: ignore[attr-defined]
        self.writer.close()
        if thread.exception:
            raise thread.exception
