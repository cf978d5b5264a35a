"""Exported files in the runtimes of other programs: an old onnxruntime, OpenCV, and C++ with libtorch."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.exports import export_onnx, export_torchscript
from tests.generators import LATENT_DIM, small_spec, write_generator
from tests.processes import REPOSITORY
from wgan_dist.config.image_size import square
from wgan_dist.config.network_choices import GENERATORS
from wgan_dist.models.registry import generator_spec

pytestmark = pytest.mark.slow

PACKAGES = ("onnxruntime==1.16.*", "opencv-python-headless>=4.11,<5", "numpy<2")
OLD_ONNXRUNTIME = """
import sys, numpy, onnxruntime
assert onnxruntime.__version__.startswith("1.16."), onnxruntime.__version__
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
numpy.save("images.npy", session.run(None, {"z": numpy.load("z.npy")})[0])
"""
OPENCV = """
import sys, cv2, numpy
assert cv2.__version__.startswith("4."), cv2.__version__
network = cv2.dnn.readNetFromONNX(sys.argv[1])
network.setInput(numpy.load("z.npy"))
numpy.save("images.npy", network.forward())
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the runtimes into a new environment; return its interpreter."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def latents(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, LATENT_DIM), dtype=np.float32)


def images_of(python: Path, code: str, graph: Path, z: np.ndarray) -> np.ndarray:
    """Return what a program of the environment computes, in the folder of the graph."""
    np.save(graph.with_name("z.npy"), z)
    done = subprocess.run([python, "-c", code, graph.name], cwd=graph.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    images: np.ndarray = np.load(graph.with_name("images.npy"))
    return images


def expected_images(graph: Path, z: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    images: np.ndarray = session.run(None, {"z": z})[0]
    return images


@pytest.mark.parametrize("opset", ["15", "18"])
@pytest.mark.parametrize("name", GENERATORS)
def test_onnxruntime_1_16_computes_the_same_images(name: str, opset: str, python: Path, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec(name))
    export_onnx({"ckpt": str(path), "out": str(tmp_path / "g.onnx"), "opset": opset})
    for count in (1, 5):
        found = images_of(python, OLD_ONNXRUNTIME, tmp_path / "g.onnx", latents(count))
        np.testing.assert_allclose(found, expected_images(tmp_path / "g.onnx", latents(count)), atol=1e-5)


@pytest.mark.parametrize("name", GENERATORS)
def test_opencv_4_computes_the_same_images(name: str, python: Path, tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec(name))
    export_onnx({"ckpt": str(path), "out": str(tmp_path / "g.onnx")})
    for count in (1, 5):
        found = images_of(python, OPENCV, tmp_path / "g.onnx", latents(count))
        np.testing.assert_allclose(found, expected_images(tmp_path / "g.onnx", latents(count)), atol=1e-5)


def test_the_program_in_the_documentation_draws_pythons_images(tmp_path: Path) -> None:
    """Build it with the documented command, against the libtorch of the installed torch."""
    page = (REPOSITORY / "docs" / "sampling.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```cpp\n(.*?)```", page, re.DOTALL)
    (build,) = re.findall(r"^(?:g\+\+ .*\n)", page, re.MULTILINE)
    (tmp_path / "sample.cpp").write_text(code, encoding="utf-8")
    subprocess.run(["bash", "-c", build.replace("python", sys.executable)], cwd=tmp_path, check=True)
    path = write_generator(tmp_path, generator_spec("dcgan", 128, square(16), 3, 4, "auto", False))
    export_torchscript({"ckpt": str(path), "out": str(tmp_path / "generator.pt")})
    subprocess.run(["./sample", "generator.pt", "images.pt"], cwd=tmp_path, check=True)
    torch.manual_seed(0)
    z = torch.randn(16, 128)
    expected = torch.jit.load(str(tmp_path / "generator.pt"))(z)
    found = torch.load(tmp_path / "images.pt")
    assert found.shape == (16, 3, 16, 16)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
