"""Random values that the device makes itself: 16 random bits choose each value from a table of 65,536.

For a draw of any size the host sends three integers, and the device computes the bits, those of `rng.halfwords`. All
of it is arithmetic of integers, so that every device draws the same values to the bit. A formula with a logarithm or a
cosine does not.
"""

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist.utils.rng import dropout_threshold, halfwords, philox_key

TABLE_SIZE = 2**16
VALUES_PER_BLOCK = 16  # four words of 64 bits
LOW_HALF, LOW_QUARTER = 2**32 - 1, 2**16 - 1
# Philox4x64-10 (Salmon et al. 2011): the multipliers of a round, and what each round adds to the key.
ROUNDS = 10
MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
KEY_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B

# Maps the starts of draws int64 [draws, 4], a table [65536], the number of values to skip after each start and the
# number of values to return, to values [draws, count].
Lookup = Callable[[Tensor, Tensor, int, int], Tensor]


def normal_table(std: float, dtype: torch.dtype) -> Tensor:
    """Return the quantiles [65536] of N(0, std²) at (k + ½) / 65,536.

    Values drawn from them have mean 0, variance 0.99998 · std² and magnitudes of at most 4.325 · std.
    """
    law = NormalDist()
    quantiles = [law.inv_cdf((k + 0.5) / TABLE_SIZE) for k in range(TABLE_SIZE)]
    return (std * torch.tensor(quantiles, dtype=torch.float64)).to(dtype)


def dropout_table(rate: float, dtype: torch.dtype) -> Tensor:
    """Return the factors [65536] of dropout at `rate`: 0 where `rng.keep` is False, and 1 / (1 − rate) elsewhere."""
    table = torch.full((TABLE_SIZE,), 1.0 / (1.0 - rate), dtype=dtype)
    table[: dropout_threshold(rate)] = 0.0
    return table


def start(seed: int, stream: str, counter: int, block: int) -> NDArray[np.int64]:
    """Return where a draw starts, int64 [4]: the two words of its key, its first block of 16 values, and 0.

    The last number only fills 32 bytes: a compiled kernel would copy starts that do not begin at a multiple of 16.
    """
    return np.array([*philox_key(seed, stream, counter).view(np.int64), block, 0])


def look_up_on_cpu(starts: Tensor, table: Tensor, skip: int, count: int) -> Tensor:
    """Look values up with numpy's Philox: the `Lookup` of a CPU."""
    drawn = np.stack([_halfwords(start, skip, count) for start in starts.numpy()])
    # Of the ways to index by 16 bits in numpy and torch, this one is the fastest.
    return table.index_select(0, torch.from_numpy(drawn.astype(np.int32)).flatten()).view(drawn.shape)


def _halfwords(start: NDArray[np.int64], skip: int, count: int) -> NDArray[np.uint16]:
    return halfwords(start[:2].view(np.uint64), VALUES_PER_BLOCK * int(start[2]) + skip, count)


def lookup_for(device: torch.device, dtype: torch.dtype, warn: Callable[[str], None]) -> Lookup:
    """Return the `Lookup` of a device for tables of `dtype`: numpy on a CPU, one compiled kernel elsewhere.

    Where no kernel can be compiled, the device computes in single operations, and `warn` is told so.
    """
    if device.type == "cpu":
        return look_up_on_cpu
    # Without fullgraph: a process that trains many different runs reaches torch's limit of compilations, and then runs
    # the single operations instead of failing.
    compiled = torch.compile(table_blocks, dynamic=True)
    table = torch.zeros(TABLE_SIZE, dtype=dtype, device=device)
    try:
        for draws in (1, 3):  # the compiler treats one draw as a case of its own
            compiled(torch.zeros(draws, 4, dtype=torch.int64, device=device), table, 2)
    except Exception as error:  # of torch, of Triton, of the C compiler that Triton calls, or of its cache's folder
        reason = str(error).strip().partition("\n")[0]
        warn(f"dropout masks and dragan's noise take hundreds of small kernels, since none could be compiled: {reason}")
        return lookup_by(table_blocks)
    return lookup_by(compiled)


def lookup_by(compute_blocks: Callable[[Tensor, Tensor, int], Tensor]) -> Lookup:
    """Return the `Lookup` that computes by `table_blocks` or what it was compiled to."""

    def look_up(starts: Tensor, table: Tensor, skip: int, count: int) -> Tensor:
        blocks = -(-(skip + count) // VALUES_PER_BLOCK)
        return compute_blocks(starts, table, blocks)[:, skip : skip + count]

    return look_up


def table_blocks(starts: Tensor, table: Tensor, blocks: int) -> Tensor:
    """Return the values [draws, VALUES_PER_BLOCK · blocks] of a table that draws choose from their `starts` on.

    Compiled, it is one kernel: each of its threads computes a block.
    """
    # numpy counts before its first block.
    counters = starts[:, 2:3] + torch.arange(1, blocks + 1, device=starts.device)
    words = _philox(starts[:, 0:1], starts[:, 1:2], counters)
    values = [table[(word >> shift) & LOW_QUARTER] for word in words for shift in (0, 16, 32, 48)]
    return torch.stack(values, dim=2).flatten(1)


def _philox(key0: Tensor, key1: Tensor, counters: Tensor) -> list[Tensor]:
    """Return the four words [draws, blocks] of Philox4x64-10 under keys [draws, 1], in wrapping arithmetic of int64."""
    zeros = torch.zeros_like(counters)
    words = [counters, zeros, zeros, zeros]
    for number in range(ROUNDS):
        high0, low0 = _multiply(MULTIPLIERS[0], words[0])
        high1, low1 = _multiply(MULTIPLIERS[1], words[2])
        step0, step1 = (_signed(number * step) for step in KEY_STEPS)
        words = [high1 ^ words[1] ^ (key0 + step0), low1, high0 ^ words[3] ^ (key1 + step1), low0]
    return words


def _multiply(constant: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the upper and the lower 64 bits of the unsigned 128-bit product, from halves of 32 bits."""
    constant_high, constant_low = constant >> 32, constant & LOW_HALF
    high, low = _upper_half(x), x & LOW_HALF
    middle = constant_high * low + _upper_half(constant_low * low)
    carry = constant_low * high + (middle & LOW_HALF)
    return constant_high * high + _upper_half(middle) + _upper_half(carry), _signed(constant) * x


def _upper_half(x: Tensor) -> Tensor:
    """Return the upper 32 of 64 bits; torch shifts copies of the sign in, which the mask removes."""
    return (x >> 32) & LOW_HALF


def _signed(word: int) -> int:
    """Return the int64 that has the bits of word modulo 2^64."""
    return (word + 2**63) % 2**64 - 2**63
