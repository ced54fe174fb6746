"""Training checkpoints that are verified bit for bit.

A step is a folder `checkpoints/STEP/` with the orbax items `state` (everything but
the averaged weights) and `ema` (the averaged weights, all that inference needs) and
`integrity.json`. Orbax restores a file with a flipped bit without a word, so that
record has a hash of every file and of every array. A step is written beside its
place and renamed when it is whole: what has a number for a name is complete.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ganiqa_jax.arrays import (
    by_name,
    file_hash,
    fingerprint,
    first_difference,
    json_hash,
    nested,
    pack,
    read_arrays,
    unpack,
    write_arrays,
)
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.rundir import disk_full, read_json, write_json

logger = logging.getLogger("ganiqa_jax")

FOLDER = "checkpoints"
INTEGRITY = "integrity.json"
FROZEN = "frozen.safetensors"
FROZEN_HASH = "frozen.json"
FORMAT = 1

_ITEMS = ("state", "ema")
_PARTIAL, _REPLACED = ".partial", ".replaced"

# What orbax and tensorstore raise on files that are not as they wrote them.
_UNREADABLE = (OSError, ValueError, LookupError, RuntimeError, TypeError)


class Restored(NamedTuple):
    """A training state that verified.

    Attributes:
      step: its number.
      state: in the structure of the template; leaves are host arrays.
      skipped: one line for each newer step that is damaged.
    """

    step: int
    state: Any
    skipped: list[str]


def save(workdir: Path, step: int, state: Any, *, keep: int = 3) -> None:
    """Writes one step and takes old ones away; done when it returns.

    Args:
      workdir: run directory.
      step: steps done; a step of this number is replaced.
      state: a pytree of arrays with the attribute `ema`, such as a TrainState.
      keep: how many verified steps stay. A damaged older step goes with the steps
        that are too old; nothing goes before the new step is complete.

    Raises:
      InputError: if `keep` is below 1.
      GanIqaError: if the disk is full or cannot be written; what is there stays.
    """
    if keep < 1:
        raise InputError(f"keep={keep} must be at least 1.")
    if jax.process_index() != 0:
        return  # every process has the same state
    folder = workdir / FOLDER
    items = _split(jax.device_get(state))
    partial = folder / f"{step}{_PARTIAL}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        _write_items(partial, items)
        write_json(partial / INTEGRITY, _integrity(partial, step, items))
        _put_in_place(partial, folder / str(step))
        _prune(folder, newest=step, keep=keep)
    except OSError as error:
        raise disk_full(error, folder / str(step)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def restore(
    workdir: Path, template: Any, *, step: int | None = None
) -> Restored | None:
    """Restores the newest step that verifies, and warns of each newer one.

    Args:
      workdir: run directory.
      template: the state of the run as it begins; decides structure, shapes, types.
      step: only this one.

    Returns:
      The state, or None if there is no checkpoint at all.

    Raises:
      InputError: if the step asked for does not exist.
      IntegrityError: if no step is whole, or if the newest whole one is of another
        configuration than the template; names the first array that differs.
    """
    with contextlib.suppress(OSError):  # a directory that can only be read
        _sweep(workdir / FOLDER)
    found = _newest_verified(workdir, _ITEMS, step)
    if found is None:
        return None
    number, items, skipped = found
    stored = {**items["state"], **items["ema"]}
    difference = first_difference(stored, template)
    if difference:
        raise IntegrityError(
            f"Checkpoint {number} of {workdir} is of another configuration than this "
            f"run: {difference}."
        )
    leaves = [stored[name] for name in by_name(template)]
    state = jax.tree.unflatten(jax.tree.structure(template), leaves)
    return Restored(number, state, skipped)


def restore_ema(workdir: Path) -> tuple[int, dict[str, Any]]:
    """The averaged weights of the newest step in which they verify.

    Returns:
      The step, and `params` and `batch_stats` of the network, as host arrays.

    Raises:
      InputError: if there is no checkpoint at all.
      IntegrityError: if no step is whole.
    """
    found = _newest_verified(workdir, ("ema",), None)
    if found is None:
        raise InputError(
            f"{workdir} has no checkpoint yet; train it first, or resume its run."
        )
    step, items, _ = found
    return step, {"params": {}, "batch_stats": {}, **nested(items["ema"])["ema"]}


def verified_steps(workdir: Path) -> list[int]:
    """Steps whose every file is bit for bit as written, oldest first."""
    folder = workdir / FOLDER
    return [step for step in _steps(folder) if _is_whole(folder / str(step))]


def save_frozen(workdir: Path, tree: Mapping[str, Any]) -> None:
    """Writes the frozen collections of a run once: they never change in training.

    Args:
      workdir: run directory.
      tree: collection name to its nested dict of arrays.
    """
    sha256 = write_arrays(workdir / FROZEN, tree)
    write_json(workdir / FROZEN_HASH, {"file": FROZEN, "sha256": sha256})


def load_frozen(workdir: Path) -> dict[str, Any]:
    """The frozen collections of a run; empty if it has none.

    Raises:
      IntegrityError: if the file is damaged, or one of the two files is missing.
    """
    if not (workdir / FROZEN).exists() and not (workdir / FROZEN_HASH).exists():
        return {}
    sha256 = read_json(workdir / FROZEN_HASH).get("sha256", "")
    return read_arrays(workdir / FROZEN, sha256)


def _split(state: Any) -> dict[str, dict[str, np.ndarray]]:
    """The two items of a step, each with the names that its leaves have in `state`."""
    named = {name: np.asarray(leaf) for name, leaf in by_name(state).items()}
    return {
        "state": {n: a for n, a in named.items() if not n.startswith("ema/")},
        "ema": {n: a for n, a in named.items() if n.startswith("ema/")},
    }


def _steps(folder: Path) -> list[int]:
    """Numbers of the steps there are, whole or not, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if re.fullmatch(r"\d+", p.name))


