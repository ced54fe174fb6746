"""What a pretrained trunk says of pictures, and it and a teacher of damage to them.

The trunk is run once over a few crops of each picture. With the cache `disk` the result
is kept beside the decoded pictures: runs that differ in what comes after the trunk, or
in which contents they hold out, find it there.
"""

import dataclasses
import functools
import hashlib
import logging
import os
import zipfile
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

import jax
import numpy as np
from jaxtyping import Array, Float

from ganiqa_jax import release
from ganiqa_jax.config import Preprocessing, ProbeConfig, StudentConfig
from ganiqa_jax.data.mixture import Mixture, SourceData, planned_row
from ganiqa_jax.data.online import pristine_of
from ganiqa_jax.data.records import Record
from ganiqa_jax.models import Student
from ganiqa_jax.models.quality import PARTS
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.cropping import views
from ganiqa_jax.types import Batch, NetworkOutput, Params

logger = logging.getLogger("ganiqa_jax")

ROWS = 32
"""Crops that the trunk sees at a time."""
PAIR_ROWS = 16
"""Pairs that trunk and teacher see at a time."""


class Seen(NamedTuple):
    """What the trunk says of N crops, and what people say of their pictures.

    Attributes:
      moments: of every channel, as `models.quality.moments_of` gives them.
      z: opinion scores, standardised as the mixture says.
    """

    moments: Float[np.ndarray, "N *P M"]
    z: Float[np.ndarray, " N"]


class SeenPairs(NamedTuple):
    """What the trunk says of N damaged windows, and what the teacher does.

    Attributes:
      undamaged: moments of the windows.
      damaged: moments of the same windows, damaged.
      fall: of the teacher's z, from a window held against itself to the pair.
    """

    undamaged: Float[np.ndarray, "N M"]
    damaged: Float[np.ndarray, "N M"]
    fall: Float[np.ndarray, " N"]


Found = TypeVar("Found", Seen, SeenPairs)


def alone(mixture: Mixture, number: int) -> Mixture:
    """One source of a mixture by itself; of labelled pairs only the pictures."""
    source = mixture.sources[number]
    role = "pictures" if source.labelled else source.role
    return only(mixture, dataclasses.replace(source, role=role, rows=ROWS))


def damaged(mixture: Mixture, number: int) -> list[Mixture]:
    """The sources of pairs that are made as they are read, each by itself.

    Beside them the pictures of source `number`, damaged in the same kinds: their
    quality is not the best, but damage makes it worse. None if no source makes pairs.
    """
    making = [source for source in mixture.sources if source.kinds]
    scored = mixture.sources[number]
    if making and not scored.kinds:
        records = pristine_of(scored.records)
        making.append(
            dataclasses.replace(scored, records=records, kinds=making[0].kinds)
        )
    return [
        only(
            mixture,
            dataclasses.replace(source, role="unlabelled_pairs", rows=PAIR_ROWS),
        )
        for source in making
    ]


def sizes(
    mixture: Mixture, number: int, records: Sequence[Record], probe: ProbeConfig
) -> list[Mixture]:
    """A mixture for each size at which the fit sees pictures.

    Their source `number` has all of these records, held out or not: what the trunk says
    of a picture does not depend on the split. Scores are as they are, not standardised
    by those of the training part.

    Args:
      mixture: of a run.
      number: of the source with scores.
      records: all of its; none leaves the source as it is.
      probe: side of the crops, or sides.
    """
    sources = list(mixture.sources)
    if records:
        sources[number] = dataclasses.replace(
            sources[number], records=tuple(records), mean=0.0, std=1.0, pseudo=None
        )
    if not probe.sides:
        crop = probe.crop or mixture.crop
        return [dataclasses.replace(mixture, sources=tuple(sources), crop=crop)]
    found = []
    for side in probe.sides:
        resized = (dataclasses.replace(one, short_side=side) for one in sources)
        found.append(dataclasses.replace(mixture, sources=tuple(resized), crop=side))
    return found


