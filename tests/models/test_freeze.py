"""The first layers of a critic stay as they are, in steps and in a resumed run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.resume import Point, check
from tests.faults.tiny import SETTINGS, last_checkpoint
from wgan_dist.checkpoints.checkpoint import CRITIC_FILE
from wgan_dist.checkpoints.generator_file import RAW_FILE
from wgan_dist.config.image_size import square
from wgan_dist.models.freeze import freeze_first_layers, layers
from wgan_dist.models.registry import build_critic, critic_spec
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError


@pytest.mark.parametrize(
    ("norm", "spectral", "sizes"),
    [
        # Convolutions of 4×4 from 1 to 2 to 4 features and to a score; a norm belongs to the convolution before it.
        ("none", False, [34, 132, 65]),
        ("instance", False, [34, 128 + 8, 65]),
        ("none", True, [34, 132, 65]),
    ],
)
def test_layers_are_those_that_a_critic_computes_one_after_another(norm: str, spectral: bool, sizes: list[int]) -> None:
    critic = build_critic(critic_spec("dcgan", square(16), 1, 2, norm, spectral))
    assert [sum(parameter.numel() for parameter in layer) for layer in layers(critic)] == sizes
    freeze_first_layers(critic, 2)
    trained = [parameter.numel() for parameter in critic.parameters() if parameter.requires_grad]
    assert sum(trained) == sizes[-1]
    with pytest.raises(UserError, match="freeze_critic=3: expected fewer than the 3 layers of the critic"):
        freeze_first_layers(critic, 3)


@pytest.mark.parametrize("constraint", [{}, {"penalty": "clip", "optimizer": "rmsprop", "clip_value": "0.001"}])
def test_frozen_layers_keep_the_weights_of_the_other_run(
    constraint: dict[str, str], tmp_path: Path, cache_dir: Path
) -> None:
    """A critic of three dense layers, of which two are frozen; also a run that is stopped and resumed."""
    source = tmp_path / "source"
    train(SETTINGS | {"cache_dir": str(cache_dir), "max_steps": "2", "run_dir": str(source)})
    settings = {"init_from": str(source), "freeze_critic": "2"} | constraint
    assert check(Point("frozen", 31, settings), tmp_path, cache_dir) == []
    before, after = (load_file(last_checkpoint(tmp_path / run) / CRITIC_FILE) for run in ("source", "straight"))
    unchanged = [torch.equal(before[name], after[name]) for name in before]
    assert unchanged[:4] == [True] * 4
    assert not unchanged[-1]  # the last weight; the Wasserstein loss leaves the bias before it open


def test_a_generator_file_has_no_critic_to_freeze(tmp_path: Path, cache_dir: Path) -> None:
    source = tmp_path / "source"
    settings = SETTINGS | {"cache_dir": str(cache_dir), "max_steps": "2"}
    train(settings | {"run_dir": str(source)})
    file = str(last_checkpoint(source) / RAW_FILE)
    with pytest.raises(UserError, match="freeze_critic=2: .* holds no critic; expected a run or a checkpoint"):
        train(settings | {"init_from": file, "freeze_critic": "2", "run_dir": str(tmp_path / "run")})


def test_the_map_of_a_class_is_the_first_layer() -> None:
    critic = build_critic(critic_spec("dcgan", square(16), 1, 2, "none", classes=3, labels="concat"))
    assert [sum(parameter.numel() for parameter in layer) for layer in layers(critic)] == [3 * 256, 66, 132, 65]
