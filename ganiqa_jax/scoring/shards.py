"""Shares of one scoring job, and their files put together again."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ganiqa_jax.errors import CheckError, InputError
from ganiqa_jax.scoring.rows import (
    RowsHeader,
    ScoreRow,
    iter_rows,
    open_rows,
    read_header,
)

T = TypeVar("T")

SHOWN = 5
"""Names in a message; the rest is counted."""

_NUMBERED = re.compile(r"(.*)\.(\d+)-of-(\d+)(\.[a-z]+)")


def shard_of(inputs: Sequence[T], shard: str) -> Sequence[T]:
    """The share of one job of an array: neighbours in the list of all.

    Args:
      inputs: of all jobs, the same list in each.
      shard: `i/n`, i from 1.

    Raises:
      InputError: if it is not written so.
    """
    number, count = shard_numbers(shard)
    ends = [len(inputs) * i // count for i in (number - 1, number)]
    return inputs[slice(*ends)]


def shard_numbers(shard: str) -> tuple[int, int]:
    """i and n of `i/n`.

    Raises:
      InputError: if it is not written so.
    """
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise InputError(f"--shard {shard!r} is not written like 3/8.")
    if not 1 <= int(number) <= int(count):
        raise InputError(
            f"--shard {shard}: the first number goes from 1 to the second."
        )
    return int(number), int(count)


def shard_path(out: Path, shard: str) -> Path:
    """Where a share writes: `rows.jsonl` becomes `rows.03-of-12.jsonl`."""
    number, count = shard_numbers(shard)
    width = len(str(count))
    return out.with_name(f"{out.stem}.{number:0{width}}-of-{count}{out.suffix}")


@dataclass
class Merged:
    """What was found in the files that were put together.

    Attributes:
      rows: number of rows.
      twice: inputs that several rows are of; `missing`, expected ones without a row;
        `unexpected`, rows of inputs that were not expected.
    """

    rows: int = 0
    twice: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """A line for each kind of problem."""
        kinds = {
            "scored more than once": self.twice,
            "not scored": self.missing,
            "scored and not expected": self.unexpected,
        }
        return [f"{what}: {_some(names)}" for what, names in kinds.items() if names]


def merge(
    files: Sequence[Path], out: Path | None, expected: Iterable[str] | None = None
) -> Merged:
    """Puts files of rows together, if every input has exactly one row of one model.

    Args:
      files: of `score` or `compare`, in the order of the result; shares by `--shard`
        are put into their own order.
      out: file of all rows; None only checks.
      expected: names of the inputs, as the rows have them.

    Raises:
      InputError: if a file cannot be read, or a share is missing.
      CheckError: if not every input was scored once, by one model.
    """
    files = _in_order(files)
    header = _one_header(files)
    found = Merged()
    seen: set[tuple[str, str | None]] = set()
    for row in _rows(files):
        key = row.path, row.reference
        if key in seen:
            found.twice.append(_name(row))
        seen.add(key)
        found.rows += 1
    if expected is not None:
        names = dict.fromkeys(expected)
        paths = {path for path, _ in seen}
        found.missing = [name for name in names if name not in paths]
        found.unexpected = [path for path, _ in seen if path not in names]
    if found.problems:
        raise CheckError(
            f"{len(files)} files do not make one: {'; '.join(found.problems)}."
        )
    if out is not None:
        with open_rows(out, header) as writer:
            for row in _rows(files):
                writer.write(row)
    return found


def _in_order(files: Sequence[Path]) -> list[Path]:
    """Shares of one job by their numbers, and all there; other files as given."""
    matches = [_NUMBERED.fullmatch(path.name) for path in files]
    pairs = zip(files, matches, strict=True)
    jobs = {(path.parent, m[1], m[3], m[4]) for path, m in pairs if m}
    if len(jobs) != 1 or not all(matches):
        return list(files)
    numbers = [int(m[2]) for m in matches if m]
    count = int(next(iter(jobs))[2])
    missing = sorted(set(range(1, count + 1)) - set(numbers))
    if missing:
        raise CheckError(f"Of {count} shares, these are missing: {_some(missing)}.")
    return [path for _, path in sorted(zip(numbers, files, strict=True))]


def _one_header(files: Sequence[Path]) -> RowsHeader:
    if not files:
        raise InputError("No files of rows to merge.")
    first: RowsHeader | None = None
    for path in files:
        if path.suffix == ".part":
            raise CheckError(f"{path} is of a run that has not ended; go on with it.")
        header = read_header(path)
        if header is None:
            raise InputError(f"{path} has lost its header, which names the model.")
        if first is not None and header != first:
            raise CheckError(
                f"{path} and {files[0]} are not of one model: "
                f"{_difference(first, header)}."
            )
        first = header
    assert first is not None
    return first


def _difference(a: RowsHeader, b: RowsHeader) -> str:
    pairs = ((name, getattr(a, name), getattr(b, name)) for name in vars(a))
    return ", ".join(f"{n} {x} and {y}" for n, x, y in pairs if x != y)


def _rows(files: Iterable[Path]) -> Iterator[ScoreRow]:
    for path in files:
        yield from iter_rows(path)


def _name(row: ScoreRow) -> str:
    return row.path if row.reference is None else f"{row.path} ({row.reference})"


def _some(names: Sequence[object]) -> str:
    shown = ", ".join(str(name) for name in names[:SHOWN])
    rest = len(names) - SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
