"""The mixture of data sets that a run draws from, and its order.

Which record and which crop a row of a batch holds is a pure function of the seed and
the number of the step, so a run that goes on from step k sees what it would have seen.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ganiqa_jax.config import Cache, Role
from ganiqa_jax.data.online import Damage, damage_of
from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError

GIB = 2**30
PERIOD = 1024
"""Draws after which the pattern of weighted sources repeats; weights are rounded to
whole draws of it, each at least one."""

_ORDER, _CROP = 0, 1  # what random words are for; those of a crop also damage it


@dataclass(frozen=True)
class SourceData:
    """The training part of one data set, ready to be mixed.

    Attributes:
      records: what may be drawn.
      role: pairs with scores, pairs without, or scored pictures without references.
      rows: rows of every batch that come from it; 0 if it has a weight.
      short_side: pictures are resized to this shorter side, pixels; 0 keeps them.
      mean: mean of the training scores in [0, 1].
      std: their deviation; scores become (mos - mean) / std.
      pseudo: for unlabelled pairs, record name to (z, confidence in [0, 1]); without
        it, z is 0 and the confidence 1.
      weight: its share of the rows that weighted sources of its kind have together.
      kinds: of damage that the records, pristine pictures, are given as they are read;
        none reads pairs as they are.
    """

    records: tuple[Record, ...]
    role: Role
    rows: int
    short_side: int = 0
    mean: float = 0.0
    std: float = 1.0
    pseudo: Mapping[str, tuple[float, float]] | None = None
    weight: float = 0.0
    kinds: tuple[str, ...] = ()

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
            if self.labelled and record.mos is None and not self.kinds:
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

    def target(self, record: Record, grade: float) -> tuple[float, float]:
        """What a row of this record is to learn: z, and its confidence.

        Args:
          record: what is drawn.
          grade: of a pair that was made as it was read; NaN, and then z is too, where
            the teacher is to score it.
        """
        if self.kinds:
            return (grade - self.mean) / self.std, 1.0
        if record.mos is not None and self.labelled:
            return (record.mos - self.mean) / self.std, 1.0
        return (0.0, 1.0) if self.pseudo is None else self.pseudo[record.name]


class Pool(NamedTuple):
    """Rows of every batch that the weighted sources of one kind share.

    Draws are spread as evenly as can be: a source with a third of the weight has
    every third draw, so that the batches differ by a row or so.

    Attributes:
      rows: of every batch.
      counts: number of a source to its draws in a period.
      source: of each draw of a period, the number of its source.
      before: draws of that source before it in the period.
    """

    rows: int
    counts: Mapping[int, int]
    source: tuple[int, ...]
    before: tuple[int, ...]

    def draw(self, step: int, row: int) -> tuple[int, int]:
        """The source of a row, and how often that was drawn before in the run."""
        period, place = divmod(step * self.rows + row, len(self.source))
        number = self.source[place]
        return number, period * self.counts[number] + self.before[place]


@dataclass(frozen=True)
class Mixture:
    """The sources of a run and how they are drawn.

    A batch has the rows with references first, then those without; of each kind the
    sources with rows of their own, in the order given, and then what the weighted
    ones share. So its shape is the same in every step.

    Attributes:
      sources: the data sets.
      crop: side of a crop, pixels.
      seed: decides order and crops.
      cache: where decoded pictures are kept.
      cache_bytes: how many bytes they may take.
      cache_dir: folder of the cache `disk`.
      shared_pair_rows: rows of a batch for weighted sources with references.
      shared_picture_rows: and for those without.
    """

    sources: tuple[SourceData, ...]
    crop: int
    seed: int
    cache: Cache = "memory"
    cache_bytes: int = 6 * GIB
    cache_dir: Path | None = None
    shared_pair_rows: int = 0
    shared_picture_rows: int = 0

    def __post_init__(self) -> None:
        if not self.sources:
            raise InputError("The mixture has no sources.")
        if not 0 <= self.seed < 2**64:
            raise InputError(f"seed={self.seed} must be from 0 to 2**64 - 1.")
        for pairs, rows in (
            (True, self.shared_pair_rows),
            (False, self.shared_picture_rows),
        ):
            kind = [s for s in self.sources if s.has_references == pairs]
            if any(s.weight > 0 for s in kind) != (rows > 0):
                raise InputError(
                    f"{rows} rows are shared by {sum(s.weight > 0 for s in kind)} "
                    "sources with a weight; both or none must be above 0."
                )

    @property
    def batch_size(self) -> int:
        return len(self.slots)

    @functools.cached_property
    def pair_rows(self) -> int:
        """Rows of a batch that have a reference; they are its first."""
        pairs = sum(source.rows for source in self.sources if source.has_references)
        return pairs + self.shared_pair_rows

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show all of the largest labelled source once."""
        labelled = [n for n, s in enumerate(self.sources) if s.labelled]
        numbers = labelled or range(len(self.sources))
        largest = max(numbers, key=lambda n: len(self.sources[n].records))
        source = self.sources[largest]
        if source.rows:
            return -(-len(source.records) // source.rows)
        pool = self._pool(source.has_references)
        return -(-len(source.records) * PERIOD // (pool.rows * pool.counts[largest]))

    @functools.cached_property
    def slots(self) -> tuple[tuple[int | Pool, int], ...]:
        """Of each batch row: number of its source, or the pool; and the place there."""
        slots: list[tuple[int | Pool, int]] = []
        for pairs, shared in (
            (True, self.shared_pair_rows),
            (False, self.shared_picture_rows),
        ):
            for number, source in enumerate(self.sources):
                if source.has_references == pairs:
                    slots += [(number, row) for row in range(source.rows)]
            if shared:
                pool = self._pool(pairs)
                slots += [(pool, row) for row in range(shared)]
        return tuple(slots)

    def draw(self, step: int, slot: int) -> tuple[int, int]:
        """The source of a batch row, and how often that was drawn before."""
        giver, row = self.slots[slot]
        if isinstance(giver, Pool):
            return giver.draw(step, row)
        return giver, step * self.sources[giver].rows + row

    def _pool(self, pairs: bool) -> Pool:
        weights = {
            number: source.weight
            for number, source in enumerate(self.sources)
            if source.weight > 0 and source.has_references == pairs
        }
        counts = _whole_draws(weights)
        # Draw j of k is due at (j + 1/2) / k of the period; in that order they come.
        due = sorted(
            ((2 * before + 1) / count, number, before)
            for number, count in counts.items()
            for before in range(count)
        )
        return Pool(
            rows=self.shared_pair_rows if pairs else self.shared_picture_rows,
            counts=counts,
            source=tuple(number for _, number, _ in due),
            before=tuple(before for _, _, before in due),
        )


def _whole_draws(weights: Mapping[int, float]) -> dict[int, int]:
    """Draws of each source in a period, at least one, by largest remainders."""
    exact = {n: PERIOD * w / sum(weights.values()) for n, w in weights.items()}
    counts = {n: max(1, int(share)) for n, share in exact.items()}
    while (left := PERIOD - sum(counts.values())) != 0:
        step = 1 if left > 0 else -1
        most = max(
            (n for n in counts if counts[n] + step > 0),
            key=lambda n: (step * (exact[n] - counts[n]), -n),
        )
        counts[most] += step
    return counts


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
      counts: False for what fills the last batch of an epoch.
      damage: what is done to the crop, in a source that makes its pairs.
    """

    record: Record
    source: int
    across: float
    down: float
    index: int
    counts: bool = True
    damage: Damage | None = None


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
    number, position = mixture.draw(step, slot)
    source = mixture.sources[number]
    epoch, place = divmod(position, len(source.records))
    order = _epoch_order(mixture.seed, number, epoch, len(source.records))
    words = _stream(mixture.seed, number, _CROP, position).random_raw(6)
    across, down = (words[:2] >> np.uint64(11)) * 2.0**-53
    return PlannedRow(
        record=source.records[order[place]],
        source=number,
        across=float(across),
        down=float(down),
        index=step * mixture.batch_size + slot,
        damage=damage_of(source.kinds, words[2:]) if source.kinds else None,
    )


def row_in_order(mixture: Mixture, step: int, slot: int) -> PlannedRow:
    """One row of an epoch over a mixture of one source: in order, the centre crop.

    After the last record it is repeated, and does not count.
    """
    (source,) = mixture.sources
    number = step * mixture.batch_size + slot
    counts = number < len(source.records)
    record = source.records[number if counts else -1]
    return PlannedRow(record, 0, across=0.5, down=0.5, index=number, counts=counts)


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
