"""Timing draws the same images from every kind of file."""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from export import timing
from export.metadata import METADATA_FILE
from tests.exports import export_torchscript
from tests.generators import small_spec, write_generator
from tests.processes import run
from tests.runs import write_run
from wgan_dist.checkpoints import generator_file
from wgan_dist.models.inference import generate, sample_latents
from wgan_dist.reporting.timing import WARM_UP_CALLS, exported_files
from wgan_dist.utils.errors import UserError

ABOUT = {
    "wgan_dist.latent_dim": "2",
    "wgan_dist.latent_distribution": "normal",
    "wgan_dist.image_size": "1",
    "wgan_dist.channels": "2",
    "wgan_dist.layout": "nc",
    "wgan_dist.value_range": "unbounded",
    "wgan_dist.precision": "fp32",
    "wgan_dist.weights": "ema",
    "wgan_dist.generator_steps": "1",
    "wgan_dist.data": "x",
    "wgan_dist.data_fingerprint": "x",
}


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
    assert "it is not an ONNX file, or damaged" in found.error


class Writes(torch.nn.Module):
    """Looks like a generator, and makes a file beside the process."""

    def forward(self, z: Tensor) -> Tensor:
        written = torch.from_file("pwned", True, 8)
        return z + written.sum()


@pytest.mark.slow
def test_a_report_runs_no_program_of_a_run_unasked(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", [])
    torch.jit.save(
        torch.jit.script(Writes()), run_dir / "generator.pt", _extra_files={METADATA_FILE: json.dumps(ABOUT)}
    )
    command = (sys.executable, "-m", "wgan_dist.report", "run")
    said = run(*command, cwd=tmp_path).stdout
    assert "not timing run/generator.pt: this file is a program; if you trust it, --trust runs it" in said
    assert not (tmp_path / "pwned").exists()
    run(*command, "--trust", cwd=tmp_path)
    assert (tmp_path / "pwned").exists()


@pytest.mark.slow
def test_a_file_is_timed_in_its_own_process(exported: Path) -> None:
    found = timing.time_file(exported / "generator.pt", "")
    assert found.error == ""
    assert set(found.milliseconds) == {1, 64}
    assert all(value > 0 for value in found.milliseconds.values())
