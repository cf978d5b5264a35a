"""The control of augmentation: what it measures, how the probability follows, and runs with it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from tests.faults.resume import Point, check
from tests.faults.tiny import SETTINGS, files, last_checkpoint
from tests.worlds import CASES, SHARES, World
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, METRICS_FILE
from wgan_dist.checkpoints.state_file import STATE_FILE
from wgan_dist.checkpoints.train_state import AugmentationState, TrainState
from wgan_dist.config import CONFIG_FILE, Config
from wgan_dist.config.config import AUGMENT_POLICY
from wgan_dist.data.holdout import Split
from wgan_dist.losses.augment import DRAWS, Augmentation, augment
from wgan_dist.train import train
from wgan_dist.training import augmentation, augmentation_strength, eval_mode
from wgan_dist.training.augmentation import MEASURED, AdaptiveAugmentation, Overfitting, with_holdout
from wgan_dist.training.augmentation_strength import AugmentationStrength, make_strength
from wgan_dist.training.callbacks import StepResult
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError


def scores(training: float, held_out: float, generated: float) -> Tensor:
    return torch.tensor([training, held_out, generated], dtype=torch.float64)


@pytest.mark.parametrize(
    ("measured", "overfitting", "rises"),
    [
        (scores(1.0, 0.0, 0.0), 1.0, True),
        (scores(1.0, 1.0, 0.0), 0.0, False),
        (scores(101.0, 100.0, 99.0), 0.5, False),  # neither an offset
        (scores(1e4, 0.0, -5e3), 2 / 3, True),  # nor a scale matters
        (scores(0.0, 1.0, 0.0), 0.0, False),
        (scores(-1.0, -3.0, 1.0), 0.0, False),  # not yet better than chance
        (scores(torch.nan, 0.0, 0.0), 0.0, False),
    ],
)
def test_the_probability_follows_overfitting(measured: Tensor, overfitting: float, rises: bool) -> None:
    strength = make_strength("adaptive", ["translation"], torch.device("cpu"), torch.float64)
    assert strength
    strength.load(AugmentationState(probability=0.3, overfitting=0.7))
    assert strength.probabilities.tolist() == [0.0, 0.3, 0.0]
    strength.adapt(measured, 0.25)
    assert float(strength.probability) == pytest.approx(0.55 if rises else 0.05, abs=1e-12)
    assert float(strength.overfitting) == pytest.approx(overfitting, abs=1e-12)
    for _ in range(4):
        strength.adapt(measured, 0.25)
    assert float(strength.probability) == float(rises)
    assert strength.probabilities.tolist() == [0.0, float(rises), 0.0]


def measured_world(case: str) -> tuple[World, Overfitting, Tensor, Split]:
    world = World(replace(CASES[case], dtype="float64", augment="adaptive"))
    images = torch.as_tensor(2.0 * rng.uniform(7, "test.set", 0, (100, *world.shape)) - 1.0)
    labels = np.repeat(np.arange(len(SHARES)), (50, 30, 20)) if world.is_conditional else None
    order = rng.permutation(1, "test.split", 0, 100)
    split = Split(training=np.sort(order[:70]), held_out=np.sort(order[70:]))
    return world, Overfitting(world.gan, world.source, split, images.__getitem__, labels), images, split


def test_scores_are_those_of_images_augmented_alike() -> None:
    world, overfitting, images, _ = measured_world("gp-instance-1")
    probabilities = torch.tensor([0.7, 0.0, 0.4])
    found = overfitting.mean_scores(32, probabilities)
    held_out, training = overfitting.rows(32)
    draws = torch.as_tensor(rng.uniform(0, "augment.measured.draws", 32, (MEASURED, DRAWS)))
    z = torch.as_tensor(rng.normal(0, "augment.measured.z", 32, (MEASURED, world.config.latent_dim)))
    critic, generator = world.gan.critic.network, world.gan.generator.network
    kinds = images[training], images[held_out], eval_mode.sample(generator, z)
    wanted = [eval_mode.score(critic, augment(each, Augmentation(draws, probabilities))).mean() for each in kinds]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-10, atol=1e-12)
    assert not torch.equal(found, overfitting.mean_scores(48, probabilities))


def test_a_held_out_image_is_compared_with_training_images_of_its_class() -> None:
    _, overfitting, _, split = measured_world("projection-norm-2")
    labels = np.repeat(np.arange(len(SHARES)), (50, 30, 20))
    seen = set()
    for step in range(100):
        held_out, training = overfitting.rows(step)
        assert (labels[held_out] == labels[training]).all()
        assert set(held_out) <= set(split.held_out)
        assert set(training) <= set(split.training)
        seen |= set(training) | set(held_out)
    assert len(seen) == 100


@pytest.mark.parametrize(
    ("count", "share"), [(100, 0.2), (240, 0.2), (300, 0.16), (480, 0.1), (5000, 0.1), (10_000, 0.05), (60_000, 0.0083)]
)
def test_adaptive_augmentation_holds_out_images(count: int, share: float) -> None:
    assert with_holdout(Config(augment="adaptive"), count).holdout == share
    assert with_holdout(Config(augment="adaptive", holdout=0.3), count).holdout == 0.3
    assert with_holdout(Config(augment="diffaugment"), count).holdout == 0.0


ADAPTIVE = {"augment": "adaptive", "loss": "relativistic", "penalty": "r1r2"}


def test_a_run_resumes_with_the_probability_it_had(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target below 0 lets the probability rise, every second step."""
    monkeypatch.setattr(augmentation_strength, "TARGET", -1.0)
    monkeypatch.setattr(augmentation, "IMAGES_BETWEEN", 96)
    monkeypatch.setattr(augmentation, "RAMP_IMAGES", 1000)
    assert check(Point("adaptive", 31, ADAPTIVE), tmp_path, cache_dir) == []
    (state,) = (
        json.loads((folder / STATE_FILE).read_text())
        for folder in (tmp_path / "straight" / CHECKPOINTS).iterdir()
        if folder.name == "step-00000030"
    )
    assert state["augmentation"]["probability"] == pytest.approx(1.0)
    records = [json.loads(line) for line in (tmp_path / "straight" / METRICS_FILE).read_text().splitlines()]
    assert [record["augment_probability"] for record in records[:3]] == pytest.approx([0.096, 0.192, 0.288])


