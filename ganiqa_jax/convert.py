"""Third-party backbone weights: names and layouts of their source to ours.

Read from `.npz` files, without pickle and without the source's framework. Total, and
checked both ways: every array of the network is replaced, and no array of the file is
left over but those of a classifier or of layers that a shorter network does not have.
"""

import functools
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.models.backbones.inception_resnet_v2 import InceptionResNetV2
from ganiqa_jax.models.backbones.inception_v3 import InceptionV3
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1

Arrays = dict[str, np.ndarray]

OWNERS = ("backbone", "trunk")
"""What a teacher and a student call the submodule that has pretrained weights."""

CLASSIFIER = "conv_preds/"


class Source(NamedTuple):
    """Where the weights of a backbone come from.

    Attributes:
      says: the kind of file, for error messages.
      rename: a name and array of the file to ours; None for one that no network of
        ours has; a name that is not understood stays as it is.
      network: the whole backbone, which tells the names there are.
    """

    says: str
    rename: Callable[[str, np.ndarray], tuple[str, np.ndarray] | None]
    network: nn.Module


def load_backbone(path: str | Path, backbone: str) -> Arrays:
    """The arrays of a weights file under our names.

    Args:
      path: an `.npz`: Keras names for `mobilenet_v1`, names of the TensorFlow release
        for `inception_v3`, PyTorch (timm) names for `inception_resnet_v2`.
      backbone: which network it is of.

    Returns:
      '/'-joined names inside the backbone to float32 arrays in our layout (HWIO). In
      which collection each belongs depends on what the network freezes: see `place`.

    Raises:
      InputError: if there is no such file, or no such backbone.
      IntegrityError: if the file is damaged or is no `.npz` of finite numbers.
    """
    source = _source(backbone)
    path = Path(path)
    if not path.is_file():
        raise InputError(f"No weights file {path}: give the path of {source.says}.")
    renamed: Arrays = {}
    for name, values in _read(path).items():
        target = source.rename(name, values)
        if target is not None:
            renamed[target[0]] = np.ascontiguousarray(target[1], np.float32)
    return renamed


