"""When the early stop ends a run, wherever it is continued from."""

import json
from pathlib import Path

import pytest

from tests.faults.tiny import SETTINGS, files, records
from wgan_dist.checkpoints.train_state import Best
from wgan_dist.train import train
from wgan_dist.training.early_stopping import EarlyStopping, is_flat
from wgan_dist.utils.errors import UserError

NOWHERE = Path("nowhere")


def of_best(step: int, best: Best | None, patience: int = 20) -> str:
    return EarlyStopping("best", "fid", patience, 5).reason(step, best, NOWHERE)


def test_a_best_that_is_not_improved_for_the_patience_ends_the_run() -> None:
    best = Best("fid", 12.5, True, 30, "")
    assert [bool(of_best(step, best)) for step in (45, 49, 50, 55)] == [False, False, True, True]
    assert of_best(50, best) == "fid has not been better than 12.5 of step 30"
    # Between two evaluations, as a run that is continued there: by the one before.
    assert of_best(54, Best("fid", 12.5, True, 35, ""), patience=18) == ""
    assert of_best(100, Best("kid", 12.5, True, 30, "")) == of_best(100, None) == ""


def written(path: Path, values: dict[int, float | None]) -> Path:
    """metrics.jsonl, with records that measure nothing in between."""
    lines = [{"step": step, "wasserstein_holdout": value} for step, value in values.items()]
    lines += [{"step": step + 1, "wasserstein": 9.0} for step in values]
    path.write_text("".join(json.dumps(line) + "\n" for line in sorted(lines, key=lambda line: line["step"] or 0)))
    return path


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([9, 5, 3, 2.00, 2.03, 1.98, 2.01], True),
        ([9, 5, 3, 2.00, 2.00, 1.96, 1.95], False),  # falls by more than 2 %
        ([9, 5, 3, 1.90, 1.90, 2.00, 2.00], False),  # rises
        ([9, 5, 3, -2.0, -2.0, -2.0, -2.0], True),
        ([9, 5, 3, 2.00, None, 2.00, 2.00], False),
    ],
)
def test_a_flat_held_out_estimate_ends_the_run(values: list[float | None], ends: bool, tmp_path: Path) -> None:
    file = written(tmp_path / "metrics.jsonl", {5 * number: value for number, value in enumerate(values, 1)})
    ending = EarlyStopping("holdout", "", 20, 5)
    assert bool(ending.reason(35, None, file)) is ends
    assert bool(ending.reason(38, None, file)) is ends
    # What a continued run has not come to yet does not count.
    assert ending.reason(30, None, file) == ending.reason(15, None, file) == ""


def test_too_few_measurements_are_not_flat() -> None:
    assert not is_flat([(5, 1.0), (15, 1.0), (20, 1.0)], 10)
    assert is_flat([(5, 1.0), (10, 1.0), (15, 1.0), (20, 1.0)], 10)


TINY = SETTINGS | {"evaluate_every": "2", "evaluation_images": "16", "sample_every": "0", "checkpoint_every": "3"}


def test_a_run_that_gets_no_better_ends_alike_continued_or_not(cache_dir: Path, tmp_path: Path) -> None:
    flags = TINY | {"cache_dir": str(cache_dir), "early_stop": "best", "patience": "4", "generator_lr": "0.2"}
    train(flags | {"run_dir": str(tmp_path / "whole"), "max_steps": "30"})
    last = records(tmp_path / "whole")[-1]["step"]
    about = json.loads((tmp_path / "whole" / "best.json").read_text())
    assert last == about["step"] + 4 < 30
    # Stopped before, and continued from between two evaluations.
    train(flags | {"run_dir": str(tmp_path / "parts"), "max_steps": str(last - 1)})
    for _ in range(2):  # the second time there is nothing left to do
        train({"run_dir": str(tmp_path / "parts"), "resume": "true", "cache_dir": str(cache_dir), "max_steps": "30"})
    assert records(tmp_path / "parts") == records(tmp_path / "whole")
    generators = [files(tmp_path / name)["generator.safetensors"] for name in ("whole", "parts")]
    assert generators[0] == generators[1]


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (
            {"best_metric": "fid", "metrics": "diversity"},
            "best_metric=fid: is not measured in this run, which measures",
        ),
        ({"early_stop": "best", "metrics": "nn"}, "early_stop=best: no metric of this run says which is best"),
        (
            {"early_stop": "holdout", "holdout": "0.1", "patience": "7"},
            "patience=7 with evaluate_every=2: a held-out estimate is known to be flat after 4 measurements",
        ),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(
    flags: dict[str, str], complaint: str, cache_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=complaint):
        train(TINY | flags | {"cache_dir": str(cache_dir), "run_dir": str(tmp_path / "run")})
