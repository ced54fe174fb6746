"""What one row of a batch shows: pictures opened, cropped at one box, or damaged."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ganiqa_jax.data.mixture import PlannedRow, SourceData
from ganiqa_jax.data.online import MARGIN, damaged_pair
from ganiqa_jax.data.picture_cache import Opened, Opener
from ganiqa_jax.data.synthetic import grade
from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.decode import (
    DecodeError,
    decode_picture,
    reflect_to,
    resize_short_side,
)

Crops = UInt8[np.ndarray, "N S S 3"]


class ReadRow(NamedTuple):
    """What one row shows.

    Attributes:
      crops: its picture and, for a pair, the same box of its reference.
      grade: of a labelled pair that was made as it was read, in [0, 1]; else NaN.
    """

    crops: Crops
    grade: float


def open_picture(path: Path, short_side: int) -> Opened:
    """Decodes a picture of a training set and resizes it.

    Raises:
      InputError: if it cannot be decoded; names the file.
    """
    try:
        pixels = decode_picture(path).pixels
        size = (pixels.shape[1], pixels.shape[0])
        return Opened(resize_short_side(pixels, short_side), size)
    except DecodeError as error:
        raise InputError(
            f"Training picture {path} cannot be read: {error} "
            "Get it anew, or leave it out of the label file."
        ) from error


def read_row(row: PlannedRow, source: SourceData, crop: int, opener: Opener) -> ReadRow:
    """Opens, crops and, in a source that makes its pairs, damages what a row shows.

    Args:
      row: what is planned.
      source: what it is drawn from.
      crop: side of the crops, pixels.
      opener: `open_picture`, or a cache before it.

    Raises:
      InputError: if a picture cannot be read, or a pair differs in size.
    """
    if row.damage is None:
        return ReadRow(_boxes(_opened(row, source, opener), row, crop), math.nan)
    pristine = [opener(row.record.distorted, source.short_side)]
    (window,) = _boxes(pristine, row, crop + MARGIN)
    pair = damaged_pair(window, row.damage)
    damaged, reference = pair
    return ReadRow(pair, grade(reference, damaged) if source.labelled else math.nan)


def _opened(row: PlannedRow, source: SourceData, opener: Opener) -> list[Opened]:
    """The picture of a row and, where it is a pair, its reference of the same size."""
    record = row.record
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


def _boxes(opened: list[Opened], row: PlannedRow, side: int) -> Crops:
    """One box of this side out of each, where the row has it."""
    pictures = [reflect_to(picture.pixels, side) for picture in opened]
    height, width = pictures[0].shape[:2]
    top = int(row.down * (height - side + 1))
    left = int(row.across * (width - side + 1))
    return np.stack([p[top : top + side, left : left + side] for p in pictures])
