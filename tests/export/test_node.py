"""The Node.js example, installed and run as a user does."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from export.sampler import Sampler, enlarged, grid
from tests.exports import export_onnx
from tests.generators import CLASSES, point_spec, small_spec, write_generator
from tests.processes import REPOSITORY, run
from wgan_dist.config.image_size import ImageSize
from wgan_dist.utils.levels import Levels

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy export/web/javascript/ and install its dependency."""
    folder = tmp_path_factory.mktemp("node") / "javascript"
    shutil.copytree(REPOSITORY / "export" / "web" / "javascript", folder)
    npm = shutil.which("npm") or pytest.fail("no npm found: install it (Debian: apt-get install npm)")
    environment = os.environ | {"ONNXRUNTIME_NODE_INSTALL": "skip"}
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("channels", "distribution", "uint8"), [(3, "normal", "false"), (1, "uniform", "false"), (4, "normal", "true")]
)
def test_node_samples_the_images_of_python(
    channels: int, distribution: str, uint8: str, example: Path, tmp_path: Path
) -> None:
    generator = write_generator(tmp_path, small_spec("dcgan", channels), "digits", distribution)
    export_onnx({"ckpt": str(generator), "out": str(tmp_path / "g.onnx"), "uint8": uint8})
    seed = 2**80 + 1
    done = run("node", str(example / "sample.js"), "g.onnx", "40", str(seed), "out.png", cwd=tmp_path)
    assert done.stdout == "40 images: out.png\n"
    expected = enlarged(grid(Sampler(tmp_path / "g.onnx", provider="cpu").sample(40, seed=seed)))
    with Image.open(tmp_path / "out.png") as picture:
        found = np.asarray(picture).reshape(expected.shape)
    difference = np.abs(found.astype(int) - expected.astype(int))
    print(f"{difference.max()} levels in {(difference > 0).mean():.4%} of the values")
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-3


def test_node_draws_the_first_three_of_five_channels_over_their_levels(example: Path, tmp_path: Path) -> None:
    levels = Levels("uint16", (0.0, 10.0, 100.0, 0.0, 7.0), (5.0, 60_000.0, 101.0, 1.0, 9.0))
    spec = small_spec("dcgan", 5, size=ImageSize(24, 40))
    generator = write_generator(tmp_path, spec, levels=levels)
    export_onnx({"ckpt": str(generator), "out": str(tmp_path / "g.onnx")})
    run("node", str(example / "sample.js"), "g.onnx", "4", "1", "out.png", cwd=tmp_path)
    sampler = Sampler(tmp_path / "g.onnx", provider="cpu")
    expected = enlarged(grid(sampler.values.picture(sampler.sample(4, seed=1))))
    with Image.open(tmp_path / "out.png") as picture:
        assert (np.asarray(picture) != expected).mean() <= 1e-3


@pytest.mark.parametrize("dimensions", [1, 3])
def test_node_writes_the_points_of_python(dimensions: int, example: Path, tmp_path: Path) -> None:
    generator = write_generator(tmp_path, point_spec(dimensions), "p.npy")
    export_onnx({"ckpt": str(generator), "out": str(tmp_path / "g.onnx")})
    done = run("node", str(example / "sample.js"), "g.onnx", "70", "5", "out.csv", cwd=tmp_path)
    assert done.stdout == "70 points: out.csv\n"
    found = np.loadtxt(tmp_path / "out.csv", delimiter=",", ndmin=2)
    np.testing.assert_allclose(found, Sampler(tmp_path / "g.onnx").sample(70, seed=5), rtol=1e-4, atol=1e-5)
    done = run("node", str(example / "sample.js"), "g.onnx", "4", "0", "out.png", cwd=tmp_path, fails=2)
    assert done.stderr == "error: out=out.png: expected a file ending in .csv\n"


def test_node_samples_the_classes_of_python(example: Path, tmp_path: Path) -> None:
    generator = write_generator(tmp_path, small_spec("dcgan", classes=len(CLASSES)))
    export_onnx({"ckpt": str(generator), "out": str(tmp_path / "g.onnx")})
    sampler = Sampler(tmp_path / "g.onnx", provider="cpu")
    for label in (None, "sneaker", "3"):
        chosen = [] if label is None else [label]
        run("node", str(example / "sample.js"), "g.onnx", "40", "6", "out.png", *chosen, cwd=tmp_path)
        expected = enlarged(grid(sampler.sample(40, 6, label)))
        with Image.open(tmp_path / "out.png") as picture:
            assert (np.asarray(picture) != expected).mean() <= 1e-3
    failed = run("node", str(example / "sample.js"), "g.onnx", "4", "0", "o.png", "boat", cwd=tmp_path, fails=2)
    assert failed.stderr.startswith("error: label=boat: expected a class such as ")


def test_without_arguments_it_prints_its_usage(example: Path, tmp_path: Path) -> None:
    assert run("node", str(example / "sample.js"), cwd=tmp_path, fails=2).stderr.startswith("usage: node sample.js")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["g.onnx", "abc"], "count=abc: expected a whole number of at least 1"),
        (["g.onnx", "0"], "count=0: expected a whole number of at least 1"),
        (["g.onnx", "2.5"], "count=2.5: expected a whole number of at least 1"),
        (["g.onnx", "4", "-5"], "seed=-5: expected a whole number of at least 0"),
        (["g.onnx", "4", ""], "seed=: expected a whole number of at least 0"),
        (["g.onnx", "4", "x"], "seed=x: expected a whole number of at least 0"),
        (["g.onnx", "4", "0", "out.jpg"], "out=out.jpg: expected a file ending in .png"),
        (["missing.onnx"], "ENOENT: no such file or directory, open 'missing.onnx'"),
        (["g.onnx", "4", "0", "no/out.png"], "ENOENT: no such file or directory, open 'no/out.png'"),
        (["strange.onnx"], "onnxruntime cannot load it: "),
    ],
)
def test_an_error_is_one_line_and_status_2(
    arguments: list[str], words: str, example: Path, onnx_file: Path, tmp_path: Path
) -> None:
    shutil.copy(onnx_file, tmp_path / "g.onnx")
    model = onnx.load(onnx_file)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "strange.onnx")
    done = run("node", str(example / "sample.js"), *arguments, cwd=tmp_path, fails=2)
    assert done.stderr.startswith(f"error: {words}")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.onnx", "strange.onnx"]