def _write_items(target: Path, items: Mapping[str, Mapping[str, Any]]) -> None:
    import orbax.checkpoint as ocp

    arguments = {item: ocp.args.PyTreeSave(pack(items[item])) for item in items}
    try:
        with _checkpointer() as orbax:
            orbax.save(target.absolute(), ocp.args.Composite(**arguments))
    except ValueError as error:
        # tensorstore reports what the operating system said inside a ValueError.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number)) from error
    finally:
        for left in target.parent.glob(f"{target.name}.*"):
            shutil.rmtree(left, ignore_errors=True)


def _read_items(
    source: Path, arrays: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, np.ndarray]]:
    """Arrays by name of each item, as its record in `arrays` says they lie."""
    import orbax.checkpoint as ocp

    arguments = {
        item: ocp.args.PyTreeRestore(
            restore_args={
                dtype: ocp.RestoreArgs(restore_type=np.ndarray)
                for dtype, _, _ in record.values()
            }
        )
        for item, record in arrays.items()
    }
    with _checkpointer() as orbax:
        runs = orbax.restore(source.absolute(), ocp.args.Composite(**arguments))
    return {item: unpack(runs[item], record) for item, record in arrays.items()}


@contextlib.contextmanager
def _checkpointer() -> Iterator[Any]:
    """An orbax checkpointer of this process alone, and silent while it is open."""
    import orbax.checkpoint as ocp

    mine = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=mine, active_processes={mine}, barrier_sync_key_prefix=f"p{mine}"
    )
    noise = logging.getLogger("absl")
    level = noise.level
    noise.setLevel(logging.CRITICAL)
    try:
        handler = ocp.CompositeCheckpointHandler(
            composite_options=ocp.CompositeOptions(multiprocessing_options=alone)
        )
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as orbax:
            yield orbax
    finally:
        noise.setLevel(level)


