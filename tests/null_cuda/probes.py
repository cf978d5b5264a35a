"""Ask the null CUDA device for single things and print what it recorded, or the error.

python -m tests.null_cuda.probes NAME … > events.json
"""

import ctypes
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.null_cuda import device

Probe = Callable[[], Any]


def _on_device(*shape: int) -> Tensor:
    return torch.zeros(shape, device="cuda")


def _addition() -> Probe:
    x = _on_device(4)
    return lambda: x.add_(1)


def _copy() -> Probe:
    x, y = _on_device(4), _on_device(4)
    return lambda: y.copy_(x)


def _product() -> Probe:
    a, b = _on_device(8, 8), _on_device(8, 8)
    return lambda: a @ b


def _convolution() -> Probe:
    x, weight = _on_device(2, 3, 8, 8), _on_device(4, 3, 3, 3)
    return lambda: F.conv2d(x, weight)


def _compiled() -> Probe:
    compiled, x = torch.compile(lambda x: torch.tanh(x * 2.0) + x), _on_device(64)
    compiled(x)
    return lambda: compiled(x)


def _pageable_upload() -> Probe:
    x = torch.zeros(4)
    return lambda: x.to("cuda", non_blocking=True)


def _pinned_upload() -> Probe:
    x = torch.zeros(4).pin_memory()
    return lambda: x.to("cuda", non_blocking=True)


def _reading() -> Probe:
    x = _on_device(1)
    return x.item


def _round_trip() -> Probe:
    x = torch.arange(4.0)

    def probe() -> None:
        assert x.to("cuda").clone().cpu().equal(x)

    return probe


def _two_devices() -> Probe:
    x, y = _on_device(4), torch.zeros(4)
    return lambda: x + y


def _batchnorm_backward_without_statistics() -> Probe:
    x, weight = _on_device(2, 3, 4, 4).to(memory_format=torch.channels_last), _on_device(3)
    arguments = (weight, weight, weight, None, None, False, 1e-5, [True, True, True])
    return lambda: torch.ops.aten.native_batch_norm_backward(x, x, *arguments)


def _launch(block: int, shared_bytes: int) -> None:
    """Launch a kernel by the driver's function, as Triton does."""
    driver = ctypes.CDLL(os.environ["LD_PRELOAD"])
    error = driver.cuLaunchKernel(b"kernel", 1, 1, 1, block, 1, 1, shared_bytes, None, None, None)
    if error:
        raise RuntimeError(f"cuLaunchKernel: {error}")


def _graph() -> Probe:
    x = _on_device(4)

    def capture() -> None:
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            x.add_(1)

    return capture


PROBES: dict[str, Callable[[], Probe]] = {
    "addition": _addition,
    "copy": _copy,
    "product": _product,
    "convolution": _convolution,
    "compiled": _compiled,
    "pageable upload": _pageable_upload,
    "pinned upload": _pinned_upload,
    "reading": _reading,
    "round trip": _round_trip,
    "two devices": _two_devices,
    "batchnorm backward without statistics": _batchnorm_backward_without_statistics,
    "largest block": lambda: lambda: _launch(1024, 232448),
    "block too large": lambda: lambda: _launch(1025, 0),
    "too much shared memory": lambda: lambda: _launch(32, 232449),
    "graph": _graph,
}


def _recorded(probe: Probe) -> list[dict[str, Any]] | str:
    device.reset()
    try:
        probe()
    except RuntimeError as error:
        return str(error)
    return [dataclasses.asdict(event) for event in device.events()]


def main() -> None:
    """Prepare each probe, run it and print what was recorded, by name."""
    print(json.dumps({name: _recorded(PROBES[name]()) for name in sys.argv[1:]}))


if __name__ == "__main__":
    main()
