"""The environment that launchers set decides threads and precision."""

import os

import pytest
import torch

from wgan_dist.distributed import cores_per_process, is_launched, mixed_precision
from wgan_dist.utils.errors import UserError


@pytest.mark.parametrize(
    ("variables", "launched"),
    [({}, False), ({"LOCAL_RANK": "0"}, True), ({"ACCELERATE_MIXED_PRECISION": "no"}, True)],
)
def test_launchers_are_recognised(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], launched: bool) -> None:
    for name in ("LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_launched() is launched


def test_processes_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(7)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert cores_per_process() == 7
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert cores_per_process() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert cores_per_process() == 1


@pytest.mark.parametrize(
    ("requested", "launched_with", "expected"),
    [("auto", None, "no"), ("auto", "bf16", "bf16"), ("no", "fp16", "no"), ("fp16", None, "fp16")],
)
def test_auto_is_the_precision_of_the_launcher(
    monkeypatch: pytest.MonkeyPatch, requested: str, launched_with: str | None, expected: str
) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if launched_with:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched_with)
    assert mixed_precision(requested) == expected


def test_a_precision_that_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(UserError, match="mixed_precision=fp8: expected one of no, bf16, fp16"):
        mixed_precision("auto")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(UserError, match="mixed_precision=bf16: this GPU has no bfloat16; expected no or fp16"):
        mixed_precision("bf16")
