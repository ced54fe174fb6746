"""Compression: blocks and ringing of JPEG, smooth patches of JPEG 2000."""

from io import BytesIO

import numpy as np
from PIL import Image

from ganiqa_jax.data.distortions_pixels import Pixels

JPEG_QUALITY = (50, 28, 16, 9, 5)
JPEG2000_RATIO = (25, 50, 95, 170, 300)
"""How many times smaller than the pixels the coded pixels are."""
JPEG2000_HEADER = 200
"""Bytes of a file beside its coded pixels, about."""


def jpeg(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Compresses as JPEG with halved chroma, and decodes again."""
    return through_jpeg(pixels, JPEG_QUALITY[level - 1])


def through_jpeg(pixels: Pixels, quality: int) -> Pixels:
    """What is left of a picture in a JPEG file of this quality, with halved chroma."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(Image.open(buffer).convert("RGB"))


def jpeg2000(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Compresses as JPEG 2000 with the lossy wavelet, and decodes again."""
    buffer = BytesIO()
    # A wavelet is halved no further than a side is long.
    halvings = min(6, int(np.log2(min(pixels.shape[:2]))) + 1)
    wanted = pixels.nbytes / JPEG2000_RATIO[level - 1] + JPEG2000_HEADER
    Image.fromarray(pixels).save(
        buffer,
        "JPEG2000",
        irreversible=True,
        num_resolutions=halvings,
        quality_mode="rates",
        quality_layers=[max(1.0, pixels.nbytes / wanted)],
    )
    return np.array(Image.open(buffer).convert("RGB"))
