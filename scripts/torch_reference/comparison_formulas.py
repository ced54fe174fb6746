"""What needs no network: correlations against scipy, the JND against plain NumPy.

The JND is written once more in float64, from the formulas of Chou and Li 1995, Yang et
al. 2005 and Wu et al. 2017, with filters of scipy.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
import scipy.optimize
import scipy.stats

from ganiqa_jax import metrics
from ganiqa_jax.config import JndConfig
from ganiqa_jax.image.jnd import mjnd
from torch_reference.agreement import Arrays, Row, compare
from torch_reference.pictures import photographs

EXACT, OF_FIT, OF_PICTURE = 1e-12, 1e-5, 1e-6

Kernel = Sequence[Sequence[float]]

AROUND = [[1] * 5, [1, 2, 2, 2, 1], [1, 2, 0, 2, 1], [1, 2, 2, 2, 1], [1] * 5]
ROWS = [[0] * 5, [1, 3, 8, 3, 1], [0] * 5, [-1, -3, -8, -3, -1], [0] * 5]
DIAGONAL = [
    [0, 0, 1, 0, 0],
    [0, 8, 3, 0, 0],
    [1, 3, 0, -3, -1],
    [0, 0, -3, -8, 0],
    [0, 0, -1, 0, 0],
]


def correlations() -> Iterator[Row]:
    """Ours against scipy on scores with ties, some without any relation."""
    random = np.random.default_rng(0)
    ours: Arrays = {}
    theirs: Arrays = {}
    for number, size in enumerate((5, 40, 2000)):
        mos = np.round(random.uniform(1, 5, size), 1)
        guess = np.tanh(mos - 3) + random.normal(0, 0.4, size)
        for name, own, reference in (
            ("srcc", metrics.srcc, scipy.stats.spearmanr),
            ("plcc", metrics.plcc, scipy.stats.pearsonr),
            ("krcc", metrics.krcc, scipy.stats.kendalltau),
        ):
            ours[f"{name} {number}"] = np.array(own(guess, mos))
            theirs[f"{name} {number}"] = np.array(reference(guess, mos)[0])
    yield compare("SRCC, PLCC, KRCC against scipy", ours, theirs, EXACT)
    yield logistic(random)


def logistic(random: np.random.Generator) -> Row:
    """The fitted curve against one that scipy fits from a far better start."""
    true = (4.6, 1.2, 0.3, 0.25)
    guess = random.uniform(-1, 1.5, 400)
    mos = _curve(guess, *true) + random.normal(0, 0.2, 400)
    fitted = scipy.optimize.curve_fit(_curve, guess, mos, true, xtol=1e-14, ftol=1e-14)
    ours = metrics.logistic_fit(guess, mos)
    return compare(
        "logistic fit against scipy",
        {"curve": ours(guess), "plcc": np.array(metrics.plcc_fitted(guess, mos))},
        {
            "curve": _curve(guess, *fitted[0]),
            "plcc": np.array(scipy.stats.pearsonr(_curve(guess, *fitted[0]), mos)[0]),
        },
        OF_FIT,
    )


def jnd_pictures() -> Iterator[Row]:
    """The minimum-JND picture of photographs."""
    pictures, _ = photographs(4, 192)
    for form in ("yang", "wu2017"):
        ours = jax.jit(partial(mjnd, config=JndConfig(form)))(jnp.asarray(pictures))
        theirs = np.stack([minimum_jnd(p.astype(np.float64), form) for p in pictures])
        yield compare(
            f"minimum-JND picture, {form}, against NumPy",
            {"picture": np.asarray(ours)},
            {"picture": theirs},
            OF_PICTURE,
        )


def minimum_jnd(picture: np.ndarray, form: str) -> np.ndarray:
    """[H, W, 3] in [0, 1]: each value nearer to its surroundings by the threshold."""
    luma = 255 * picture @ np.array([0.299, 0.587, 0.114])
    threshold = (_yang(luma) if form == "yang" else _wu(luma)) / 255
    shrunk = np.empty_like(picture)
    for channel in range(3):
        around = _filtered(picture[..., channel], AROUND) / 32
        rest = picture[..., channel] - around
        shrunk[..., channel] = around + np.sign(rest) * np.maximum(
            np.abs(rest) - threshold, 0
        )
    return shrunk


def _yang(luma: np.ndarray) -> np.ndarray:
    background = _filtered(luma, AROUND) / 32
    slope = _steepest(luma) * (0.0001 * background + 0.115)
    texture = np.maximum(slope + 0.5 - 0.01 * background, 0)
    return _joined(_visible(background), texture)


def _wu(luma: np.ndarray) -> np.ndarray:
    background = _filtered(luma, AROUND) / 32
    lifted = np.where(background <= 127, 32 + background * (127 - 32) / 127, background)
    mean = scipy.ndimage.uniform_filter(luma, 5, mode="mirror")
    square = scipy.ndimage.uniform_filter(luma**2, 5, mode="mirror")
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    contrast = 1.84 * deviation**2.4 / (deviation**2 + 26**2)
    complexity = _complexity(luma)
    pattern = deviation * 0.3 * complexity**2.7 / (complexity**2 + 1)
    near = scipy.ndimage.maximum_filter(
        (_steepest(luma) > 60).astype(float), 7, mode="constant"
    )
    pattern = pattern * (1 - _filtered(near, _bell(5, 0.8)))
    return _joined(0.7 * _visible(lifted), np.maximum(contrast, pattern))


def _complexity(luma: np.ndarray) -> np.ndarray:
    """How many of fifteen orientations, and plainness, there are among 3x3 pixels."""
    across = _filtered(luma, [[-1, 0, 1]] * 3) / 3
    down = _filtered(luma, [[-1] * 3, [0] * 3, [1] * 3]) / 3
    plain = np.hypot(across, down) < 5
    kinds = np.floor(15 * np.arctan2(down, across) / math.pi + 0.125).astype(int) % 15
    kinds[plain] = 15
    count = np.ones(luma.shape)
    for row in range(1, luma.shape[0] - 1):
        for column in range(1, luma.shape[1] - 1):
            if not plain[row, column]:
                around = kinds[row - 1 : row + 2, column - 1 : column + 2]
                count[row, column] = len(set(around.ravel().tolist()))
    return _filtered(count, _bell(3, 1.0))


def _visible(background: np.ndarray) -> np.ndarray:
    dark = 17 * (1 - np.sqrt(np.maximum(background, 0) / 127)) + 3
    return np.where(background <= 127, dark, 3 / 128 * (background - 127) + 3)


def _joined(light: np.ndarray, masking: np.ndarray) -> np.ndarray:
    return light + masking - 0.3 * np.minimum(light, masking)


def _steepest(luma: np.ndarray) -> np.ndarray:
    other = [row[::-1] for row in DIAGONAL]
    kernels = (ROWS, np.transpose(ROWS), DIAGONAL, other)
    return np.max([np.abs(_filtered(luma, k)) / 16 for k in kernels], axis=0)


def _filtered(values: np.ndarray, kernel: Kernel | np.ndarray) -> np.ndarray:
    weights = np.asarray(kernel, np.float64)
    return scipy.ndimage.correlate(values, weights, mode="mirror")


def _bell(side: int, sigma: float) -> np.ndarray:
    line = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * sigma**2))
    return np.outer(line, line) / line.sum() ** 2


def _curve(x: np.ndarray, a: float, b: float, c: float, d: float) -> np.ndarray:
    return (a - b) / (1 + np.exp(-(x - c) / d)) + b
