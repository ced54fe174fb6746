"""Rows on their way to a file, of which none is lost.

While pictures are scored, each row is appended to `NAME.part` as one JSON line, with
the size and the modification time that its files had: `{"row": ..., "stamp": [...]}`.
The first line says by which model and settings. Every so many rows the file is synced
to the disk. Once all inputs have a row, `NAME` is written from the part file in the
order of the inputs, and the part file goes.

So after an end of any kind, a lost current included, the same command goes on: it keeps
a row whose files have the stamps that they had, drops what is torn at the end, and
scores the rest. Rows whose file could not be read at all are tried again.

A finished file of the same model is gone on from as well. It has no stamps: a picture
with a score is read, and not scored again if its sha256 is still that of the row.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Int64

from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.archives import Member
from ganiqa_jax.scoring.decode import DecodeError
from ganiqa_jax.scoring.durable import append, make_room, naming, sync
from ganiqa_jax.scoring.rows import (
    RowsHeader,
    ScoreRow,
    iter_rows,
    kind_of,
    open_rows,
    read_header,
    row_values,
)

FORMAT = 1

Input = Path | Member | tuple[Path, Path]
Stamp = tuple[int | None, ...]
_Key = tuple[str, str | None]


@dataclass(slots=True)
class _Known:
    """A row of an earlier run: where its line begins, and of which files it is.

    Without a stamp it is from a finished file, and the sha256 has to tell.
    """

    offset: int
    stamp: Stamp | None
    status: str
    sha256: str


@dataclass(eq=False)
class Part:
    """The part file of an output; made by `open_part`.

    Attributes:
      path: of the part file.
      out: that it becomes.
      header: of the rows.
      earlier: statuses of the rows that were kept from earlier runs; see `place`.
    """

    path: Path
    out: Path
    header: RowsHeader
    _file: IO[bytes]
    _fsync_every: int
    _end: int = 0
    _unsynced: int = 0
    _known: dict[_Key, _Known] = field(default_factory=dict)
    _offsets: Int64[np.ndarray, " N"] = field(
        default_factory=lambda: np.empty(0, np.int64)
    )
    _to_prove: dict[int, _Known] = field(default_factory=dict)
    earlier: Counter[str] = field(default_factory=Counter)

    def place(self, inputs: Sequence[Input]) -> Int64[np.ndarray, " M"]:
        """Takes the inputs, in the order that their rows will have.

        Returns:
          Positions of those that must be scored, unless `stands` says otherwise; the
          others have a row that stands.
        """
        self._offsets = np.full(len(inputs), -1, np.int64)
        for position, item in enumerate(inputs if self._known else ()):
            known = self._known.get(_key_of(item))
            if known is None:
                continue
            if known.stamp is None:
                self._to_prove[position] = known
            elif known.stamp == stamp_of(item):
                self._keep(position, known)
        self._known = {}
        return np.flatnonzero(self._offsets < 0)

    def stands(self, position: int, item: Input) -> bool:
        """Whether an input has a row in a finished file, and is still the same file."""
        known = self._to_prove.pop(position, None)
        if known is None or isinstance(item, tuple):
            return False
        try:
            data = item.read_bytes()
        except (OSError, ValueError, DecodeError):
            return False
        if hashlib.sha256(data).hexdigest() != known.sha256:
            return False
        self._keep(position, known)
        return True

    def _keep(self, position: int, known: _Known) -> None:
        self._offsets[position] = known.offset
        self.earlier[known.status] += 1

    def write(self, position: int, stamp: Stamp, row: ScoreRow) -> None:
        """Appends the row of the input at a position; it is in the file on return.

        Args:
          position: of the input, as in `place`.
          stamp: of its files, from before they were read.
          row: of it.

        Raises:
          InputError: if the file cannot grow.
        """
        self._offsets[position] = self._append(row, stamp)

    def _append(self, row: ScoreRow, stamp: Stamp | None) -> int:
        values = row_values(row, pairs=self.header.pairs)
        line = json.dumps({"row": values, "stamp": stamp}, allow_nan=False) + "\n"
        append(self._file, line, self.path)
        offset, self._end = self._end, self._end + len(line)
        self._unsynced += 1
        if self._unsynced >= self._fsync_every:
            self.sync()
        return offset

    def _take_finished(self) -> None:
        """Begins with the scores of a finished file, if it is of the same model."""
        if self.header.pairs or not self.out.is_file():
            return
        if read_header(self.out) != self.header:
            return
        for row in iter_rows(self.out):
            if row.status == "ok" and row.sha256:
                known = _Known(self._append(row, None), None, row.status, row.sha256)
                self._known[row.path, None] = known

    def sync(self) -> None:
        """Waits until all rows so far are on the disk."""
        with naming(self.path):
            os.fsync(self._file.fileno())
        self._unsynced = 0

    def rows(self) -> Iterator[ScoreRow]:
        """The rows, in the order of the inputs; those that are missing are left out."""
        with self.path.open("rb") as file:
            position = 0
            for offset in self._offsets:
                if offset < 0:
                    continue
                if offset != position:  # seeking would empty the buffer
                    file.seek(offset)
                line = file.readline()
                position = offset + len(line)
                yield ScoreRow(**json.loads(line)["row"])

    def finish(self) -> None:
        """Writes the output from the rows; `discard` then removes the part file.

        Raises:
          InputError: if it cannot be written.
        """
        self.sync()
        with open_rows(self.out, self.header) as writer:
            for row in self.rows():
                writer.write(row)

    def discard(self) -> None:
        """Removes the part file."""
        with naming(self.path):
            self.path.unlink()


@contextlib.contextmanager
def open_part(
    out: Path,
    header: RowsHeader,
    settings: Mapping[str, Any],
    *,
    resume: bool = True,
    fsync_every: int = 200,
) -> Iterator[Part]:
    """Opens the part file of an output, with the rows that it has.

    Args:
      out: file of rows that it will become.
      header: of the rows.
      settings: what else decides them, as JSON values.
      resume: keep the rows of an earlier run; else start over.
      fsync_every: rows that a loss of power may cost.

    Raises:
      InputError: if another model or other settings began it, another run is writing
        it, or it cannot be written.
    """
    kind_of(out)
    if fsync_every < 1:
        raise InputError(f"--fsync-every {fsync_every} must be at least 1.")
    path = out.with_name(out.name + ".part")
    with naming(path):
        make_room(out)
    with _locked(path) as file:
        part = Part(path, out, header, file, fsync_every)
        first = {
            "part": FORMAT,
            "header": dataclasses.asdict(header),
            "settings": dict(settings),
        }
        if resume:
            _read_part(part, json.loads(json.dumps(first)))
        with naming(path):
            file.truncate(part._end)
            file.seek(part._end)
        if part._end == 0:
            line = json.dumps(first, allow_nan=False) + "\n"
            append(file, line, path)
            part._end = len(line)
            part.sync()
            with naming(path):
                sync(path.parent)
            if resume:
                part._take_finished()
        try:
            yield part
        except BaseException as error:
            if path.exists():
                error.add_note(
                    f"The rows so far are in {path}; the same command goes on from "
                    "there."
                )
            raise


def stamp_of(item: Input) -> Stamp:
    """Size and modification time of the files of an input; None for one not there."""
    if isinstance(item, Member):
        return item.archive.stamp or (None, None)
    stamp: list[int | None] = []
    for path in item if isinstance(item, tuple) else (item,):
        try:
            status = os.stat(path)
            stamp += (status.st_size, status.st_mtime_ns)
        except (OSError, ValueError):
            stamp += (None, None)
    return tuple(stamp)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file, made if need be, for this process alone; a killed one lets go."""
    while True:
        with naming(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with open(descriptor, "r+b", buffering=0) as file:
            _lock(file, path)
            # Who had the lock may have finished, and the name gone with the lock.
            if _has_name(file, path):
                yield file
                return


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise InputError(
                f"Another run is writing {path}; wait for it, or give another --out."
            ) from error
        # Some network file systems have no locks; then nobody is kept out.


def _has_name(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _read_part(part: Part, first: dict[str, Any]) -> None:
    """Takes over what an earlier run left, up to the first line that is torn."""
    with naming(part.path), part.path.open("rb") as file:
        for line in file:
            record = _record(line)
            if record is None:
                break
            if part._end == 0:
                _check_first(part.path, record, first)
            else:
                _take(part, record)
            part._end += len(line)


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:  # zeros, for one, after a loss of power
        return None
    return record if isinstance(record, dict) else None


def _take(part: Part, record: dict[str, Any]) -> None:
    try:
        row, stamp = ScoreRow(**record["row"]), record["stamp"]
        stamp = None if stamp is None else tuple(stamp)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{part.path} holds what is no row ({error}); --no-resume starts over."
        ) from error
    if row.sha256 is not None:
        known = _Known(part._end, stamp, row.status, row.sha256)
        part._known[row.path, row.reference] = known


def _check_first(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if found.get("part") != FORMAT:
        raise InputError(
            f"{path} is no part file of this version; move it, or start over with "
            "--no-resume."
        )
    for kind in ("header", "settings"):
        before, now = found.get(kind) or {}, wanted[kind]
        for name in [*now, *(name for name in before if name not in now)]:
            if before.get(name) != now.get(name):
                raise InputError(
                    f"{path} was begun with {name} {before.get(name)}, this is "
                    f"{now.get(name)}; start over with --no-resume, or give another "
                    "--out."
                )


def _key_of(item: Input) -> _Key:
    if isinstance(item, tuple):
        reference, distorted = item
        return os.fspath(distorted), os.fspath(reference)
    return (item.path if isinstance(item, Member) else os.fspath(item)), None


def names_of(inputs: Iterable[Input]) -> Iterator[str]:
    """What the rows of the inputs call them; of a pair the distorted picture and,
    after a NUL, the reference."""
    for item in inputs:
        path, reference = _key_of(item)
        yield path if reference is None else f"{path}\0{reference}"
