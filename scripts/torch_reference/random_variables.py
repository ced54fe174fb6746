"""Weights and batch-norm statistics at random, the same for ever and everywhere.

NumPy alone. An array depends on its name, its shape and the seed, through uniform
numbers, which do not change between versions of NumPy.
"""

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

RANGES = {
    "scale": (0.5, 1.5),
    "var": (0.5, 2.0),
    "position_bias": (-1.0, 1.0),
    "level_weights": (-1.0, 1.0),
}
"""What is not a kernel lies in (-0.2, 0.2) but for these."""


NEUTRAL = {"scale": 1.0, "var": 1.0}
"""What changes nothing, in the place of what is not a kernel; else 0."""


def random_variables(
    shapes: Mapping[str, Any], seed: int = 0, *, away: float = 1.0
) -> dict[str, Any]:
    """Nested dicts of float32 arrays in the place of anything that has a `shape`.

    Kernels keep the spread of what passes through them, whatever their size, but for
    those of queries and keys: if attention picked single cells, rounding would decide
    which.

    Args:
      shapes: of variables.
      seed: another one gives other numbers.
      away: what is not a kernel goes this far from what changes nothing towards the
        random number; for a start that is like a network's own.
    """
    return {name: _fill(tree, name, name, seed, away) for name, tree in shapes.items()}


def uniform(
    shape: tuple[int, ...], seed: int, low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """A float32 array of uniform numbers."""
    numbers = np.random.Generator(np.random.PCG64(seed)).random(shape)
    return (low + (high - low) * numbers).astype(np.float32)


def checksum(tree: Mapping[str, Any]) -> int:
    """CRC-32 of all arrays of a tree, in the order of their names."""
    total = 0
    for name in sorted(tree):
        value = tree[name]
        if isinstance(value, Mapping):
            total = zlib.crc32(checksum(value).to_bytes(4, "little"), total)
        else:
            total = zlib.crc32(np.ascontiguousarray(value).tobytes(), total)
    return total


def _fill(value: Any, path: str, leaf: str, seed: int, away: float) -> Any:
    if isinstance(value, Mapping):
        return {k: _fill(v, f"{path}/{k}", k, seed, away) for k, v in value.items()}
    if leaf == "kernel":
        bound = math.sqrt(3 / math.prod(value.shape[:-1]))
        if len(value.shape) == 2 and path.split("/")[-2] in ("query", "key"):
            bound *= 0.3
        low, high = -bound, bound
    else:
        neutral = NEUTRAL.get(leaf, 0.0)
        low, high = (
            neutral + away * (end - neutral) for end in RANGES.get(leaf, (-0.2, 0.2))
        )
    return uniform(value.shape, zlib.crc32(f"{seed}/{path}".encode()), low, high)
