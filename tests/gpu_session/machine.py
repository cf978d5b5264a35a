"""The machine that a session runs on, and how results of its devices are compared."""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wgan_dist.utils.device_settings import DeviceSettings


@dataclass(frozen=True)
class Machine:
    """The device of a session, and a folder for the files that it writes."""

    device: torch.device
    scratch: Path

    @property
    def has_gpu(self) -> bool:
        """Return whether the session runs on a GPU rather than on a CPU in its place."""
        return self.device.type == "cuda"

    def synchronize(self) -> None:
        """Wait until the device has done everything that it was asked for."""
        if self.has_gpu:
            torch.cuda.synchronize()


def set_flags(conv_tf32: bool, matmul_tf32: bool, benchmark: bool, deterministic: bool = False) -> None:
    """Set torch's flags for the device, whatever a run has set."""
    DeviceSettings(conv_tf32, matmul_tf32, benchmark, deterministic, torch.channels_last).apply()


@contextmanager
def own_settings() -> Iterator[None]:
    """Undo in the end what the block sets in torch for the whole process, and free the memory of the device."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    benchmark = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        set_flags(*tf32, benchmark, deterministic)
        gc.collect()
        torch.cuda.empty_cache()


def draw(*shape: int, seed: int) -> Tensor:
    """Return normal numbers in float64 on the CPU, the same on every machine."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Return ‖found − expected‖ / ‖expected‖ in float64."""
    actual, exact = (tensor.detach().cpu().double() for tensor in (found, expected))
    return float((actual - exact).norm() / exact.norm().clamp_min(1e-30))


def greatest_difference(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """Return the greatest relative difference of tensors of two equally long sequences; NaN if any is NaN."""
    pairs = zip(found, expected, strict=True)
    return float(torch.tensor([relative_difference(*pair) for pair in pairs]).max())
