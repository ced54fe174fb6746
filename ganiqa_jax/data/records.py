"""The record that every data set is read into, its labels, its split by content.

Scores are in [0, 1] and higher is better from here on. A *content* is what makes
pictures alike beyond their quality: the reference scene, or the prompt. A split never
parts the pictures of one content.
"""

import csv
import hashlib
import logging
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ganiqa_jax.errors import InputError, IntegrityError

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Endings of picture files, in lower case."""

_PROTOCOL = "# protocol "

logger = logging.getLogger("ganiqa_jax")


@dataclass(frozen=True)
class Record:
    """One scored, or to be scored, picture of a data set.

    Attributes:
      name: unique within the data set: the path below its folder, with `/`.
      distorted: the picture.
      reference: its pristine picture, or None where the set has none.
      mos: mean opinion score in [0, 1], higher is better; None is unlabelled.
      content: reference scene or prompt.
      std: deviation of the opinions, in the units of `mos`.
      kind: distortion, upscaler or generator.
      level: strength of the distortion, or upscaling factor; 0 where it has none.
      part: train, validation or test where the set has a split of its own, and the
        reader knows it.
    """

    name: str
    distorted: Path
    reference: Path | None
    mos: float | None
    content: str
    std: float | None = None
    kind: str = ""
    level: int = 0
    part: str = ""


class Split(NamedTuple):
    """The three parts of a data set; no content is in two of them."""

    train: tuple[Record, ...]
    validation: tuple[Record, ...]
    test: tuple[Record, ...]


def rescale(value: float, bounds: tuple[float, float]) -> float:
    """Maps a score from (low, high) of its scale to [0, 1].

    Raises:
      InputError: if the score is not a number on that scale.
    """
    low, high = bounds
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(
            f"Score {value} is not on its scale of {low} to {high}; "
            "check the label file."
        )
    return (value - low) / (high - low)


def read_table(
    path: Path, columns: Sequence[str], *, advice: str
) -> list[dict[str, str]]:
    """Reads a label table whose columns are found by name.

    Args:
      path: a CSV file, UTF-8, with a header; blanks around its names do not count.
      columns: the columns that must be there; others may be, in any order.
      advice: what the user is to do if the file is not there.

    Raises:
      InputError: if the file or a column is missing, or it is no table.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            rows = list(reader)
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}). {advice}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV table: {error}. {advice}") from error
    missing = [name for name in columns if name not in names]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}; "
            f"it has {', '.join(names) or 'none'}. {advice}"
        )
    return rows


def score_in(
    row: Mapping[str, str],
    column: str,
    bounds: tuple[float, float],
    *,
    name: str,
    table: Path,
) -> float:
    """One score of a table row, rescaled to [0, 1].

    Raises:
      InputError: if it is not a number on its scale; names file, column and picture.
    """
    try:
        return rescale(float(row[column]), bounds)
    except ValueError as error:  # InputError is one too
        raise InputError(
            f"{table}: {column} of {name!r} is {row[column]!r}, not a number "
            f"from {bounds[0]:g} to {bounds[1]:g}; check the file."
        ) from error


def check_records(
    records: Sequence[Record],
    *,
    dataset: str,
    advice: str,
    allow_missing: bool = False,
    skipped: Collection[Path] = (),
) -> list[Record]:
    """Refuses a data set that is empty, incomplete, or names a picture twice.

    Pictures beside the scored ones that no record names are counted in a warning.

    Args:
      records: what the label files list.
      dataset: its title, for messages.
      advice: what to unpack where.
      allow_missing: leave out records whose picture or reference is not there, with a
        warning, instead of refusing the data set.
      skipped: pictures that the reader leaves out on purpose; no warning for these.

    Returns:
      The records whose files are there, in the order given.

    Raises:
      InputError: says how many of how many pictures are there, and `advice`.
    """
    if not records:
        raise InputError(f"The label file of {dataset} lists no pictures. {advice}")
    if len({record.name for record in records}) < len(records):
        names = [record.name for record in records]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"The label file of {dataset} lists {twice!r} twice.")
    distorted = {record.distorted for record in records}
    references = {r.reference for r in records if r.reference is not None}
    there = _files_beside(distorted | references)
    absent = {p for p in distorted | references if p not in there and not p.is_file()}
    kept = [r for r in records if not {r.distorted, r.reference} & absent]
    for what, wanted in (("pictures", distorted), ("references", references)):
        missing = sorted(wanted & absent)
        if missing and not (allow_missing and kept):
            raise InputError(
                f"{dataset}: {len(wanted) - len(missing)} of {len(wanted)} {what} "
                f"found; {missing[0]} is missing. {advice}"
            )
    if len(kept) < len(records):
        logger.warning(
            "%s: %d of %d scored pictures left out, as they or their references are "
            "missing.",
            dataset,
            len(records) - len(kept),
            len(records),
        )
    folders = {path.parent for path in distorted}
    extra = {p for p in there - distorted - references if p.parent in folders}
    extra = {p for p in extra.difference(skipped) if p.suffix.lower() in SUFFIXES}
    if extra:
        logger.warning(
            "%s: %d unlabelled pictures are not read, such as %s.",
            dataset,
            len(extra),
            min(extra).name,
        )
    return kept


def _files_beside(paths: Collection[Path]) -> set[Path]:
    """Every file in the folders of these paths; each folder is listed once."""
    found: set[Path] = set()
    for folder in {path.parent for path in paths}:
        try:
            with os.scandir(folder) as entries:
                found.update(folder / e.name for e in entries if e.is_file())
        except OSError:
            continue  # not there, or not a folder: so are its pictures
    return found


