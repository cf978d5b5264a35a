"""Evaluation during training: it does not depend on the number of processes, and it does not change the run."""

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.extractors import Projection, torchscript
from tests.faults.tiny import SETTINGS, curves, files, flags, last_checkpoint, records
from tests.processes import PYTHON, TORCHRUN_2, run
from wgan_dist.checkpoints import generator_file, safetensors_io
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config import load_config
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.holdout import choose_rows, split_holdout
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.evaluation.extractors import Extractor
from wgan_dist.evaluation.real_features import RealFeatures
from wgan_dist.models.from_config import network_specs
from wgan_dist.models.registry import build_critic
from wgan_dist.tracking.metric_names import SPEED_METRICS
from wgan_dist.train import train
from wgan_dist.utils import rng
from wgan_dist.utils.errors import UserError

FEW = SETTINGS | {"max_steps": "6", "checkpoint_every": "3", "sample_every": "0", "holdout": "0.2"}
OFTEN = {"evaluate_every": "2", "evaluation_images": "70", "best_metric": "frechet_distance"}
MEASURED = {
    "sliced_wasserstein",
    "nearest_neighbour",
    "diversity",
    "frechet_distance",
    "kernel_distance",
    "wasserstein_train",
    "wasserstein_holdout",
}


class Means(torch.nn.Module):
    """Ten logits: mean levels of stripes of an image."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, :10].double().mean(2)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> str:
    return torchscript(Projection(), tmp_path_factory.mktemp("extractor") / "projection.pt")


def test_a_run_is_the_same_to_the_bit_with_and_without_evaluation(
    extractor: str, cache_dir: Path, tmp_path: Path
) -> None:
    # Spectral norm and BatchNorm: state that a forward in training mode would move.
    normed = FEW | {"spectral_norm": "both", "critic_norm": "none", "cache_dir": str(cache_dir)}
    train(normed | {"run_dir": str(tmp_path / "without")})
    train(normed | OFTEN | {"run_dir": str(tmp_path / "with"), "feature_extractor": extractor})
    without, evaluated = (files(tmp_path / name / CHECKPOINTS) for name in ("without", "with"))
    for step in ("step-00000003", "step-00000006"):
        for name in ("generator", "generator_raw", "critic", "critic_optimizer", "generator_optimizer"):
            assert without[f"{step}/{name}.safetensors"] == evaluated[f"{step}/{name}.safetensors"]
    found = [each for each in records(tmp_path / "with") if "diversity" in each]
    assert [each["step"] for each in found] == [2, 4, 6]
    assert all(each.keys() >= MEASURED for each in found)
    best = min(found, key=lambda each: each["frechet_distance"])
    about = json.loads((tmp_path / "with" / "best.json").read_text())
    assert (about["metric"], about["step"]) == ("frechet_distance", best["step"])
    shown = curves(tmp_path / "with")
    for name, tag in (
        ("wasserstein_holdout", "critic/wasserstein_estimate_holdout"),
        ("diversity", "evaluation/diversity"),
    ):
        assert [value for _, value in shown[tag]] == pytest.approx([each[name] for each in found])


CERTIFIED = FEW | {"log_every": "3", "certify_every": "3", "image_size": "8", "max_steps": "3", "holdout": "0.1"}
POINTS = {"data": "8gaussians", "generator": "points", "critic": "points", "holdout": "0.002"}


@pytest.mark.parametrize("settings", [{}, POINTS], ids=["images", "points"])
def test_a_certified_estimate_does_not_touch_the_run(
    settings: dict[str, str], cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = CERTIFIED | {"cache_dir": str(cache_dir)} | settings
    train(given | {"certify_every": "0", "run_dir": str(tmp_path / "without")})
    train(given | {"run_dir": str(tmp_path / "with")})
    assert "certified W" in capsys.readouterr().out
    without, certified = (files(tmp_path / name / CHECKPOINTS) for name in ("without", "with"))
    assert without.keys() == certified.keys()
    different = {Path(name).name for name in without if without[name] != certified[name]}
    assert different == {"state.json", "manifest.json"}  # which hold the setting
    ((record,), (beside,)) = (records(tmp_path / name) for name in ("without", "with"))
    assert 0.5 < beside["certified_lower"] < beside["certified_wasserstein"]
    assert beside.keys() - record.keys() == {"certified_lower", "certified_wasserstein"}
    assert all(record[name] == beside[name] for name in record.keys() - SPEED_METRICS.keys())
    assert "critic/wasserstein_certified" in curves(tmp_path / "with")
    card = (tmp_path / "with" / "README.md").read_text()
    assert "by a 1-Lipschitz critic on held-out samples; in expectation at most the distance" in card


def test_a_certified_estimate_needs_enough_held_out_samples(cache_dir: Path, tmp_path: Path) -> None:
    few = CERTIFIED | {"holdout": "0.005", "cache_dir": str(cache_dir), "run_dir": str(tmp_path / "run")}
    with pytest.raises(UserError, match="with holdout=0.005: holds out .* samples; expected at least 20"):
        train(few)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_certify_what_one_does(cache_dir: Path, tmp_path: Path) -> None:
    settings, found = CERTIFIED | {"dtype": "float64", "cache_dir": str(cache_dir)}, []
    for name, command in (("one", PYTHON), ("two", TORCHRUN_2)):
        run(*command, "-m", "wgan_dist.train", *flags(settings | {"run_dir": name}), cwd=tmp_path)
        (record,) = records(tmp_path / name)
        found.append(record["certified_wasserstein"])
    assert found[0] == pytest.approx(found[1], rel=1e-2)  # rounding may divide the samples anew


def test_two_processes_measure_what_one_does(extractor: str, cache_dir: Path, tmp_path: Path) -> None:
    settings = FEW | OFTEN | {"dtype": "float64", "cache_dir": str(cache_dir), "feature_extractor": extractor}
    for name, command in (("one", PYTHON), ("two", TORCHRUN_2)):
        # Separate caches: neither run may read what the other has computed.
        shutil.copytree(cache_dir, tmp_path / name / "cache", ignore=shutil.ignore_patterns("*.features"))
        arguments = flags(
            settings | {"run_dir": str(tmp_path / name / "run"), "cache_dir": str(tmp_path / name / "cache")}
        )
        run(*command, "-m", "wgan_dist.train", *arguments, cwd=tmp_path)
    one, two = (records(tmp_path / name / "run") for name in ("one", "two"))
    assert len([each for each in one if each.keys() >= MEASURED]) == 3
    for first, second in zip(one, two, strict=True):
        assert second == pytest.approx(first, rel=1e-9)
    for name in ("one", "two"):
        assert len(list((tmp_path / name / "cache").glob("*.features"))) == 1


def test_two_processes_measure_classes_as_one_does(extractor: str, cache_dir: Path, tmp_path: Path) -> None:
    networks = {"feature_extractor": extractor, "classifier": torchscript(Means(), tmp_path / "classifier.pt")}
    few = {"max_steps": "2", "evaluation_images": "300", "labels": "auto", "generator": "mlp"}
    settings = FEW | OFTEN | few | networks | {"dtype": "float64", "best_metric": "accuracy"}
    for name, command in (("one", PYTHON), ("two", TORCHRUN_2)):
        # Separate caches: neither run may read what the other has computed.
        shutil.copytree(cache_dir, tmp_path / name / "cache", ignore=shutil.ignore_patterns("*.features"))
        folders = {"run_dir": str(tmp_path / name / "run"), "cache_dir": str(tmp_path / name / "cache")}
        run(*command, "-m", "wgan_dist.train", *flags(settings | folders), cwd=tmp_path)
    one, two = (records(tmp_path / name / "run")[-1] for name in ("one", "two"))
    measured = {"class_frechet_distance", "label_accuracy"}
    assert measured | {f"{name}_real" for name in measured} <= one.keys()
    assert two == pytest.approx(one, rel=1e-9)
    assert json.loads((tmp_path / "two" / "run" / "best.json").read_text())["metric"] == "label_accuracy"


@pytest.mark.slow
def test_a_failure_of_one_process_ends_all_with_the_same_message(cache_dir: Path, tmp_path: Path) -> None:
    class FailsOnTwo(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            wrong = images.shape[0] == 35
            return images.float().flatten(1) / (0.0 if wrong else 1.0)

    extractor = torchscript(FailsOnTwo(), tmp_path / "fails.pt")
    settings = FEW | OFTEN | {"cache_dir": str(cache_dir), "feature_extractor": extractor, "metrics": "frechet"}
    # 71 images: the first process has 35 of them in one batch, the second 36.
    arguments = flags(settings | {"evaluation_images": "71", "run_dir": str(tmp_path / "run")})
    done = run(*TORCHRUN_2, "-m", "wgan_dist.train", *arguments, cwd=tmp_path, fails=1)
    assert f"error: feature_extractor={extractor}: gives features that are not finite" in done.stderr


def test_the_estimates_are_the_means_of_the_critics_scores(cache_dir: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    # More images than are held out, so that all of these are scored.
    arguments = FEW | {"cache_dir": str(cache_dir), "run_dir": str(run_dir), "max_steps": "2", "dtype": "float64"}
    train(arguments | {"evaluate_every": "2"})
    record = records(run_dir)[-1]
    digits = open_images(("digits",), ImageSettings(square(16)), str(cache_dir))
    parts = split_holdout(digits, 0.2)
    count = len(parts.held_out)
    critic = build_critic(network_specs(load_config(arguments), 1)[1]).double().eval()
    safetensors_io.load_into(critic, (last_checkpoint(run_dir) / "critic.safetensors").read_bytes(), "critic")
    z = torch.from_numpy(rng.latent("normal", 1, "evaluation.z", 0, (1024, 4))[:count])
    chosen = choose_rows(digits, parts.training, count, 1)
    with torch.no_grad():
        fake = critic(generator_file.load(run_dir / "generator.safetensors").network(z)).mean()
        training, held_out = (
            critic(torch.from_numpy(digits.pixels[rows] / 127.5 - 1.0)).mean() for rows in (chosen, parts.held_out)
        )
    assert record["wasserstein_holdout"] == pytest.approx(float(held_out - fake), rel=1e-6)
    assert record["wasserstein_train"] == pytest.approx(float(training - fake), rel=1e-6)
    assert record["wasserstein_holdout"] != record["wasserstein_train"]


def counting(calls: list[int], features: Tensor) -> Extractor:
    """An extractor that appends the number of images of each call to `calls`."""

    def run_it(images: Tensor) -> dict[str, Tensor]:
        calls.append(len(images))
        return {"features": images.double().flatten(1)[:, :4] + features}

    return Extractor(run_it, f"{float(features)}", "", "features")


def test_real_features_are_computed_once_for_each_set_and_extractor(digits: ImageDataset, tmp_path: Path) -> None:
    calls: list[int] = []
    one, other = (counting(calls, torch.tensor(value).double()) for value in (0.0, 1.0))
    rows = np.arange(3, 133)
    real = RealFeatures(digits, rows, tmp_path)
    first = real.of(one)
    assert calls == [64, 64, 2]
    expected = digits.pixels[rows].reshape(130, -1)[:, :4]
    assert (first.numpy() == expected).all()
    assert (RealFeatures(digits, rows.copy(), tmp_path).of(one) == first).all()
    assert calls == [64, 64, 2]
    changed = ImageDataset(digits.name, digits.pixels, "another", ())
    others = [
        (real, other),
        (RealFeatures(digits, rows[:-1], tmp_path), one),
        (RealFeatures(changed, rows, tmp_path), one),
    ]
    for number, (images, extractor) in enumerate(others, 2):
        images.of(extractor)
        assert len(calls) == 3 * number
    [damaged] = [file for file in tmp_path.iterdir() if file == real._cache_file(one)]
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert (real.of(one) == first).all()
    assert len(calls) == 15
    assert (real.of(one) == first).all()
    assert len(calls) == 15


def test_real_features_of_a_flipped_bit_are_computed_again(digits: ImageDataset, tmp_path: Path) -> None:
    calls: list[int] = []
    extractor = counting(calls, torch.tensor(0.0).double())
    real = RealFeatures(digits, np.arange(20), tmp_path)
    first = real.of(extractor)
    [file] = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600  # features of private images
    content = bytearray(file.read_bytes())
    content[content.index(first.numpy().tobytes())] ^= 1
    file.write_bytes(content)
    assert (real.of(extractor) == first).all()
    assert calls == [20, 20]


def test_real_features_are_of_one_version_of_torch_fidelity(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    extractor = counting(calls, torch.tensor(0.0).double())
    real = RealFeatures(digits, np.arange(20), tmp_path)
    real.of(extractor)
    monkeypatch.setattr("importlib.metadata.version", {"torch-fidelity": "another"}.__getitem__)
    real.of(extractor)
    assert calls == [20, 20]


def test_more_images_may_be_generated_than_are_held_out(cache_dir: Path, tmp_path: Path) -> None:
    """The critic has a norm layer, which does not accept an empty batch."""
    often = {"evaluate_every": "1", "evaluation_images": "70"}
    settings = SETTINGS | often | {"max_steps": "1", "holdout": "0.01", "generator": "dcgan"}
    own = {"critic": "dcgan", "critic_norm": "instance", "run_dir": str(tmp_path / "run"), "cache_dir": str(cache_dir)}
    train(settings | own)
    (record,) = records(tmp_path / "run")
    assert record.keys() >= {"wasserstein_train", "wasserstein_holdout", "diversity"}
