"""Synthetic pairs made while training: a window of a pristine picture, and it damaged.

Nothing is written to disk, and no pair comes twice: kind, level and the random part of
the damage of a row are a pure function of the seed and the row's place in the run, as
its crop is. So a run that goes on sees the pairs that it would have seen.

A labelled pair is graded by `synthetic.grade` on the window itself; an unlabelled one
is scored by the teacher, in the step.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt64

from ganiqa_jax.data.distortions import (
    GENERATOR_KINDS,
    GRADED_KINDS,
    KADID_KINDS,
    LEVELS,
    MEDIUM_KINDS,
    distort,
)
from ganiqa_jax.data.records import Record
from ganiqa_jax.data_config import Damages

KINDS: Mapping[Damages, tuple[str, ...]] = {
    "graded": GRADED_KINDS,
    "generators": GENERATOR_KINDS,
    "kadid": KADID_KINDS,
    "medium": MEDIUM_KINDS,
    "all": tuple(dict.fromkeys(KADID_KINDS + GENERATOR_KINDS + MEDIUM_KINDS)),
}
"""Kinds of damage by the name of their set in a configuration."""

MARGIN = 8
"""Pixels that a window is larger than its crop: the side of a JPEG block, so that the
grid of blocks lies anywhere in a crop, as it does in crops of a damaged file."""


class Damage(NamedTuple):
    """What is done to one window.

    Attributes:
      kind: of `distortions.DISTORTIONS`.
      level: 1 to 5.
      across: columns of the margin that are left of the crop.
      down: rows of the margin that are above it.
      seed: of what is random in the damage.
    """

    kind: str
    level: int
    across: int
    down: int
    seed: int


def damage_of(kinds: Sequence[str], words: UInt64[np.ndarray, " 4"]) -> Damage:
    """The damage that four random words decide; kinds and levels are equally likely."""
    which, place, level, seed = (int(word) for word in words)
    return Damage(
        kind=kinds[which % len(kinds)],
        level=LEVELS[level % len(LEVELS)],
        across=place % (MARGIN + 1),
        down=place // (MARGIN + 1) % (MARGIN + 1),
        seed=seed,
    )


def damaged_pair(
    window: UInt8[np.ndarray, "W W 3"], damage: Damage
) -> UInt8[np.ndarray, "2 S S 3"]:
    """A crop of a window damaged, and the same crop of the window; S = W - `MARGIN`."""
    random = np.random.Generator(np.random.Philox(damage.seed))
    damaged = distort(window, damage.kind, damage.level, random)
    side = window.shape[0] - MARGIN
    down, across = (slice(n, n + side) for n in (damage.down, damage.across))
    return np.stack([picture[down, across] for picture in (damaged, window)])


def pristine_of(records: Sequence[Record]) -> tuple[Record, ...]:
    """The references of these records, each once, as pictures to be damaged."""
    found: dict[Path, Record] = {}
    for record in records:
        path = record.reference or record.distorted
        name = path.as_posix()
        found.setdefault(path, Record(name, path, path, None, record.content))
    return tuple(found.values())
