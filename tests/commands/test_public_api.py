"""The public API: imported when first used, documented, and typed for mypy --strict."""

import ast
import inspect
import re
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

import wgan_dist
from tests.processes import PYTHON, REPOSITORY, run
from wgan_dist.config import Config
from wgan_dist.hub import Generator
from wgan_dist.utils.errors import UserError

# The functions whose docstrings state shapes of arrays, and those whose docstrings state errors.
SHAPES = {"Generator.__init__", "Generator.forward", "Generator.sample"}
RAISES = {"fit", "load_config", "write_card", "Generator.from_pretrained", "Generator.sample"}
GENERATOR_METHODS = [
    name
    for name, member in vars(Generator).items()
    if (callable(member) or isinstance(member, (classmethod, property)))
    and (not name.startswith("_") or name == "__init__")
]
DOCUMENTED = [*wgan_dist.__all__, *(f"Generator.{name}" for name in GENERATOR_METHODS)]
PROGRAM = """
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import wgan_dist
from wgan_dist import Config, Generator, LostError, UserError, fit, load_config, write_card


def learn(folder: str) -> Path:
    config: Config = load_config({"recipe": "digits", "max_steps": 10})
    steps: int | str = config.max_steps
    try:
        return fit(data=[folder], max_steps=steps, betas=(0.0, 0.9))
    except (UserError, LostError) as error:
        raise SystemExit(str(error)) from error


def draw(run: Path) -> NDArray[np.uint8]:
    generator = Generator.from_pretrained(run, revision="main")
    channels: int = generator.channels
    images: torch.Tensor = generator(torch.zeros(2, generator.latent_dim))
    assert images.shape[1] == channels
    generator.save_pretrained("there")
    card: Path | None = write_card(run)
    print(card, wgan_dist.__version__)
    return generator.sample(4, seed=1)
"""
MISTAKES = {
    "generator.sample(4, seed=1)": "generator.sample('4')",
    "(folder: str) -> Path:": "(folder: str) -> str:",
    "generator.channels": "generator.colours",
}


def docstring_of(name: str) -> str:
    """Return the docstring of a public name, or of a method of a public class."""
    value: Any = wgan_dist
    for part in name.split("."):
        value = inspect.getattr_static(value, part) if inspect.isclass(value) else getattr(value, part)
    return inspect.getdoc(value.fget if isinstance(value, property) else getattr(value, "__func__", value)) or ""


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_is_documented(name: str) -> None:
    text = docstring_of(name)
    assert len(text.split()) >= 5
    if name in SHAPES:
        assert re.search(r"\[(n|count)[,\]]", text), name
    if name in RAISES:
        assert re.search(r"Raises:?\s+UserError|as `card_text` and `save_card`", text), name


def test_the_lists_above_contain_public_names_only() -> None:
    assert SHAPES | RAISES <= set(DOCUMENTED)


def test_a_name_is_imported_when_it_is_first_used(tmp_path: Path) -> None:
    code = "import sys, wgan_dist; print([m for m in sys.modules if m.startswith(('wgan_dist', 'torch', 'numpy'))]);"
    code += "wgan_dist.Config, wgan_dist.UserError; print('torch' in sys.modules, 'huggingface_hub' in sys.modules);"
    code += "print(set(wgan_dist.__all__) <= set(dir(wgan_dist)))"
    assert run(*PYTHON, "-c", code, cwd=tmp_path).stdout == "['wgan_dist']\nFalse False\nTrue\n"
    without_hub = "import runpy, sys; sys.modules['huggingface_hub'] = None;"
    without_hub += "runpy.run_module('wgan_dist.train', None, '__main__')"
    assert "--trackers" in run(*PYTHON, "-c", without_hub, "--help", cwd=tmp_path).stdout


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module wgan_dist has no attribute Generater"):
        wgan_dist.Generater  # noqa: B018
    assert wgan_dist.Config is Config


def test_fit_trains_as_the_command_line_does(tiny: dict[str, str], run_dir: Path, tmp_path: Path) -> None:
    numbers = {name: ast.literal_eval(value) if value[0].isdigit() else value for name, value in tiny.items()}
    own = {"max_steps": 6, "n_critic": 5, "run_dir": tmp_path / "run", "seed": 1}
    assert wgan_dist.fit(**numbers | own) == tmp_path / "run"
    ours, theirs = ((folder / "generator.safetensors").read_bytes() for folder in (tmp_path / "run", run_dir))
    assert ours == theirs
    with pytest.raises(UserError, match="dry_run=true: expected on the command line"):
        wgan_dist.fit(**numbers, dry_run=True)


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    """Return the Python of an environment with the package installed: mypy reports no errors in installed packages."""
    venv.create(tmp_path / "environment", with_pip=False)
    (site_packages,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    (site_packages / "wgan_dist").symlink_to(REPOSITORY / "wgan_dist")
    (site_packages / "shared.pth").write_text(sysconfig.get_path("purelib"))
    return tmp_path / "environment" / "bin" / "python"


@pytest.mark.slow
def test_a_program_that_uses_the_package_is_checked_strictly(interpreter: Path, tmp_path: Path) -> None:
    wrong = PROGRAM
    for right, mistake in MISTAKES.items():
        wrong = wrong.replace(right, mistake)
    (tmp_path / "right.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(wrong)
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = true\npython_executable = {interpreter}\n")
    code = "from mypy.api import run; print(run(['right.py', 'wrong.py'])[0])"
    output = run(sys.executable, "-c", code, cwd=tmp_path).stdout.splitlines()
    assert sorted({line.split(":")[0] for line in output if ": error: " in line}) == ["wrong.py"], output
    assert f"Found {len(MISTAKES)} errors in 1 file (checked 2 source files)" in output
