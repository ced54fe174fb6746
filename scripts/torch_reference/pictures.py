"""Real pictures to compare on: photographs that scikit-image carries."""

import io

import numpy as np
from PIL import Image

NAMES = ("astronaut", "coffee", "chelsea", "rocket")
TOPS = (0, 60, 80, 40)
"""Where the crop of each begins, so that there is something to see."""
QUALITY = 12
"""JPEG quality of the distorted pictures."""
GRAIN = 20
"""Deviation of their noise, in grey levels: where two pictures are equal, layer norm
blows up the rounding of their difference."""


def photographs(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Crops of photographs, and the same after noise and JPEG compression.

    Returns:
      Reference and distorted, [count, side, side, 3] float32 in [0, 1].
    """
    from skimage import data

    pairs = []
    for i in range(count):
        picture = getattr(data, NAMES[i % len(NAMES)])()
        most = [size - side for size in picture.shape[:2]]
        top = min(TOPS[i % len(NAMES)] + 13 * (i // len(NAMES)), most[0])
        left = min(120 + 29 * (i // len(NAMES)), most[1])
        crop = Image.fromarray(picture[top : top + side, left : left + side, :3])
        pairs.append((np.asarray(crop), _distorted(crop, seed=i)))
    reference, distorted = (np.stack(part) for part in zip(*pairs, strict=True))
    return _scaled(reference), _scaled(distorted)


def _distorted(picture: Image.Image, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, GRAIN, (*picture.size[::-1], 3))
    noised = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noised).save(buffer, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(buffer))


def _scaled(pictures: np.ndarray) -> np.ndarray:
    return pictures.astype(np.float32) / 255