def split_by_content(
    records: Sequence[Record], *, fractions: Sequence[float], seed: int
) -> Split:
    """Parts a data set into training, validation and test, whole contents each.

    The order of contents is that of a keyed hash, so it is the same on every machine
    and Python, and leaving out a content does not reshuffle the others.

    Args:
      records: the data set.
      fractions: shares of the contents for train, validation and test; sum 1. A part
        with a share above 0 gets at least one content.
      seed: decides which contents go where.

    Raises:
      InputError: if the fractions are none, or there are too few contents.
    """
    contents = sorted({record.content for record in records})
    counts = _counts(len(contents), fractions)
    contents.sort(key=lambda content: _digest([str(seed), content], size=16))
    part_of: dict[str, int] = {}
    for part, count in enumerate(counts):
        start = len(part_of)
        part_of.update(dict.fromkeys(contents[start : start + count], part))
    return _gather(records, part_of)


def split_hash(split: Split) -> str:
    """Twelve hex digits over part, content and name of every record."""
    return _digest(
        sorted(
            f"{part}\0{record.content}\0{record.name}"
            for part, records in split._asdict().items()
            for record in records
        ),
        size=6,
    )


def write_split(path: Path, split: Split, *, protocol: str = "") -> None:
    """Writes a split as text: its hash, then one line `part<TAB>content` each.

    Args:
      path: the file; it is replaced.
      split: what it is to say.
      protocol: name of the way it was made, noted in a second line if it has one.

    Raises:
      InputError: if a content's name would not survive as one line of text.
    """
    lines = [f"# split {split_hash(split)}"]
    if protocol:
        lines.append(f"{_PROTOCOL}{protocol}")
    for part, records in split._asdict().items():
        for content in sorted({record.content for record in records}):
            if content.splitlines() != [content]:
                raise InputError(f"Content {content!r} is no single line of text.")
            lines.append(f"{part}\t{content}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def read_split(path: Path, records: Sequence[Record]) -> Split:
    """Splits records again as `write_split` noted it.

    Raises:
      InputError: if there is no such file, or the data set has other contents.
      IntegrityError: if the file is damaged, or pictures came or went since.
    """
    part_of, written, _ = _read_manifest(path)
    there = {record.content for record in records}
    if there != set(part_of):
        strange, gone = sorted(there - set(part_of)), sorted(set(part_of) - there)
        raise InputError(
            f"The split {path} is of other data: {len(strange)} contents are new"
            f"{_such_as(strange)} and {len(gone)} are missing{_such_as(gone)}. "
            "Use the data it was made of, or a new run directory."
        )
    split = _gather(records, part_of)
    if split_hash(split) != written:
        raise IntegrityError(
            f"The split {path} says {written} but these records give "
            f"{split_hash(split)}: the file was changed, or pictures came or went. "
            "Restore the file or the data."
        )
    return split


def read_contents(path: Path, part: str) -> set[str]:
    """Contents of one part of a split that `write_split` noted.

    Raises:
      InputError: if there is no such file.
      IntegrityError: if the file is damaged.
    """
    part_of = _read_manifest(path)[0]
    wanted = Split._fields.index(part)
    return {content for content, number in part_of.items() if number == wanted}


def read_protocol(path: Path) -> str:
    """The protocol that a stored split names; empty if it names none.

    Raises:
      InputError: if there is no such file.
      IntegrityError: if the file is damaged.
    """
    return _read_manifest(path)[2]


def _counts(total: int, fractions: Sequence[float]) -> list[int]:
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise InputError(
            f"Fractions {tuple(fractions)} must be three shares that sum to 1."
        )
    wanted = [part for part, fraction in enumerate(fractions) if fraction > 0]
    if total < len(wanted):
        raise InputError(
            f"{total} contents cannot fill {len(wanted)} parts; "
            "set a fraction to 0 or use more data."
        )
    exact = [fraction * total for fraction in fractions]
    counts = [math.floor(share + 1e-9) for share in exact]
    by_remainder = sorted(wanted, key=lambda part: counts[part] - exact[part])
    for part in by_remainder[: total - sum(counts)]:
        counts[part] += 1
    for part in wanted:
        if counts[part] == 0:
            counts[counts.index(max(counts))] -= 1
            counts[part] = 1
    return counts


def _gather(records: Iterable[Record], part_of: dict[str, int]) -> Split:
    parts: tuple[list[Record], ...] = ([], [], [])
    for record in records:
        parts[part_of[record.content]].append(record)
    return Split(*(tuple(part) for part in parts))


def _read_manifest(path: Path) -> tuple[dict[str, int], str, str]:
    """Content to number of its part, the hash, and the protocol if it has one."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(f"Cannot read the split {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise IntegrityError(
            f"The split {path} is not text: {error.reason}."
        ) from error
    part_of: dict[str, int] = {}
    head, _, written = lines[0].rpartition(" ")
    if head != "# split" or lines[-1] != "":
        raise IntegrityError(f"The split {path} is cut off or of another format.")
    named = lines[1].startswith(_PROTOCOL)
    for line in lines[1 + named : -1]:
        part, _, content = line.partition("\t")
        if part not in Split._fields or not content or content in part_of:
            raise IntegrityError(f"The split {path} has a damaged line {line!r}.")
        part_of[content] = Split._fields.index(part)
    return part_of, written, lines[1].removeprefix(_PROTOCOL) if named else ""


def _such_as(names: Sequence[str]) -> str:
    return f" (such as {names[0]!r})" if names else ""


def _digest(texts: Iterable[str], *, size: int) -> str:
    digest = hashlib.blake2b(digest_size=size)
    for text in texts:
        data = text.encode(errors="surrogateescape")
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()
