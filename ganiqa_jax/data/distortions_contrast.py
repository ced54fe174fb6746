"""Sharpness and contrast that are overdone, or taken away."""

import numpy as np
from scipy import ndimage

from ganiqa_jax.data.distortions_pixels import Pixels, floats, rounded

SHARPEN_AMOUNT = (0.7, 1.4, 2.6, 4.8, 9.0)
"""Times the detail is added."""
SHARPEN_SIGMA = 1.4
"""Pixels; what a Gaussian of this removes is the detail."""
CONTRAST_POWER = (1.3, 1.65, 2.2, 3.2, 5.5)
"""Slope of the curve at mid-grey, or of its inverse."""


def sharpen(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Adds detail again and again (unsharp masking): edges get halos."""
    values = floats(pixels)
    sigma = (SHARPEN_SIGMA, SHARPEN_SIGMA, 0)
    detail = values - ndimage.gaussian_filter(values, sigma, truncate=3)
    return rounded(values + np.float32(SHARPEN_AMOUNT[level - 1]) * detail)


def contrast_change(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Puts values through an S-shaped curve or its inverse; which is random.

    Black, mid-grey and white stay. The curve is x^p / (x^p + (1 - x)^p).
    """
    power = CONTRAST_POWER[level - 1]
    if random.random() < 0.5:
        power = 1 / power
    shares = np.arange(256) / 255
    curve = shares**power / (shares**power + (1 - shares) ** power)
    return np.round(255 * curve).astype(np.uint8)[pixels]
