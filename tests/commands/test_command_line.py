"""Tests of what all command lines share: fast help, flags and other arguments, and errors as one line."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import PYTHON, REPOSITORY, TORCHRUN_2, run
from wgan_dist.config import Config
from wgan_dist.config.command_line import SECONDS_FOR_FIRST_PROCESS, guarded, read_flags
from wgan_dist.config.fields import from_flags, setting
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
# Runs the command of sys.argv, which is refused, without these libraries.
REFUSED = """
import runpy, sys

command = sys.argv.pop(1)
sys.modules.update(dict.fromkeys(("torch", "numpy", "onnx", "accelerate", "matplotlib")))
try:
    runpy.run_module(command, run_name="__main__")
except SystemExit as end:
    assert end.code == 2
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
        (["--count", "-3", "--noflip"], {"count": "-3", "flip": "false"}),
        (["--flip", "--count=1e3", "--count=2"], {"flip": "true", "count": "2"}),
        (["--name", "a b", "c"], {"name": "a b", "folders": ["c"]}),
        (["--name=no"], {"name": "no"}),
        (["--no-flip"], {"flip": "false"}),
        (["--no_flip", "a"], {"flip": "false", "folders": ["a"]}),
        (["--flip", "a/"], {"flip": "true", "folders": ["a/"]}),
        (["--flip", "no", "a"], {"flip": "no", "folders": ["a"]}),
        (["--name=a=b, c"], {"name": "a=b, c"}),
        (["--name=", "--count=[1, 2]"], {"name": "", "count": "[1, 2]"}),
    ],
)
def test_flags_are_texts_and_other_arguments_go_into_the_positional_setting(
    arguments: list[str], expected: dict[str, object]
) -> None:
    assert read_flags(arguments, FolderSettings) == expected


def test_hyphens_stand_for_underscores() -> None:
    assert read_flags(["--batch-size=3", "--run-dir", "a-b"], Config) == {"batch_size": "3", "run_dir": "a-b"}
    with pytest.raises(UserError, match="^run_dir: expected a value"):
        read_flags(["--run-dir"], Config)


@pytest.mark.parametrize("argument", ["--no_such", "--nothing", "--", "-b=3"])
def test_an_unknown_flag_is_refused_by_its_name(argument: str) -> None:
    with pytest.raises(UserError) as error:
        from_flags(Config, read_flags([argument], Config))
    name = argument.strip("-").partition("=")[0]
    assert str(error.value).startswith(f"unknown setting {name};" if name else "unexpected argument --:")


@pytest.mark.parametrize("arguments", [["--name"], ["--name", "--flip"], ["a", "--folders", "--name=b"]])
def test_a_text_without_a_value_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"^(name|folders): expected a value, as --\1=…$"):
        read_flags(arguments, FolderSettings)


def test_other_arguments_are_refused_without_a_positional_setting() -> None:
    with pytest.raises(UserError, match="^unexpected argument a: settings are given as --name=value$"):
        read_flags(["a", "--seed=1"], Config)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("wgan_dist.train --data=nowhere/", "data=nowhere/: there is no such folder or file"),
        ("wgan_dist.train --resume --run_dir=nope", "run_dir=nope: there is no run to resume: there is no such folder"),
        ("wgan_dist.train --resize=fit", "resize=fit: expected one of crop, pad, stretch, none"),
        ("wgan_dist.train --init_from=nope", "init_from=nope: there is no such file or folder"),
        (
            "wgan_dist.train --run_dir=.",
            "run_dir=.: exists already; --resume continues it, another name starts a new run",
        ),
        (
            "wgan_dist.train --help=dat",
            "help=dat: expected one of run, data, networks, method, speed, save, evaluate, generator",
        ),
        ("wgan_dist.data inspect nope/", "data=nope/: there is no such folder or file"),
        (
            "wgan_dist.train --evaluate_every=1 --feature_extractor=no.pt",
            "feature_extractor=no.pt: there is no such file",
        ),
        ("wgan_dist.evaluate --ckpt=. --classifier=no.pt", "classifier=no.pt: there is no such file"),
        (
            "wgan_dist.evaluate --ckpt=. --labels=auto",
            "labels=auto: expected --data=, the real images; those of a run have its classes",
        ),
        ("wgan_dist.evaluate --ckpt=. --inception_weights=no.pth", "inception_weights=no.pth: there is no such file"),
        ("export.web --ckpt=.", "out: expected --out=…: Folder to write"),
        ("wgan_dist.summary --generator=dcgn", "unknown generator dcgn; did you mean dcgan?"),
        ("wgan_dist.evaluate --ckpt=nope", "ckpt=nope: there is no such file or folder"),
        ("wgan_dist.evaluate --samples=.", "data: expected --data=, the real images to compare --samples with"),
        (
            "wgan_dist.sample --ckpt=nope",
            "ckpt=nope: there is no such file or folder; expected a run, a checkpoint or a generator.safetensors",
        ),
        ("export.onnx --ckpt=nope", "ckpt=nope: expected an existing file or folder"),
        (
            "export.onnx",
            "ckpt: expected --ckpt=…: Run folder, checkpoint folder or generator.safetensors",
        ),
    ],
)
def test_wrong_arguments_are_answered_without_slow_imports(command: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run(sys.executable, "-c", REFUSED, *command.split(), cwd=tmp_path)
    assert done.stderr == f"error: {line}\n"


def test_a_rank_that_was_left_in_the_environment_silences_nothing(tmp_path: Path) -> None:
    for flags, status, expected in (["--help"], 0, "Draw samples"), (["--ckpt=no"], 2, "error: ckpt=no: there is no"):
        started = time.monotonic()
        done = subprocess.run(
            [*PYTHON, "-m", "wgan_dist.sample", *flags],
            env=os.environ | {"LOCAL_RANK": "1", "PYTHONPATH": str(REPOSITORY)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status
        assert (done.stdout + done.stderr).startswith(expected)
        assert time.monotonic() - started < SECONDS_FOR_FIRST_PROCESS


@pytest.mark.parametrize(
    "arguments",
    [
        ["wgan_dist.train", f"--run_dir={5000 * 'x'}"],
        ["wgan_dist.train", f"--init_from={'a/' * 2500}"],
        ["wgan_dist.sample", f"--ckpt={5000 * 'x'}"],
        ["wgan_dist.report", 5000 * "x"],
        ["export.bundle", f"--ckpt={5000 * 'x'}", "--out=a"],
    ],
)
def test_a_path_that_is_too_long_is_one_line(arguments: list[str], tmp_path: Path) -> None:
    done = run(*PYTHON, "-m", *arguments, cwd=tmp_path, fails=2)
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_lack_of_memory_is_one_line_and_other_errors_of_the_system_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        guarded(lambda: print(bytearray(1 << 62)))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: the memory does not suffice")
    with pytest.raises(FileNotFoundError):
        guarded(lambda: print(Path("/no/such/file").stat()))


def test_only_the_first_process_prints_an_error_and_torchrun_shows_it_in_its_summary(tmp_path: Path) -> None:
    refused = run(*TORCHRUN_2, "-m", "wgan_dist.train", "--bach_size=3", cwd=tmp_path, fails=1)
    assert refused.stderr.count("error: unknown setting bach_size; did you mean batch_size?") == 1
    last = refused.stderr.strip().splitlines()[-3:]
    assert any("unknown setting bach_size; did you mean batch_size?" in line for line in last), last


def test_only_the_first_process_prints_help(tmp_path: Path) -> None:
    assert run(*TORCHRUN_2, "-m", "wgan_dist.train", "--help", cwd=tmp_path).stdout.count("  --batch_size ") == 1
