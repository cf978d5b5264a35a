"""Sampling in a fresh environment with numpy and onnxruntime only."""

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.sampler import Sampler, enlarged, grid
from tests.exports import export_bundle
from tests.generators import small_spec, write_generator
from tests.processes import REPOSITORY

pytestmark = pytest.mark.slow

DRAW = """
import hashlib
from cats.sampler import Sampler

images = Sampler("cats/generator.onnx").sample(40, seed=7)
print(images.shape, hashlib.sha256(images.tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of that environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "numpy", "onnxruntime"], check=True)
    return python


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return the folder of a program with a bundle in it."""
    generator = write_generator(tmp_path, small_spec("dcgan"))
    export_bundle({"ckpt": str(generator), "out": str(tmp_path / "program" / "cats")})
    return tmp_path / "program"


def draw(python: str | Path, code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    # Without PYTHONPATH, which would make this package importable.
    return subprocess.run([python, "-c", code], cwd=folder, env={"PATH": ""}, capture_output=True, text=True)


@pytest.mark.parametrize("module", ["torch", "wgan_dist", "onnx", "PIL"])
def test_the_environment_has_no_training_dependencies(module: str, python: Path, tmp_path: Path) -> None:
    assert f"No module named '{module}'" in draw(python, f"import {module}", tmp_path).stderr


def test_the_sampler_alone_in_a_folder_samples_the_same_images(python: Path, program: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "sampler.py").write_bytes((REPOSITORY / "export" / "sampler.py").read_bytes())
    graph = program / "cats" / "generator.onnx"
    done = draw(
        python, DRAW.replace("cats.sampler", "sampler").replace("cats/", f"{graph.parent}/"), tmp_path / "alone"
    )
    expected = Sampler(graph, provider="cpu").sample(40, seed=7)
    assert done.stdout == f"{expected.shape} {hashlib.sha256(expected.tobytes()).hexdigest()}\n", done.stderr


def test_the_command_line_of_the_sampler_alone_writes_a_grid(python: Path, program: Path) -> None:
    command = [str(python), "cats/sampler.py", "cats/generator.onnx", "--count=5", "--seed=7", "--out=grid.png"]
    subprocess.run(command, cwd=program, env={"PATH": ""}, check=True)
    expected = enlarged(grid(Sampler(program / "cats" / "generator.onnx", provider="cpu").sample(5, seed=7)))
    with Image.open(program / "grid.png") as found:
        assert (np.asarray(found) == expected).all()


def test_a_bundle_samples_the_same_images(python: Path, program: Path) -> None:
    expected = Sampler(program / "cats" / "generator.onnx", provider="cpu").sample(40, seed=7)
    done = draw(python, DRAW, program)
    assert done.stdout == f"{expected.shape} {hashlib.sha256(expected.tobytes()).hexdigest()}\n", done.stderr
    done = subprocess.run([python, "cats/example.py"], cwd=program, env={"PATH": ""}, capture_output=True, text=True)
    assert done.stdout == "(16, 16, 16, 3) uint8\n", done.stderr


def test_a_bundle_names_its_requirements(python: Path, program: Path) -> None:
    """requirements.txt names what that environment contains."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--dry-run", "--no-index", "-r", "cats/requirements.txt"]
    subprocess.run(command, cwd=program, check=True)