def _integrity(
    folder: Path, step: int, items: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """The record of one step: every file and every array, and a digest of itself."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    record = {
        "format": FORMAT,
        "step": step,
        "files": {
            path.relative_to(folder).as_posix(): [path.stat().st_size, file_hash(path)]
            for path in files
        },
        "arrays": {
            item: {name: fingerprint(array) for name, array in named.items()}
            for item, named in items.items()
        },
    }
    return {**record, "digest": json_hash(record)}


def _read_integrity(folder: Path) -> dict[str, Any]:
    if not any(folder.iterdir()):
        raise IntegrityError("the folder is empty")
    record = read_json(folder / INTEGRITY)
    if record.pop("digest", None) != json_hash(record):
        raise IntegrityError(f"{INTEGRITY} is damaged")
    if record["format"] != FORMAT:
        raise IntegrityError(f"{INTEGRITY} is of another version of ganiqa_jax")
    if str(record["step"]) != folder.name:
        raise IntegrityError(f"the folder holds step {record['step']}")
    return record


def _check_files(folder: Path, record: Mapping[str, Any], items: Any = _ITEMS) -> None:
    """Hashes the files of these items; orbax is not shown a damaged one."""
    for name, (size, digest) in record["files"].items():
        item = name.partition("/")[0]
        if item in _ITEMS and item not in items:
            continue
        path = folder / name
        if not path.is_file():
            raise IntegrityError(f"{name} is missing")
        if path.stat().st_size != size:
            raise IntegrityError(f"{name} has {path.stat().st_size} bytes, not {size}")
        if file_hash(path) != digest:
            raise IntegrityError(f"{name} has other bytes than were written")


def _is_whole(folder: Path) -> bool:
    try:
        _check_files(folder, _read_integrity(folder))
    except (IntegrityError, OSError):
        return False
    return True


def _read_verified(folder: Path, items: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Arrays of these items by name.

    Raises:
      IntegrityError: if a file or an array is not bit for bit as it was written.
    """
    try:
        record = _read_integrity(folder)
        _check_files(folder, record, items)
        arrays = {item: record["arrays"][item] for item in items}
        read = _read_items(folder, arrays)
    except _UNREADABLE as error:
        reason = str(error).partition("\n")[0]
        raise IntegrityError(f"cannot be read: {reason}") from error
    for item in items:
        for name, expected in arrays[item].items():
            if fingerprint(read[item][name]) != expected:
                raise IntegrityError(f"array {name} has other bits than were saved")
    return read


def _newest_verified(
    workdir: Path, items: tuple[str, ...], step: int | None
) -> tuple[int, dict[str, dict[str, Any]], list[str]] | None:
    """Walks back from the newest step; warns of each damaged one on the way."""
    folder = workdir / FOLDER
    there = _steps(folder)
    if step is not None and step not in there:
        raise InputError(f"{workdir} has no checkpoint {step}; it has {there}.")
    wanted = there[::-1] if step is None else [step]
    skipped: list[str] = []
    for number in wanted:
        try:
            read = _read_verified(folder / str(number), items)
        except IntegrityError as error:
            skipped.append(f"checkpoint {number} is damaged: {error}")
            continue
        for line in skipped:
            logger.warning("%s: %s; using %d.", workdir, line, number)
        return number, read, skipped
    if skipped:
        raise IntegrityError(
            f"{workdir} has no good checkpoint: {'; '.join(skipped)}. Delete "
            f"{folder} to train from the start."
        )
    return None


def _put_in_place(partial: Path, target: Path) -> None:
    """Renames a whole step to its number; an older one of that number goes last."""
    replaced = target.with_name(target.name + _REPLACED)
    if target.exists():
        target.rename(replaced)
    partial.rename(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    shutil.rmtree(replaced, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Takes away what a killed save left, and brings back a step it was replacing."""
    for left in folder.glob(f"*{_REPLACED}"):
        target = left.with_name(left.name.removesuffix(_REPLACED))
        if target.exists():
            shutil.rmtree(left)
        else:
            left.rename(target)
    for left in folder.glob(f"*{_PARTIAL}*"):
        shutil.rmtree(left)


def _prune(folder: Path, *, newest: int, keep: int) -> None:
    """Deletes what is older than the `keep` newest whole steps."""
    whole = 0
    for number in reversed(_steps(folder)):
        if whole < keep or number == newest:
            whole += number == newest or _is_whole(folder / str(number))
        else:
            shutil.rmtree(folder / str(number))
