"""What the distortions share: types, rounding, colour spaces, convolution."""

from collections.abc import Callable

import numpy as np
import scipy.signal
from jaxtyping import Float, UInt8

Pixels = UInt8[np.ndarray, "H W 3"]
Values = Float[np.ndarray, "H W 3"]
Distortion = Callable[[Pixels, int, np.random.Generator], Pixels]

LEVELS = (1, 2, 3, 4, 5)

# Linear sRGB to CIE XYZ under D65, IEC 61966-2-1.
_XYZ = np.array(
    [
        [0.4124, 0.3576, 0.1805],
        [0.2126, 0.7152, 0.0722],
        [0.0193, 0.1192, 0.9505],
    ],
    np.float32,
)
_WHITE = _XYZ.sum(axis=1)
# CIE 15:2004: below the cube of 6 / 29 the cube root is a straight line.
_KNEE = 6 / 29

# ITU-R BT.601, as JPEG files have it (JFIF), without the offset of chroma.
_YCBCR = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.168736, -0.331264, 0.5],
        [0.5, -0.418688, -0.081312],
    ],
    np.float32,
)


def floats(pixels: Pixels) -> Values:
    """Grey levels as float32."""
    return pixels.astype(np.float32)


def rounded(values: Values) -> Pixels:
    """The nearest grey levels there are."""
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def luma(pixels: Pixels) -> Float[np.ndarray, "H W"]:
    """Luma of BT.601, in grey levels."""
    return floats(pixels) @ _YCBCR[0]


def to_ycbcr(values: Values) -> Values:
    """Luma and two chroma differences around 0, in grey levels."""
    return values @ _YCBCR.T


def from_ycbcr(values: Values) -> Values:
    """Back from `to_ycbcr`."""
    return values @ np.linalg.inv(_YCBCR).T


def to_lab(pixels: Pixels) -> Values:
    """CIE 1976 L*a*b* of sRGB: lightness from 0 to 100, and two opponent colours."""
    shares = floats(pixels) / 255
    low = shares <= 0.04045
    linear = np.where(low, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    x, y, z = np.moveaxis(_root(linear @ _XYZ.T / _WHITE), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def from_lab(lab: Values) -> Pixels:
    """Back from `to_lab`; colours that sRGB lacks are clipped channel by channel."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    line = 3 * _KNEE**2 * (roots - 4 / 29)
    xyz = np.where(roots > _KNEE, roots**3, line) * _WHITE
    linear = np.clip(xyz @ np.linalg.inv(_XYZ).T, 0, 1)
    curved = 1.055 * linear ** (1 / 2.4) - 0.055
    return rounded(255 * np.where(linear <= 0.0031308, 12.92 * linear, curved))


def convolved(values: Values, kernel: Float[np.ndarray, "h w"]) -> Values:
    """Each channel convolved with a kernel of odd sides; borders are mirrored."""
    down, across = (side // 2 for side in kernel.shape)
    around = np.pad(values, ((down, down), (across, across), (0, 0)), "symmetric")
    return scipy.signal.fftconvolve(
        around, kernel.astype(np.float32)[..., None], mode="valid", axes=(0, 1)
    )


def _root(xyz: Values) -> Values:
    line = xyz / (3 * _KNEE**2) + 4 / 29
    return np.where(xyz > _KNEE**3, np.cbrt(xyz), line)
