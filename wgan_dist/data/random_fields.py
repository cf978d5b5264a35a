"""Gaussian random fields with a known power spectrum: images on which every statistic of second order is known."""

import numpy as np
from numpy.typing import NDArray

from wgan_dist.utils import rng

SIDE = 64
COUNT = 4096
# Waves of fewer cycles on a side than FLAT_UNTIL have equal power; that of the others falls with this exponent.
FLAT_UNTIL, EXPONENT = 4.0, 3.0
# The seed of the fields, which does not depend on the seed of a run.
SEED = 0


def power_spectrum() -> NDArray[np.float64]:
    """Return the expected power |F|² / SIDE² of each wave of a field's discrete Fourier transform F, [SIDE, SIDE].

    It is proportional to max(k, FLAT_UNTIL) to the power −EXPONENT at k cycles on a side, and 0 for the mean. Its mean
    over all waves is 1, the variance of a pixel.
    """
    cycles = np.fft.fftfreq(SIDE, 1.0 / SIDE)
    power = np.maximum(np.hypot(cycles[:, None], cycles), FLAT_UNTIL) ** -EXPONENT
    power[0, 0] = 0.0
    return power / power.mean()


def random_fields(count: int, first: int = 0) -> NDArray[np.float32]:
    """Return periodic fields number first, …, first + count − 1, [count, SIDE, SIDE]; they are the same at every call.

    White noise is filtered, which leaves it Gaussian: each wave is multiplied by the root of its power.
    """
    noise = rng.normal(SEED, "random_field.noise", 0, (count, SIDE, SIDE), first)
    filtered = np.fft.fft2(noise) * np.sqrt(power_spectrum())
    return np.fft.ifft2(filtered).real.astype(np.float32)