def only(mixture: Mixture, source: SourceData) -> Mixture:
    """This source in place of all others; its rows are all of a batch."""
    return dataclasses.replace(
        mixture,
        sources=(dataclasses.replace(source, weight=0.0),),
        shared_pair_rows=0,
        shared_picture_rows=0,
    )


def see(
    network: Student,
    variables: dict[str, Params],
    pictures: Mixture,
    crops: int,
    *,
    parts: bool = False,
    view: Preprocessing | None = None,
    held_out: Collection[Path],
    progress: bool,
) -> Seen:
    """Runs the trunk over so many random crops of each picture of one source.

    Args:
      network: the student.
      variables: its variables, pretrained arrays in place.
      pictures: the source, by `alone`.
      crops: of each picture.
      parts: a crop is as many rows as it has `models.quality.PARTS`.
      view: how a student that sees detail sees a crop; None as it is.
      held_out: files that may not be learned from, and are not among the rows.
      progress: a bar on standard error.
    """
    total = crops * len(pictures.sources[0].records)
    kept = _rows_of(pictures, total, held_out)

    def run(rows: Sequence[int]) -> Seen:
        moments = _moments(network, view, "parts" if parts else "moments")
        found = [
            (np.asarray(moments(variables, batch.distorted)), np.asarray(batch.mos))
            for batch in read(pictures, rows, "trunk over pictures", progress)
        ]
        both = map(np.concatenate, zip(*found, strict=True))
        return Seen(*(array[: len(rows)] for array in both))

    seen = _kept(Seen, run, kept, total, network, variables, pictures, parts, view)
    rows_each = PARTS if parts else 1
    flat = seen.moments.reshape(len(seen.z) * rows_each, -1)
    return Seen(flat, np.repeat(seen.z, rows_each))


def see_pairs(
    network: Student,
    variables: dict[str, Params],
    teacher: release.LoadedModel,
    pairs: Sequence[Mixture],
    number: int,
    *,
    view: Preprocessing | None = None,
    held_out: Collection[Path],
    progress: bool,
) -> SeenPairs:
    """Runs trunk and teacher over so many damaged windows of each mixture.

    The teacher compares the middle of a window, of its own crop's size, and what it
    gives to no damage is the mean of a few: it hardly depends on the window.

    Args:
      network, variables, view, progress: as in `see`.
      teacher: says what damage costs.
      pairs: by `damaged`.
      number: windows of each mixture.
      held_out: as in `see`; of a mixture with some there are fewer windows. Of the
        first not all are.
    """
    moments, judge = _moments(network, view), _judge(teacher)

    @functools.cache
    def undamaged() -> float:
        rows = _rows_of(pairs[0], number, held_out)[: pairs[0].batch_size]
        (batch,) = read(pairs[0], rows, "", False)
        same = judge(teacher.variables, batch.reference, batch.reference)
        return float(same.mean())

    def run(mixture: Mixture, rows: Sequence[int]) -> SeenPairs:
        seen: list[SeenPairs] = []
        for batch in read(mixture, rows, "trunk and teacher over damage", progress):
            shown = batch.reference, batch.distorted
            fall = undamaged() - np.asarray(judge(teacher.variables, *shown))
            both = np.asarray(moments(variables, np.concatenate(shown)))
            clean, worse = np.split(both, 2)
            seen.append(SeenPairs(clean, worse, fall))
        parts = map(np.concatenate, zip(*seen, strict=True))
        return SeenPairs(*(part[: len(rows)] for part in parts))

    more = teacher.card, release.model_sha(teacher.variables), view
    found: list[SeenPairs] = []
    for mixture in pairs:
        one = functools.partial(run, mixture)
        if kept := _rows_of(mixture, number, held_out):
            found.append(
                _kept(SeenPairs, one, kept, number, network, variables, mixture, *more)
            )
    return SeenPairs(*map(np.concatenate, zip(*found, strict=True)))


def _rows_of(mixture: Mixture, total: int, held_out: Collection[Path]) -> list[int]:
    """Which of the first rows of a source's plan show none of these files."""
    size = mixture.batch_size
    return [
        row
        for row in range(total)
        if planned_row(mixture, *divmod(row, size)).record.distorted not in held_out
    ]


