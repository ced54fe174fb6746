"""Decoded pictures become crops: resized, mirrored outwards, cut; or stretched whole.

One way for training and scoring. All resizing is by Pillow's bicubic filter, which
widens with the reduction (antialiasing), along the rows and then along the columns: by
itself Pillow takes the order that is cheaper, from its version 13 on, and the 8-bit
picture between the two makes the last bit depend on it.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.data_config import WINDOWS
from ganiqa_jax.image.boxes import test_boxes
from ganiqa_jax.scoring.decode import DecodeError

MAX_RESIZED_PIXELS = 256 * 2**20
"""A resize to a fixed shorter side lets a thin picture grow without bound."""

_CUBIC_REACH = 2
"""Half the width of the bicubic filter, in pixels of the coarser picture."""


def resized_sides(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width after the shorter side is made `side`; 0 changes nothing.

    Raises:
      DecodeError: `too_large`, if so thin a picture would grow past
        `MAX_RESIZED_PIXELS`.
    """
    short = min(height, width)
    if side in (0, short):
        return height, width
    new_height, new_width = (
        max(side, round(length * side / short)) for length in (height, width)
    )
    if new_height * new_width > MAX_RESIZED_PIXELS:
        raise DecodeError(
            f"{width}x{height} pixels are too thin: {new_width}x{new_height} after "
            f"resizing the shorter side to {side}.",
            "too_large",
        )
    return new_height, new_width


