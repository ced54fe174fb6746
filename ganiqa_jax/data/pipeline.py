"""The training pictures: a mixture in, batches of numpy arrays out, through tf.data.

`mixture.plan` says what a batch holds; tf.data spreads decoding over threads and runs
ahead of the device. The numbers are the same for any number of threads. Flips and
turns are made later, on the device, keyed by `Batch.index`.
"""

import dataclasses
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ganiqa_jax.data.mixture import (
    Mixture,
    PlannedRow,
    Share,
    SourceData,
    plan,
    planned_row,
    row_in_order,
)
from ganiqa_jax.data.picture_cache import DiskCache, MemoryCache
from ganiqa_jax.data.reading import Opener, open_picture, open_whole, read_row
from ganiqa_jax.errors import InputError
from ganiqa_jax.types import Batch

# Both are read when tensorflow is loaded, which otherwise fills the terminal.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow as tf

# The accelerator is JAX's alone; tensorflow would take all of its memory.
tf.config.set_visible_devices([], "GPU")

__all__ = ["Mixture", "Share", "SourceData", "batches", "chosen", "epoch", "plan"]

Planned = Callable[[Mixture, int, int], PlannedRow]
"""What a row of a batch holds: of the mixture, the step and the number of the row."""


def batches(
    mixture: Mixture,
    *,
    steps: int,
    start_step: int = 0,
    share: Share | None = None,
    prefetch: int = 2,
    threads: int = 2,
) -> Iterator[Batch]:
    """Decodes, crops and stacks the batches that `plan` lays out.

    Args:
      mixture: what is drawn from.
      steps: how many batches.
      start_step: number of the first one; a resumed run gives the step it is at.
      share: what this process reads of each batch; None reads it all. A reference
        whose picture another process reads is compared with it in size all the same,
        so that picture is opened here as well.
      prefetch: batches made ahead of use.
      threads: pictures decoded at a time; no number changes with it.

    Returns:
      Batches of numpy arrays, pictures float32 in [0, 1].

    Raises:
      InputError: if a number or the share is out of range; while iterating, if a
        picture cannot be read or does not have the size of its reference; names the
        file.
    """
    if start_step < 0 or steps < 1 or threads < 1:
        raise InputError(
            f"start_step={start_step}, steps={steps} and threads={threads} must be "
            "at least 0, 1 and 1."
        )
    share = _checked(mixture, share)
    plan(mixture, start_step + steps - 1)  # too long a run fails now, not after days
    numbers = range(start_step, start_step + steps)
    return _Batches(mixture, planned_row, share, numbers, prefetch, threads)


