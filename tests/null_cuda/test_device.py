"""The null CUDA device: what it records, what it refuses, and that torch's own checks run on it."""

from pathlib import Path
from typing import Any

import pytest

from tests.null_cuda.device import Event, host_waits, launches
from tests.null_cuda.probes import PROBES
from tests.null_cuda.run import results


@pytest.fixture(scope="module")
def found(library: Path) -> dict[str, Any]:
    """What each probe recorded, or its error."""
    found: dict[str, Any] = results(library, "tests.null_cuda.probes", list(PROBES), None, timeout=300)
    return found


def _events(recorded: list[dict[str, Any]]) -> list[Event]:
    return [Event(**event) for event in recorded]


def test_kernels_and_copies_are_launches_under_their_names(found: dict[str, Any]) -> None:
    names = {
        "addition": "CUDAFunctorOnSelf_add",
        "copy": "cudaMemcpyAsync",
        "product": "cublas",
        "convolution": "cudnn",
    }
    for probe, name in names.items():
        events = _events(found[probe])
        assert launches(events) == 1, probe
        assert sum(name in event.name for event in events) == 1, events
        assert not host_waits(events), probe


def test_a_copy_of_pageable_memory_and_a_reading_wait_and_a_pinned_copy_does_not(found: dict[str, Any]) -> None:
    assert [event.kind for event in host_waits(_events(found["pageable upload"]))] == ["upload"]
    assert [event.kind for event in host_waits(_events(found["reading"]))] == ["download", "synchronize"]
    assert not host_waits(_events(found["pinned upload"]))
    assert [event.size for event in _events(found["pinned upload"]) if event.kind == "upload"] == [16]
    assert launches(_events(found["pinned upload"])) == 0


def test_memory_keeps_what_was_copied_to_it(found: dict[str, Any]) -> None:
    assert launches(_events(found["round trip"])) == 1


def test_torch_refuses_what_it_refuses_on_a_gpu(found: dict[str, Any]) -> None:
    assert "on the same device" in found["two devices"]
    assert "save_mean->defined()" in found["batchnorm backward without statistics"]


def test_launches_beyond_the_limits_are_refused(found: dict[str, Any]) -> None:
    assert launches(_events(found["largest block"])) == 1
    assert found["block too large"] == "cuLaunchKernel: 9"  # cudaErrorInvalidConfiguration
    assert found["too much shared memory"] == "cuLaunchKernel: 1"  # cudaErrorInvalidValue


def test_cuda_graphs_are_refused(found: dict[str, Any]) -> None:
    assert "cudaErrorNotSupported" in found["graph"]


def test_a_generated_kernel_is_one_launch(found: dict[str, Any]) -> None:
    events = _events(found["compiled"])
    assert [event.kind for event in events] == ["kernel"]
    assert events[0].name.startswith("triton_poi_fused_")
