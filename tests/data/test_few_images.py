"""The recommendation for data sets of few images."""

from pathlib import Path

import numpy as np
import pytest

from wgan_dist.config import Config
from wgan_dist.config.fields import flag_names
from wgan_dist.data.few_images import suggestion
from wgan_dist.data.inspect import print_summary
from wgan_dist.data.inspect_settings import InspectSettings
from wgan_dist.train import train


@pytest.mark.parametrize(
    ("count", "augment"), [(40, "diffaugment"), (239, "diffaugment"), (240, "adaptive"), (4999, "adaptive")]
)
def test_few_images_suggest_augmentation(count: int, augment: str) -> None:
    sentence = suggestion(count)
    assert sentence.startswith(f"{count:,} images are few")
    named = [word.removeprefix("--") for word in sentence.split() if word.startswith("--")]
    assert named[:2] == [f"augment={augment}", "augment_policy=translation,"]
    assert {name.partition("=")[0] for name in named} <= set(flag_names(Config))


def test_many_images_and_short_runs_suggest_nothing() -> None:
    assert suggestion(5000) == ""
    assert suggestion(5000, views=1e6) == ""
    assert suggestion(500, views=1000.0) == ""
    assert suggestion(500, views=1001.0) == suggestion(500)


@pytest.mark.parametrize(("steps", "says"), [("44900", False), ("45000", True)])
def test_a_long_run_says_it(steps: str, says: bool, tiny: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """1,797 digits, a batch of 8 in each of five critic iterations: 44,925 steps see each of them 1,000 times."""
    train(tiny | {"max_steps": steps, "batch_size": "8", "n_critic": "5", "dry_run": "true"})
    assert (suggestion(1797) in capsys.readouterr().out) == says


@pytest.mark.parametrize("count", [450, 5000])
def test_inspect_says_it(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 255, (count, 8, 8), dtype=np.uint8))
    print_summary(InspectSettings(data=(str(tmp_path / "a.npy"),), cache_dir=str(tmp_path / "cache")))
    assert (suggestion(450) in capsys.readouterr().out) == (count == 450)
