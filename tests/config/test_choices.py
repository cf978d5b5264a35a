"""The names that settings are checked against without torch are those that exist."""

from pathlib import Path

import pytest

from wgan_dist.config import Config, network_choices
from wgan_dist.config.data_choices import BUILT_IN, DATA_SETS, POINTS, check_data_exist
from wgan_dist.config.image_size import square
from wgan_dist.config.network_choices import check_networks
from wgan_dist.data.sources.torchvision_datasets import TORCHVISION
from wgan_dist.data.synthetic import DRAWS
from wgan_dist.models import registry
from wgan_dist.utils.errors import UserError


def test_the_data_sets_are_those_that_can_be_opened() -> None:
    assert tuple(DRAWS) == POINTS
    assert (*BUILT_IN, *DRAWS, *TORCHVISION) == DATA_SETS


def test_the_networks_are_those_that_can_be_built() -> None:
    assert registry.GENERATOR_CLASSES.keys() == network_choices.GENERATORS.keys()
    assert registry.CRITIC_CLASSES.keys() == network_choices.CRITICS.keys()


def test_data_that_exist_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a, b").mkdir()
    monkeypatch.chdir(tmp_path)
    check_data_exist(("digits", "a, b", "hf:user/set", "hf:./a, b:train", "shards/{0..9}.tar", "cifar10"))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("photos/", "data=photos/: there is no such folder or file"),
        ("photos.zip", "data=photos.zip: there is no such folder or file"),
        ("digit", r"unknown data .* digit; did you mean digits\?"),
        ("hf:./no", "data=hf:./no: there is no such folder"),
    ],
)
def test_data_that_do_not_exist_are_refused(data: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        check_data_exist(("digits", data))


def test_networks_are_checked_without_their_classes() -> None:
    check_networks(Config(generator="own:Network", critic="own:Critic", image_size=square(50)))
    check_networks(Config(data=("swissroll",), generator="points", critic="points"))
    with pytest.raises(UserError, match="image_size=256: the sagan generator supports at most 16,384 pixels"):
        check_networks(Config(generator="sagan", image_size=square(256)))
    with pytest.raises(UserError, match="critic=dcgan: is for images"):
        check_networks(Config(data=("swissroll",), generator="points"))
