"""The list of commands that `python -m wgan_dist` and `python -m export` print."""

import sys
from pathlib import Path

import pytest

from tests.processes import run
from tests.structure import commands
from wgan_dist.config.command_list import COMMANDS, list_commands
from wgan_dist.utils.errors import UserError


def test_every_command_is_listed() -> None:
    assert {name.split()[0] for name in COMMANDS} == set(commands()) - {"wgan_dist", "export"}


def test_the_list_is_as_typed_and_training_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    list_commands(["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("python -m wgan_dist.train")
    assert all(any(line.startswith(f"python -m {name}") for line in lines) for name in COMMANDS)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("train", "python -m wgan_dist.train"),
        ("onnx", "python -m export.onnx"),
        ("wgan_dist.data", "python -m wgan_dist.data"),
        ("--batch_size=3", "no argument, which lists the commands"),
    ],
)
def test_a_command_after_the_package_is_answered_with_how_it_is_typed(word: str, expected: str) -> None:
    with pytest.raises(UserError, match=f"^unexpected argument {word}: expected {expected}$"):
        list_commands([word])


@pytest.mark.parametrize("package", ["wgan_dist", "export"])
def test_the_packages_run(package: str, tmp_path: Path) -> None:
    assert "python -m wgan_dist.train" in run(sys.executable, "-m", package, cwd=tmp_path).stdout
