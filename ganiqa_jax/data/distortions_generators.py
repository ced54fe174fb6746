"""What generators leave: grids, echoes, wiped texture and bent shapes.

`checkerboard` is the uneven overlap of transposed convolutions (Odena et al.,
"Deconvolution and checkerboard artifacts", Distill 2016).
"""

import numpy as np
import scipy.fft
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from ganiqa_jax.data.distortions_pixels import Pixels, floats, rounded

CHECKERBOARD_SHARE = (0.06, 0.11, 0.19, 0.32, 0.55)
"""Weight of the unevenly upsampled picture in the blend."""
RINGING_CUTOFF = (0.55, 0.38, 0.26, 0.17, 0.11)
"""Share of the Nyquist frequency that is kept."""
SMEAR = ((1, 0.5), (2, 0.7), (3, 0.9), (5, 1.0), (8, 1.0))
"""Radius of the Kuwahara filter in pixels, and its share in the blend."""
WARP_PIXELS = (0.5, 0.9, 1.6, 2.8, 5.0)
"""Root mean square displacement along each axis."""
WARP_CELL = 14
"""Pixels over which the displacement changes direction."""


def checkerboard(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Blends in a transposed convolution of the halved picture.

    A kernel of three taps and a stride of two: some pixels get one copy, some two,
    along each axis, which is the grid that such layers leave.
    """
    height, width = pixels.shape[:2]
    even = np.pad(floats(pixels), ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    half = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, 3).mean((1, 3))
    spread = np.zeros_like(even)
    spread[::2, ::2] = half
    for axis in (0, 1):
        # Even places meet one sample and odd ones two: 2/3 keeps the mean.
        taps = np.full(3, 2 / 3, np.float32)
        spread = ndimage.correlate1d(spread, taps, axis=axis, mode="reflect")
    share = np.float32(CHECKERBOARD_SHARE[level - 1])
    uneven = spread[:height, :width]
    return rounded((1 - share) * pixels + share * uneven)


def ringing(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Cuts the spectrum off sharply: edges overshoot and echo (Gibbs)."""
    height, width = pixels.shape[:2]
    spectrum = scipy.fft.dctn(floats(pixels), axes=(0, 1), norm="ortho")
    down = np.arange(height, dtype=np.float32)[:, None] / height
    across = np.arange(width, dtype=np.float32)[None, :] / width
    kept = down**2 + across**2 <= RINGING_CUTOFF[level - 1] ** 2
    passed = scipy.fft.idctn(spectrum * kept[..., None], axes=(0, 1), norm="ortho")
    return rounded(np.asarray(passed))


def texture_smear(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Wipes texture into flat patches and keeps edges (Kuwahara et al. 1976)."""
    radius, share = SMEAR[level - 1]
    values = floats(pixels)
    side = radius + 1
    luma = values.mean(axis=2)
    means = values
    for axis in (0, 1):
        means = ndimage.uniform_filter1d(means, side, axis=axis, mode="reflect")
    variance = ndimage.uniform_filter((luma - luma.mean()) ** 2, side, mode="reflect")
    variance -= ndimage.uniform_filter(luma - luma.mean(), side, mode="reflect") ** 2
    # The filter's window begins side // 2 before its pixel: moved by these it ends,
    # or begins, at the pixel.
    behind, ahead = side // 2 - radius, side // 2
    best, result = None, values
    for down in (behind, ahead):
        for across in (behind, ahead):
            spread = _displaced(variance, down, across)
            mean = _displaced(means, down, across)
            if best is None:
                best, result = spread, mean
                continue
            calmer = spread < best
            best = np.where(calmer, spread, best)
            result = np.where(calmer[..., None], mean, result)
    return rounded((1 - share) * values + share * result)


def local_warp(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Shifts structures by a smooth random field, as wrongly drawn shapes are."""
    height, width = pixels.shape[:2]
    strength = WARP_PIXELS[level - 1]
    rows, columns = (np.arange(n, dtype=np.float32) for n in (height, width))
    place = [
        rows[:, None] + strength * _smooth_field(height, width, random),
        columns[None, :] + strength * _smooth_field(height, width, random),
    ]
    values = floats(pixels)
    moved = [
        ndimage.map_coordinates(values[..., c], place, order=1, mode="nearest")
        for c in range(3)
    ]
    return rounded(np.stack(moved, axis=-1))


def _displaced(
    maps: Float[np.ndarray, "H W ..."], down: int, across: int
) -> Float[np.ndarray, "H W ..."]:
    """The map seen from `down`, `across` pixels further on; borders repeated."""
    height, width = maps.shape[:2]
    rows = np.clip(np.arange(height) + down, 0, height - 1)
    columns = np.clip(np.arange(width) + across, 0, width - 1)
    return maps[rows][:, columns]


def _smooth_field(
    height: int, width: int, random: np.random.Generator
) -> Float[np.ndarray, "H W"]:
    """Random values of mean square 1 that vary over `WARP_CELL` pixels."""
    coarse = random.standard_normal(
        (height // WARP_CELL + 2, width // WARP_CELL + 2), np.float32
    )
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    field = np.asarray(smooth)
    return field / np.sqrt(np.mean(field**2))