def chosen(mixture: Mixture, rows: Sequence[int]) -> Iterator[Batch]:
    """Batches of these rows of the plan, numbered through all steps, and no others.

    The last batch is filled with its last row again, so that all have one shape.

    Args:
      mixture: of one source.
      rows: at least one.
    """
    size = mixture.batch_size

    def planned(mixture: Mixture, step: int, slot: int) -> PlannedRow:
        row = rows[min(step * size + slot, len(rows) - 1)]
        return planned_row(mixture, *divmod(row, size))

    numbers = range(-(-len(rows) // size))
    return _Batches(mixture, planned, _checked(mixture, None), numbers, 2, 2)


def epoch(
    source: SourceData,
    *,
    rows: int,
    crop: int,
    share: Share | None = None,
    prefetch: int = 2,
    threads: int = 2,
) -> Iterator[Batch]:
    """Batches that show each record of a source once, in order, by its centre crop.

    All have one shape: the last is filled with the last record again, and `mask` is
    False there. Each process has as many batches as the others.

    Args:
      source: what is shown; its own rows and weight do not count.
      rows: of a batch.
      crop: side of a crop, pixels.
      share: as in `batches`; so the rest, and the errors.
    """
    if rows < 1:
        raise InputError(f"rows={rows} must be at least 1.")
    source = dataclasses.replace(source, rows=rows, weight=0.0)
    mixture = Mixture((source,), crop=crop, seed=0, cache="off")
    share = _checked(mixture, share)
    numbers = range(mixture.steps_per_epoch)
    return _Batches(mixture, row_in_order, share, numbers, prefetch, threads)


def _checked(mixture: Mixture, share: Share | None) -> Share:
    """The share of a process, or all there is."""
    rows, references = range(mixture.batch_size), range(mixture.pair_rows)
    if share is None:
        return Share(tuple(rows), tuple(references))
    for name, own, there in zip(Share._fields, share, (rows, references), strict=True):
        if list(own) != sorted(set(own) & set(there)):
            raise InputError(
                f"share.{name}={own} must be rising numbers from 0 to {len(there) - 1}."
            )
    return share


class _Batches(Iterator[Batch]):
    """Batches as they are asked for; closes tensorflow's threads when dropped."""

    def __init__(
        self,
        mixture: Mixture,
        planned: Planned,
        share: Share,
        steps: range,
        prefetch: int,
        threads: int,
    ):
        self._mixture = mixture
        self._planned = planned
        self._share = share
        self._steps = iter(steps)
        self._failures: list[InputError] = []
        dataset = _picture_dataset(
            mixture, planned, share, steps, prefetch, threads, self._failures
        )
        self._pictures = [dataset.as_numpy_iterator()]
        # At exit too: a thread that still decodes while Python ends waits for ever.
        weakref.finalize(self, self._pictures.clear)

    def __next__(self) -> Batch:
        step = next(self._steps)
        try:
            stacked, grades = next(self._pictures[0])
        except tf.errors.OpError:
            if self._failures:  # tensorflow passes on only the text of our own error
                raise self._failures[0] from None
            raise
        rows = [self._planned(self._mixture, step, n) for n in self._share.rows]
        return _batch(self._mixture, rows, self._share, stacked, grades)


def _opener(mixture: Mixture) -> Opener:
    """Opens a picture from the cache of the mixture, or anew."""
    if mixture.cache == "off":
        return open_picture
    if mixture.cache == "memory":
        return MemoryCache(open_whole, mixture.cache_bytes).open
    if mixture.cache_dir is None:
        raise InputError("The cache 'disk' needs a folder, data.cache_dir.")
    return DiskCache(open_whole, mixture.cache_dir, mixture.cache_bytes).open


def _picture_dataset(
    mixture: Mixture,
    planned: Planned,
    share: Share,
    steps: range,
    prefetch: int,
    threads: int,
    failures: list[InputError],
) -> tf.data.Dataset:
    """Of each batch all crops, uint8 [N, S, S, 3], and the grades of its rows, [B].

    The crops are in the order of the rows, the picture of each before its reference.
    """
    opener = _opener(mixture)
    crop = mixture.crop
    wanted = [
        (slot, [slot in share.rows, slot in share.references])
        for slot in sorted({*share.rows, *share.references})
    ]
    pictures = len(share.rows) + len(share.references)
    # Rows that tensorflow read one by one would each be copied three times.
    pool = ThreadPoolExecutor(threads, thread_name_prefix="pictures")

    def read(step: int, slot: int, own: list[bool]) -> tuple[list[np.ndarray], float]:
        row = planned(mixture, step, slot)
        crops, grade = read_row(row, mixture.sources[row.source], crop, opener)
        return [one for one, wanted in zip(crops, own, strict=False) if wanted], grade

    def read_batch(step: np.int64) -> tuple[np.ndarray, np.ndarray]:
        rows = [pool.submit(read, int(step), *each) for each in wanted]
        try:
            crops, grades = zip(*(row.result() for row in rows), strict=True)
        except InputError as error:
            failures.append(error)
            raise
        finally:
            for row in rows:
                row.cancel()
        stacked = np.stack([picture for row in crops for picture in row])
        kept = [
            grade
            for grade, (slot, _) in zip(grades, wanted, strict=True)
            if slot in share.rows
        ]
        return stacked, np.array(kept, np.float32)

    @tf.autograph.experimental.do_not_convert
    def read_in_turn(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        stacked, grades = tf.numpy_function(
            read_batch, [step], (tf.uint8, tf.float32), stateful=False
        )
        stacked.set_shape([pictures, crop, crop, 3])
        grades.set_shape([len(share.rows)])
        return stacked, grades

    # Two at a time: first rows of a batch are read beside the last of the one before.
    dataset = tf.data.Dataset.range(steps.start, steps.stop)
    dataset = dataset.map(read_in_turn, num_parallel_calls=2, deterministic=True)
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = 2  # they wait for those of the pool
    return dataset.prefetch(prefetch).with_options(options)


def _batch(
    mixture: Mixture,
    rows: list[PlannedRow],
    share: Share,
    stacked: UInt8[np.ndarray, "N S S 3"],
    grades: Float[np.ndarray, " B"],
) -> Batch:
    """Puts pictures and targets together; reference i belongs to row i."""
    sources = [mixture.sources[row.source] for row in rows]
    targets = [
        source.target(row.record, float(grade))
        for source, row, grade in zip(sources, rows, grades, strict=True)
    ]
    contents = [
        s.content_numbers[row.record.content]
        for s, row in zip(sources, rows, strict=True)
    ]
    # The order of the stack: by row, its picture before its reference.
    order = sorted(
        [(row, 0) for row in share.rows] + [(r, 1) for r in share.references]
    )
    places = [[n for n, (_, kind) in enumerate(order) if kind == k] for k in (0, 1)]
    arrays: dict[str, Any] = {  # numpy now; the loop puts them on devices
        "distorted": _unit(stacked[places[0]]),
        "reference": _unit(stacked[places[1]]),
        "mos": np.array([z for z, _ in targets], np.float32),
        "mask": np.array([row.counts for row in rows], bool),
        "labelled": np.array([source.labelled for source in sources]),
        "confidence": np.array([confidence for _, confidence in targets], np.float32),
        "source": np.array([row.source for row in rows], np.int32),
        "content": np.array(contents, np.int32),
        "index": np.array([row.index for row in rows], np.int32),
    }
    return Batch(**arrays)


def _unit(
    pixels: UInt8[np.ndarray, "N S S 3"],
) -> Float[np.ndarray, "N S S 3"]:
    return np.divide(pixels, np.float32(255), dtype=np.float32)
