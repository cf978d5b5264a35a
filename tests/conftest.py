"""One short run, trained once, that the tests of everything behind training read from."""

import os
from pathlib import Path

import pytest
import torch

from tests.exports import export_onnx
from tests.generators import small_spec, write_generator
from wgan_dist.config import Config
from wgan_dist.config.image_size import square
from wgan_dist.data.datasets import ImageDataset, open_images
from wgan_dist.data.image_settings import ImageSettings
from wgan_dist.train import train

# Idle threads of several processes slow each other many times over, and tiny networks gain nothing from two.
torch.set_num_threads(1)
# The same for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Small enough for seconds, complete enough to have BatchNorm, a penalty and several checkpoints.
TINY = {
    "generator": "dcgan",
    "critic": "dcgan",
    "critic_norm": "auto",
    "generator_features": "4",
    "critic_features": "4",
    "batch_size": "32",
    "latent_dim": "8",
    "max_steps": "6",
    "n_critic": "5",
    "log_every": "2",
    "sample_every": "3",
    "checkpoint_every": "2",
    "betas": "0.5,0.9",
    "critic_lr": "3e-4",
    "generator_lr": "3e-4",
    "lr_decay": "none",
    "lr_decay_start": "0",
    "seed": "1",
    "threads": "1",
}


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where decoded images are kept between tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny(cache_dir: Path) -> dict[str, str]:
    """Settings of a run of seconds on the embedded digits."""
    return TINY | {"cache_dir": str(cache_dir)}


@pytest.fixture(scope="session")
def run_dir(tiny: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny | {"run_dir": str(folder)})
    return folder


@pytest.fixture(scope="session")
def onnx_file(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run's generator, alone in its folder."""
    out = tmp_path_factory.mktemp("onnx") / "generator.onnx"
    export_onnx({"ckpt": str(run_dir), "out": str(out)})
    return out


@pytest.fixture(scope="session")
def exported_dcgan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of a narrow DCGAN, beside its generator file."""
    path = write_generator(tmp_path_factory.mktemp("dcgan"), small_spec("dcgan"))
    export_onnx({"ckpt": str(path)})
    return path.with_suffix(".onnx")


@pytest.fixture(scope="session")
def int8_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 ONNX file of the same DCGAN, beside its generator file."""
    path = write_generator(tmp_path_factory.mktemp("int8"), small_spec("dcgan"))
    export_onnx({"ckpt": str(path), "precision": "int8"})
    return path.with_name("generator_int8.onnx")


@pytest.fixture(scope="session")
def digits(cache_dir: Path) -> ImageDataset:
    """The embedded digits at 32×32."""
    config = Config()
    return open_images(("digits",), ImageSettings(square(32), background=config.background), str(cache_dir))
