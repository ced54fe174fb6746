"""Devices: the one-axis mesh, the placing of batches, and XLA's CPU flags.

Rows of a batch are spread over the mesh axis `data`; everything else is replicated.
Axis types are `Auto`: the compiler chooses the sharding of what lies between, which is
what linen modules expect (`jax.make_mesh` alone would give `Explicit` ones).
"""

import importlib.metadata
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from jax._src import xla_bridge  # the only place that tells if a backend has started
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ganiqa_jax import processes
from ganiqa_jax.errors import InputError

T = TypeVar("T")

AXIS = "data"

CPU_FLAGS: Mapping[str, str] = {
    "infer": "--xla_cpu_experimental_ynn_fusion_type=",
    "train": "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution",
}
"""Keeps convolutions away from YNNPACK, whose kernels were 2.3 times slower than
XLA's own on Inception-ResNet-v2 (jaxlib 0.10.2, two Zen 4 cores). Training leaves it
the reductions, which it does faster."""

FLAG_VERSIONS = ("0.10.", "0.11.", "0.12.")
"""jaxlib releases that know the flag: tried with 0.10.2, 0.11.2 and 0.12.0.1. XLA
ends the process over an unknown flag, so no other release is given it."""

_log = logging.getLogger(__name__)


def data_mesh(
    devices: Sequence[jax.Device] | None = None,  # pyright: ignore[reportInvalidTypeForm]
) -> Mesh:
    """A mesh with the single axis `data` over all devices, or over those given."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh(
        (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def check_rows(rows: int, mesh: Mesh) -> None:
    """Refuses a number of rows that the devices cannot share evenly.

    Raises:
      InputError: names both numbers and a number of rows that would do.
    """
    if rows % mesh.size:
        more = -(-rows // mesh.size) * mesh.size
        raise InputError(
            f"{rows} rows cannot be shared evenly by {mesh.size} devices; "
            f"use a multiple of {mesh.size}, such as {more}."
        )


def connect(mesh: Mesh) -> None:
    """Opens the connections between the processes of a run, all at the same time.

    XLA opens them with the first computation that needs them, and gives up if another
    process is 30 s late there on a CPU. To compile a step, or to read it from the
    compilation cache, can take one process longer than that.
    """
    processes.wait("devices are ready")
    ones = shard_batch(np.ones(mesh.local_mesh.size), mesh)
    jax.block_until_ready(jax.jit(jax.numpy.sum)(ones))


def own_rows(rows: int, mesh: Mesh) -> tuple[int, ...]:
    """Numbers of the rows, of so many in a batch, that this process's devices hold.

    All of them in a run of one process.

    Raises:
      InputError: if the devices cannot share them evenly.
    """
    check_rows(rows, mesh)
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    spans = sharding.addressable_devices_indices_map((rows,)).values()
    numbers = np.arange(rows)
    return tuple(sorted({int(n) for at in spans for n in numbers[at].flat}))


def shard_batch(batch: T, mesh: Mesh) -> T:
    """Places a batch on the devices, rows spread over `data`.

    Arrays without rows (no references, say) and scalars go to every device. With
    several processes each one passes the rows that `own_rows` says, of every array by
    its own length: the whole is then the batch of a single process, row for row. So
    the process that holds the reference of a row need not be the one that holds the
    row, because there can be fewer references than rows.

    Args:
      batch: a pytree of host arrays.
      mesh: from `data_mesh`.

    Returns:
      The same pytree of `jax.Array`, not yet waited for.

    Raises:
      InputError: if the rows of an array do not divide by the devices, or are not
        those of this process.
    """
    return jax.tree.map(lambda array: _place(np.asarray(array), mesh), batch)


def replicate(tree: T, mesh: Mesh) -> T:
    """Places a pytree of arrays whole on every device of the mesh.

    With several processes each one passes the same values; nothing is sent.
    """
    sharding = NamedSharding(mesh, PartitionSpec())
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _place_whole(leaf, sharding), tree)


def set_cpu_flags(purpose: Literal["infer", "train"]) -> None:
    """Sets the `XLA_FLAGS` under which a CPU is fastest.

    To be called before the first array is made. It does nothing when the user has set
    `XLA_FLAGS` to anything, when `GANIQA_XLA_FLAGS=off`, when the installed jaxlib is
    not known to have the flag, on a TPU host (libtpu reads the flags by itself and has
    not been tried), or when a backend has already started.
    """
    reason = _why_not()
    if reason:
        _log.debug("XLA_FLAGS left as they are: %s", reason)
        return
    os.environ["XLA_FLAGS"] = CPU_FLAGS[purpose]


def _place(array: np.ndarray, mesh: Mesh) -> jax.Array:
    whole = array.ndim == 0 or array.shape[0] == 0
    sharding = NamedSharding(mesh, PartitionSpec() if whole else PartitionSpec(AXIS))
    if sharding.is_fully_addressable:
        if not whole:
            check_rows(array.shape[0], mesh)
        return jax.device_put(array, sharding)
    if whole:
        return _place_whole(array, sharding)
    return _place_share(array, mesh)


def _place_whole(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = _place_whole(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda at: host[at])


def _place_share(array: np.ndarray, mesh: Mesh) -> jax.Array:
    """The global array of which this process has the rows of `own_rows`."""
    rows = array.shape[0] * mesh.size // mesh.local_mesh.size
    own = own_rows(rows, mesh)
    if len(own) != array.shape[0]:
        raise InputError(
            f"This process has {array.shape[0]} rows and should have {len(own)} of "
            f"{rows}."
        )

    def rows_of_device(at: Any) -> np.ndarray:
        first, last, _ = at[0].indices(rows)
        place = own.index(first)
        return array[place : place + last - first]

    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    shape = (rows, *array.shape[1:])
    return jax.make_array_from_callback(shape, sharding, rows_of_device)


def _why_not() -> str:
    """Why the flags stay as they are, or an empty string."""
    if os.environ.get("GANIQA_XLA_FLAGS", "").lower() == "off":
        return "GANIQA_XLA_FLAGS=off"
    if "XLA_FLAGS" in os.environ:
        return "the user has set them"
    version = _version("jaxlib") or "none"
    if not version.startswith(FLAG_VERSIONS):
        return f"jaxlib {version} is not known to have the flag"
    if _version("libtpu"):
        return "libtpu is installed"
    if xla_bridge.backends_are_initialized():
        return "a backend has already started"
    return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
