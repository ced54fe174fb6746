"""Where pixels are: scattered, moved in patches, merged, replaced, or of few values."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy import ndimage

from ganiqa_jax.data.distortions_pixels import Pixels, floats, rounded

SCALE_FACTOR = (1.5, 2.0, 3.0, 4.5, 7.0)
JITTER_PIXELS = (0.35, 0.6, 1.0, 1.7, 2.9)
"""Standard deviation of the displacement along each axis."""
PATCH_SIDE = 16
"""Pixels."""
PATCH_REACH = 12
"""Pixels along each axis that a patch comes from at most."""
PATCH_SHARE = (0.03, 0.07, 0.14, 0.26, 0.45)
"""Area of the patches by that of the picture; they can overlap."""
PIXELATE_SIDE = (2.0, 3.0, 4.5, 7.0, 11.0)
"""Pixels that become one."""
QUANTIZATION_VALUES = (16, 11, 7, 5, 3)
QUANTIZATION_ROUNDS = 20
BLOCK_SHARE = (0.015, 0.035, 0.075, 0.15, 0.28)
"""Area of the blocks by that of the picture; they can overlap."""
BLOCKS_ACROSS = 12
"""Blocks that fit along the shorter side."""


def down_up_scale(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Shrinks and enlarges again, both bicubic: a simple upscaler."""
    bicubic = Image.Resampling.BICUBIC
    return _shrunk(pixels, SCALE_FACTOR[level - 1], bicubic, bicubic)


def jitter(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Takes every pixel from a random place nearby."""
    height, width = pixels.shape[:2]
    offsets = random.standard_normal((2, height, width), np.float32)
    grid = np.mgrid[:height, :width].astype(np.float32)
    place = grid + np.float32(JITTER_PIXELS[level - 1]) * offsets
    values = floats(pixels)
    scattered = [
        ndimage.map_coordinates(values[..., c], place, order=1, mode="nearest")
        for c in range(3)
    ]
    return rounded(np.stack(scattered, axis=-1))


def patch_shift(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Covers random patches with others from nearby: right texture, wrong place."""
    result = pixels.copy()
    height, width = pixels.shape[:2]
    side = min(PATCH_SIDE, height, width)
    room = np.array([height - side, width - side])
    for _ in range(_count(pixels, PATCH_SHARE[level - 1], side)):
        place = random.integers(room + 1)
        reach = random.integers(-PATCH_REACH, PATCH_REACH + 1, 2)
        top, left = np.clip(place + reach, 0, room)
        patch = pixels[top : top + side, left : left + side]
        result[place[0] : place[0] + side, place[1] : place[1] + side] = patch
    return result


def pixelate(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Merges pixels into squares."""
    box, nearest = Image.Resampling.BOX, Image.Resampling.NEAREST
    return _shrunk(pixels, PIXELATE_SIDE[level - 1], box, nearest)


def quantization(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Leaves the values of all channels together a few, the best for the picture.

    Values and the thresholds between them are those of least squared error that
    alternating between both finds (Lloyd, "Least squares quantization in PCM", IEEE
    Transactions on Information Theory 1982), from even quantiles.
    """
    counts = np.bincount(pixels.ravel(), minlength=256).astype(np.float64)
    few = QUANTIZATION_VALUES[level - 1]
    grey = np.arange(256)
    values = np.quantile(pixels, (np.arange(few) + 0.5) / few)
    for _ in range(QUANTIZATION_ROUNDS):
        nearest = _nearest(values)
        weight = np.bincount(nearest, counts, few)
        total = np.bincount(nearest, counts * grey, few)
        values = np.where(weight > 0, total / np.maximum(weight, 1), values)
        values.sort()
    table = np.round(values[_nearest(values)]).astype(np.uint8)
    return table[pixels]


def color_block(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Covers random squares with random colours."""
    result = pixels.copy()
    height, width = pixels.shape[:2]
    side = max(1, min(height, width) // BLOCKS_ACROSS)
    for _ in range(_count(pixels, BLOCK_SHARE[level - 1], side)):
        top, left = random.integers((height - side + 1, width - side + 1))
        colour = random.integers(0, 256, 3, np.uint8)
        result[top : top + side, left : left + side] = colour
    return result


def _count(pixels: Pixels, share: float, side: int) -> int:
    height, width = pixels.shape[:2]
    return max(1, round(share * height * width / side**2))


def _nearest(values: Float[np.ndarray, " N"]) -> UInt8[np.ndarray, " 256"]:
    """Which of the ascending values each grey level is nearest to."""
    between = (values[:-1] + values[1:]) / 2
    return np.searchsorted(between, np.arange(256)).astype(np.uint8)


def _shrunk(
    pixels: Pixels,
    factor: float,
    down: Image.Resampling,
    up: Image.Resampling,
) -> Pixels:
    height, width = pixels.shape[:2]
    small = max(1, round(width / factor)), max(1, round(height / factor))
    shrunk = Image.fromarray(pixels).resize(small, down)
    return np.array(shrunk.resize((width, height), up))