def resize_short_side(
    pixels: UInt8[np.ndarray, "H W 3"], side: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Resizes so that the shorter side has `side` pixels; 0 changes nothing.

    Raises:
      DecodeError: as `resized_sides`.
    """
    height, width = pixels.shape[:2]
    return _resized(pixels, resized_sides(height, width, side))


def seen_sides(
    height: int, width: int, preprocessing: Preprocessing
) -> tuple[int, int]:
    """Height and width of what crops are cut from: resized, or stretched whole.

    What is under the side of a crop is still to be mirrored outwards, `reflect_to`.

    Raises:
      DecodeError: as `resized_sides`.
    """
    side = preprocessing.crop
    if preprocessing.whole and preprocessing.reflect:
        return min(height, side), min(width, side)
    if preprocessing.whole:
        return side, side
    return resized_sides(height, width, preprocessing.short_side)


def resize_to(image: Image.Image, sides: tuple[int, int]) -> Image.Image:
    """Resizes a picture to this height and width."""
    height, width = sides
    wide = image.resize((width, image.height), Image.Resampling.BICUBIC)
    return wide.resize((width, height), Image.Resampling.BICUBIC)


def cut_resized(
    image: Image.Image, sides: tuple[int, int], top: int, left: int, side: int
) -> UInt8[np.ndarray, "S S 3"]:
    """A square of the resized picture, without resizing what lies outside of it.

    The pixels are those of resizing it all and cutting, to the bit.

    Args:
      image: RGB.
      sides: height and width of the whole picture after resizing.
      top: first row of the square there; so `left`, its first column.
      side: of the square; it lies within the picture.
    """
    if sides == (image.height, image.width):
        return np.asarray(image.crop((left, top, left + side, top + side)))
    rows = _grid_around(image.height, sides[0], top, top + side)
    columns = _grid_around(image.width, sides[1], left, left + side)
    above = rows.read.start
    if len(rows.read) < image.height:
        image = image.crop((0, above, image.width, rows.read.stop))
    wide = image.resize(
        (len(columns.new), image.height),
        Image.Resampling.BICUBIC,
        box=(columns.old.start, 0, columns.old.stop, image.height),
    )
    first, last = rows.old.start - above, rows.old.stop - above
    resized = wide.resize(
        (wide.width, len(rows.new)),
        Image.Resampling.BICUBIC,
        box=(0, first, wide.width, last),
    )
    top, left = top - rows.new.start, left - columns.new.start
    return np.asarray(resized.crop((left, top, left + side, top + side)))


def reflect_to(
    pixels: UInt8[np.ndarray, "H W 3"], side: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Mirrors a picture outwards until both sides have at least `side` pixels.

    Half of what is missing goes before, half after (the odd pixel after). The edge
    itself is not doubled; a picture under half of `side` is mirrored again and
    again, and a side of one pixel is repeated.
    """
    missing = [max(0, side - length) for length in pixels.shape[:2]]
    if not any(missing):
        return pixels
    widths = [(lack // 2, lack - lack // 2) for lack in missing]
    return np.pad(pixels, [*widths, (0, 0)], mode="reflect")


def middle(
    pixels: UInt8[np.ndarray, "H W 3"], height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """The middle of a picture, which is at least as large."""
    top = (pixels.shape[0] - height) // 2
    left = (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def prepare(
    pixels: UInt8[np.ndarray, "H W 3"], preprocessing: Preprocessing
) -> UInt8[np.ndarray, "N S S 3"]:
    """The crops that a score is the mean over: resize, mirror outwards, cut.

    With `whole` the picture, stretched to the side of a crop, is the only one; with
    `reflect` only what is larger is resized.

    The same sides give the same boxes, so a reference and its distorted version
    are cut alike.

    Args:
      pixels: from `decode_picture`.
      preprocessing: shorter side, crop side, positions; with `mirror` the mirrored
        crops follow the plain ones.
    """
    side = preprocessing.crop
    height, width = pixels.shape[:2]
    sides = seen_sides(height, width, preprocessing)
    filled = reflect_to(_resized(pixels, sides), side)
    boxes = test_boxes(filled.shape[0], filled.shape[1], side, preprocessing.points)
    crops = np.stack([filled[y : y + side, x : x + side] for y, x in boxes])
    return _with_mirrored(crops, preprocessing)


def views(
    pixels: UInt8[np.ndarray, "H W 3"], preprocessing: Preprocessing
) -> tuple[UInt8[np.ndarray, "N S S 3"], ...]:
    """What a student takes of a picture: its crops, and with `detail_side` its detail.

    Args:
      pixels: from `decode_picture`.
      preprocessing: of the student.
    """
    crops = prepare(pixels, preprocessing)
    if not preprocessing.detail_side:
        return (crops,)
    detail = detail_of(pixels, preprocessing)
    return crops, _with_mirrored(detail[None], preprocessing)


def detail_of(
    pixels: UInt8[np.ndarray, "H W 3"], preprocessing: Preprocessing
) -> UInt8[np.ndarray, "S S 3"]:
    """Windows of a picture, `WINDOWS` along each side, beside each other as they lie.

    Each is in the middle of its share of the picture. No window is resized, unless the
    whole picture has to be, to `detail_sides`. A square of `crop` pixels comes back as
    it is.

    Source: grid mini-patch sampling, Wu et al., FAST-VQA, ECCV 2022, arXiv:2207.02595.

    Args:
      pixels: the picture.
      preprocessing: with `detail_side`.
    """
    height, width = pixels.shape[:2]
    side = preprocessing.crop
    pixels = _resized(pixels, detail_sides(height, width, preprocessing))
    pixels = reflect_to(pixels, side)
    rows, columns = (window_places(length, side) for length in pixels.shape[:2])
    return pixels[rows[:, None], columns]


def detail_sides(
    height: int, width: int, preprocessing: Preprocessing
) -> tuple[int, int]:
    """Height and width of what windows are cut from.

    The shorter side is at most `detail_side`, and at least `crop` unless what is under
    that is still to be mirrored outwards.

    Raises:
      DecodeError: as `resized_sides`.
    """
    shorter = min(height, width, preprocessing.detail_side)
    if not preprocessing.reflect:
        shorter = max(shorter, preprocessing.crop)
    return resized_sides(height, width, shorter)


def window_places(length: int, side: int) -> Int[np.ndarray, " S"]:
    """Which pixels along one side of a picture lie in windows, in their order.

    Args:
      length: of the picture's side.
      side: of all windows together; no more than `length`.
    """
    window = side // WINDOWS
    middles = (2 * np.arange(WINDOWS) + 1) * length // (2 * WINDOWS)
    return (middles[:, None] - window // 2 + np.arange(window)).reshape(-1)


def _with_mirrored(
    crops: UInt8[np.ndarray, "N S S 3"], preprocessing: Preprocessing
) -> UInt8[np.ndarray, "M S S 3"]:
    """The crops, and with `mirror` each again mirrored."""
    if not preprocessing.mirror:
        return crops
    return np.concatenate([crops, crops[:, :, ::-1]])


def _resized(
    pixels: UInt8[np.ndarray, "H W 3"], sides: tuple[int, int]
) -> UInt8[np.ndarray, "h w 3"]:
    if sides == pixels.shape[:2]:
        return pixels
    return np.asarray(resize_to(Image.fromarray(pixels), sides))


class _Grid(NamedTuple):
    """A stretch of one side: its pixels before and after resizing, and what they read.

    Attributes:
      old: its pixels before.
      new: the same stretch after.
      read: pixels before that the filter looks at, some beside the stretch.
    """

    old: range
    new: range
    read: range


def _grid_around(length: int, new_length: int, start: int, stop: int) -> _Grid:
    """The shortest stretch around new pixels that begins and ends on whole old ones.

    A box that ended within a pixel would be rounded, and all weights of the filter
    with it.
    """
    steps = math.gcd(length, new_length)
    old_step, new_step = length // steps, new_length // steps
    first, last = start // new_step, -(-stop // new_step)
    old = range(first * old_step, last * old_step)
    reach = math.ceil(_CUBIC_REACH * max(1.0, length / new_length)) + 1
    return _Grid(
        old=old,
        new=range(first * new_step, last * new_step),
        read=range(max(0, old.start - reach), min(length, old.stop + reach)),
    )
