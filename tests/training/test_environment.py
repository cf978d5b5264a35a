"""The first line of a run says what it computes on, and a second one which GPUs are idle."""

from importlib.metadata import version

import pytest
import torch

from wgan_dist.config import Config
from wgan_dist.ops.instance_norm import gpu_kernels_fail
from wgan_dist.training.environment import describe_environment, idle_gpus, missing_kernels
from wgan_dist.utils.device_settings import DeviceSettings, device_settings

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_the_line_of_a_cpu_is_short() -> None:
    line = describe_environment(Config(mixed_precision="bf16"), CPU, device_settings(CPU))
    assert line == "1 process on cpu (1 CPU thread each), float32 with bf16 autocast"


def test_the_line_of_a_gpu_names_it_with_settings_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA Test GPU")
    settings = DeviceSettings(True, False, True, False, torch.channels_last)
    line, versions = describe_environment(Config(mixed_precision="no"), GPU, settings).split("; ")
    assert line == (
        "1 process on cuda: 1 × NVIDIA Test GPU (1 CPU thread each), float32, "
        "TF32 in convolutions, cudnn.benchmark on, channels last"
    )
    assert versions.startswith(f"torch {torch.__version__}")
    assert versions.endswith(f"accelerate {version('accelerate')}")


@pytest.mark.parametrize(
    ("config", "layout"),
    [
        (Config(mixed_precision="no"), "channels last"),
        (Config(mixed_precision="no", fast_ops=False), "contiguous"),
        (Config(mixed_precision="no", compile=True), "layout chosen by the compiler"),
    ],
)
def test_the_line_of_a_gpu_names_the_layout_that_is_used(
    monkeypatch: pytest.MonkeyPatch, config: Config, layout: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA Test GPU")
    settings = DeviceSettings(True, False, True, False, torch.channels_last)
    assert describe_environment(config, GPU, settings).split("; ")[0].endswith(f"cudnn.benchmark on, {layout}")


@pytest.mark.parametrize(
    ("device", "gpus", "note"),
    [
        (GPU, 1, ""),
        (GPU, 2, "1 process; 1 more GPU is idle: bash launch/multi_gpu.sh"),
        (GPU, 8, "1 process; 7 more GPUs are idle: bash launch/multi_gpu.sh"),
        (CPU, 8, ""),  # as asked for
        (CPU, 0, ""),
    ],
)
def test_idle_gpus_are_told(monkeypatch: pytest.MonkeyPatch, device: torch.device, gpus: int, note: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert idle_gpus(device) == note


def test_a_run_on_a_gpu_says_what_its_kernels_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    gpu_kernels_fail.cache_clear()
    note = missing_kernels(Config(), GPU)
    gpu_kernels_fail.cache_clear()
    assert note.endswith("they need a C compiler, gcc or clang, and there is none")
    others = [(Config(), CPU), (Config(fast_ops=False), GPU), (Config(compile=True), GPU)]
    assert [missing_kernels(config, device) for config, device in others] == ["", "", ""]
