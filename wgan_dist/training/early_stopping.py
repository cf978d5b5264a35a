"""Early stopping: when a run ends before its last step. What decides is in the run's folder already."""

from dataclasses import dataclass
from pathlib import Path

from wgan_dist.checkpoints.train_state import Best
from wgan_dist.config import Config
from wgan_dist.evaluation.evaluator import Evaluator
from wgan_dist.tracking.records import parse_record
from wgan_dist.training.schedule import Schedule
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import MAX_RECORD_BYTES, read_file

# The held-out estimate is flat if the means of both halves of the patience differ by less than this share.
FLAT = 0.02
# The measurements within the patience that make two halves worth comparing.
MIN_MEASUREMENTS = 4


def history(metrics_file: Path, name: str, after: int, last: int) -> list[tuple[int, float]]:
    """Return (step, value) of the records of a metric with after < step ≤ last; NaN for values that were not finite."""
    if not metrics_file.exists():
        return []
    records = map(parse_record, read_file(metrics_file, MAX_RECORD_BYTES).splitlines())
    return [(int(each["step"]), each[name]) for each in records if name in each and after < each["step"] <= last]


def is_flat(values: list[tuple[int, float]], middle: float) -> bool:
    """Return whether the means of the values up to step `middle` and after it differ by less than 2 %."""
    halves = [[value for step, value in values if (step <= middle) is early] for early in (True, False)]
    if min(map(len, halves)) < MIN_MEASUREMENTS // 2:
        return False
    before, after = (sum(half) / len(half) for half in halves)
    return abs(after - before) < FLAT * abs(before)


@dataclass(frozen=True)
class EarlyStopping:
    """The rule of early stopping: no, best or holdout.

    Attributes:
        rule: no, best or holdout.
        metric: The metric that chooses the best generator.
        patience: Generator steps without progress.
        every: The cadence of evaluation, in generator steps.
    """

    rule: str
    metric: str
    patience: int
    every: int

    def reason(self, step: int, best: Best | None, metrics_file: Path) -> str:
        """Return why a run at `step` ends, or an empty text if it goes on.

        The latest measurement decides, so that a resumed run ends where an uninterrupted one ends.
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


def make_early_stopping(config: Config, schedule: Schedule, evaluator: Evaluator | None) -> EarlyStopping:
    """Return the early stopping of a run.

    Raises:
        UserError: For a best_metric that is not measured, and for a patience too short for the rule.
    """
    measured = evaluator.names if evaluator else ()
    metric = config.best_metric
    if metric == "auto":
        metric = evaluator.best_metric if evaluator else ""
    elif evaluator and metric not in measured:
        raise UserError(f"best_metric={metric}: is not measured in this run, which measures {', '.join(measured)}")
    if config.early_stop != "no" and schedule.patience < 1:
        raise UserError(f"patience={config.patience} with early_stop={config.early_stop}: expected at least one step")
    if config.early_stop == "best" and not metric:
        raise UserError("early_stop=best: no metric of this run says which is best; expected --best_metric=NAME")
    if config.early_stop == "holdout" and schedule.patience < MIN_MEASUREMENTS * schedule.evaluate:
        raise UserError(
            f"patience={config.patience} with evaluate_every={config.evaluate_every}: a held-out estimate is known to "
            f"be flat after {MIN_MEASUREMENTS} measurements at least"
        )
    return EarlyStopping(config.early_stop, metric, schedule.patience, schedule.evaluate)
