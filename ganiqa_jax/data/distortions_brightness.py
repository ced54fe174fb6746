"""Brightness: lighter and darker mid-tones, and a shifted mean."""

import numpy as np

from ganiqa_jax.data.distortions_pixels import (
    Pixels,
    floats,
    from_lab,
    rounded,
    to_lab,
)

LIGHTNESS_GAMMA = (1.2, 1.45, 1.85, 2.5, 3.6)
"""Exponent of the lightness; black and white stay."""
MEAN_SHIFT = (12.0, 24.0, 38.0, 56.0, 80.0)
"""Grey levels."""


def brighten(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Raises the lightness of mid-tones."""
    return _curved(pixels, 1 / LIGHTNESS_GAMMA[level - 1])


def darken(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Lowers the lightness of mid-tones."""
    return _curved(pixels, LIGHTNESS_GAMMA[level - 1])


def mean_shift(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Adds the same to every value, or takes it away; which is random."""
    sign = 1 if random.random() < 0.5 else -1
    return rounded(floats(pixels) + np.float32(sign * MEAN_SHIFT[level - 1]))


def _curved(pixels: Pixels, exponent: float) -> Pixels:
    lab = to_lab(pixels)
    lab[..., 0] = 100 * np.clip(lab[..., 0] / 100, 0, 1) ** np.float32(exponent)
    return from_lab(lab)
