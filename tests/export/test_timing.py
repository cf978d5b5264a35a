"""Timing draws the same images from every kind of file."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from export import timing
from tests.exports import export_torchscript
from tests.generators import small_spec, write_generator
from wgan_dist.checkpoints import generator_file
from wgan_dist.models.inference import generate, sample_latents
from wgan_dist.reporting.timing import WARM_UP_CALLS, exported_files
from wgan_dist.utils.errors import UserError


@pytest.fixture(scope="module")
def exported(run_dir: Path, onnx_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with an ONNX and a TorchScript export."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(run_dir, folder)
    shutil.copy(onnx_file, folder / "small.onnx")
    export_torchscript({"ckpt": str(folder)})
    return folder


def test_every_exported_file_is_found_and_draws_the_same_images(exported: Path) -> None:
    files = exported_files(exported)
    assert [path.name for path in files] == ["generator.safetensors", "small.onnx", "generator.pt"]
    first = (
        generate(generator_file.load(files[0]).network, sample_latents(3, 8, "normal", 0))
        .transpose(0, 3, 1, 2)
        .astype(int)
    )
    for path in files:
        images = timing.open_drawing(path, "")(slice(3))
        assert images.dtype == np.uint8
        nchw = images if images.shape[1] == 1 else images.transpose(0, 3, 1, 2)
        assert np.abs(nchw.astype(int) - first).max() <= 1


def test_points_are_drawn(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"), "8gaussians")
    assert timing.open_drawing(path, "")(slice(3)).shape == (3, 2)


def test_the_time_is_per_image() -> None:
    drawn: list[slice] = []

    def draw(part: slice) -> None:
        drawn.append(part)
        time.sleep(0.4)

    assert timing.milliseconds_per_image(draw, 4) >= 100
    assert drawn == [slice(4)] * (WARM_UP_CALLS + timing.MIN_CALLS)


@pytest.mark.parametrize("name", ["bad.onnx", "bad.pt", "bad.safetensors"])
def test_a_file_that_is_not_a_generator_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=name):
        timing.open_drawing(tmp_path / name, "")


@pytest.mark.slow
def test_the_reason_why_a_file_cannot_be_timed_is_kept(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing of the kind")
    found = timing.time_file(tmp_path / "bad.onnx", "")
    assert (found.file, found.size_bytes, found.milliseconds) == ("bad.onnx", 19, {})
    assert "onnxruntime cannot load it" in found.error


@pytest.mark.slow
def test_a_file_is_timed_in_its_own_process(exported: Path) -> None:
    found = timing.time_file(exported / "generator.pt", "")
    assert found.error == ""
    assert set(found.milliseconds) == {1, 64}
    assert all(value > 0 for value in found.milliseconds.values())
