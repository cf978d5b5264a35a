"""Short runs of all recipes on real data: train, resume to the same bytes, export, sample without torch."""

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from export.sampler import Sampler, write_points
from tests.exports import export_onnx
from tests.processes import metrics
from wgan_dist.checkpoints import generator_file
from wgan_dist.config import recipe_names
from wgan_dist.data.datasets import open_points
from wgan_dist.data.sources.idx import DIGITS, read_idx
from wgan_dist.models.inference import generate
from wgan_dist.sample import SampleSettings
from wgan_dist.sampling import sample
from wgan_dist.train import train

# From Debian's package dataset-fashion-mnist; without it the embedded digits are the grey images.
FASHION = Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz")
CROP, STRIDE = 128, 96
SHORT = {
    "generator_features": "4",
    "critic_features": "4",
    "batch_size": "8",
    "max_steps": "2",
    "log_every": "1",
    "sample_every": "2",
    "evaluate_every": "0",
    "checkpoint_every": "1",
    "grid_images": "4",
    "threads": "1",
}


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of real garments of 28×28, or of digits of 8×8."""
    path = FASHION if FASHION.exists() else next(DIGITS.glob("*idx3-ubyte*"))
    images = read_idx(path)[:64]
    folder = tmp_path_factory.mktemp("grey")
    header = struct.pack(">HBBIII", 0, 8, 3, *images.shape)
    (folder / "train-images-idx3-ubyte").write_bytes(header + images.tobytes())
    return folder


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of crops of scikit-learn's two photographs."""
    folder = tmp_path_factory.mktemp("colour")
    for photograph, picture in enumerate(load_sample_images().images):
        height, width = picture.shape[:2]
        for top in range(0, height - CROP + 1, STRIDE):
            for left in range(0, width - CROP + 1, STRIDE):
                crop = picture[top : top + CROP, left : left + CROP]
                Image.fromarray(crop).save(folder / f"{photograph}-{top}-{left}.png")
    assert len(list(folder.iterdir())) >= 40
    return folder


def in_classes(pictures: Sequence[Image.Image], folder: Path) -> Path:
    """Write pictures in turn into two folders, which are classes."""
    for number, picture in enumerate(pictures):
        path = folder / f"class-{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
    return folder


