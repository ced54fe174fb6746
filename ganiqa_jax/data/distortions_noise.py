"""Noise of four kinds, and what a denoiser leaves."""

import numpy as np
from scipy import ndimage

from ganiqa_jax.data.distortions_pixels import (
    Pixels,
    Values,
    floats,
    from_ycbcr,
    rounded,
    to_ycbcr,
)

NOISE_STD = (5.0, 9.0, 16.0, 27.0, 45.0)
"""Grey levels."""
CHROMA_NOISE_STD = (6.0, 11.0, 19.0, 32.0, 52.0)
"""Grey levels of chroma."""
IMPULSE_SHARE = (0.002, 0.007, 0.022, 0.06, 0.16)
"""Share of the values that are lost."""
SPECKLE_STD = (0.05, 0.09, 0.16, 0.27, 0.45)
"""Share of the value itself."""
DENOISED_STD = (9.0, 16.0, 26.0, 42.0, 65.0)
"""Grey levels of the noise that is filtered."""
DENOISE_WINDOW = 5
"""Side of the window of the filter, pixels."""


def gaussian_noise(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Adds independent Gaussian noise to every value."""
    noise = random.standard_normal(pixels.shape, np.float32)
    return rounded(floats(pixels) + np.float32(NOISE_STD[level - 1]) * noise)


def color_noise(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Adds Gaussian noise to chroma and none to luma."""
    noise = random.standard_normal(pixels.shape, np.float32)
    noise[..., 0] = 0
    ycbcr = to_ycbcr(floats(pixels))
    return rounded(from_ycbcr(ycbcr + np.float32(CHROMA_NOISE_STD[level - 1]) * noise))


def impulse_noise(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Sets random values to black or white."""
    drawn = random.random(pixels.shape, np.float32)
    share = IMPULSE_SHARE[level - 1]
    return np.select(
        [drawn < share / 2, drawn > 1 - share / 2],
        [np.uint8(0), np.uint8(255)],
        pixels,
    )


def multiplicative_noise(
    pixels: Pixels, level: int, random: np.random.Generator
) -> Pixels:
    """Adds Gaussian noise in proportion to each value (speckle)."""
    noise = random.standard_normal(pixels.shape, np.float32)
    return rounded(floats(pixels) * (1 + np.float32(SPECKLE_STD[level - 1]) * noise))


def denoise(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Adds Gaussian noise and filters it: flat places are smooth, edges stay noisy.

    The filter is the local one of Lee, "Digital image enhancement and noise filtering
    by use of local statistics", IEEE TPAMI 1980: it keeps the share of the deviation
    from the local mean that the variance exceeds that of the noise by.
    """
    std = np.float32(DENOISED_STD[level - 1])
    noisy = floats(pixels) + std * random.standard_normal(pixels.shape, np.float32)
    mean = _local_mean(noisy)
    spread = _local_mean((noisy - mean) ** 2)
    kept = np.clip(1 - std**2 / np.maximum(spread, 1e-6), 0, 1)
    return rounded(mean + kept * (noisy - mean))


def _local_mean(values: Values) -> Values:
    for axis in (0, 1):
        values = ndimage.uniform_filter1d(values, DENOISE_WINDOW, axis=axis)
    return values
