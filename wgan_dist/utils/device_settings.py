"""The settings of a device: TF32, the choice of convolution algorithms, determinism, the memory layout of images."""

import os
import warnings
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DeviceSettings:
    """The settings of torch for one device. A CPU has neither TF32 nor cuDNN.

    Attributes:
        conv_tf32: Whether float32 convolutions compute in TF32.
        matmul_tf32: Whether float32 matrix products compute in TF32.
        benchmark: Whether cuDNN tries its algorithms for each new shape and keeps the fastest.
        deterministic: Whether every kernel sums in a fixed order.
        memory_format: The memory layout of networks with fast operations, channels_last or contiguous_format.
    """

    conv_tf32: bool
    matmul_tf32: bool
    benchmark: bool
    deterministic: bool
    memory_format: torch.memory_format

    def apply(self) -> None:
        """Set torch's global flags. Call it before the first matrix product on a GPU."""
        _allow_tf32(self.conv_tf32, self.matmul_tf32)
        torch.backends.cudnn.benchmark = self.benchmark
        # Deterministic runs require it, and torch reads it once: a later run of this process may be one.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Setting the mode imports torch's compiler, so it is only set where an earlier run of the process left another.
        if torch.get_deterministic_debug_mode() != (2 if self.deterministic else 0):
            torch.use_deterministic_algorithms(self.deterministic)

    def __str__(self) -> str:
        """Return the settings as one line: TF32, benchmark and determinism."""
        uses = {"convolutions": self.conv_tf32, "matrix products": self.matmul_tf32}
        tf32 = " and ".join(name for name, is_on in uses.items() if is_on)
        deterministic = ", deterministic" if self.deterministic else ""
        return (
            f"{f'TF32 in {tf32}' if tf32 else 'no TF32'}, "
            f"cudnn.benchmark {'on' if self.benchmark else 'off'}{deterministic}"
        )


def device_settings(
    device: torch.device,
    dtype: str = "float32",
    mixed_precision: str = "no",
    tf32: bool = False,
    deterministic: bool = False,
) -> DeviceSettings:
    """Return the settings for a device and the precision of a run.

    A GPU has torch's defaults, TF32 for convolutions and not for matrix products, and benchmarks cuDNN's algorithms.
    Its memory layout is channels last where convolutions compute in TF32 or half precision, whose kernels are made for
    it; in full float32 and float64 contiguous is the faster one (torch issues 44943 and 59168). A CPU's layout is
    always channels last.

    Args:
        device: The device of the run, a CPU or the current CUDA device.
        dtype: float32 or float64.
        mixed_precision: no, bf16 or fp16.
        tf32: Whether matrix products compute in TF32 too.
        deterministic: Whether results repeat to the bit: nothing computes in TF32, and nothing is benchmarked.
    """
    on_gpu = device.type == "cuda"
    can_use_tf32 = on_gpu and dtype == "float32" and not deterministic and torch.cuda.is_tf32_supported()
    channels_last = not on_gpu or can_use_tf32 or mixed_precision in ("bf16", "fp16")
    return DeviceSettings(
        conv_tf32=can_use_tf32,
        matmul_tf32=can_use_tf32 and tf32,
        benchmark=on_gpu and not deterministic,
        deterministic=deterministic,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )


def _allow_tf32(convolutions: bool, matrix_products: bool) -> None:
    """Set the flags under their first names, which set the newer `fp32_precision` as well.

    Set by `fp32_precision` alone, they make every reader of the first names raise, among them
    torch.backends.cudnn.flags and the compiler (torch 2.14, torch issue 166387).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Please use the new API settings to control TF32", UserWarning)
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.backends.cuda.matmul.allow_tf32 = matrix_products
