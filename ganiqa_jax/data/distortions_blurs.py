"""Blurs: out of focus in two ways, and moved."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from ganiqa_jax.data.distortions_pixels import Pixels, convolved, floats, rounded

BLUR_SIGMA = (0.6, 1.0, 1.6, 2.6, 4.2)
"""Pixels."""
LENS_RADIUS = (1.0, 1.7, 2.8, 4.6, 7.5)
"""Pixels."""
MOTION_LENGTH = (3.0, 5.0, 9.0, 15.0, 25.0)
"""Pixels."""


def gaussian_blur(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Blurs each channel with a Gaussian."""
    sigma = BLUR_SIGMA[level - 1]
    return rounded(
        ndimage.gaussian_filter(floats(pixels), (sigma, sigma, 0), truncate=3)
    )


def lens_blur(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Blurs with a disc, as a lens out of focus does."""
    return rounded(convolved(floats(pixels), _disc(LENS_RADIUS[level - 1])))


def motion_blur(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Blurs along a line whose direction is random."""
    angle = random.uniform(0, np.pi)
    return rounded(convolved(floats(pixels), _line(MOTION_LENGTH[level - 1], angle)))


def _disc(radius: float) -> Float[np.ndarray, "h w"]:
    """A disc of sum 1 whose edge is one pixel wide."""
    reach = int(np.ceil(radius))
    down, across = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(down, across), 0, 1)
    return disc / disc.sum()


def _line(length: float, angle: float) -> Float[np.ndarray, "h w"]:
    """A line of sum 1 through the middle, spread over the pixels that it passes."""
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    steps = np.linspace(-length / 2, length / 2, 8 * int(np.ceil(length)) + 1)
    place = np.stack([steps * np.sin(angle), steps * np.cos(angle)]) + reach
    corner = np.floor(place).astype(int)
    down, across = place - corner
    for lower, weight in ((0, 1 - down), (1, down)):
        for right, share in ((0, 1 - across), (1, across)):
            np.add.at(kernel, (corner[0] + lower, corner[1] + right), weight * share)
    return kernel / kernel.sum()