def place(values: Arrays, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Puts arrays where the network keeps the variables of their names.

    Args:
      values: from `load_backbone`; may hold more than the network has.
      variables: the backbone's own collections; arrays, or shapes alone.

    Returns:
      The same tree with every leaf replaced.

    Raises:
      InputError: if an array is missing or of another shape; names the first few.
    """
    flat = {kind: _flat(tree) for kind, tree in variables.items()}
    wanted = {name: leaf.shape for tree in flat.values() for name, leaf in tree.items()}
    missing = [name for name in wanted if name not in values]
    if missing:
        raise InputError(f"The weights lack {_few(missing)} of the network.")
    wrong = [
        f"{name} (has {values[name].shape}, needs {shape})"
        for name, shape in wanted.items()
        if values[name].shape != shape
    ]
    if wrong:
        raise InputError(f"The weights are of another network: {_few(wrong)}.")
    return {
        kind: unflatten_dict(
            {name: values[name].astype(leaf.dtype) for name, leaf in tree.items()},
            sep="/",
        )
        for kind, tree in flat.items()
    }


def insert_backbone(
    variables: Mapping[str, Any], path: str | Path, backbone: str
) -> dict[str, Any]:
    """Puts pretrained arrays in place of a network's random start.

    Args:
      variables: collections of a `Teacher` (submodule `backbone`) or a `Student`
        (submodule `trunk`).
      path: the weights file; see `load_backbone`.
      backbone: the network it is of.

    Returns:
      New collections; the submodule's arrays replaced in whichever collection they
      live, all else as it was.

    Raises:
      InputError: if the network has no such submodule, or if an array is missing in
        the file, is left over or has another shape; names the first few.
      IntegrityError: if the file is damaged.
    """
    values = load_backbone(path, backbone)
    owner = next((o for o in OWNERS if any(o in t for t in variables.values())), None)
    if owner is None:
        raise InputError(f"The network has no part for the weights of {backbone}.")
    own = {kind: tree[owner] for kind, tree in variables.items() if owner in tree}
    _refuse_unknown(values, own, backbone)
    placed = place(values, own)
    return {
        kind: {**tree, owner: placed[kind]} if kind in placed else dict(tree)
        for kind, tree in variables.items()
    }


def _refuse_unknown(values: Arrays, own: Mapping[str, Any], backbone: str) -> None:
    left = set(values) - _names(own)
    left = {name for name in left if not name.startswith(CLASSIFIER)}
    if not left:
        return
    # A network that ends at its first tap leaves the deeper layers of the file.
    unknown = sorted(left - _names_of_whole(backbone))
    if unknown:
        raise InputError(f"The weights have {_few(unknown)}, unknown to {backbone}.")


@functools.cache
def _names_of_whole(backbone: str) -> set[str]:
    picture = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    network = _source(backbone).network
    return _names(jax.eval_shape(network.init, jax.random.key(0), picture))


def _names(variables: Mapping[str, Any]) -> set[str]:
    return {name for tree in variables.values() for name in _flat(tree)}


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    return dict(flatten_dict(tree, sep="/"))


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _source(backbone: str) -> Source:
    if backbone not in _SOURCES:
        raise InputError(
            f"There are no pretrained weights for {backbone!r}, only for "
            f"{', '.join(_SOURCES)}."
        )
    return _SOURCES[backbone]


def _read(path: Path) -> Arrays:
    try:
        # Opened here: np.load leaves a damaged archive open.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise IntegrityError(f"{path} holds a lone array; weights are an .npz.")
            arrays = {name: np.asarray(loaded[name]) for name in loaded.files}
    # RuntimeError: an encrypted archive or a compression that Python lacks.
    except (
        ValueError,
        OSError,
        EOFError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise IntegrityError(f"{path} is not a readable .npz file: {error}") from error
    for name, values in arrays.items():
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise IntegrityError(f"{path}: {name} does not hold finite numbers.")
    return arrays


_KERAS_NORM = {
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
}
_TORCH_NORM = {
    "weight": "scale",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "var",
}


def _keras_mobilenet(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    layer, _, leaf = name.partition("/")
    if layer.endswith("_bn") and leaf in _KERAS_NORM:
        return f"{layer.removesuffix('_bn')}/norm/{_KERAS_NORM[leaf]}", values
    if leaf == "depthwise_kernel" and values.ndim == 4:
        return f"{layer}/conv/kernel", values.transpose(0, 1, 3, 2)
    if leaf == "kernel" and not name.startswith(CLASSIFIER):
        return f"{layer}/conv/kernel", values
    return name, values


def _tensorflow_inception(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:
    return name, values


def _torch_inception_resnet(
    name: str, values: np.ndarray
) -> tuple[str, np.ndarray] | None:
    if re.match(r"(classif|last_linear)\.|.*\.num_batches_tracked$", name):
        return None
    *modules, leaf = name.split(".")
    # An index joins the name before it: `repeat.3.branch1.0` is `repeat_3/branch1_0`.
    place = re.sub(r"/(\d+)(?=/|$)", r"_\1", "/".join(modules))
    if place.endswith("/bn") and leaf in _TORCH_NORM:
        return f"{place.removesuffix('/bn')}/norm/{_TORCH_NORM[leaf]}", values
    if leaf == "weight" and values.ndim == 4:
        return f"{place}/kernel", values.transpose(2, 3, 1, 0)
    if leaf == "bias" and place.endswith("/conv2d"):
        return f"{place}/bias", values
    return name, values


_SOURCES = {
    "inception_resnet_v2": Source(
        "an .npz of the PyTorch state dict under timm's names",
        _torch_inception_resnet,
        InceptionResNetV2(),
    ),
    "inception_v3": Source(
        "an .npz with names of the TensorFlow 2015 release, batch norm folded in",
        _tensorflow_inception,
        InceptionV3(),
    ),
    "mobilenet_v1": Source(
        "an .npz with the Keras names of MobileNetV1 0.75",
        _keras_mobilenet,
        MobileNetV1(),
    ),
}
