"""A picture file becomes 8-bit RGB pixels.

One path for training and scoring: Pillow, on the CPU. Dimensions are read from the
header and checked before any pixel is decoded; only formats of `FORMATS` are tried,
by content, whatever the file's name says.

What is not plain 8-bit RGB is converted on purpose, and noted in `Picture.warnings`
where colours may suffer:

- 16-bit grey is scaled by value / 257, rounded. 16-bit RGB is cut to its high byte
  by Pillow itself, at most one level lower.
- Transparency (RGBA, LA, a palette or colour marked transparent) is composited on
  the `alpha` colour, so that hidden colours do not count.
- CMYK becomes RGB without a colour profile (`cmyk`).
- Of an animation the first frame counts (`animated`).
- Floating-point and wider integer pictures are refused: their range is unknown.
"""

import os
import stat
import struct
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from ganiqa_jax.data.prepared import StoredPath
from ganiqa_jax.errors import InputError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")

SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .png .apng .webp .bmp .dib .tif .tiff .gif".split()
    + ".ppm .pgm .pbm .pnm".split()
)
"""Names that a folder is searched for; a file given by name may be called anything."""

MIN_SIDE = 16
MAX_PIXELS = 80_000_000
MAX_BYTES = 512 * 2**20

_ORIENTATION_TAG = 0x0112
_UPRIGHT: Mapping[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an orientation: Pillow turns against the clock."""
_PNG_END = b"IEND\xaeB`\x82"

# O_NONBLOCK: were the file changed for a pipe meanwhile, opening must not wait.
_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

# What Pillow's parsers raise on damaged data; it documents OSError alone.
_PARSER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    LookupError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    UserWarning,  # Pillow's, where a program makes warnings errors
)

_BOMB_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

_header_lock = threading.Lock()

FailedStatus = Literal["decode_error", "too_large", "too_small"]


class DecodeError(InputError):
    """A picture that cannot be scored, and why.

    Attributes:
      status: the row status that stands for the reason.
      width: as stored in the header, if that could be read; so `height`, `mode`.
    """

    def __init__(
        self,
        message: str,
        status: FailedStatus = "decode_error",
        *,
        width: int | None = None,
        height: int | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status: FailedStatus = status
        self.width = width
        self.height = height
        self.mode = mode


@dataclass(frozen=True)
class DecodedImage:
    """A decoded picture as Pillow has it, and what the file said about itself.

    Attributes:
      image: upright RGB on an opaque ground. Pixels are copied when Pillow's are taken
        as an array or an array is taken by Pillow, so what is left of a picture after
        resizing and cutting should be taken, not all of it.
      width, height, mode, warnings: as in `Picture`.
    """

    image: Image.Image
    width: int
    height: int
    mode: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """Decoded pixels and what the file said about itself.

    Attributes:
      pixels: upright RGB on an opaque ground.
      width: as stored in the header, before the EXIF orientation; so `height`.
        (A TIFF is turned by Pillow itself, so its sides are those after turning.)
      mode: Pillow's name of the stored pixel format, such as RGB or I;16.
      warnings: of `cmyk`, `animated`, `exif_unreadable`.
    """

    pixels: UInt8[np.ndarray, "H W 3"]
    width: int
    height: int
    mode: str
    warnings: tuple[str, ...] = ()


def read_file(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a regular or stored file; never waits on a pipe or a device.

    Raises:
      DecodeError: if there is no such file, it is no regular file, it is empty or
        cannot be read (`decode_error`), or has more than `max_bytes` (`too_large`).
    """
    try:
        if isinstance(path, StoredPath):
            data = path.read_bytes()
        else:
            data = _read_regular(path, max_bytes)
        if len(data) > max_bytes:
            raise _too_many_bytes(path, len(data), max_bytes)
    except (OSError, ValueError) as error:
        if isinstance(error, DecodeError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise DecodeError(f"{path} cannot be read: {reason}.") from error
    if not data:
        raise DecodeError(f"{path} is empty (0 bytes).")
    return data


def _read_regular(path: Path, max_bytes: int) -> bytes:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise DecodeError(f"{path} is not a regular file.")
    with open(os.open(path, _OPEN_FLAGS), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > max_bytes:
            raise _too_many_bytes(path, size, max_bytes)
        return file.read(size)  # a larger number would claim as much memory


def _too_many_bytes(path: Path, size: int, most: int) -> DecodeError:
    return DecodeError(f"{path} has {size} bytes, more than {most}.", "too_large")


def decode_picture(
    source: Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    alpha: Literal["white", "black"] = "white",
    exif: bool = True,
) -> Picture:
    """Decodes a picture file to upright 8-bit RGB, as an array.

    Arguments and errors as in `decode_image`.
    """
    decoded = decode_image(source, max_pixels=max_pixels, alpha=alpha, exif=exif)
    return Picture(
        pixels=np.ascontiguousarray(np.asarray(decoded.image)),
        width=decoded.width,
        height=decoded.height,
        mode=decoded.mode,
        warnings=decoded.warnings,
    )


def decode_image(
    source: Path | bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    alpha: Literal["white", "black"] = "white",
    exif: bool = True,
) -> DecodedImage:
    """Decodes a picture file to upright 8-bit RGB.

    Args:
      source: path of a file, or its bytes.
      max_pixels: pictures whose header claims more are refused undecoded.
      alpha: colour under transparent pixels.
      exif: apply the orientation that the file asks for. (Pillow turns a TIFF
        in any case.)

    Raises:
      DecodeError: its `status` says why: `decode_error` for what cannot be read in
        full, `too_large`, or `too_small` for a side under 16 pixels.
    """
    data = source if isinstance(source, bytes) else read_file(source)
    try:
        with _open_header(data) as image:
            width, height = image.size
            mode = image.mode
            try:
                check_size(width, height, max_pixels)
                _check_end(data, image.format)
                return _decode(image, alpha, exif)
            except DecodeError as error:
                error.width, error.height, error.mode = width, height, mode
                raise
            except _BOMB_ERRORS as error:
                raise _too_large(f"{error}", width, height, mode) from error
            except _PARSER_ERRORS as error:
                raise DecodeError(
                    f"Damaged or incomplete picture: {_reason(error)}.",
                    width=width,
                    height=height,
                    mode=mode,
                ) from error
    except DecodeError:
        raise
    except _PARSER_ERRORS as error:
        raise DecodeError(
            f"Not a readable {', '.join(FORMATS)} picture: {_reason(error)}."
        ) from error


def check_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Refuses sides that are not scored.

    Raises:
      DecodeError: `too_large` above `max_pixels`, `too_small` for a side under 16.
    """
    if width * height > max_pixels:
        raise DecodeError(
            f"{width}x{height} is {width * height} pixels, more than {max_pixels}.",
            "too_large",
        )
    if min(width, height) < MIN_SIDE:
        raise DecodeError(
            f"{width}x{height} pixels; the smallest side allowed is {MIN_SIDE}.",
            "too_small",
        )


def _open_header(data: bytes) -> Image.Image:
    # Pillow's own limit is one global for the process and warns or raises at sizes
    # that are not ours; check_size follows at once.
    with _header_lock:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            return Image.open(BytesIO(data), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_end(data: bytes, kind: str | None) -> None:
    # Pillow raises for all that is cut short, except a PNG's closing chunk.
    if kind == "PNG" and _PNG_END not in data:
        raise DecodeError("Incomplete picture: the PNG has no end.")


def _too_large(reason: str, width: int, height: int, mode: str) -> DecodeError:
    return DecodeError(reason, "too_large", width=width, height=height, mode=mode)


def _decode(image: Image.Image, alpha: str, exif: bool) -> DecodedImage:
    width, height = image.size
    mode = image.mode
    warnings = []
    # A phone's JPEG may carry a second picture (MPO): that is no animation.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        warnings.append("animated")
        image.seek(0)
    if mode == "CMYK":
        warnings.append("cmyk")
    image.load()
    rgb = _to_rgb(image, alpha)
    if exif:
        try:
            orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        except _PARSER_ERRORS:
            orientation = 1
            warnings.append("exif_unreadable")
        if orientation in _UPRIGHT:
            rgb = rgb.transpose(_UPRIGHT[orientation])
    return DecodedImage(rgb, width, height, mode, tuple(warnings))


def _to_rgb(image: Image.Image, alpha: str) -> Image.Image:
    if image.mode == "F":
        raise DecodeError(
            "A floating-point picture has no known range; save it as 8- or 16-bit."
        )
    if image.mode.startswith("I"):
        return _wide_grey_to_rgb(image, alpha)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, alpha)
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    if image.mode != "RGB":  # converting would copy it
        image = image.convert("RGB")
    return image


def _wide_grey_to_rgb(image: Image.Image, alpha: str) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise DecodeError(
            f"Integer pixels from {low} to {high} have no known range; save the "
            "picture as 8- or 16-bit."
        )
    grey = (2 * values + 257) // 514  # value / 257, rounded
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey = np.where(values == transparent, 255 if alpha == "white" else 0, grey)
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its content is of none of these"  # Pillow's text has an address in it
    return str(error).rstrip(".").replace("\n", " ") or type(error).__name__