@pytest.fixture(scope="module")
def grey_classes(grey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the grey images in two folders."""
    pictures = [Image.fromarray(image) for image in read_idx(grey / "train-images-idx3-ubyte")]
    return in_classes(pictures, tmp_path_factory.mktemp("grey_classes"))


@pytest.fixture(scope="module")
def colour_classes(colour: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the colour images in two folders."""
    pictures = [Image.open(path) for path in sorted(colour.iterdir())]
    return in_classes(pictures, tmp_path_factory.mktemp("colour_classes"))


@pytest.fixture
def random_field(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of the random fields, of which there are few."""
    monkeypatch.setattr("wgan_dist.data.sources.random_field.COUNT", 64)
    return "random_field"


# The data and image size of each recipe for images, and more settings that make its run short.
GREY, COLOUR, FIELD = "grey", "colour", "random_field"
GREY_CLASSES, COLOUR_CLASSES = "grey_classes", "colour_classes"
RECIPES = {
    "catfaces64": (COLOUR, 64, {}),
    "cifar10_acgan": (COLOUR_CLASSES, 32, {"generator_batch_size": "16"}),
    "cifar10_projection": (COLOUR_CLASSES, 32, {"generator_batch_size": "16"}),
    "cifar10_resnet": (COLOUR, 32, {"generator_batch_size": "16"}),
    "dcgan64": (COLOUR, 64, {"evaluate_every": "1", "evaluation_images": "70"}),
    "digits": (GREY, 32, {}),
    "digits_conditional": (GREY_CLASSES, 32, {"class_balance": "true"}),
    "fashion_mnist": (GREY, 32, {}),
    "fashion_mnist_conditional": (GREY_CLASSES, 32, {}),
    "fashion_mnist_wgan_gp": (GREY, 32, {}),
    "mnist_mlp": (GREY, 28, {}),
    "mnist_mlp_bn": (GREY, 28, {}),
    "mnist_upsample": (GREY, 28, {}),
    "own_images": (COLOUR, 64, {}),
    "resnet128": (COLOUR, 128, {"generator_batch_size": "8"}),
    "resnet64": (COLOUR, 64, {"generator_batch_size": "8"}),
    "sagan64": (COLOUR, 64, {}),
    "toy_random_field": (FIELD, 64, {"evaluate_every": "1"}),
    "wgan_original": (COLOUR, 64, {"batch_size": "4"}),
}
HEAVY = ("resnet128", "resnet64", "wgan_original")
POINTS = ("toy_25gaussians", "toy_8gaussians", "toy_swissroll")


def test_every_recipe_is_tested() -> None:
    assert sorted([*RECIPES, *POINTS]) == recipe_names()


def go_back_to_step_1(run_dir: Path) -> bytes:
    """Remove the checkpoint of the second step; return the generator file of both steps."""
    shutil.rmtree(run_dir / "checkpoints" / "step-00000002")
    content = (run_dir / generator_file.EMA_FILE).read_bytes()
    (run_dir / generator_file.EMA_FILE).unlink()
    return content


@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=[pytest.mark.slow] if name in HEAVY else []) for name in RECIPES]
)
def test_a_recipe_of_images_trains_resumes_exports_and_samples(
    recipe: str, request: pytest.FixtureRequest, tmp_path: Path, cache_dir: Path
) -> None:
    kind, size, others = RECIPES[recipe]
    run_dir, data = tmp_path / "run", str(request.getfixturevalue(kind))
    given = {"recipe": recipe, "data": data, "cache_dir": str(cache_dir), "run_dir": str(run_dir)} | SHORT | others
    train(given)
    records = metrics(run_dir)
    assert [record["step"] for record in records] == [1, 2]
    assert all(value is not None for record in records for value in record.values())
    assert (run_dir / "samples" / "step-00000002-ema.png").exists()

    whole = go_back_to_step_1(run_dir)
    train(given | {"resume": "true"})
    assert (run_dir / generator_file.EMA_FILE).read_bytes() == whole
    assert metrics(run_dir) == records

    export_onnx({"ckpt": str(run_dir)})
    sampler = Sampler(run_dir / "generator.onnx")
    drawn = sampler.sample(5, seed=1)
    assert drawn.shape == (5, size, size, 3 if kind in (COLOUR, COLOUR_CLASSES) else 1)
    assert drawn.dtype == (np.float32 if kind == FIELD else np.uint8)
    made = generator_file.load(run_dir / generator_file.EMA_FILE)
    labels = sampler.labels(5, seed=1)
    expected = generate(made.network, sampler.latents(5, seed=1), made.description.levels, labels)
    assert np.abs(drawn.astype(float) - expected).max() <= (1e-4 if kind == FIELD else 1)


@pytest.mark.parametrize("recipe", POINTS)
def test_a_recipe_of_points_trains_resumes_exports_and_samples(recipe: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    given = {"recipe": recipe, "run_dir": str(run_dir)} | SHORT | {"evaluate_every": "2", "sample_every": "1"}
    train(given)
    records = metrics(run_dir)
    pictures = {path.name: path.read_bytes() for path in (run_dir / "samples").iterdir()}
    # Two kinds of pictures, for both weights, at both steps.
    assert len(pictures) == 2 * 2 * 2

    whole = go_back_to_step_1(run_dir)
    (run_dir / "samples" / "step-00000002-raw.png").unlink()
    train(given | {"resume": "true"})
    assert (run_dir / generator_file.EMA_FILE).read_bytes() == whole
    assert {path.name: path.read_bytes() for path in (run_dir / "samples").iterdir()} == pictures
    assert metrics(run_dir) == records

    for suffix in ("csv", "png"):
        sample(SampleSettings(ckpt=str(run_dir), count=70, seed=3, out=str(tmp_path / f"p.{suffix}")))
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.size == (600, 600)
    export_onnx({"ckpt": str(run_dir)})
    write_points(Sampler(run_dir / "generator.onnx").sample(70, seed=3), str(tmp_path / "q.csv"))
    with_torch, with_onnx = (np.loadtxt(tmp_path / name, delimiter=",") for name in ("p.csv", "q.csv"))
    assert with_torch.shape == (70, 2)
    np.testing.assert_allclose(with_torch, with_onnx, atol=1e-5)


def test_points_are_the_same_data_whatever_the_seed_of_the_run(tmp_path: Path) -> None:
    for seed in ("0", "9"):
        given = {"recipe": "toy_8gaussians", "run_dir": str(tmp_path / seed), "seed": seed} | SHORT
        train(given | {"max_steps": "1", "sample_every": "0"})
    states = [(tmp_path / seed / "checkpoints/step-00000001/state.json").read_text() for seed in ("0", "9")]
    assert all(open_points("8gaussians").fingerprint in state for state in states)
