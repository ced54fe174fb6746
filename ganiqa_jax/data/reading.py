"""What one row of a batch shows: pictures opened, cropped at one box, or damaged."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ganiqa_jax.data.mixture import PlannedRow, SourceData
from ganiqa_jax.data.online import MARGIN, damaged_pair
from ganiqa_jax.data.picture_cache import Opened
from ganiqa_jax.data.records import Record
from ganiqa_jax.data.synthetic import grade
from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.cropping import (
    cut_resized,
    reflect_to,
    resize_to,
    resized_sides,
)
from ganiqa_jax.scoring.decode import DecodeError, decode_image

Crops = UInt8[np.ndarray, "N S S 3"]


class ReadRow(NamedTuple):
    """What one row shows.

    Attributes:
      crops: its picture and, for a pair, the same box of its reference.
      grade: of a labelled pair that was made as it was read, in [0, 1]; else NaN.
    """

    crops: Crops
    grade: float


class Decoded(NamedTuple):
    """A picture that is resized when a part of it is asked for, and only there.

    Attributes:
      image: RGB, as decoded.
      sides: height and width after resizing.
    """

    image: Image.Image
    sides: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in the file, upright."""
        return self.image.size

    def whole(self) -> UInt8[np.ndarray, "H W 3"]:
        """All pixels, resized."""
        if self.sides == (self.image.height, self.image.width):
            return np.asarray(self.image)
        return np.asarray(resize_to(self.image, self.sides))

    def square(self, top: int, left: int, side: int) -> UInt8[np.ndarray, "S S 3"]:
        """A square of the resized picture; it lies within it."""
        return cut_resized(self.image, self.sides, top, left, side)


Opener = Callable[[Path, int], Opened | Decoded]
"""Opens the picture of a path, to be shown with that shorter side in pixels."""


def open_picture(path: Path, short_side: int) -> Decoded:
    """Decodes a picture of a training set.

    Raises:
      InputError: if it cannot be decoded, or not be resized; names the file.
    """
    try:
        image = decode_image(path).image
        return Decoded(image, resized_sides(image.height, image.width, short_side))
    except DecodeError as error:
        raise InputError(
            f"Training picture {path} cannot be read: {error} "
            "Get it anew, or leave it out of the label file."
        ) from error


def open_whole(path: Path, short_side: int) -> Opened:
    """Decodes a picture of a training set and resizes it, to be kept.

    Raises:
      InputError: as `open_picture`.
    """
    decoded = open_picture(path, short_side)
    return Opened(decoded.whole(), decoded.size)


def read_row(row: PlannedRow, source: SourceData, crop: int, opener: Opener) -> ReadRow:
    """Opens, crops and, in a source that makes its pairs, damages what a row shows.

    Args:
      row: what is planned.
      source: what it is drawn from.
      crop: side of the crops, pixels.
      opener: `open_picture`, or a cache of what `open_whole` opens.

    Raises:
      InputError: if a picture cannot be read, or a pair differs in size.
    """
    if row.damage is None:
        opened = open_record(row.record, source, opener)
        return ReadRow(_boxes(opened, row, crop), math.nan)
    pristine = [opener(row.record.distorted, source.short_side)]
    (window,) = _boxes(pristine, row, crop + MARGIN)
    pair = damaged_pair(window, row.damage)
    damaged, reference = pair
    return ReadRow(pair, grade(reference, damaged) if source.labelled else math.nan)


def open_record(
    record: Record, source: SourceData, opener: Opener
) -> list[Opened | Decoded]:
    """A picture and, where it is a pair, its reference of the same size.

    Raises:
      InputError: as `read_row`.
    """
    opened = [opener(record.distorted, source.short_side)]
    if source.has_references and record.reference is not None:
        opened.append(opener(record.reference, source.short_side))
        (width, height), (other_width, other_height) = (o.size for o in opened)
        if opened[0].size != opened[1].size:
            raise InputError(
                f"{record.distorted} is {width}x{height} but its reference "
                f"{record.reference} is {other_width}x{other_height}; "
                "the pictures of a pair must have one size."
            )
    return opened


def _boxes(opened: Sequence[Opened | Decoded], row: PlannedRow, side: int) -> Crops:
    """One box of this side out of each, where the row has it."""
    height, width = (max(side, length) for length in opened[0].sides)
    top = int(row.down * (height - side + 1))
    left = int(row.across * (width - side + 1))
    return np.stack([_box(picture, top, left, side) for picture in opened])


def _box(
    picture: Opened | Decoded, top: int, left: int, side: int
) -> UInt8[np.ndarray, "S S 3"]:
    if min(picture.sides) >= side:
        return picture.square(top, left, side)
    return reflect_to(picture.whole(), side)[top : top + side, left : left + side]
