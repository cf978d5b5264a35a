"""The examples of CONTRIBUTING.md, put where they say they belong, train."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from safetensors.torch import load_file

from tests.conftest import TINY
from tests.processes import HANG_SECONDS, REPOSITORY

BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+?)(?:, (after|before|instead of) \"(.+?)\")?\n(.*?)^```$", re.M | re.S)
PLACES = ["after", "before", "instead of", ""]


def put(root: Path, path: str, how: str, line_start: str, code: str) -> None:
    """A block into a file: a new one, or at the line that begins so, two lines apart from it if before it."""
    target = root / path
    if not how:
        assert not target.exists()
        target.write_text(code)
        return
    lines = target.read_text().splitlines(keepends=True)
    (number,) = (number for number, line in enumerate(lines) if line.startswith(line_start))
    first, rest = number + (how == "after"), number + (how != "before")
    apart = "\n\n" if how == "before" else ""
    target.write_text("".join([*lines[:first], code.rstrip("\n"), "\n", apart, *lines[rest:]]))


def test_the_examples_train_and_are_in_good_style(tmp_path: Path) -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```") // 2
    assert sorted({how for _, how, _, _ in blocks}) == sorted(PLACES)
    for name in ("wgan_dist", "export"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for block in blocks:
        put(tmp_path, *block)
    few = {"max_steps": "1", "run_dir": "run", "cache_dir": "cache", "critic_features": "4", "threads": "1"}
    few |= {name: TINY[name] for name in ("batch_size", "latent_dim")} | {"recipe": "digits_linear", "n_critic": "1"}
    command = (sys.executable, "-m", "wgan_dist.train", *(f"--{name}={value}" for name, value in few.items()))
    own = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (saved["generator"], saved["loss"], saved["recipe"]) == ("linear", "least_squares", "digits_linear")
    shapes = {name: tuple(value.shape) for name, value in load_file(tmp_path / "run" / "generator.safetensors").items()}
    assert shapes == {"layer.weight": (1024, 8), "layer.bias": (1024,)}
    for check in (("check",), ("format", "--check")):
        told = subprocess.run(("ruff", *check, "wgan_dist"), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stdout


def test_it_is_one_screen() -> None:
    assert len((REPOSITORY / "CONTRIBUTING.md").read_text().splitlines()) <= 100
