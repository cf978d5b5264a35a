"""Commands import nothing from the working folder, except a class that the user named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY, run

# Libraries that commands import first, and modules of Python that it does not import before a command.
REPLACED = ("fire", "yaml", "json", "dataclasses", "numpy")
# A module that leaves its name in the working folder when it is imported.
MARK = "from pathlib import Path\nPath(f'imported-{__name__}').touch()\n"
OWN = (
    MARK
    + """
from helper import side
from torch import nn

class G(nn.Module):
    def __init__(self, latent_dim, image_size, channels, **_):
        super().__init__()
        self.dense = nn.Linear(latent_dim, channels * side(image_size[0]) ** 2)
        self.shape = (channels, *image_size)

    def forward(self, z):
        return self.dense(z).unflatten(1, self.shape).tanh()
"""
)
HELPER = "import yaml\n\ndef side(size):\n    return size * (yaml.safe_load('1') == 1)\n"


def imported(folder: Path) -> list[str]:
    return sorted(path.name.removeprefix("imported-") for path in folder.glob("imported-*"))


def write_replacements(folder: Path) -> None:
    for name in REPLACED:
        (folder / f"{name}.py").write_text(MARK)


@pytest.mark.parametrize("words", [("-m", "wgan_dist.recipes"), ("-um", "export.onnx", "--help"), ("-mwgan_dist",)])
def test_a_command_imports_nothing_from_the_working_folder(words: tuple[str, ...], tmp_path: Path) -> None:
    write_replacements(tmp_path)
    run(sys.executable, *words, cwd=tmp_path)
    assert imported(tmp_path) == []


def test_the_sampler_imports_nothing_from_the_working_folder(tmp_path: Path) -> None:
    write_replacements(tmp_path)
    assert (
        "error: generator.onnx: there is no such file"
        in run(sys.executable, "-m", "export.sampler", "generator.onnx", cwd=tmp_path, fails=2).stderr
    )
    assert imported(tmp_path) == []


def test_a_program_of_the_user_keeps_its_own_folder(tmp_path: Path) -> None:
    """Python names a program of the user in the same way, and it may import this package."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("import wgan_dist\n")
    (tmp_path / "mine" / "__main__.py").write_text("import beside\n")
    (tmp_path / "beside.py").write_text(MARK)
    run(sys.executable, "-m", "mine", "wgan_dist.train", cwd=tmp_path)
    assert imported(tmp_path) == ["beside"]


def test_the_folder_of_the_package_itself_stays(tmp_path: Path) -> None:
    for package in ("wgan_dist", "export"):
        (tmp_path / package).symlink_to(REPOSITORY / package)
    (tmp_path / "fire.py").write_text(MARK)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run((sys.executable, "-m", "wgan_dist.recipes"), cwd=tmp_path, env=environment, capture_output=True)
    assert imported(tmp_path) == ["fire"]


def test_a_class_that_the_user_names_is_imported_from_the_working_folder_after_all_libraries(tmp_path: Path) -> None:
    write_replacements(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "helper.py").write_text(HELPER)
    flags = ("--generator=own:G", "--critic=mlp", "--image_size=8", "--latent_dim=4", "--channels=1", "--data=x")
    done = run(sys.executable, "-m", "wgan_dist.summary", *flags, cwd=tmp_path)
    assert "generator own:G" in done.stdout
    assert imported(tmp_path) == ["own"]


def test_processes_of_a_command_inherit_the_rule(tmp_path: Path) -> None:
    """The start of a worker process imports its library before it takes over the path of its parent."""
    write_replacements(tmp_path)
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import json'], check=True)"
    (tmp_path / "own.py").write_text(code)
    done = run(sys.executable, "-m", "wgan_dist.summary", "--generator=own:G", "--data=x", cwd=tmp_path, fails=2)
    assert "generator=own:G: cannot be imported" in done.stderr
    assert imported(tmp_path) == []
