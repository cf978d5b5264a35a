"""The evaluate command on conditional generators: classes are those that were asked for, and are named."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.exports import export_onnx
from tests.extractors import Projection, torchscript, write_images
from tests.faults.tiny import SETTINGS
from wgan_dist.checkpoints import generator_file
from wgan_dist.config.fields import from_flags
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.evaluate import EvaluateSettings
from wgan_dist.evaluate_files import evaluate
from wgan_dist.evaluation.results import CLASSES_SHOWN, table
from wgan_dist.models.inference import generate, sample_latents
from wgan_dist.train import train
from wgan_dist.utils.class_draws import sample_classes
from wgan_dist.utils.errors import UserError

COUNT, SEED = 300, 3
FEW = {"max_steps": "2", "sample_every": "0", "checkpoint_every": "2", "batch_size": "32"}


class Classifier(nn.Module):
    """Ten logits from fixed random directions."""

    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(np.random.default_rng(1).normal(size=(16 * 16, 10))))

    def forward(self, images: Tensor) -> Tensor:
        return (images[:, 0].flatten(1).double() - 127.5) @ self.weights


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> dict[str, Path]:
    """Train a run without and one with classes."""
    folder = tmp_path_factory.mktemp("classes")
    for name, labels in (("plain", "none"), ("conditional", "auto")):
        train(SETTINGS | FEW | {"labels": labels, "run_dir": str(folder / name), "cache_dir": str(cache_dir)})
    return {name: folder / name for name in ("plain", "conditional")}


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("networks")
    return {
        "classifier": torchscript(Classifier(), folder / "classifier.pt"),
        "feature_extractor": torchscript(Projection(), folder / "features.pt"),
    }


def measured(ckpt: Path, cache_dir: Path, out: Path, **flags: str) -> Any:
    given = {"ckpt": str(ckpt), "count": str(COUNT), "seed": str(SEED), "cache_dir": str(cache_dir), "out": str(out)}
    evaluate(from_flags(EvaluateSettings, given | flags))
    return json.loads(out.read_text())


def test_images_are_of_the_classes_that_a_seed_draws(
    runs: dict[str, Path],
    networks: dict[str, str],
    cache_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = networks | {"metrics": "accuracy,class_frechet"}
    found = measured(runs["conditional"], cache_dir, tmp_path / "out.json", **flags)
    loaded = generator_file.load(runs["conditional"] / generator_file.EMA_FILE)
    about = loaded.description
    labels = sample_classes(COUNT, np.array(about.class_shares), SEED)
    images = generate(loaded.network, sample_latents(COUNT, about.latent_dim, "normal", SEED), about.levels, labels)
    logits = Classifier()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    right = logits.argmax(1).numpy() == labels
    accuracy, distance = (found["metrics"][name] for name in ("label_accuracy", "class_frechet_distance"))
    assert accuracy["value"] == pytest.approx(right.mean())
    counts = np.bincount(labels)
    assert list(accuracy["classes"]) == [str(number) for number in range(10)]
    for number in range(10):
        of_class = accuracy["classes"][str(number)]
        assert of_class["value"] == pytest.approx(right[labels == number].mean())
        assert of_class["generated"] == counts[number]
    assert sum(each["real"] for each in distance["classes"].values()) == COUNT
    assert distance["value"] == pytest.approx(np.mean([each["value"] for each in distance["classes"].values()]))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    start = lines.index(["class", "class_frechet_distance", "↓", "label_accuracy", "↑", "generated", "real"])
    assert [line[0] for line in lines[start + 1 : start + 11]] == list(accuracy["classes"])


def test_a_file_and_its_data_elsewhere_have_the_same_classes(
    runs: dict[str, Path], networks: dict[str, str], cache_dir: Path, tmp_path: Path
) -> None:
    flags = networks | {"metrics": "accuracy,class_frechet"}
    expected = measured(runs["conditional"], cache_dir, tmp_path / "out.json", **flags)["metrics"]
    alone = Path(shutil.copy(runs["conditional"] / generator_file.EMA_FILE, tmp_path))
    assert measured(alone, cache_dir, tmp_path / "out.json", **flags)["metrics"] == expected
    graph = tmp_path / "generator.onnx"
    export_onnx({"ckpt": str(alone), "out": str(graph)})
    for name, metric in measured(graph, cache_dir, tmp_path / "out.json", **flags)["metrics"].items():
        assert metric["value"] == pytest.approx(expected[name]["value"], rel=1e-2)
        assert metric["classes"].keys() == expected[name]["classes"].keys()
    told = {"data": "digits", "labels": "auto"}
    assert measured(alone, cache_dir, tmp_path / "out.json", **flags, **told)["metrics"] == expected


def test_without_common_classes_the_other_metrics_are_measured(
    runs: dict[str, Path], networks: dict[str, str], cache_dir: Path, tmp_path: Path
) -> None:
    extractor = {"feature_extractor": networks["feature_extractor"]}
    for name, flags in (("plain", {}), ("plain", {"labels": "auto"}), ("conditional", {})):
        found = measured(runs[name], cache_dir, tmp_path / "out.json", data="digits", **extractor, **flags)
        assert "frechet_distance" in found["metrics"]
        assert not {"label_accuracy", "class_frechet_distance"} & {*found["metrics"], *found["skipped"]}


def test_a_classifier_without_classes_is_refused(
    runs: dict[str, Path], networks: dict[str, str], cache_dir: Path, tmp_path: Path
) -> None:
    classifier = {"classifier": networks["classifier"]}
    said = f"^classifier={networks['classifier']}: needs a generator and real images of the same classes, and "
    with pytest.raises(UserError, match=f"{said}generator.safetensors has none$"):
        measured(runs["plain"], cache_dir, tmp_path / "out.json", **classifier)
    with pytest.raises(UserError, match=f"{said}the data digits have none$"):
        measured(runs["conditional"], cache_dir, tmp_path / "out.json", data="digits", **classifier)
    assert not (tmp_path / "out.json").exists()


def test_other_classes_are_named(runs: dict[str, Path], digits: ImageDataset, cache_dir: Path, tmp_path: Path) -> None:
    for name, rows in (("cat", slice(20)), ("dog", slice(20, 40))):
        (tmp_path / "data").mkdir(exist_ok=True)
        write_images(digits.pixels[rows], tmp_path / "data" / name)
    said = (
        "^data=data: its classes are cat, dog, and those of generator.safetensors are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; "
        "expected the same in the same order$"
    )
    with pytest.raises(UserError, match=said):
        measured(runs["conditional"], cache_dir, tmp_path / "out.json", data=str(tmp_path / "data"), labels="auto")


def test_of_many_classes_a_table_has_the_first() -> None:
    classes = {f"class {number}": {"value": 0.5, "generated": 7, "real": 1234} for number in range(CLASSES_SHOWN + 3)}
    metric = {"value": 0.5, "protocol": "so", "generated": 9, "real": 0, "classes": classes}
    about = {"source": "a", "kind": "onnx", "precision": "float32", "step": 1, "weights": "ema", "skipped": {}}
    lines = table([about | {"metrics": {"label_accuracy": metric}}])
    assert lines[-1] == "and 3 more classes; the JSON file has all"
    assert lines[-2].split() == ["class", str(CLASSES_SHOWN - 1), "0.5", "7", "1,234"]
    assert len(lines) == 3 + 1 + CLASSES_SHOWN + 1
