"""The measures of tests.structure: of a file that is counted by hand, and of functions entered in a known order."""

import sys
from pathlib import Path

import pytest

from tests import structure

SOURCE = '''"""Of a module."""

import os
from torch.nn import _hidden  # 1


class Example:
    """A class with
    two lines of docstring.
    """

    def leave(self) -> None:
        """Leave."""
        import ctypes

        ctypes.CDLL("x")  # 2, and a comment with os._exit
        text = """one

        two"""
        os._exit(len(text))  # 3


def last() -> None:
    """What it is."""
    # torch._C is a comment
'''


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source file that is the whole project."""
    path = tmp_path / "wgan_dist/utils/example.py"
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    monkeypatch.setattr(structure, "MODULES", {"wgan_dist.utils.example": path})
    monkeypatch.setattr(structure, "REPOSITORY", tmp_path)
    return path


def test_lines_of_code_are_without_blanks_comments_and_docstrings(example: Path) -> None:
    assert [number for number, _ in structure.code_lines(example)] == [3, 4, 7, 12, 14, 16, 17, 19, 20, 23]
    assert structure.lines_of_code().today == "10"


def test_private_api_in_comments_is_not_counted(example: Path) -> None:
    uses = [place.split(" ", 1)[1] for place in structure.private_api().details]
    assert uses == ["from torch.nn import _hidden", "ctypes.CDLL", "os._exit"]


def test_imports_fragments_and_lengths_are_found(example: Path) -> None:
    assert structure.imports_in_functions().details == ["wgan_dist/utils/example.py:14 import ctypes"]
    assert [place.split(" ", 1)[1] for place in structure.docstring_fragments().details] == [
        "Of a module.",
        "What it is.",
    ]
    assert (structure.longest_class().today, structure.longest_function().today) == ("14", "9")


def test_a_step_is_counted_from_one_generator_step_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    monkeypatch.setattr(structure, "REPOSITORY", tmp_path)
    names: dict[str, object] = {}
    for name, text in (("one", "def a(): pass\ndef generator_step(): a()"), ("two", "def b(): pass\ndef c(): b()")):
        exec(compile(text, str(folder / f"{name}.py"), "exec"), names)
    recorder = structure.StepRecorder()
    code = compile("for _ in range(3):\n    generator_step(); c(); a()", "elsewhere.py", "exec")
    structure._is_project_file.cache_clear()
    sys.setprofile(recorder)
    try:
        exec(code, names)
    finally:
        sys.setprofile(None)
        structure._is_project_file.cache_clear()
    # generator_step, a | c, b | a
    assert ([entered.co_name for entered in recorder.entered], recorder.changes) == (
        ["generator_step", "a", "c", "b", "a"],
        2,
    )


def test_every_command_of_a_user_is_timed() -> None:
    assert {"export.onnx", "export.web", "wgan_dist.data", "wgan_dist.train"} <= set(structure.commands())
    assert not [command for command in structure.commands() if command.endswith(("__main__", "timing"))]
