"""Images of any size, number of channels and depth, from training to every file that samples them.

Sizes, networks and channels are combined in pairs.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from export.sampler import Sampler, write_images
from tests.exports import export_onnx, export_torchscript
from tests.faults.tiny import files
from wgan_dist import Generator
from wgan_dist.sample import SampleSettings
from wgan_dist.sampling import sample
from wgan_dist.train import train

CASES = [
    ("17x23", "dcgan", "dcgan", "1"),
    pytest.param("30x50", "upsample", "upsample", "3", marks=pytest.mark.slow),
    pytest.param("100x20", "resnet", "resnet", "1", marks=pytest.mark.slow),
    pytest.param("48", "sagan", "dcgan", "3", marks=pytest.mark.slow),
    pytest.param("32x48", "mlp_bn", "mlp", "4", marks=pytest.mark.slow),
    pytest.param("48x96", "dcgan_original", "resnet", "1", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("size", "generator", "critic", "channels"), CASES)
def test_a_size_holds_from_training_to_every_export(
    size: str, generator: str, critic: str, channels: str, tmp_path: Path, tiny: dict[str, str]
) -> None:
    networks = {"generator": generator, "critic": critic, "generator_features": "4", "critic_features": "4"}
    settings = tiny | networks | {"image_size": size, "channels": channels, "grid_images": "6", "sample_every": "2"}
    run, straight = tmp_path / "run", tmp_path / "straight"
    train(settings | {"run_dir": str(straight), "max_steps": "2"})
    train(settings | {"run_dir": str(run), "max_steps": "1"})
    train({"run_dir": str(run), "resume": "true", "max_steps": "2", "cache_dir": tiny["cache_dir"]})
    last = "checkpoints/step-00000002"
    assert files(run / last) == files(straight / last)

    height, width = map(int, size.split("x")) if "x" in size else (int(size),) * 2
    shape = (height, width, int(channels))
    with Image.open(run / "samples/step-00000002-ema.png") as grid:  # two columns, enlarged
        rows, columns = (3 * (height + 2) + 2, 2 * (width + 2) + 2)
        assert grid.height / grid.width == rows / columns

    expected = Generator.from_pretrained(run).sample(3, seed=1)
    assert expected.shape == (3, *shape)
    export_onnx({"ckpt": str(run), "out": str(tmp_path / "a.onnx")})
    export_onnx({"ckpt": str(run), "out": str(tmp_path / "b.onnx"), "precision": "int8", "uint8": "true", "psnr": "15"})
    export_torchscript({"ckpt": str(run), "out": str(tmp_path / "a.pt")})
    sampler = Sampler(tmp_path / "a.onnx")
    assert (sampler.height, sampler.width, sampler.channels) == shape
    found = sampler.sample(3, seed=1)
    assert int(np.abs(found.astype(int) - expected).max()) <= 1
    assert Sampler(tmp_path / "b.onnx").sample(3, seed=1).shape == (3, *shape)


def _scans() -> NDArray[np.uint16]:
    """Return 16-bit grey images in a narrow range, of about 3,300 of 65,536 levels."""
    return np.random.default_rng(0).integers(1000, 4316, (24, 1, 24, 40)).astype(np.uint16)


def _fields() -> NDArray[np.float32]:
    """Return images of five channels whose ranges differ by orders of magnitude."""
    values = np.random.default_rng(0).uniform(0, 1, (24, 5, 17, 23))
    return (values * np.array([1, 10, 100, 1e-3, 5]).reshape(1, 5, 1, 1) - 0.5).astype(np.float32)


def _bands() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (24, 12, 16, 16), dtype=np.uint8)


@pytest.mark.parametrize(
    ("values", "size", "generator", "critic", "levels"),
    [
        (_scans(), "24x40", "dcgan", "dcgan", "auto"),
        (_fields(), "17x23", "mlp_bn", "mlp", "default"),
        pytest.param(_bands(), "16", "upsample", "upsample", "default", marks=pytest.mark.slow),
        pytest.param(_fields(), "16", "resnet", "resnet", "robust", marks=pytest.mark.slow),
        pytest.param(_scans(), "24x40", "sagan", "dcgan", "0,8000", marks=pytest.mark.slow),
    ],
)
def test_values_have_the_type_and_range_of_the_data_in_every_export(
    values: NDArray[Any],
    size: str,
    generator: str,
    critic: str,
    levels: str,
    tmp_path: Path,
    tiny: dict[str, str],
) -> None:
    np.save(tmp_path / "data.npy", values)
    networks = {"generator": generator, "critic": critic, "generator_features": "4", "critic_features": "4"}
    settings = tiny | networks | {"data": str(tmp_path / "data.npy"), "image_size": size, "levels": levels}
    short = {"batch_size": "8", "grid_images": "4", "sample_every": "2", "unit": "K", "evaluate_every": "2"}
    run = tmp_path / "run"
    train(settings | short | {"run_dir": str(run), "max_steps": "1"})
    train({"run_dir": str(run), "resume": "true", "max_steps": "2", "cache_dir": tiny["cache_dir"]})
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert np.isfinite(last["sliced_wasserstein"])
    assert ("spectrum_error" in last) == (values.dtype != np.uint8)

    expected = Generator.from_pretrained(run).sample(3, seed=1)
    low, high = (edge(values, axis=(0, 2, 3)) for edge in (np.min, np.max))
    assert (expected.dtype, expected.shape[0], expected.shape[3]) == (values.dtype, 3, values.shape[1])
    if levels in ("auto", "default") and values.dtype != np.uint8:
        assert (expected.min(axis=(0, 1, 2)) >= low).all()
        assert (expected.max(axis=(0, 1, 2)) <= high).all()
    export_onnx({"ckpt": str(run), "out": str(tmp_path / "a.onnx")})
    sampler = Sampler(tmp_path / "a.onnx")
    assert (sampler.values.dtype, sampler.values.unit) == (values.dtype.name, "K")
    span = np.array(sampler.values.high) - np.array(sampler.values.low)
    np.testing.assert_allclose(sampler.sample(3, seed=1) / span, expected / span, atol=2 / span.max() + 1e-5)
    written = list(write_images(sampler.sample(3, seed=1), str(tmp_path / "a.npy"), values=sampler.values))
    assert np.array_equal(np.load(written[0]), sampler.sample(3, seed=1).transpose(0, 3, 1, 2))
    sample(SampleSettings(ckpt=str(run), count=3, seed=1, out=str(tmp_path / "a.tif")))
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), expected.transpose(0, 3, 1, 2))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert (len(tiff.pages), tiff.series[0].axes) == (3, "QCYX")
        assert json.loads(tiff.pages.first.description)["unit"] == "K"
