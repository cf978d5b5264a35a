"""Counter-based random numbers: every draw is a function of (seed, stream, counter) and a position alone.

The same arguments give the same numbers in every process, in any order and after any resume; there is no generator
state to save. Philox 4x64-10 (Salmon et al. 2011), keyed by the SHA-256 of the arguments, gives the bits. Its
definition fixes them, and this module writes out the arithmetic that turns them into numbers, because numpy does not
promise that the methods of its Generator stay the same from release to release.

Philox computes any part of a stream without what precedes it. Functions of this module that take `first_row` return
rows first_row, first_row + 1, … of a draw of any number of rows, at a cost that does not depend on `first_row`.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

WORDS_PER_BLOCK = 4  # Philox computes four 64-bit words at a time
HALFWORDS_PER_WORD = 4
HALFWORD_VALUES = 2**16


class _Key(np.random.bit_generator.ISeedSequence):
    """A Philox key as numpy takes it; given as a number, numpy reads the system's entropy as well."""

    def __init__(self, words: NDArray[np.uint64]) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> NDArray[np.uint64]:
        """Return the key: Philox asks for two words."""
        return self.words


def philox_key(seed: int, stream: str, counter: int) -> NDArray[np.uint64]:
    """Return the Philox key [2] of a draw: the first 128 bits of the SHA-256 of its arguments."""
    digest = hashlib.sha256(f"{seed}/{stream}/{counter}".encode()).digest()
    return np.frombuffer(digest, "<u8", 2).astype(np.uint64)


def _words(key: NDArray[np.uint64], first: int, count: int) -> NDArray[np.uint64]:
    """Return words first, …, first + count − 1 of the stream of a key."""
    block, skip = divmod(first, WORDS_PER_BLOCK)
    generator = np.random.Philox(_Key(key))  # type: ignore[arg-type]  # it is documented
    generator.advance(block)
    return generator.random_raw(skip + count)[skip:]


def _unit(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _range(shape: tuple[int, ...], first_row: int) -> tuple[int, int]:
    """Return the position of the first value of `shape`, and the number of values."""
    width = math.prod(shape[1:])
    return first_row * width, math.prod(shape)


def uniform(seed: int, stream: str, counter: int, shape: tuple[int, ...], first_row: int = 0) -> NDArray[np.float64]:
    """Return draws from U[0, 1) in `shape`, whose rows begin at `first_row`."""
    return _unit(_words(philox_key(seed, stream, counter), *_range(shape, first_row))).reshape(shape)


def normal(seed: int, stream: str, counter: int, shape: tuple[int, ...], first_row: int = 0) -> NDArray[np.float64]:
    """Return draws from N(0, 1) in `shape`, whose rows begin at `first_row`.

    Box and Muller 1958: consecutive uniforms (u, v) give √(−2 ln(1 − u)) · (cos 2πv, sin 2πv).
    """
    first, count = _range(shape, first_row)
    skip = first % 2  # rows of odd length begin and end within a pair
    words = _words(philox_key(seed, stream, counter), first - skip, skip + count + (skip + count) % 2)
    pairs = _unit(words).reshape(-1, 2)
    radius, angle = np.sqrt(-2.0 * np.log1p(-pairs[:, 0])), 2.0 * np.pi * pairs[:, 1]
    np.multiply(radius, np.cos(angle), out=pairs[:, 0])
    np.multiply(radius, np.sin(angle), out=pairs[:, 1])
    return pairs.reshape(-1)[skip : skip + count].reshape(shape)


def latent(
    distribution: str, seed: int, stream: str, counter: int, shape: tuple[int, ...], first_row: int = 0
) -> NDArray[np.float64]:
    """Return latent vectors z of `shape` (n, latent_dim), whose rows begin at `first_row`.

    They are drawn from N(0, 1) for the distribution `normal`, from U[−1, 1) for `uniform`; any other raises ValueError.
    """
    if distribution == "normal":
        return normal(seed, stream, counter, shape, first_row)
    if distribution == "uniform":
        return 2.0 * uniform(seed, stream, counter, shape, first_row) - 1.0
    raise ValueError(f"latent_distribution={distribution}: expected normal or uniform")


def halfwords(key: NDArray[np.uint64], first: int, count: int) -> NDArray[np.uint16]:
    """Return values first, …, first + count − 1 of the stream of a key, 16 bits each, a word's lowest bits first."""
    word, skip = divmod(first, HALFWORDS_PER_WORD)
    words = _words(key, word, -(-(skip + count) // HALFWORDS_PER_WORD))
    return words.astype("<u8", copy=False).view("<u2")[skip : skip + count]


def dropout_threshold(rate: float) -> int:
    """Return the number of 16-bit values, of 65,536, for which dropout at `rate` sets a value to 0: the lowest ones."""
    return round(rate * HALFWORD_VALUES)


def keep(
    seed: int, stream: str, counter: int, shape: tuple[int, ...], rate: float, first_row: int = 0
) -> NDArray[np.bool_]:
    """Return a dropout mask in `shape`, whose rows begin at `first_row`.

    It is True with probability 1 − `rate` to one part in 65,536.
    """
    drawn = halfwords(philox_key(seed, stream, counter), *_range(shape, first_row))
    return (drawn >= dropout_threshold(rate)).reshape(shape)


def permutation(seed: int, stream: str, counter: int, size: int) -> NDArray[np.int64]:
    """Return a uniformly random permutation of range(size)."""
    return np.argsort(_words(philox_key(seed, stream, counter), 0, size), kind="stable")


def integer(seed: int, stream: str) -> int:
    """Return an integer in [0, 2^63), to seed the generator of another library."""
    return int(_words(philox_key(seed, stream, 0), 0, 1)[0] >> np.uint64(1))
