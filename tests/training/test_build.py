"""Networks that do not fit their batches, their constraint or their samples are refused before anything is trained."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.worlds import CASES, World
from wgan_dist.checkpoints.generator_file import EMA_FILE
from wgan_dist.models.layers import Critic
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError


class Convolution1d(nn.Module):
    """A critic whose only weight is one that images do not usually meet."""

    def __init__(self, image_size: tuple[int, int], channels: int, features: int | None, norm: str) -> None:
        super().__init__()
        self.weigh = nn.Conv1d(1, 1, image_size[0] * image_size[1] * channels)

    def forward(self, images: Tensor) -> Tensor:
        return self.weigh(images.flatten(1)[:, None]).flatten()


class Weightless(nn.Module):
    """A critic with nothing to normalise."""

    def __init__(self, **arguments: object) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images.flatten(1).mean(1)


class LooksAtMemory(nn.Module):
    """A critic that works in place on what its convolution made, and views it: right with torch's layers alone."""

    def __init__(self, image_size: tuple[int, int], channels: int, features: int | None, norm: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 4, image_size[0] // 2, image_size[0] // 4, image_size[0] // 8)
        self.active = nn.LeakyReLU(0.2, inplace=True)
        self.score = nn.Linear(4 * 16, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.score(self.active(self.first(images)).view(len(images), -1)).flatten()


class WithoutLabels(Critic):
    """A critic that would take labels for the masks of its dropout layers."""

    def __init__(self, image_size: tuple[int, int], channels: int, **arguments: object) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size[0] * image_size[1], 1))


class WithLabels(WithoutLabels):
    """A critic whose score depends on the class in its own way."""

    def forward(self, samples: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(samples) * (1.0 + labels)


def test_a_custom_critic_that_takes_no_labels_is_refused(tiny: dict[str, str], tmp_path: Path) -> None:
    given = tiny | {"labels": "auto", "critic": f"{__name__}:WithoutLabels", "run_dir": str(tmp_path / "run")}
    with pytest.raises(UserError, match=r"WithoutLabels: takes no labels; expected forward\(samples, labels\)"):
        train(given)
    given["critic"] = f"{__name__}:WithLabels"
    with pytest.raises(UserError, match="critic_labels=acgan: returns Tensor; expected ClassifiedScores"):
        train(given | {"critic_labels": "acgan"})
    train(given)


UNCONSTRAINED = {"penalty": "none", "spectral_norm": "critic"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (UNCONSTRAINED, "penalty=none with a norm in critic=dcgan"),
        (UNCONSTRAINED | {"critic_norm": "layer"}, "penalty=none with a norm in critic=dcgan"),
        ({"critic": "sagan", "critic_norm": "auto"}, "critic=sagan: BatchNorm mixes samples, and penalty=gp"),
        ({"batch_size": "4", "accumulation": "4"}, "batch_size=4 with accumulation=4: BatchNorm needs two"),
        (
            {"critic": "sagan", "loss": "bce", "penalty": "none", "batch_size": "1", "generator_batch_size": "8"},
            "batch_size=1 with accumulation=1: BatchNorm needs two",
        ),
        (
            UNCONSTRAINED | {"critic": "tests.training.test_build:Weightless"},
            "spectral_norm: critic=tests.training.test_build:Weightless has no convolution and no dense layer",
        ),
        (
            {"data": "8gaussians"},
            "generator=dcgan: is for images, and the data are points; expected points, module:Class",
        ),
        ({"generator": "points"}, "generator=points: is for points, and the data are images; expected dcgan, "),
        ({"critic": "dcgan_minibatch", "batch_size": "12", "accumulation": "2"}, "a micro-batch of a process has 6"),
        (
            {"critic": "dcgan_minibatch", "generator_batch_size": "6"},
            "generator_batch_size=6 with critic=dcgan_minibatch: it compares 4 images, and a micro-batch",
        ),
        ({"data": "8gausians"}, "did you mean 8gaussians"),
        ({"data": "8gaussians,digits"}, "8gaussians are points, which cannot be merged"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    tiny: dict[str, str], settings: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError) as error:
        train(tiny | {"dry_run": "true"} | settings)
    assert f" {words}" in f" {error.value}"


@pytest.mark.parametrize(
    "settings",
    [
        UNCONSTRAINED | {"critic_norm": "none"},
        UNCONSTRAINED | {"critic": "sagan", "generator": "sagan"},
        UNCONSTRAINED | {"critic": "tests.training.test_build:Convolution1d"},
        {"generator": "dcgan", "generator_norm": "none", "batch_size": "4", "accumulation": "4"},
        {"critic": "dcgan_minibatch", "batch_size": "16", "accumulation": "2"},
    ],
)
def test_sensible_neighbours_are_accepted(tiny: dict[str, str], settings: dict[str, str]) -> None:
    train(tiny | {"dry_run": "true"} | settings)


def test_a_network_of_ones_own_computes_as_it_is_written(tiny: dict[str, str], tmp_path: Path) -> None:
    own = {"critic": "tests.training.test_build:LooksAtMemory", "image_size": "16", "max_steps": "1"}
    given = {name: value for name, value in tiny.items() if name != "critic_features"}
    train(given | own | {"run_dir": str(tmp_path / "run")})
    assert (tmp_path / "run" / EMA_FILE).is_file()


@pytest.mark.parametrize("fast_ops", [True, False])
def test_fast_ops_chooses_the_operations_of_both_networks(fast_ops: bool) -> None:
    world = World(replace(CASES["gp-instance-1"], fast_ops=fast_ops))
    torchs_own = (nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d, nn.LeakyReLU)
    for network in (world.gan.generator.network, world.gan.critic.network):
        assert any(isinstance(module, torchs_own) for module in network.modules()) is not fast_ops