def read(
    mixture: Mixture, rows: Sequence[int], what: str, progress: bool
) -> Iterable[Batch]:
    """Batches of these rows of a mixture of one source, under a bar."""
    from ganiqa_jax.data.pipeline import chosen

    steps = -(-len(rows) // mixture.batch_size)
    return track(chosen(mixture, rows), steps, what, progress)


def _moments(
    network: Student,
    view: Preprocessing | None,
    feature: Literal["moments", "parts"] = "moments",
) -> Callable[..., Array]:
    @jax.jit
    def moments(variables: Any, *seen: Float[Array, "B H W 3"]) -> Array:
        # What the moments do not depend on is not computed.
        output = network.apply(variables, *seen, parts=feature == "parts")
        return cast(NetworkOutput, output).features[feature]

    def of_pictures(variables: Any, pictures: Float[np.ndarray, "B H W 3"]) -> Array:
        if view is None:
            return moments(variables, pictures)
        pixels = np.round(255 * np.asarray(pictures)).astype(np.uint8)
        of_each = [views(picture, view) for picture in pixels]
        inputs = map(np.concatenate, zip(*of_each, strict=True))
        return moments(variables, *(np.float32(x) / 255 for x in inputs))

    return of_pictures


def _judge(teacher: release.LoadedModel) -> Callable[..., Array]:
    @jax.jit
    def judge(variables: Any, clean: Array, worse: Array) -> Array:
        side = clean.shape[1]
        start = max(0, side - teacher.card.preprocessing.crop) // 2
        middle = slice(start, side - start)
        pair = (pictures[:, middle, middle] for pictures in (clean, worse))
        output = teacher.network.apply(variables, *pair, train=False)
        return cast(NetworkOutput, output).z

    return judge


def _kept(
    kind: type[Found],
    run: Callable[[Sequence[int]], Found],
    rows: Sequence[int],
    total: int,
    network: Student,
    variables: dict[str, Params],
    mixture: Mixture,
    *more: Any,
) -> Found:
    """What `run` gives for these rows, from the cache `disk` if it is there already.

    All rows are kept there, so that runs which hold out other contents share them.
    """
    if mixture.cache != "disk" or mixture.cache_dir is None:
        return run(rows)
    facts = [kind.__name__, _code(), jax.__version__, total, *more]
    facts += [_before_moments(network.config), _trunk_sha(variables)]
    facts += [dataclasses.replace(mixture, cache="off", cache_dir=None)]
    facts += [_stamp(one) for source in mixture.sources for one in source.records]
    key = hashlib.sha256("\n".join(map(repr, facts)).encode()).hexdigest()[:24]
    path = mixture.cache_dir / f"moments-{key}.npz"
    try:
        with path.open("rb") as stored, np.load(stored) as file:
            return kind(**{name: file[name][rows] for name in kind._fields})
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile):
        logger.warning("%s was damaged; it is made again.", path)
    found = run(range(total))
    partial = path.with_name(f"{path.stem}.{os.getpid()}.tmp")
    try:
        with partial.open("wb") as file:
            np.savez(file, **found._asdict())
        partial.replace(path)
    except OSError as error:  # the run does not need the file
        logger.warning("%s is not kept: %s.", path, error.strerror or error)
    finally:
        partial.unlink(missing_ok=True)
    return kind(*(array[list(rows)] for array in found))


def _before_moments(config: StudentConfig) -> Any:
    """What of a student its moments depend on, weights apart."""
    if not config.trunk.startswith("efficientvit"):
        return config.trunk, config.taps, config.jnd, config.dtype, config.detail
    return config


def _trunk_sha(variables: dict[str, Params]) -> str:
    return release.model_sha(
        {name: part["trunk"] for name, part in variables.items() if "trunk" in part}
    )


def _stamp(record: Record) -> list[tuple[int, int]]:
    """Changes with the files of a record."""
    paths = {record.distorted, record.reference or record.distorted}
    there = (path.stat() for path in sorted(paths) if path.exists())
    return [(stat.st_size, stat.st_mtime_ns) for stat in there]


@functools.cache
def _code() -> str:
    """Changes with every change of the package."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
