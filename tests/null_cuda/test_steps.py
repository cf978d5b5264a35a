"""Training steps on the null CUDA device: no errors, nothing for which the host waits, and few launches."""

from pathlib import Path
from typing import Any

import pytest

from tests.null_cuda.cases import CONSTRAINTS, MODES, SMALL, Settings, all_cases, covering_cases, networks
from tests.null_cuda.run import results

WORLD_SIZES = (1, 8)


def take_steps(library: Path, cases: dict[str, Settings], world_size: int = 1, timeout: float = 600) -> dict[str, Any]:
    """Return what each case asked of the device. An error of any case fails the test, also one that is expected to."""
    found = results(library, "tests.null_cuda.steps", [str(world_size)], cases, timeout)
    if errors := [f"{name}: {result['error']}" for name, result in found.items() if "error" in result]:
        pytest.fail("\n".join(errors))
    return found


@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_networks_norms_constraints_and_modes_train(library: Path, world_size: int) -> None:
    cases = covering_cases()
    assert len(cases) == len(networks())
    assert all(any(part in name for name in cases) for part in (*CONSTRAINTS, *MODES))
    take_steps(library, cases, world_size)


@pytest.mark.slow
@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_every_network_norm_constraint_and_mode_trains(library: Path, world_size: int) -> None:
    cases = all_cases()
    assert len(cases) == 1215
    take_steps(library, cases, world_size, timeout=3600)


@pytest.mark.slow
@pytest.mark.parametrize("world_size", WORLD_SIZES)
def test_a_compiled_run_trains_with_fewer_launches(library: Path, world_size: int) -> None:
    cases = {"eager": SMALL, "compiled": SMALL | {"compile": "true"}}
    found = take_steps(library, cases, world_size, timeout=3600)
    assert found["compiled"]["critic"] < found["eager"]["critic"]
    assert found["compiled"]["generator"] < found["eager"]["generator"]
