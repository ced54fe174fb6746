"""Just-noticeable difference, and the minimum-JND picture of the input layer.

All pictures are float32. Luma is that of BT.601 in 0..255; a JND is in the same grey
levels. Borders are reflected without repeating the edge pixel, so a picture needs at
least 3 pixels a side. Every function may be jitted and differentiated; gradients are
finite everywhere, also on flat and on black regions.

Sources: Chou and Li, IEEE TCSVT 1995, and Yang et al., "Just noticeable distortion
model and its applications in video coding", Signal Processing: Image Communication
2005 (luminance adaptation, texture masking, and their non-linear additive masking);
Wu et al., "Enhanced just noticeable difference model for images with pattern
complexity", IEEE TIP 2017.

The filters are sums of shifted slices: on CPU that is several times as fast as a
convolution with one input channel, and XLA fuses the whole map into a few loops.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ganiqa_jax.config import JndConfig
from ganiqa_jax.errors import InputError

SMALLEST_SIDE = 3
"""A border of two reflected pixels needs three."""

BT601 = (0.299, 0.587, 0.114)

BACKGROUND = (
    np.array(
        [
            [1, 1, 1, 1, 1],
            [1, 2, 2, 2, 1],
            [1, 2, 0, 2, 1],
            [1, 2, 2, 2, 1],
            [1, 1, 1, 1, 1],
        ]
    )
    / 32
)
"""Weighted mean of the surroundings (Chou and Li)."""

_ACROSS = np.array(
    [
        [0, 0, 0, 0, 0],
        [1, 3, 8, 3, 1],
        [0, 0, 0, 0, 0],
        [-1, -3, -8, -3, -1],
        [0, 0, 0, 0, 0],
    ]
)
_DIAGONAL = np.array(
    [
        [0, 0, 1, 0, 0],
        [0, 8, 3, 0, 0],
        [1, 3, 0, -3, -1],
        [0, 0, -3, -8, 0],
        [0, 0, -1, 0, 0],
    ]
)
GRADIENTS = tuple(k / 16 for k in (_ACROSS, _ACROSS.T, _DIAGONAL, _DIAGONAL[:, ::-1]))
"""Differences along four directions (Chou and Li)."""

SHARED_MASKING = 0.3
"""Overlap of luminance and texture masking in the sum (Yang et al.)."""

EDGE_HEIGHT = 60.0
"""Gradient above which a pixel is part of a structural edge (Yang et al.)."""

PLAIN_GRADIENT = 5.0
"""Gradient below which a pixel has no orientation (Wu et al.)."""

ORIENTATION_BINS = 15
"""180 degrees in bins of 12 (Wu et al.)."""

DARKEST = 1e-6
"""Grey level below which a square root is taken as 0, so that its slope is finite."""


def mjnd(images: Float[Array, "B H W 3"], config: JndConfig) -> Float[Array, "B H W 3"]:
    """Takes away every variation that stays under the visibility threshold.

    Each channel shrinks towards the mean of its surroundings by at most
    `strength` times the JND of the luma there: what differs by less becomes that
    mean. A strength of 0 gives the pictures back as they are.

    Args:
      images: in [0, 1].
      config: which JND, and its strength.

    Returns:
      Pictures in [0, 1], to rounding.

    Raises:
      InputError: if a side is under 3 pixels, or the form is unknown.
    """
    if config.strength == 0:
        return images
    jnd = jnd_map(_luma(images), form=config.form)
    threshold = (jnd * (config.strength / 255))[..., None]
    background = _filtered(images, BACKGROUND)
    residue = images - background
    return background + (residue - jnp.clip(residue, -threshold, threshold))


def jnd_map(
    luma: Float[Array, "B H W"], *, form: str = "yang"
) -> Float[Array, "B H W"]:
    """How many grey levels each pixel may change before an eye sees it.

    Args:
      luma: in 0..255.
      form: `yang` (2005), or `wu2017` with pattern complexity.

    Raises:
      InputError: if a side is under 3 pixels, or the form is unknown.
    """
    _check_sides(luma)
    if form == "yang":
        adaptation, masking = _yang_terms(luma)
    elif form == "wu2017":
        adaptation, masking = _wu_terms(luma)
    else:
        raise InputError(f"No JND form {form!r}; use 'yang' or 'wu2017'.")
    return adaptation + masking - SHARED_MASKING * jnp.minimum(adaptation, masking)


def luminance_adaptation(background: Float[Array, "B H W"]) -> Float[Array, "B H W"]:
    """JND of a flat field: 20 on black, 3 at 127, 6 on white (Chou and Li)."""
    dark = 17 * (1 - _root(background / 127)) + 3
    bright = 3 / 128 * (background - 127) + 3
    return jnp.where(background <= 127, dark, bright)


def texture_masking(
    gradient: Float[Array, "B H W"], background: Float[Array, "B H W"]
) -> Float[Array, "B H W"]:
    """What a local gradient hides (Chou and Li, with the constants of Yang et al.)."""
    masking = gradient * (0.0001 * background + 0.115) + (0.5 - 0.01 * background)
    return jnp.maximum(masking, 0)


def pattern_complexity(luma: Float[Array, "B H W"]) -> Float[Array, "B H W"]:
    """How many orientations meet around each pixel, 1 to 9, smoothed (Wu et al.).

    A pixel in a plain place, or on the border, counts 1. It is a count: no gradient
    flows through it.
    """
    luma = jax.lax.stop_gradient(luma)
    prewitt = np.array([[-1, 0, 1]] * 3) / 3
    across, down = _filtered(luma, prewitt), _filtered(luma, prewitt.T)
    plain = across**2 + down**2 < PLAIN_GRADIENT**2
    # An eighth of a bin off, no bin ends at 0, 45, 90 or 135 degrees, where pictures
    # have most edges and rounding would tell them apart.
    turn = ORIENTATION_BINS * jnp.arctan2(down, across) / jnp.pi + 0.125
    orientation = jnp.mod(jnp.floor(turn), ORIENTATION_BINS).astype(jnp.uint32)
    bit = jnp.where(plain, jnp.uint32(ORIENTATION_BINS), orientation)
    seen = jnp.left_shift(jnp.uint32(1), bit)
    met = jnp.zeros_like(seen)
    for around in _shifts(jnp.pad(seen, _border(1)), 3):
        met = met | around
    inner = jnp.pad(jnp.ones_like(met[:, 1:-1, 1:-1], dtype=bool), _border(1))
    count = jnp.where(plain | ~inner, 1, jax.lax.population_count(met))
    return _filtered(count.astype(luma.dtype), _gaussian(3, 1.0))


def _yang_terms(
    luma: Float[Array, "B H W"],
) -> tuple[Float[Array, "B H W"], Float[Array, "B H W"]]:
    background = _filtered(luma, BACKGROUND)
    gradient = _largest_gradient(luma)
    return luminance_adaptation(background), texture_masking(gradient, background)


def _wu_terms(
    luma: Float[Array, "B H W"],
) -> tuple[Float[Array, "B H W"], Float[Array, "B H W"]]:
    """Luminance adaptation, and the larger of contrast and pattern masking.

    Differs from the source: edges are gradients above the edge height instead of a
    Canny map, which has no closed form.
    """
    background = _filtered(luma, BACKGROUND)
    lifted = jnp.where(background <= 127, 32 + background * (95 / 127), background)
    variance = _variance(luma)
    contrast = 1.84 * variance**1.2 / (variance + 26.0**2)
    complexity = pattern_complexity(luma)
    pattern = 0.3 * complexity**2.7 / (complexity**2 + 1)
    away_from_edges = 1 - _filtered(
        _widened(_largest_gradient(luma) > EDGE_HEIGHT, 3).astype(luma.dtype),
        _gaussian(5, 0.8),
    )
    masking = jnp.maximum(contrast, _root(variance) * pattern * away_from_edges)
    return 0.7 * luminance_adaptation(lifted), masking


def _luma(images: Float[Array, "B H W 3"]) -> Float[Array, "B H W"]:
    red, green, blue = (images[..., channel] for channel in range(3))
    return 255 * (BT601[0] * red + BT601[1] * green + BT601[2] * blue)


def _largest_gradient(luma: Float[Array, "B H W"]) -> Float[Array, "B H W"]:
    """The steepest of four directions, at any sign."""
    steepest = jnp.zeros_like(luma)
    for kernel in GRADIENTS:
        steepest = jnp.maximum(steepest, jnp.abs(_filtered(luma, kernel)))
    return steepest


def _variance(luma: Float[Array, "B H W"]) -> Float[Array, "B H W"]:
    """Variance of 5x5 pixels, exactly 0 where they are equal.

    Taken about the middle pixel: about 0, squares of grey levels would cancel.
    """
    away = [around - luma for around in _shifts(_reflected(luma, 2), 5)]
    mean = sum(away) / len(away)
    square = sum(difference**2 for difference in away) / len(away)
    return jnp.maximum(square - mean**2, 0)


def _widened(marked: Bool[Array, "B H W"], radius: int) -> Bool[Array, "B H W"]:
    """Marks everything within a square of a marked pixel."""
    widened = marked
    for axis in (1, 2):  # one after the other: 14 shifts instead of 49
        length = marked.shape[axis]
        border = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = jnp.pad(widened, border)
        for start in range(2 * radius + 1):
            shifted = jax.lax.slice_in_dim(padded, start, start + length, axis=axis)
            widened = widened | shifted
    return widened


def _filtered(pictures: Float[Array, "B H W ..."], kernel: np.ndarray) -> Array:
    """Correlation with a small square kernel; borders reflected."""
    side = kernel.shape[0]
    slices = _shifts(_reflected(pictures, side // 2), side)
    total = jnp.zeros_like(pictures)
    for weight, shifted in zip(kernel.ravel().tolist(), slices, strict=True):
        if weight:
            total = total + weight * shifted
    return total


def _shifts(padded: Array, side: int) -> list[Array]:
    """The pictures seen from each cell of a square window, row by row."""
    height, width = padded.shape[1] - side + 1, padded.shape[2] - side + 1
    return [
        padded[:, down : down + height, across : across + width]
        for down in range(side)
        for across in range(side)
    ]


def _reflected(pictures: Array, width: int) -> Array:
    rest = ((0, 0),) * (pictures.ndim - 3)
    return jnp.pad(pictures, _border(width) + rest, mode="reflect")


def _border(width: int) -> tuple[tuple[int, int], ...]:
    return ((0, 0), (width, width), (width, width))


def _gaussian(side: int, sigma: float) -> np.ndarray:
    ramp = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sigma**2))
    kernel = np.outer(ramp, ramp)
    return kernel / kernel.sum()


def _root(values: Array) -> Array:
    """Square root whose slope at 0 is 0 instead of infinite."""
    lit = values > DARKEST
    return jnp.where(lit, jnp.sqrt(jnp.where(lit, values, 1.0)), 0.0)


def _check_sides(luma: Float[Array, "B H W"]) -> None:
    height, width = luma.shape[1:]
    if min(height, width) < SMALLEST_SIDE:
        raise InputError(
            f"A picture of {width}x{height} pixels has no JND map; "
            f"both sides must be at least {SMALLEST_SIDE}."
        )
