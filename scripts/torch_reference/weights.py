"""Variables of the Flax networks as a state dict of the reference.

Names are the same but for the last part; layouts follow from it.
"""

# pyright: reportMissingImports=false

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
"""What the last part of a name becomes; others stay."""


def from_flax(variables: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of a network's collections.

    Args:
      variables: `params` and, where there are any, `frozen` and `batch_stats`: nested
        dicts of arrays. Kernels are [rows, columns, in, out] of a convolution,
        [in, out] of a dense layer.

    Returns:
      Torch names to float32 tensors, one for every array.

    Raises:
      ValueError: if two arrays would have one name.
    """
    state: dict[str, Tensor] = {}
    for collection in variables.values():
        for path, array in _arrays(collection):
            leaf = path[-1]
            name = ".".join([*path[:-1], LEAVES.get(leaf, leaf)])
            if name in state:
                raise ValueError(f"Two arrays are called {name}.")
            state[name] = torch.from_numpy(_laid_out(leaf, np.array(array)))
    return state


def load_flax(model: nn.Module, variables: Mapping[str, Any]) -> None:
    """Puts the variables of a Flax network into its counterpart.

    Raises:
      RuntimeError: if an array is missing, left over or of another shape.
    """
    model.load_state_dict(from_flax(variables), strict=True)


def to_flax(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    """The Flax name, joined by "/", and the layout of one array of a state dict.

    Args:
      name: in the state dict of the whole model.
      values: the array, or a gradient of it.
    """
    *path, leaf = name.split(".")
    if leaf == "weight" and values.ndim == 1:
        leaf = "scale"
    elif leaf == "weight":
        leaf = "kernel"
        values = values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T
    elif leaf.startswith("running_"):
        leaf = leaf.removeprefix("running_")
    return "/".join([*path, leaf]), values


def _arrays(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Keys of the path, and the array, for every leaf."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            for path, array in _arrays(value):
                yield (key, *path), array
        else:
            yield (key,), value


def _laid_out(leaf: str, array: np.ndarray) -> np.ndarray:
    if leaf == "kernel":
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return np.ascontiguousarray(array, dtype=np.float32)
