"""The null CUDA device, built once for the tests of this folder."""

from pathlib import Path

import pytest

from tests.null_cuda.build import build, reason_not_to_build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device's library."""
    if reason := reason_not_to_build():
        pytest.skip(f"null CUDA device: {reason}")
    return build(tmp_path_factory.mktemp("null_cuda"))
