"""What Triton needs on a machine."""

from pathlib import Path

import pytest
import torch

from wgan_dist.utils.compiler import missing_compiler

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def _triton() -> None:
    pytest.importorskip("triton")


def test_a_missing_c_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_compiler(GPU) == "a C compiler, gcc or clang"


def test_missing_headers_of_python_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.touch(0o755)
    monkeypatch.setenv("CC", str(compiler))
    monkeypatch.setattr("sysconfig.get_path", lambda name, scheme: str(tmp_path))
    assert missing_compiler(GPU) == f"Python's C headers in {tmp_path}"
    (tmp_path / "Python.h").touch()
    assert missing_compiler(GPU) == ""
