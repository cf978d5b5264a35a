"""The radially averaged power spectrum of images, and the error of that of generated ones.

Generators with upsampling layers often miss the power at high frequencies (Durall et al. 2020), which other metrics
hardly see. The error is a log-spectral distance (Gray and Markel 1976) with the exponent 1.

The power of a wave is |F|² / (h · w), where F is the discrete Fourier transform of an image in [−1, 1]: white noise of
variance σ² has the power σ² at every wave, and the mean over all waves is the mean square of a pixel. Nothing is
subtracted from the images: a pattern that all generated images share, such as a checkerboard, is an error too. There is
no window: images are taken to be periodic. Where they are not, the step between opposite borders adds power that falls
with the square of the frequency, to generated and to real images alike.

A ring holds the waves of one rounded wave number: their cycles per pixel times the shorter side. In squares it is the
number of cycles that fit into a side. The rings go from 1 to half the shorter side, the highest frequency of both
directions. The mean of an image, the slower waves that rectangles have along their longer side, and the faster ones
along the diagonals are in no ring.
"""

import torch
from torch import Tensor

from wgan_dist.evaluation.metrics.image_order import in_order_of_content

LEAST_SIDE = 8
# The power that a ring has at least, so that an empty one has a logarithm: above that of the rounding of float32.
FLOOR = 1e-14
# The pixels that are transformed at a time, which bounds memory.
CHUNK_PIXELS = 1 << 22


def wave_numbers(height: int, width: int) -> Tensor:
    """Return the rounded wave number of each wave of a discrete Fourier transform, int64 [height, width]."""
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in (height, width))
    return (torch.hypot(rows[:, None], columns[None]) * min(height, width)).round().to(torch.int64)


def radial_spectrum(images: Tensor) -> Tensor:
    """Return the mean power of images [n, c, h, w] at the wave numbers 1, …, min(h, w) / 2, float64 [c, rings]."""
    count, channels, height, width = images.shape
    power = torch.zeros(channels, height, width, dtype=torch.float64, device=images.device)
    for part in in_order_of_content(images).split(max(1, CHUNK_PIXELS // (channels * height * width))):
        power += torch.fft.fft2(part.double()).abs().square().sum(0)
    power = power.cpu() / (count * height * width)
    numbers = wave_numbers(height, width)
    rings = range(1, min(height, width) // 2 + 1)
    return torch.stack([power[:, numbers == number].mean(1) for number in rings], dim=1)


def spectrum_error(generated: Tensor, real: Tensor) -> float:
    """Return the mean over rings and channels of |log₁₀(generated / real)| of two spectra [c, rings], in decades."""
    ratio = generated.clamp_min(FLOOR) / real.clamp_min(FLOOR)
    return float(ratio.log10().abs().mean())
