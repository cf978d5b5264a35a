"""Images of any height and width, from training to every file that samples them.

Sizes, networks and channels are combined in pairs.
"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.sampler import Sampler
from tests.exports import export_onnx, export_torchscript
from tests.faults.tiny import files
from wgan_dist import Generator
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
