"""Colours that run, shift, fade, glare or become few."""

import numpy as np
from PIL import Image
from scipy import ndimage

from ganiqa_jax.data.distortions_pixels import (
    Pixels,
    floats,
    from_lab,
    luma,
    rounded,
    to_lab,
)

DIFFUSION_SIGMA = (2.0, 4.0, 8.0, 15.0, 28.0)
"""Pixels."""
SHIFT_PIXELS = (0.8, 1.6, 3.0, 5.5, 10.0)
PALETTE_COLOURS = (64, 36, 20, 11, 6)
SATURATION_LEFT = (0.72, 0.48, 0.28, 0.12, 0.0)
"""Share of the saturation in HSV that is left."""
CHROMA_GAIN = (1.35, 1.8, 2.5, 3.6, 5.5)
"""Factor of a* and b*."""
BANDING_STEPS = (24, 14, 9, 6, 4)
"""Values left to each channel."""


def color_diffusion(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Blurs a* and b* and keeps the lightness: colours run over edges."""
    lab = to_lab(pixels)
    sigma = DIFFUSION_SIGMA[level - 1]
    lab[..., 1:] = ndimage.gaussian_filter(lab[..., 1:], (sigma, sigma, 0), truncate=3)
    return from_lab(lab)


def color_shift(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Moves green in a random direction, where the picture has edges."""
    angle = random.uniform(0, 2 * np.pi)
    distance = SHIFT_PIXELS[level - 1]
    values = floats(pixels)
    offset = distance * np.sin(angle), distance * np.cos(angle)
    moved = ndimage.shift(values[..., 1], offset, order=1, mode="nearest")
    edges = ndimage.gaussian_gradient_magnitude(luma(pixels), 1.5)
    # Half of all pixels are edges in part; the sharpest tenth are so in full.
    full = max(float(np.quantile(edges, 0.9)), 1e-3)
    share = np.clip(ndimage.maximum_filter(edges, 5) / full, 0, 1)
    values[..., 1] += share * (moved - values[..., 1])
    return rounded(values)


def color_quantization(
    pixels: Pixels, level: int, random: np.random.Generator
) -> Pixels:
    """Leaves a palette of few colours, with error diffusion (Floyd, Steinberg 1976)."""
    image = Image.fromarray(pixels)
    palette = image.quantize(PALETTE_COLOURS[level - 1], Image.Quantize.MEDIANCUT)
    few = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    return np.array(few.convert("RGB"))


def saturation_hsv(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Takes saturation away in HSV; at level 5 the picture is grey."""
    values = floats(pixels)
    # A channel is value * (1 - saturation * something of the hue alone).
    brightest = values.max(axis=2, keepdims=True)
    share = np.float32(SATURATION_LEFT[level - 1])
    return rounded(brightest - share * (brightest - values))


def saturation_lab(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Multiplies a* and b*: colours glare."""
    gain = np.float32(CHROMA_GAIN[level - 1])
    return from_lab(to_lab(pixels) * np.array([1, gain, gain], np.float32))


def colour_banding(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Leaves each channel a few evenly spaced values."""
    step = np.float32(255 / (BANDING_STEPS[level - 1] - 1))
    return rounded(np.round(floats(pixels) / step) * step)
