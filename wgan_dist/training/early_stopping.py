"""When a run has learnt what it can: nothing to save, for what was measured is in its folder already."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from wgan_dist.checkpoints.best import Best
from wgan_dist.config import Config
from wgan_dist.evaluation.evaluator import Evaluator
from wgan_dist.training.schedule import Schedule
from wgan_dist.utils.errors import UserError

# Of the held-out estimate: flat where the means of both halves of the patience differ by less than this share.
FLAT = 0.02
# Measurements in the patience that make two halves worth comparing.
FEWEST = 4


def history(metrics_file: Path, name: str, after: int, last: int) -> list[tuple[int, float]]:
    """(step, value) of the records of a metric with after < step ≤ last; NaN for what was no number."""
    if not metrics_file.exists():
        return []
    records = [json.loads(line) for line in metrics_file.read_text(encoding="utf-8").splitlines()]
    found = [(each["step"], each[name]) for each in records if name in each and after < each["step"] <= last]
    return [(step, math.nan if value is None else float(value)) for step, value in found]


def is_flat(values: list[tuple[int, float]], middle: float) -> bool:
    """Whether the mean of the values until step `middle` is that of the later ones, within 2 %."""
    halves = [[value for step, value in values if (step <= middle) is early] for early in (True, False)]
    if min(map(len, halves)) < FEWEST // 2:
        return False
    before, after = (sum(half) / len(half) for half in halves)
    return abs(after - before) < FLAT * abs(before)


@dataclass(frozen=True)
class EarlyStopping:
    """The rule of the early stop: no, best or holdout; durations in generator steps.

    `metric` chooses the best generator; `every` is the cadence of evaluation.
    """

    rule: str
    metric: str
    patience: int
    every: int

    def reason(self, step: int, best: Best | None, metrics_file: Path) -> str:
        """Why a run that is at `step` ends; nothing if it goes on.

        Decided by what was measured last, so that a continued run ends where it would have ended.
        """
        measured_at = step - step % self.every if self.every else 0
        if self.rule == "best" and best is not None and best.metric == self.metric:
            if measured_at - best.step >= self.patience:
                return f"{best.metric} has not been better than {best.value:.4g} of step {best.step}"
        elif self.rule == "holdout" and measured_at >= self.patience:
            values = history(metrics_file, "wasserstein_holdout", measured_at - self.patience, measured_at)
            if is_flat(values, measured_at - self.patience / 2):
                return f"the held-out Wasserstein estimate has been flat for {self.patience} steps"
        return ""


def make_early_stopping(config: Config, schedule: Schedule, evaluation: Evaluator | None) -> EarlyStopping:
    """The early stop of a run.

    Raises UserError for a best_metric that is not measured, and for a patience too short for the rule.
    """
    measured = evaluation.names if evaluation else ()
    metric = config.best_metric
    if metric == "auto":
        metric = evaluation.best_metric if evaluation else ""
    elif evaluation and metric not in measured:
        raise UserError(f"best_metric={metric}: is not measured in this run, which measures {', '.join(measured)}")
    if config.early_stop != "no" and schedule.patience < 1:
        raise UserError(f"patience={config.patience} with early_stop={config.early_stop}: expected at least one step")
    if config.early_stop == "best" and not metric:
        raise UserError("early_stop=best: no metric of this run says which is best; expected --best_metric=NAME")
    if config.early_stop == "holdout" and schedule.patience < FEWEST * schedule.evaluate:
        raise UserError(
            f"patience={config.patience} with evaluate_every={config.evaluate_every}: a held-out estimate is known to "
            f"be flat after {FEWEST} measurements at least"
        )
    return EarlyStopping(config.early_stop, metric, schedule.patience, schedule.evaluate)
