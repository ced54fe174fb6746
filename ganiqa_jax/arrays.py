"""Trees of arrays by name: flat names, hashes of bits, and safetensors files.

The name of an array is its path in the tree, joined by "/".
"""

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ganiqa_jax.errors import CheckError, IntegrityError
from ganiqa_jax.rundir import replace_bytes

_blake2b = functools.partial(hashlib.blake2b, digest_size=16)

SMALL = 8192
"""Arrays of so many values are never rounded to float16."""


def by_name(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by name, in the order of `jax.tree.leaves`.

    Raises:
      ValueError: if two leaves have one name, as of keys that contain "/".
    """
    import jax  # slow to import, and files are hashed without it

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }
    if len(named) != len(leaves):
        raise ValueError("Two arrays of the tree have the same path.")
    return named


def nested(named: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dict of arrays that have names; of trees of dicts the inverse."""
    tree: dict[str, Any] = {}
    for name, leaf in named.items():
        *parents, last = name.split("/")
        inner = functools.reduce(lambda t, key: t.setdefault(key, {}), parents, tree)
        inner[last] = leaf
    return tree


def fingerprint(array: np.ndarray) -> list[Any]:
    """Type, shape and hash of an array's bits, as JSON values."""
    digest = _blake2b(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return [str(array.dtype), list(array.shape), digest.hexdigest()]


def file_hash(path: Path) -> str:
    """Hash of the bytes of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, _blake2b).hexdigest()


def json_hash(values: Mapping[str, Any]) -> str:
    """Hash of a JSON object in hex; the order of its fields does not matter."""
    return _blake2b(json.dumps(values, sort_keys=True).encode()).hexdigest()


def pack(named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One flat run of values for each type, in the order of the names.

    For stores in which every array has a price of its own.
    """
    runs: dict[str, list[np.ndarray]] = {}
    for array in named.values():
        runs.setdefault(str(array.dtype), []).append(array.reshape(-1))
    return {dtype: np.concatenate(pieces) for dtype, pieces in runs.items()}


def unpack(
    runs: Mapping[str, np.ndarray], record: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Takes the arrays out of the runs that `pack` made of them.

    Args:
      runs: type to values.
      record: name to type, shape and hash, in the order in which they were packed.

    Raises:
      LookupError: if a run is missing.
      ValueError: if a run is too short.
    """
    named: dict[str, np.ndarray] = {}
    used = dict.fromkeys(runs, 0)
    for name, (dtype, shape, _) in record.items():
        begin = used[dtype]
        used[dtype] = begin + math.prod(shape)
        named[name] = runs[dtype][begin : used[dtype]].reshape(shape).copy()
    return named


def first_difference(stored: Any, expected: Any) -> str:
    """Names the first array that two trees do not share by name, shape and type.

    Args:
      stored: a tree, or arrays by name.
      expected: the same; shapes without values will do.

    Returns:
      One phrase with both shapes, or an empty string if there is no difference.
    """
    there, wanted = by_name(stored), by_name(expected)
    for name, leaf in wanted.items():
        if name not in there:
            return f"array {name} {_kind(leaf)} is missing"
        if _kind(there[name]) != _kind(leaf):
            return f"array {name} is {_kind(there[name])}, expected {_kind(leaf)}"
    for name in there:
        if name not in wanted:
            return f"array {name} {_kind(there[name])} is not expected"
    return ""


def write_arrays(
    path: Path, tree: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> str:
    """Writes a nested dict of arrays as safetensors, at once or not at all.

    Args:
      path: the file.
      tree: the arrays.
      metadata: text to keep in the head of the file.

    Returns:
      The sha256 of the file, in hex.

    Raises:
      GanIqaError: if the disk is full; an earlier file stays.
    """
    from safetensors.numpy import save as encode

    data = encode(
        {name: np.asarray(leaf, order="C") for name, leaf in by_name(tree).items()},
        dict(metadata) if metadata else None,
    )
    replace_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def read_arrays(path: Path, sha256: str) -> dict[str, Any]:
    """Reads what `write_arrays` wrote.

    Raises:
      IntegrityError: if the file is missing or has another sha256.
    """
    from safetensors.numpy import load as decode

    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing; fetch or make it again.") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityError(
            f"{path} is damaged: its sha256 is not the recorded one. Fetch or make it "
            "again."
        )
    return nested(decode(data))


def halved(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A nested dict with its large float32 arrays as float16.

    Those of up to `SMALL` values stay as they are: batch statistics, biases, first
    layers and depthwise kernels, whose errors reach every value of a channel. On
    student-s this costs 0.27 MB and makes the error of z a tenth of what it is
    without.

    Raises:
      CheckError: if a value is too large for that.
    """

    def half(name: str, leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        if array.dtype != np.float32 or array.size <= SMALL:
            return array
        with np.errstate(over="ignore"):
            small = array.astype(np.float16)
        if not np.array_equal(np.isfinite(small), np.isfinite(array)):
            raise CheckError(f"{name} has values too large for float16.")
        return small

    return nested({name: half(name, leaf) for name, leaf in by_name(tree).items()})


def in_single(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A nested dict with its float16 arrays as float32."""
    return nested(
        {
            name: leaf.astype(np.float32) if leaf.dtype == np.float16 else leaf
            for name, leaf in by_name(tree).items()
        }
    )


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}"
