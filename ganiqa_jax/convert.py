"""Third-party backbone weights: names and layouts of their source to ours.

Read from `.npz` files without pickle. Total, and checked both ways: every array of
the submodule is replaced, and no array of the file is left over but a classifier.
"""

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ganiqa_jax.types import InputError, IntegrityError

Arrays = dict[str, np.ndarray]

_TORCH_NORM = {"weight": "scale", "bias": "bias"}
_TORCH_STATISTICS = {"running_mean": "mean", "running_var": "var"}
_KERAS_NORM = {
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
}


def load_backbone(path: str | Path, backbone: str) -> Arrays:
    """The arrays of a weights file under our names, '/'-joined, float32.

    Args:
      path: an `.npz`: Keras names for `mobilenet_v1`, names of the TensorFlow release
        for `inception_v3`, PyTorch names for `inception_resnet_v2`.
      backbone: which network it is of.

    Raises:
      InputError: if there is no such file or the backbone is unknown.
      IntegrityError: if the file cannot be read, or a name is not understood.
    """
    if backbone not in _NAMES:
        raise InputError(f"No weights of {backbone!r}; there are {sorted(_NAMES)}.")
    rename = _NAMES[backbone]
    renamed: Arrays = {}
    for name, values in _read(Path(path)).items():
        target = rename(name, values)
        if target is not None:
            renamed[target[0]] = np.asarray(target[1], np.float32)
    return renamed


def insert_backbone(
    variables: Mapping[str, Any], path: str | Path, backbone: str
) -> dict[str, Any]:
    """Puts pretrained arrays in place of a network's random start.

    Args:
      variables: collections of a `Teacher` (submodule `backbone`) or `Student`
        (submodule `trunk`).
      path: the weights file.
      backbone: its network.

    Returns:
      New collections; those arrays replaced wherever they live, all else as it was.

    Raises:
      InputError: if an array is missing in the file, left over or of another shape.
    """
    loaded = load_backbone(path, backbone)
    result = {}
    used: set[str] = set()
    for collection, tree in variables.items():
        flat = dict(flatten_dict(tree, sep="/"))
        for key, value in flat.items():
            owner, _, name = key.partition("/")
            if owner not in ("backbone", "trunk"):
                continue
            if name not in loaded:
                raise InputError(f"{path} lacks {name} of {backbone}.")
            if loaded[name].shape != value.shape:
                raise InputError(
                    f"{path} has {name} of shape {loaded[name].shape}; the network's "
                    f"is {value.shape}."
                )
            flat[key] = loaded[name]
            used.add(name)
        result[collection] = unflatten_dict(flat, sep="/")
    left = sorted(name for name in set(loaded) - used if not _optional(name, used))
    if left:
        raise InputError(
            f"{path} has {len(left)} arrays that the network does not: {left[:3]}."
        )
    if not used:
        raise InputError(f"The network has no part for the weights of {backbone}.")
    return result


def _optional(name: str, used: set[str]) -> bool:
    """Blocks beyond a network that is cut at its first tap are not an error."""
    block = name.split("/")[0]
    return not any(other.split("/")[0] == block for other in used)


def _read(path: Path) -> Arrays:
    if not path.is_file():
        raise InputError(f"No weights file {path}; see the README for where to put it.")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is not a readable .npz file: {error}") from error


def _keras_mobilenet(name: str, values: np.ndarray) -> tuple[str, np.ndarray] | None:
    layer, leaf = name.split("/")
    if layer == "conv_preds":
        return None
    if layer.endswith("_bn"):
        return f"{layer[:-3]}/norm/{_KERAS_NORM[leaf]}", values
    if leaf == "depthwise_kernel":
        return f"{layer}/conv/kernel", values.transpose(0, 1, 3, 2)
    return f"{layer}/conv/kernel", values


def _tensorflow_inception(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    return name, values


def _torch_inception_resnet(
    name: str, values: np.ndarray
) -> tuple[str, np.ndarray] | None:
    if re.match(r"(classif|last_linear)\.|.*num_batches_tracked$", name):
        return None
    *path, kind, leaf = name.split(".")
    if kind == "conv2d":  # the one convolution with a bias and no norm
        kind, path = "conv2d", path
    module = "/".join(_torch_path(path))
    if kind == "bn":
        return f"{module}/norm/{(_TORCH_NORM | _TORCH_STATISTICS)[leaf]}", values
    own = f"{module}/conv" if kind == "conv" else f"{module}/{kind}"
    if leaf == "weight":
        return f"{own}/kernel", values.transpose(2, 3, 1, 0)
    return f"{own}/bias", values


def _torch_path(path: list[str]) -> list[str]:
    """`repeat.3.branch1.0` to `repeat_3`, `branch1_0`."""
    joined: list[str] = []
    for part in path:
        if part.isdigit() and joined:
            joined[-1] = f"{joined[-1]}_{part}"
        else:
            joined.append(part)
    return joined


_NAMES: dict[str, Callable[[str, np.ndarray], tuple[str, np.ndarray] | None]] = {
    "mobilenet_v1": _keras_mobilenet,
    "inception_v3": _tensorflow_inception,
    "inception_resnet_v2": _torch_inception_resnet,
}
