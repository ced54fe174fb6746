"""The mixture of data sets that a run draws from, and its order.

Which record and which crop a row of a batch holds is a pure function of the seed and
the number of the step, so a run that goes on from step k sees what it would have seen.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ganiqa_jax.config import Role
from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError

GIB = 2**30
_ORDER, _CROP = 0, 1  # what a stream of random numbers is for


@dataclass(frozen=True)
class SourceData:
    """The training part of one data set, ready to be mixed.

    Attributes:
      records: what may be drawn.
      role: pairs with scores, pairs without, or scored pictures without references.
      rows: rows of every batch that come from it.
      short_side: pictures are resized to this shorter side, pixels; 0 keeps them.
      mean: mean of the training scores in [0, 1].
      std: their deviation; scores become (mos - mean) / std.
      pseudo: for unlabelled pairs, record name to (z, confidence in [0, 1]); without
        it, z is 0 and the confidence 1.
    """

    records: tuple[Record, ...]
    role: Role
    rows: int
    short_side: int = 0
    mean: float = 0.0
    std: float = 1.0
    pseudo: Mapping[str, tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        if not self.records:
            raise InputError("A source of the mixture has no training pictures.")
        if self.std <= 0:
            raise InputError(
                f"The deviation of training scores is {self.std}, not > 0."
            )
        for record in self.records:
            if self.has_references and record.reference is None:
                raise InputError(
                    f"{record.name} has no reference; its role must be 'pictures'."
                )
            if self.labelled and record.mos is None:
                raise InputError(f"{record.name} has no score, as {self.role} must.")
            if self.pseudo is not None and record.name not in self.pseudo:
                raise InputError(
                    f"{record.name} has no pseudo-label; remove pseudo_labels/ of the "
                    "run directory to make them again."
                )

    @property
    def has_references(self) -> bool:
        return self.role != "pictures"

    @property
    def labelled(self) -> bool:
        return self.role != "unlabelled_pairs"

    @functools.cached_property
    def content_numbers(self) -> Mapping[str, int]:
        """Content to its place among the sorted contents."""
        contents = sorted({record.content for record in self.records})
        return {content: number for number, content in enumerate(contents)}

    def target(self, record: Record) -> tuple[float, float]:
        """What a row of this record is to learn: z, and its confidence."""
        if record.mos is not None and self.labelled:
            return (record.mos - self.mean) / self.std, 1.0
        return (0.0, 1.0) if self.pseudo is None else self.pseudo[record.name]


@dataclass(frozen=True)
class Mixture:
    """The sources of a run and how they are drawn.

    A batch has the rows of the sources with references first, then those without,
    each in the order given.

    Attributes:
      sources: the data sets.
      crop: side of a crop, pixels.
      seed: decides order and crops.
      cache: keep decoded pictures in memory.
      cache_bytes: how much memory they may take.
    """

    sources: tuple[SourceData, ...]
    crop: int
    seed: int
    cache: bool = True
    cache_bytes: int = 6 * GIB

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("The mixture has no sources.")
        if not 0 <= self.seed < 2**64:
            raise InputError(f"seed={self.seed} must be from 0 to 2**64 - 1.")

    @property
    def batch_size(self) -> int:
        return sum(source.rows for source in self.sources)

    @property
    def pair_rows(self) -> int:
        """Rows of a batch that have a reference; they are its first."""
        return sum(source.rows for source in self.sources if source.has_references)

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show all of the largest labelled source once."""
        labelled = [source for source in self.sources if source.labelled]
        largest = max(labelled or self.sources, key=lambda s: len(s.records))
        return -(-len(largest.records) // largest.rows)

    @functools.cached_property
    def slots(self) -> tuple[tuple[int, int], ...]:
        """Of each batch row: number of its source, and its place in that source."""
        numbers = range(len(self.sources))
        ordered = sorted(numbers, key=lambda n: not self.sources[n].has_references)
        return tuple((n, row) for n in ordered for row in range(self.sources[n].rows))


class Share(NamedTuple):
    """What one process reads of every batch; both in rising order.

    Attributes:
      rows: rows whose picture it reads.
      references: rows, all of which have one, whose reference it reads. With several
        processes these can be other rows: the first half of 4 references belongs to
        rows 0 and 1, the first half of 8 pictures to rows 0 to 3.
    """

    rows: tuple[int, ...]
    references: tuple[int, ...]


class PlannedRow(NamedTuple):
    """What one row of a batch will hold, before any file is opened.

    Attributes:
      record: the picture.
      source: number of its source in the mixture.
      across: where the crop lies from left to right, in [0, 1).
      down: where it lies from top to bottom, in [0, 1).
      index: global number of the row.
    """

    record: Record
    source: int
    across: float
    down: float
    index: int


def plan(mixture: Mixture, step: int) -> list[PlannedRow]:
    """The rows of one batch: a pure function of the mixture and the step.

    Every source is gone through in epochs of its own, each in a new order.

    Args:
      mixture: sources, seed and crop.
      step: from 0.

    Raises:
      InputError: if the run is so long that rows can no longer be numbered in int32.
    """
    if (step + 1) * mixture.batch_size > 2**31:
        raise InputError(
            f"Step {step} with {mixture.batch_size} rows passes 2**31 rows in a run; "
            "use fewer steps or smaller batches."
        )
    return [planned_row(mixture, step, slot) for slot in range(mixture.batch_size)]


def planned_row(mixture: Mixture, step: int, slot: int) -> PlannedRow:
    """One row of `plan`, without the others."""
    number, row = mixture.slots[slot]
    source = mixture.sources[number]
    position = step * source.rows + row
    epoch, place = divmod(position, len(source.records))
    order = _epoch_order(mixture.seed, number, epoch, len(source.records))
    stream = _stream(mixture.seed, number, _CROP, position)
    across, down = (stream.random_raw(2) >> np.uint64(11)) * 2.0**-53
    return PlannedRow(
        record=source.records[order[place]],
        source=number,
        across=float(across),
        down=float(down),
        index=step * mixture.batch_size + slot,
    )


@functools.lru_cache(maxsize=32)
def _epoch_order(
    seed: int, source: int, epoch: int, length: int
) -> Int[np.ndarray, " N"]:
    # Sorting the generator's raw words is a permutation that no release of numpy
    # changes; it promises that for the words alone, not for `permutation`.
    words = _stream(seed, source, _ORDER, epoch).random_raw(length)
    return np.argsort(words, kind="stable")


def _stream(seed: int, source: int, purpose: int, number: int) -> np.random.Philox:
    """Random words that depend on these four numbers and on nothing else."""
    key = np.array([seed, 2 * source + purpose], np.uint64)
    # Words run in the lowest counter word, so streams of two numbers never meet.
    return np.random.Philox(key=key, counter=np.array([0, number, 0, 0], np.uint64))
