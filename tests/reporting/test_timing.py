"""What is timed is the drawing of the same images, whatever the file."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from export.sampler import latents
from tests.exports import export_torchscript
from tests.generators import small_spec, write_generator
from wgan_dist.checkpoints import generator_file
from wgan_dist.reporting import timing
from wgan_dist.reporting.runs import read_run
from wgan_dist.sample import images_of
from wgan_dist.utils.errors import UserError


@pytest.fixture(scope="module")
def exported(run_dir: Path, onnx_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both exports in its folder."""
    folder = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(run_dir, folder)
    shutil.copy(onnx_file, folder / "small.onnx")
    export_torchscript({"ckpt": str(folder)})
    return folder


def test_every_kind_of_file_in_the_folder_is_found_and_draws_the_same_images(exported: Path) -> None:
    files = timing.exported_files(read_run(exported, "a"))
    assert [path.name for path in files] == ["generator.safetensors", "small.onnx", "generator.pt"]
    first = images_of(generator_file.load(files[0]), latents(3, 8)).transpose(0, 3, 1, 2).astype(int)
    for path in files:
        images = timing.drawing(path, "")(slice(3))
        assert images.dtype == np.uint8
        nchw = images if images.shape[1] == 1 else images.transpose(0, 3, 1, 2)
        assert np.abs(nchw.astype(int) - first).max() <= 1


def test_points_are_drawn_too(tmp_path: Path) -> None:
    path = write_generator(tmp_path, small_spec("points"), "8gaussians")
    assert timing.drawing(path, "")(slice(3)).shape == (3, 2)


def test_time_is_that_of_one_image() -> None:
    drawn: list[slice] = []

    def draw(part: slice) -> None:
        drawn.append(part)
        time.sleep(0.4)

    assert timing.milliseconds_per_image(draw, 4) >= 100
    assert drawn == [slice(4)] * (timing.WARM_UP + timing.LEAST_REPEATS)


@pytest.mark.parametrize("name", ["bad.onnx", "bad.pt", "bad.safetensors"])
def test_what_is_no_generator_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=name):
        timing.drawing(tmp_path / name, "")


@pytest.mark.slow
def test_a_file_that_cannot_be_timed_is_said_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nothing of the kind")
    found = timing.time_file(tmp_path / "bad.onnx", "")
    assert (found.file, found.size_bytes, found.milliseconds) == ("bad.onnx", 19, {})
    assert "onnxruntime cannot load it" in found.error


@pytest.mark.slow
def test_a_file_is_timed_in_a_process_of_its_own(exported: Path) -> None:
    found = timing.time_file(exported / "generator.pt", "")
    assert found.error == ""
    assert set(found.milliseconds) == {1, 64}
    assert all(value > 0 for value in found.milliseconds.values())
