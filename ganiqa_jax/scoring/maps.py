"""Quality maps: where in a picture a student sees good and bad quality.

A student gives a score around each cell of a crop. The maps of a picture's crops are
laid over each other where the crops lie, and meet in their mean.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.image.boxes import test_boxes
from ganiqa_jax.scoring.cropping import seen_sides
from ganiqa_jax.scoring.durable import naming, replacing

SHOWN = 0.55
"""Share of the colour of the map in an overlay; the rest is the picture in grey."""


class QualityMap(NamedTuple):
    """A picture and its map.

    Attributes:
      pixels: what crops are cut from; if the network sees the whole, stretched, in
        their own shape, the shorter side at most that of a crop.
      scores: in [0, 1] for every pixel; NaN where no crop lay.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    scores: Float[np.ndarray, "H W"]

    def save(self, path: Path) -> None:
        """Writes the overlay as a PNG file.

        Raises:
          InputError: if it cannot be written.
        """
        picture = Image.fromarray(overlay(self.pixels, self.scores))
        with replacing(path) as new, naming(path):
            picture.save(new, "PNG")


def map_name(sha256: str) -> str:
    """What the file of a picture's map is called: no name of a picture has to fit."""
    return f"{sha256}.png"


def map_of_picture(
    cells: Float[np.ndarray, "N n m"], sides: tuple[int, int], rules: Preprocessing
) -> Float32[np.ndarray, "H W"]:
    """One map for a picture, out of those of its crops; NaN where there was none.

    Args:
      cells: of each crop, in the order of `cropping.prepare`.
      sides: height and width of the picture of `loading.load_with_crops`.
      rules: how it was cut.
    """
    side = rules.crop
    if rules.whole:
        views = [
            each[:, ::-1] if mirrored else each for mirrored, each in enumerate(cells)
        ]
        seen = seen_sides(*sides, rules)
        shares = [(length / side, (side - length) // 2 / side) for length in seen]
        return _enlarged(np.mean(views, axis=0), sides, shares)
    # A picture smaller than a crop was mirrored outwards, half of it before.
    before = [max(0, side - length) // 2 for length in sides]
    height, width = (max(side, length) for length in sides)
    boxes = test_boxes(height, width, side, rules.points)
    total, count = np.zeros((2, height, width), np.float32)
    for number, map_of_crop in enumerate(cells):
        top, left = boxes[number % len(boxes)]
        if number >= len(boxes):  # of a mirrored crop
            map_of_crop = map_of_crop[:, ::-1]
        place = slice(top, top + side), slice(left, left + side)
        total[place] += _enlarged(map_of_crop, (side, side))
        count[place] += 1
    with np.errstate(invalid="ignore"):
        mean = total / count
    top, left = before
    return mean[top : top + sides[0], left : left + sides[1]]


def overlay(
    pixels: UInt8[np.ndarray, "H W 3"], quality: Float[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """A picture in grey under the colours of its map: dark blue is bad, yellow good.

    Args:
      pixels: the resized picture.
      quality: scores in [0, 1], the same colours for the same score in all
        pictures; where it is NaN the picture is left as it is.
    """
    from matplotlib import colormaps

    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    known = np.isfinite(quality)
    shown = np.clip(np.where(known, quality, 0), 0, 1)
    colours = 255 * colormaps["cividis"](shown)[..., :3]
    mixed = np.round(SHOWN * colours + (1 - SHOWN) * grey).astype(np.uint8)
    return np.where(known[..., None], mixed, pixels)


def _enlarged(
    cells: Float[np.ndarray, "n m"],
    sides: tuple[int, int],
    shares: Sequence[tuple[float, float]] = ((1.0, 0.0), (1.0, 0.0)),
) -> Float32[np.ndarray, "H W"]:
    """Cells as a map of these sides.

    Args:
      cells: of a crop.
      sides: height and width of the result.
      shares: of the height and of the width of the crop, that it is of, and that lie
        before it.
    """
    (high, above), (wide, left) = shares
    rows, columns = cells.shape
    box = (
        columns * left,
        rows * above,
        columns * (left + wide),
        rows * (above + high),
    )
    height, width = sides
    image = Image.fromarray(np.asarray(cells, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box))
