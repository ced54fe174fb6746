"""Arrays that depend on their names alone, so that both sides can make the same.

Without PyTorch: the tests make them too.
"""

import zlib
from collections.abc import Mapping

import numpy as np


def seeded_state(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Numbers for every array of a state dict, of sizes that keep signals alive.

    Args:
      shapes: name to shape, as PyTorch has it.

    Returns:
      float32; scales and variances in [0.5, 1.5], means, biases and tables small,
      and weights such that a layer keeps the spread of what it gets.
    """
    return {name: _numbers(name, shape) for name, shape in shapes.items()}


def seeded_pictures(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Pictures in [0, 1], float32."""
    return _uniform(name, shape)


def _numbers(name: str, shape: tuple[int, ...]) -> np.ndarray:
    values = _uniform(name, shape)
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var" or (leaf == "weight" and len(shape) == 1):
        return values + np.float32(0.5)
    if leaf == "weight" and "emb" not in name:
        fan_in = float(np.prod(shape[1:]))
        return (values - np.float32(0.5)) * np.float32(np.sqrt(12 / fan_in))
    return (values - np.float32(0.5)) * np.float32(0.4)


def _uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    bits = np.random.Philox(key=zlib.crc32(name.encode()))
    return np.random.Generator(bits).random(shape).astype(np.float32)
