"""One picture or pair, from file to crops, in a worker thread; failures are values."""

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.scoring.archives import Held, Member
from ganiqa_jax.scoring.cropping import (
    middle,
    prepare,
    resize_short_side,
    resize_to,
    views,
)
from ganiqa_jax.scoring.decode import (
    DecodeError,
    Picture,
    check_size,
    decode_picture,
    read_file,
)
from ganiqa_jax.scoring.rows import Status

Source = Path | str | np.ndarray | Member | Held
SizeMismatch = Literal["error", "resize-ref", "center-crop"]


@dataclass(frozen=True)
class LoadRules:
    """How pictures are loaded.

    Attributes:
      preprocessing: of the model.
      max_pixels: pictures that claim more are refused.
      on_size_mismatch: what to do with a pair of unequal sizes: no score; resize
        the reference to the distorted picture; or cut both to the common centre.
    """

    preprocessing: Preprocessing
    max_pixels: int
    on_size_mismatch: SizeMismatch = "error"


@dataclass
class Loaded:
    """A picture or pair that was loaded, or not.

    Attributes:
      crops: the network's inputs, reference first; empty unless `status` is `ok`.
      seconds: time this took.
      The others are those of `ScoreRow`.
    """

    path: str
    reference: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    status: Status = "ok"
    error: str | None = None
    crops: tuple[UInt8[np.ndarray, "N S S 3"], ...] = ()
    seconds: float = 0.0


def load_picture(source: Source, name: str, rules: LoadRules) -> Loaded:
    """Loads one picture; what is wrong with it is told by `status` and `error`.

    Args:
      source: a path, or pixels as `check_pixels` takes them.
      name: what the row calls it.
      rules: how.
    """
    began = time.perf_counter()
    loaded = Loaded(name)
    try:
        picture = _open(source, rules, loaded)
        loaded.crops = views(picture.pixels, rules.preprocessing)
        loaded.error = _warning(picture.warnings)
    except DecodeError as error:
        _fail(loaded, error)
    loaded.seconds = time.perf_counter() - began
    return loaded


def load_with_crops(
    source: Source, rules: LoadRules
) -> tuple[UInt8[np.ndarray, "H W 3"], tuple[UInt8[np.ndarray, "N S S 3"], ...]]:
    """The picture that maps of its crops are laid over, and the network's inputs.

    It is what they are cut from; where that is the whole, stretched, the picture has
    its own shape, with a shorter side of at most that of the crop.

    Raises:
      DecodeError: if it cannot be read.
    """
    pixels = _open(source, rules, Loaded("")).pixels
    view = rules.preprocessing
    if view.whole:
        side = min(view.crop, *pixels.shape[:2])
        return resize_short_side(pixels, side), views(pixels, view)
    resized = resize_short_side(pixels, view.short_side)
    return resized, views(resized, view)


def load_pair(
    sources: tuple[Source, Source], names: tuple[str, str], rules: LoadRules
) -> Loaded:
    """Loads a reference and its distorted version, cut alike.

    Args:
      sources: reference, distorted.
      names: what the row calls them.
      rules: how.
    """
    began = time.perf_counter()
    loaded = Loaded(names[1], reference=names[0])
    try:
        distorted = _open(sources[1], rules, loaded)
        reference = _open_reference(sources[0], names[0], rules)
        pair, note = _match_sizes(reference.pixels, distorted.pixels, rules)
        loaded.crops = tuple(prepare(side, rules.preprocessing) for side in pair)
        notes = (*(f"reference {w}" for w in reference.warnings), *note)
        loaded.error = _warning(distorted.warnings + notes)
    except DecodeError as error:
        _fail(loaded, error)
    loaded.seconds = time.perf_counter() - began
    return loaded


