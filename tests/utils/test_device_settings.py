"""The settings of a device follow from its kind, the precision and two flags, and reach torch."""

import os
from typing import Any

import pytest
import torch

from wgan_dist.utils.device_settings import DeviceSettings, device_settings

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LAST, CONTIGUOUS = torch.channels_last, torch.contiguous_format


@pytest.fixture(params=[7, 8])
def major(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The compute capability of a GPU; TF32 exists from 8.0 on."""
    major: int = request.param
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: major >= 8)
    return major


@pytest.mark.parametrize(
    ("arguments", "tf32", "memory_format"),
    [
        ({}, (True, False), LAST),
        ({"tf32": True}, (True, True), LAST),
        ({"deterministic": True}, (False, False), CONTIGUOUS),
        ({"dtype": "float64", "tf32": True}, (False, False), CONTIGUOUS),
        ({"mixed_precision": "bf16"}, (True, False), LAST),
        ({"mixed_precision": "fp16", "deterministic": True}, (False, False), LAST),
    ],
)
def test_a_gpu_computes_in_tf32_and_channels_last_where_it_can(
    major: int, arguments: dict[str, Any], tf32: tuple[bool, bool], memory_format: torch.memory_format
) -> None:
    settings = device_settings(GPU, **arguments)
    if major < 8:  # half precision still has its kernels
        tf32, memory_format = (False, False), LAST if "mixed_precision" in arguments else CONTIGUOUS
    assert (settings.conv_tf32, settings.matmul_tf32) == tf32
    assert settings.memory_format == memory_format
    assert settings.benchmark is not arguments.get("deterministic", False)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cpu_has_neither_tf32_nor_cudnn_and_keeps_channels_last(dtype: str) -> None:
    assert device_settings(CPU, dtype, tf32=True) == DeviceSettings(False, False, False, False, LAST)


def test_the_settings_are_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: True)
    assert str(device_settings(GPU)) == "TF32 in convolutions, cudnn.benchmark on"
    both = "TF32 in convolutions and matrix products, cudnn.benchmark on"
    assert str(device_settings(GPU, tf32=True)) == both
    fixed = "no TF32, cudnn.benchmark off, deterministic"
    assert str(device_settings(GPU, deterministic=True)) == fixed


@pytest.mark.parametrize(("convolutions", "products"), [(True, False), (True, True), (False, False)])
def test_applied_settings_reach_both_names_of_torchs_flags(convolutions: bool, products: bool) -> None:
    """torch.backends.cudnn.flags, compilers and others read the first names, kernels the newer ones."""
    backends: Any = torch.backends
    default = DeviceSettings(True, False, False, False, LAST)
    try:
        DeviceSettings(convolutions, products, benchmark=True, deterministic=False, memory_format=LAST).apply()
        assert (backends.cudnn.conv.fp32_precision == "tf32") is convolutions
        assert (backends.cuda.matmul.fp32_precision == "tf32") is products
        assert (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32) == (convolutions, products)
        assert torch.get_float32_matmul_precision() == ("high" if products else "highest")
        assert backends.cudnn.benchmark
    finally:
        default.apply()
    assert not backends.cudnn.benchmark


def test_deterministic_settings_are_taken_back_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is unset again after the test
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    device_settings(CPU, deterministic=True).apply()
    try:
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"  # what cuBLAS documents
    finally:
        device_settings(CPU).apply()
    assert not torch.are_deterministic_algorithms_enabled()
