"""Counter-based random numbers: every draw is a function of (seed, stream, counter) alone.

The same arguments give the same numbers in every process, in any order and after any resume; there is no generator
state to save. Philox 4x64-10 (Salmon et al. 2011), keyed by the SHA-256 of the arguments, gives the bits. Its
definition fixes them, and this module writes out the arithmetic that turns them into numbers, because numpy does not
promise that the methods of its Generator stay the same from release to release.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


class _Key(np.random.bit_generator.ISeedSequence):
    """A Philox key from the arguments of a draw; numpy reads the system's entropy if the key is given as a number."""

    def __init__(self, seed: int, stream: str, counter: int) -> None:
        self.digest = hashlib.sha256(f"{seed}/{stream}/{counter}".encode()).digest()

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> NDArray[np.uint64]:
        """Return the first `n_words` 64-bit words of the digest, two for Philox."""
        return np.frombuffer(self.digest, "<u8", n_words).astype(np.uint64)


def _bits(seed: int, stream: str, counter: int, count: int) -> NDArray[np.uint64]:
    return np.random.Philox(_Key(seed, stream, counter)).random_raw(count)  # type: ignore[arg-type]  # it is documented


def _unit(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform(seed: int, stream: str, counter: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return draws from U[0, 1) in `shape`; the first k rows do not depend on the number of rows."""
    return _unit(_bits(seed, stream, counter, int(np.prod(shape)))).reshape(shape)


def normal(seed: int, stream: str, counter: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return draws from N(0, 1) in `shape`; the first k rows do not depend on the number of rows.

    Box and Muller 1958: consecutive uniforms (u, v) give √(−2 ln(1 − u)) · (cos 2πv, sin 2πv).
    """
    count = int(np.prod(shape))
    pairs = _unit(_bits(seed, stream, counter, count + count % 2)).reshape(-1, 2)
    radius, angle = np.sqrt(-2.0 * np.log1p(-pairs[:, 0])), 2.0 * np.pi * pairs[:, 1]
    np.multiply(radius, np.cos(angle), out=pairs[:, 0])
    np.multiply(radius, np.sin(angle), out=pairs[:, 1])
    return pairs.reshape(-1)[:count].reshape(shape)


def latent(distribution: str, seed: int, stream: str, counter: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return latent vectors z of `shape` (n, latent_dim), drawn from N(0, 1) for `normal` or U[−1, 1) for `uniform`."""
    if distribution == "normal":
        return normal(seed, stream, counter, shape)
    return 2.0 * uniform(seed, stream, counter, shape) - 1.0


def keep(seed: int, stream: str, counter: int, shape: tuple[int, ...], rate: float) -> NDArray[np.bool_]:
    """Return a dropout mask, True with probability 1 − `rate` to one part in 65536; rows as in `uniform`."""
    count = int(np.prod(shape))
    halfwords = _bits(seed, stream, counter, -(-count // 4)).astype("<u8").view("<u2")[:count]
    return (halfwords >= round(rate * 2**16)).reshape(shape)


def permutation(seed: int, stream: str, counter: int, size: int) -> NDArray[np.int64]:
    """Return a uniformly random permutation of range(size)."""
    return np.argsort(_bits(seed, stream, counter, size), kind="stable")


def integer(seed: int, stream: str) -> int:
    """Return an integer in [0, 2^63), to seed the generator of another library."""
    return int(_bits(seed, stream, 0, 1)[0] >> np.uint64(1))
