"""The work of `python -m wgan_dist.distance`: measures two sets, prints, and writes the result and a picture."""

import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.distance import DistanceSettings
from wgan_dist.distance_sets import SampleSet, open_sets
from wgan_dist.evaluation.lipschitz_distance import (
    IMAGE_TRAINING,
    POINT_TRAINING,
    CriticTraining,
    Distance,
    lipschitz_distance,
)
from wgan_dist.evaluation.metrics.points import exact_wasserstein
from wgan_dist.reporting.distance_picture import draw_fold
from wgan_dist.utils.console import can_rewrite_lines, print_lines, print_now, rewrite_line
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import atomic_file, write_text
from wgan_dist.utils.remaining_time import RemainingTime, duration_text

# The most samples of each set between which optimal transport is computed, and differences of values for it.
MOST_TRANSPORTED, MOST_DIFFERENCES = 2000, 2e9
METHOD = (
    "the mean difference of the scores of a 1-Lipschitz critic on samples that it was not trained on, of two halves "
    "that swap their parts"
)
EXIT_ABOVE = 1
SECONDS_BETWEEN_LINES = 5.0


class _Progress:
    """The line that says how many steps are done, and how long the others take."""

    def __init__(self, steps: int) -> None:
        self.steps, self.step, self.is_terminal = steps, 0, can_rewrite_lines()
        self.remaining, self.shown = RemainingTime(time.monotonic(), 0), time.monotonic()

    def __call__(self) -> None:
        self.step += 1
        now = time.monotonic()
        if now - self.shown < (0.2 if self.is_terminal else SECONDS_BETWEEN_LINES) or self.step == self.steps:
            return
        self.shown = now
        left = duration_text(self.remaining.estimate(now, self.step, self.steps))
        (rewrite_line if self.is_terminal else print_now)(f"step {self.step}/{self.steps}  {left} remaining")

    def close(self) -> None:
        """Clear the line of a terminal."""
        if self.is_terminal:
            rewrite_line("")


def _training(settings: DistanceSettings, samples: Tensor) -> CriticTraining:
    training = POINT_TRAINING if samples.dim() == 2 else IMAGE_TRAINING
    given = {"steps": settings.steps, "features": settings.critic_features}
    return dataclasses.replace(training, **{name: value for name, value in given.items() if value is not None})


def _unit(sample_set: SampleSet) -> str:
    if sample_set.levels is None:
        return "Euclidean distance in the unit of the points"
    return f"Euclidean distance over all pixel values in [-1, 1] ({sample_set.levels})"


def _upper_estimate(first: Tensor, second: Tensor) -> tuple[float, int]:
    """Return W₁ between equally many samples of both sets, by exact optimal transport, and how many these are.

    Its expectation is at least the distance of the distributions, since the mean of greatest values is at least the
    greatest mean.
    """
    affordable = int((MOST_DIFFERENCES / first[0].numel()) ** 0.5)
    count = min(len(first), len(second), MOST_TRANSPORTED, affordable)
    return exact_wasserstein(first[:count].flatten(1).numpy(), second[:count].flatten(1).numpy()), count


def _result(settings: DistanceSettings, sets: tuple[SampleSet, SampleSet], distance: Distance) -> dict[str, Any]:
    first, second = sets
    upper, transported = _upper_estimate(first.samples, second.samples)
    training = _training(settings, first.samples)
    return {
        "first": first.name,
        "second": second.name,
        "samples": [len(first.samples), len(second.samples)],
        "estimate": distance.estimate,
        "lower": distance.lower(settings.level),
        "level": settings.level,
        "upper_estimate": upper,
        "upper_estimate_samples": transported,
        "p_value": distance.p_value,
        "unit": _unit(first),
        "method": METHOD,
        "lipschitz_constant": distance.bound,
        "critic": dataclasses.asdict(training),
        "folds": [
            {"difference": fold.difference, "standard_error": fold.standard_error, "linear": fold.critic.is_linear}
            for fold in distance.folds
        ],
        "seed": settings.seed,
    }


def _lines(result: dict[str, Any]) -> list[str]:
    """Return the lines of a result, each value with what it is."""
    counts = " and ".join(f"{count:,}" for count in result["samples"])
    transported = f"optimal transport between {result['upper_estimate_samples']:,} samples of each set"
    return [
        f"{result['first']} and {result['second']}: {counts} samples",
        f"estimate        {result['estimate']:.4g}  in expectation at most the distance W1",
        f"lower limit     {result['lower']:.4g}  W1 is above it with {100 * result['level']:g} % confidence",
        f"upper estimate  {result['upper_estimate']:.4g}  {transported}: in expectation at least W1, in "
        "many dimensions far above it",
        f"p-value         {result['p_value']:.2g}  of so great a difference if both sets have one distribution",
        f"unit: {result['unit']}",
    ]


def _check_writable(name: str, path: str) -> None:
    """Raise UserError before anything is measured if the folder of a file to write, if any, takes no files."""
    if not path:
        return
    try:
        with tempfile.TemporaryFile(dir=Path(path).parent):
            pass
    except OSError as error:
        raise UserError(f"{name}={path}: {Path(path).parent} takes no file: {error.strerror}") from error


def measure(settings: DistanceSettings) -> None:
    """Measure the distance of the two sets that the settings name, print it, and write what they ask for.

    Ends the program with status 1 if the lower limit is above `fail_above`.

    Raises:
        UserError: For settings and files that cannot be used.
    """
    for name in ("json", "picture"):
        _check_writable(name, getattr(settings, name))
    sets = open_sets(settings)
    first, second = sets
    training = _training(settings, first.samples)
    progress = _Progress(2 * training.steps)
    device = torch.device("cpu" if distributed.uses_cpu() else "cuda")
    try:
        distance = lipschitz_distance(first.samples, second.samples, training, settings.seed, device, progress)
    except ValueError as error:
        raise UserError(f"{first.name} and {second.name}: {error}") from error
    progress.close()
    result = _result(settings, sets, distance)
    print_lines(_lines(result))
    if settings.json:
        write_text(Path(settings.json), json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False))
        print_now(f"written: {settings.json}")
    if settings.picture:
        with atomic_file(Path(settings.picture)) as partial:
            partial.write_bytes(draw_fold(distance.folds[0], (first.name, second.name)))
        print_now(f"written: {settings.picture}")
    if settings.fail_above is not None and result["lower"] > settings.fail_above:
        print_now(f"the lower limit is above fail_above={settings.fail_above:g}")
        sys.exit(EXIT_ABOVE)
