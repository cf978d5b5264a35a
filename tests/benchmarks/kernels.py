"""Time each implementation of training's convolutions, in milliseconds, for the layers of DCGAN-64.

    python -m tests.benchmarks.kernels
    python -m tests.benchmarks.kernels bfloat16

Medians of turns, each on other tensors than the last, so that no turn finds its tensors in a cache. `matrices` is the
matrix product that `wgan_dist.ops.conv` takes for few positions or channels, `torch` is torch's convolution; `double`
is the convolution that torch's double backward makes of a weight's gradient.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from wgan_dist import distributed
from wgan_dist.ops import conv

# Samples, channels of the larger and of the smaller map, side of the smaller: the critic, then the generator.
LAYERS = [(64, 3, 64, 32), (64, 64, 128, 16), (64, 128, 256, 8), (64, 256, 512, 4)]
LAYERS += [(32, 512, 1024, 4), (32, 256, 512, 8), (32, 128, 256, 16), (32, 3, 128, 32)]
STRIDE, PADDING, KERNEL = (2, 2), (1, 1), (4, 4)
SETS, TURNS = 4, 3
Tensors = tuple[Tensor, Tensor, Tensor]
THRESHOLDS = {"torch": (0, 0, 0), "matrices": (10**9, 10**9, 10**9)}

FUNCTIONS: dict[str, Callable[[Tensors], Tensor]] = {
    "conv": lambda t: conv._conv(t[0], t[1], None, STRIDE, PADDING),
    "transpose": lambda t: conv._conv_transpose(t[2], t[1], None, STRIDE, PADDING, t[0].shape[2:]),
    "weight grad": lambda t: conv._conv_weight_grad(t[0], t[2], STRIDE, PADDING, KERNEL),
}


def _double_backward(tensors: Tensors) -> Tensor:
    """Return the gradient of a weight as torch's double backward computes it."""
    return conv2d(tensors[0].transpose(0, 1), tensors[2].transpose(0, 1), None, 1, 1, STRIDE)


WAYS = [(way, name, function) for way in THRESHOLDS for name, function in FUNCTIONS.items()]
WAYS.insert(len(FUNCTIONS), ("torch", "double", _double_backward))


def _tensors(layer: tuple[int, int, int, int], dtype: torch.dtype) -> Tensors:
    n, wide, narrow, side = layer
    shapes = ((n, wide, 2 * side, 2 * side), (narrow, wide, *KERNEL), (n, narrow, side, side))
    first, second, third = (torch.randn(s).to(dtype, memory_format=torch.channels_last) for s in shapes)
    return first, second, third


def _set(way: str) -> None:
    conv.MAX_POSITIONS, conv.MAX_POSITIONS_BF16, conv.MAX_CHANNELS = THRESHOLDS[way]


def milliseconds(layer: tuple[int, int, int, int], dtype: torch.dtype) -> dict[str, float]:
    """Return the median of each function and implementation."""
    sets = [_tensors(layer, dtype) for _ in range(SETS)]
    times: dict[str, list[float]] = {f"{name} {way}": [] for way, name, _ in WAYS}
    for turn, (way, name, function), tensors in itertools.product(range(TURNS + 1), WAYS, sets):
        _set(way)
        started = time.perf_counter()
        function(tensors)
        if turn:  # the first one warms up
            times[f"{name} {way}"].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in times.items()}


@torch.no_grad()
def main() -> None:
    """Print a table: one row for each layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dtype", nargs="?", default="float32", choices=("float32", "bfloat16", "float64"))
    dtype = getattr(torch, parser.parse_args().dtype)
    distributed.start(None)
    print(f"{torch.get_num_threads()} threads, {dtype}; ms")
    for number, layer in enumerate(LAYERS):
        n, wide, narrow, side = layer
        medians = milliseconds(layer, dtype)
        if not number:
            print("samples, channels, positions".ljust(32), *(name.rjust(19) for name in medians))
        print(f"{n}, {wide} - {narrow}, {side} x {side}".ljust(32), *(f"{value:19.1f}" for value in medians.values()))


if __name__ == "__main__":
    main()
