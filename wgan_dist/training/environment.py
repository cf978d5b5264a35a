"""The first lines of a run: they say what it computes on, and what of the machine it leaves idle."""

from importlib.metadata import version

import torch

from wgan_dist import distributed
from wgan_dist.config import Config
from wgan_dist.ops.instance_norm import gpu_kernels_fail
from wgan_dist.utils.device_settings import DeviceSettings


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number} {noun}{plural * (number > 1)}"


def _devices(device: torch.device) -> str:
    """Return the names of the devices of all processes, with their numbers; every process must call it."""
    if device.type == "cpu":
        return "cpu"
    names = distributed.all_gather_objects(torch.cuda.get_device_name(device))
    return "cuda: " + ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))


def _versions() -> str:
    """Return the versions of what a run computes with on GPUs."""
    versions = {
        "torch": torch.__version__,
        "CUDA": torch.version.cuda,
        "ROCm": torch.version.hip,
        "cuDNN": torch.backends.cudnn.version(),
        "NCCL": distributed.nccl_version(),
        "accelerate": version("accelerate"),
    }
    return ", ".join(f"{name} {found}" for name, found in versions.items() if found)


def _layout(config: Config, settings: DeviceSettings) -> str:
    """Return the memory layout of images; a custom network keeps its own."""
    if config.compile:
        return "layout chosen by the compiler"
    return "channels last" if config.fast_ops and settings.memory_format == torch.channels_last else "contiguous"


def describe_environment(config: Config, device: torch.device, settings: DeviceSettings) -> str:
    """Return one line on processes, devices and precision, and on a GPU also its settings and versions.

    Every process must call it. Launchers may start fewer processes than were asked for.
    """
    processes = _count(distributed.world().size, "process", "es")
    threads = _count(torch.get_num_threads(), "CPU thread")
    autocast = "" if config.mixed_precision == "no" else f" with {config.mixed_precision} autocast"
    line = f"{processes} on {_devices(device)} ({threads} each), {config.dtype}{autocast}"
    return line if device.type == "cpu" else f"{line}, {settings}, {_layout(config, settings)}; {_versions()}"


def idle_gpus(device: torch.device) -> str:
    """Return a note if this is the only process and there are more GPUs than its own, or else an empty text."""
    idle = torch.cuda.device_count() - 1
    if device.type == "cpu" or distributed.world().size > 1 or idle < 1:
        return ""
    return f"1 process; {_count(idle, 'more GPU')} {'is' if idle == 1 else 'are'} idle: bash launch/multi_gpu.sh"


def missing_kernels(config: Config, device: torch.device) -> str:
    """Return a note if InstanceNorm's kernels cannot be used on the GPU of a run, or else an empty text."""
    if device.type == "cpu" or not config.fast_ops or config.compile or not (reason := gpu_kernels_fail()):
        return ""
    return f"InstanceNorm takes many small operations, since its kernels cannot be compiled: {reason}"
