"""Batch norms of a state dict folded into the convolutions before them.

Our Inception-v3 has no batch norms, and takes pictures as (255 x - 128) / 128, as the
TensorFlow release of 2015 does; timm's has them, and takes 2 x - 1. The same function
either way: v = (255 x - 128) / 128 gives 2 x - 1 = (256 v + 1) / 255.
"""

import numpy as np

from ganiqa_jax.convert.links import Arrays
from ganiqa_jax.errors import InputError

EPSILON = 1e-3
FIRST = "Conv2d_1a_3x3"

_NORM = ("weight", "bias", "running_mean", "running_var")
_UNIT = ("conv.weight", *(f"bn.{leaf}" for leaf in _NORM))


def fold_norms(state: Arrays) -> Arrays:
    """`X.conv.weight` and `X.bn.*` as `X.weight` and `X.bias`.

    Raises:
      InputError: if a convolution lacks an array of its batch norm.
    """
    units = [
        name.removesuffix(".conv.weight")
        for name in state
        if name.endswith(".conv.weight")
    ]
    used = {f"{u}.{leaf}" for u in units for leaf in _UNIT}
    folded = {name: values for name, values in state.items() if name not in used}
    for unit in units:
        arrays = [state.get(f"{unit}.bn.{leaf}") for leaf in _NORM]
        if any(array is None for array in arrays):
            raise InputError(f"The weights lack arrays of {unit}.bn.")
        scale, bias, mean, var = (np.asarray(a, np.float64) for a in arrays)
        factor = scale / np.sqrt(var + EPSILON)
        weight = np.asarray(state[f"{unit}.conv.weight"], np.float64)
        weight = weight * factor[:, None, None, None]
        bias = bias - mean * factor
        if unit == FIRST:
            weight, bias = _rescaled(weight, bias)
        folded[f"{unit}.weight"] = weight.astype(np.float32)
        folded[f"{unit}.bias"] = bias.astype(np.float32)
    return folded


def unfold_norms(folded: Arrays) -> Arrays:
    """Units with batch norms that do what the folded convolutions do.

    The norms have mean 0, variance 1 and the scale that makes them an addition.
    """
    state: Arrays = {}
    for name, values in folded.items():
        if not name.endswith(".weight"):
            continue
        unit = name.removesuffix(".weight")
        weight = np.asarray(values, np.float64)
        bias = np.asarray(folded[f"{unit}.bias"], np.float64)
        if unit == FIRST:
            bias = bias - weight.sum(axis=(1, 2, 3)) / 256
            weight = weight * (255 / 256)
        ones = np.ones_like(bias)
        state[f"{unit}.conv.weight"] = weight.astype(np.float32)
        norm = (ones * np.sqrt(1 + EPSILON), bias, 0 * ones, ones)
        for leaf, array in zip(_NORM, norm, strict=True):
            state[f"{unit}.bn.{leaf}"] = array.astype(np.float32)
    return state


def _rescaled(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For pictures scaled as ours; exact because the first convolution pads nothing."""
    return weight * (256 / 255), bias + weight.sum(axis=(1, 2, 3)) / 255
