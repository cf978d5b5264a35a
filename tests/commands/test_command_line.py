"""Tests of what all command lines share: fast help, flags and other arguments, and errors as one line."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import TORCHRUN_2, run
from wgan_dist.config import Config
from wgan_dist.config.command_line import read_flags
from wgan_dist.config.fields import setting
from wgan_dist.utils.errors import UserError

COMMANDS = [
    *(
        f"wgan_dist.{name}"
        for name in ("train", "sample", "evaluate", "report", "summary", "model_card", "recipes", "data")
    ),
    *(f"export.{name}" for name in ("onnx", "torchscript", "program", "sampler", "web", "bundle")),
]
# Runs the command of sys.argv with --help and with a wrong flag, without the libraries that take long to import.
START = """
import runpy, sys

command = sys.argv[1]
sys.modules.update(dict.fromkeys(("torch", "onnx", "accelerate", "matplotlib")))
for flag, status in (("--help", 0), ("--no_such_setting=1", 2)):
    sys.argv[1:] = [flag]
    try:
        runpy.run_module(command, run_name="__main__")
        ended = 0
    except SystemExit as end:
        ended = end.code
    assert ended == status, (flag, ended)
"""


@dataclass(frozen=True)
class FolderSettings:
    folders: tuple[str, ...] = setting((), "Folders.", positional=True)
    count: int = setting(1, "A number.")
    flip: bool = setting(True, "A switch.")
    name: str = setting("", "A text.")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_wrong_flags_are_answered_without_slow_imports(command: str, tmp_path: Path) -> None:
    done = run(sys.executable, "-c", START, command, cwd=tmp_path)
    assert f"-m {command}" in done.stdout
    assert "error: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["a", "--count=3", "b/"], {"folders": ["a", "b/"], "count": "3"}),
        (["--count", "-3", "--noflip"], {"count": "-3", "flip": "False"}),
        (["--flip", "--count=1e3", "--count=2"], {"flip": "True", "count": "2"}),
        (["--name", "a b", "c"], {"name": "a b", "folders": ["c"]}),
        (["--name=no"], {"name": "no"}),
        (["--name=", "--count=[1, 2]"], {"name": "", "count": "[1, 2]"}),
    ],
)
def test_flags_are_texts_and_other_arguments_go_into_the_positional_setting(
    arguments: list[str], expected: dict[str, object]
) -> None:
    assert read_flags(arguments, FolderSettings) == expected


@pytest.mark.parametrize("arguments", [["--name"], ["--name", "--flip"], ["a", "--folders", "--name=b"]])
def test_a_text_without_a_value_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"^(name|folders): expected a value, as --\1=…$"):
        read_flags(arguments, FolderSettings)


def test_other_arguments_are_refused_without_a_positional_setting() -> None:
    with pytest.raises(UserError, match="^unexpected argument a: settings are given as --name=value$"):
        read_flags(["a", "--seed=1"], Config)


def test_only_the_first_process_prints_help_and_errors(tmp_path: Path) -> None:
    refused = run(*TORCHRUN_2, "-m", "wgan_dist.train", "--bach_size=3", cwd=tmp_path, fails=1)
    assert refused.stderr.count("error: unknown setting bach_size; did you mean batch_size?") == 1
    assert run(*TORCHRUN_2, "-m", "wgan_dist.train", "--help", cwd=tmp_path).stdout.count("  --batch_size ") == 1
