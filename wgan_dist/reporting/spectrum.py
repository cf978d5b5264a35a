"""A plot of the power spectra that `spectrum_error` compares."""

import io

import matplotlib.style
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

FIGURE_INCHES, DOTS_PER_INCH = (6.4, 5.2), 120
# The height of the powers, in heights of their ratio.
HEIGHTS = (2.0, 1.0)
# The most channels for which there is room in a legend.
MOST_NAMED = 6


@matplotlib.style.context("default")  # matplotlib reads a matplotlibrc of the working folder
def draw_spectra(spectra: dict[str, list[list[float]]]) -> bytes:
    """Draw the power of generated and of real images over the wave number, and their ratio below.

    Args:
        spectra: The powers at the wave numbers 1, 2, …, of each channel: `generated` and `real`, [c, rings].

    Returns:
        The content of a PNG file.
    """
    generated, real = (np.array(spectra[name]) for name in ("generated", "real"))
    channels, rings = real.shape
    numbers = np.arange(1, rings + 1)
    figure = Figure(FIGURE_INCHES, DOTS_PER_INCH, layout="constrained")
    powers, ratios = figure.subplots(2, sharex=True, height_ratios=HEIGHTS)
    for channel in range(channels):
        color = colormaps["viridis"](0.9 * channel / channels)
        of_channel = f", channel {channel + 1}" if channels > 1 else ""
        powers.plot(numbers, real[channel], "--", color=color, label=f"real{of_channel}")
        powers.plot(numbers, generated[channel], color=color, label=f"generated{of_channel}")
        ratios.plot(numbers, generated[channel] / real[channel], color=color)
    ratios.axhline(1.0, color="grey", linestyle="--", linewidth=1.0)
    powers.set(xscale="log", yscale="log", ylabel="power")
    ratios.set(yscale="log", xlabel="wave number: waves along the shorter side", ylabel="generated / real")
    if channels <= MOST_NAMED:
        powers.legend(frameon=False, fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
    return content.getvalue()