def check_pixels(array: np.ndarray) -> UInt8[np.ndarray, "*B H W 3"]:
    """Pixels of an array, as 8 bits.

    Args:
      array: [..., H, W, 3], uint8, or floating in [0, 1], which is rounded to 8 bits.

    Raises:
      DecodeError: if it is anything else.
    """
    if array.ndim in (3, 4) and array.shape[-1] == 3:
        if array.dtype == np.uint8:
            return array
        if np.issubdtype(array.dtype, np.floating):
            if array.size == 0 or (array.min() >= 0 and array.max() <= 1):
                return np.round(array * 255).astype(np.uint8)
            raise DecodeError(
                f"Floating pixels must lie in [0, 1]; these go from {array.min():g} "
                f"to {array.max():g}."
            )
    raise DecodeError(
        "Pixels must be uint8, or floating in [0, 1], of shape [H, W, 3]; these are "
        f"{array.dtype} of shape {list(array.shape)}."
    )


def name_of(source: Source, index: int) -> str:
    """What a row calls a source: its path, or the position of an array."""
    if isinstance(source, np.ndarray):
        return f"array[{index}]"
    return source.path if isinstance(source, Member | Held) else os.fspath(source)


def _read(source: Path | str | Member | Held) -> bytes:
    if isinstance(source, Member | Held):
        return source.read_bytes()
    return read_file(Path(source) if isinstance(source, str) else source)


def _open(source: Source, rules: LoadRules, facts: Loaded) -> Picture:
    """Opens a picture, noting in `facts` what is known even if that fails."""
    if isinstance(source, np.ndarray):
        picture = _wrap(source, rules)
    else:
        data = _read(source)
        facts.sha256 = hashlib.sha256(data).hexdigest()
        preprocessing = rules.preprocessing
        picture = decode_picture(
            data,
            max_pixels=rules.max_pixels,
            alpha=preprocessing.alpha,
            exif=preprocessing.exif,
        )
    facts.width, facts.height, facts.mode = picture.width, picture.height, picture.mode
    return picture


def _open_reference(source: Source, name: str, rules: LoadRules) -> Picture:
    try:
        return _open(source, rules, Loaded(name))
    except DecodeError as error:
        raise DecodeError(f"Reference {name}: {error}", error.status) from error


def _wrap(array: np.ndarray, rules: LoadRules) -> Picture:
    pixels = check_pixels(array)
    if pixels.ndim != 3:
        raise DecodeError(f"One picture is [H, W, 3]; this is {list(array.shape)}.")
    height, width = pixels.shape[:2]
    check_size(width, height, rules.max_pixels)
    return Picture(pixels, width, height, "RGB")


def _match_sizes(
    reference: UInt8[np.ndarray, "H W 3"],
    distorted: UInt8[np.ndarray, "h w 3"],
    rules: LoadRules,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[str, ...]]:
    if reference.shape == distorted.shape:
        return (reference, distorted), ()
    height, width = distorted.shape[:2]
    if rules.on_size_mismatch == "resize-ref":
        resized = resize_to(Image.fromarray(reference), (height, width))
        return (np.asarray(resized), distorted), ("reference resized",)
    if rules.on_size_mismatch == "center-crop":
        height, width = np.minimum(reference.shape[:2], distorted.shape[:2]).tolist()
        check_size(width, height, rules.max_pixels)
        cut = middle(reference, height, width), middle(distorted, height, width)
        return cut, ("cut to the common centre",)
    raise DecodeError(
        f"Sizes differ: the reference has {reference.shape[1]}x{reference.shape[0]} "
        f"pixels, the distorted picture {width}x{height}; "
        "--on-size-mismatch resize-ref or center-crop would score it."
    )


def _fail(loaded: Loaded, error: DecodeError) -> None:
    loaded.status = error.status
    loaded.error = str(error)
    for field in ("width", "height", "mode"):
        known = getattr(error, field)
        if known is not None:
            setattr(loaded, field, known)


def _warning(warnings: tuple[str, ...]) -> str | None:
    return f"warning: {', '.join(warnings)}" if warnings else None
