"""Generators of every file format are opened only if their metadata are understood."""

import json
import re
from pathlib import Path

import pytest
import torch

from export.loaders import open_generator
from export.metadata import METADATA_FILE
from wgan_dist.utils.errors import UserError

ABOUT = {
    "latent_dim": "2",
    "latent_distribution": "normal",
    "image_size": "1",
    "channels": "2",
    "layout": "nc",
    "value_range": "unbounded",
    "precision": "fp32",
    "weights": "ema",
    "generator_steps": "1",
    "data": "8gaussians",
    "data_fingerprint": "x",
}


def write_points(path: Path, about: dict[str, str]) -> Path:
    """Write a TorchScript file that returns its latents as points."""
    metadata = {f"wgan_dist.{name}": value for name, value in about.items()}
    network = torch.jit.trace(torch.nn.Identity(), torch.zeros(2, 2))
    torch.jit.save(network, path, _extra_files={METADATA_FILE: json.dumps(metadata)})
    return path


def test_a_file_with_known_values_is_opened(tmp_path: Path) -> None:
    generator = open_generator(write_points(tmp_path / "g.pt", ABOUT), "", 5, 0)
    assert generator.draw(slice(5)).shape == (5, 2)
    assert (generator.precision, generator.step, generator.shape) == ("float32", 1, (2,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", "0_2"),
        ("image_size", "+1"),
        ("channels", "２"),
        ("generator_steps", "1e3"),
        ("latent_distribution", "zipf"),
        ("precision", "fp8"),
        ("precision", ""),
        ("value_range", "0,255"),
        ("layout", "nchw"),
        ("layout", "planes"),
    ],
)
def test_a_value_that_is_not_understood_is_refused(name: str, value: str, tmp_path: Path) -> None:
    path = write_points(tmp_path / "g.pt", ABOUT | {name: value})
    with pytest.raises(UserError, match=f"^ckpt={path}: .*{name}={re.escape(value)}[:,]"):
        open_generator(path, "", 5, 0)