def test_a_probability_of_0_changes_no_bit(tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also BatchNorm's statistics stay what they are while the generator is measured."""
    monkeypatch.setattr(augmentation, "IMAGES_BETWEEN", 96)
    settings = SETTINGS | ADAPTIVE | {"cache_dir": str(cache_dir), "max_steps": "6", "holdout": "0.1"}
    for name in ("adaptive", "none"):
        train(settings | {"augment": name, "run_dir": str(tmp_path / name)})
    found, wanted = (files(last_checkpoint(tmp_path / name)) for name in ("adaptive", "none"))
    weights = [name for name in found if name.endswith(".safetensors")]
    assert len(weights) == 5
    assert [name for name in weights if found[name] != wanted[name]] == []


def test_a_run_says_what_it_holds_out(tiny: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny | {"run_dir": str(tmp_path / "run"), "augment": "adaptive", "max_steps": "2"})
    assert "of them are held out, to measure how far the critic overfits" in capsys.readouterr().out
    assert yaml.safe_load((tmp_path / "run" / CONFIG_FILE).read_text())["holdout"] == 0.1


CONDITIONAL = {"labels": "auto", "critic_labels": "acgan"}
DROPOUT = {"generator": "upsample", "critic": "upsample", "image_size": "28", "generator_norm": "batch"}


@pytest.mark.parametrize(
    "settings", [{"mixed_precision": "bf16"} | CONDITIONAL, {"mixed_precision": "fp16"} | DROPOUT], ids=["bf16", "fp16"]
)
def test_every_critic_trains_in_half_precision(settings: dict[str, str], tiny: dict[str, str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny | settings | {"augment": "diffaugment", "accumulation": "2", "max_steps": "2", "run_dir": str(run)})
    *_, record = (json.loads(line) for line in (run / METRICS_FILE).read_text().splitlines())
    assert record["critic_loss"] is not None
    assert record["generator_loss"] is not None


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"holdout": "0.01"}, r"augment=adaptive: \d+ of 1797 images are held out .* --augment=diffaugment"),
        ({"recipe": "toy_8gaussians", "data": "8gaussians"}, "augment=adaptive: is for images, and 8gaussians are"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    settings: dict[str, str], complaint: str, tiny: dict[str, str], tmp_path: Path
) -> None:
    keep = {name: tiny[name] for name in ("cache_dir", "threads")} if "recipe" in settings else tiny
    with pytest.raises(UserError, match=complaint):
        train(keep | settings | {"augment": "adaptive", "run_dir": str(tmp_path / "run")})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("images_per_step", "every"), [(1, 2048), (64, 32), (320, 6), (2560, 1), (100_000, 1)])
def test_the_probability_moves_by_a_few_percent_for_any_batch_size(images_per_step: int, every: int) -> None:
    """It goes from 0 to 1 while the critic sees 50,000 images, or in one step of more images."""

    class Overfitted:
        def mean_scores(self, step: int, probabilities: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0, 0.0])

    strength = AugmentationStrength(0.0, AUGMENT_POLICY, torch.device("cpu"), torch.float64, always_active=False)
    callback = AdaptiveAugmentation(strength, Overfitted(), images_per_step)  # type: ignore[arg-type]
    for step in range(1, every + 1):
        assert float(strength.probability) == 0.0
        callback.on_step_end(TrainState(step=step), StepResult({}))
    assert float(strength.probability) == pytest.approx(min(1.0, every * images_per_step / 50_000))
    assert float(strength.probability) <= 0.06 or images_per_step > 2560
