"""The rows that scoring writes: one a picture, with a fixed set of columns.

JSON lines (`.jsonl`) is the format of record: first `{"header": {...}}`, then one
object a row. Names that are no valid UTF-8 survive as JSON escapes.

CSV (`.csv`) has the same columns, in cells as `cells.py` makes them; its header record
goes beside it, into `NAME.csv.header.json`, because comment lines break readers. So
does Parquet (`.parquet`), whose header record is in its metadata.

While pictures are scored their rows are in a part file (`parts.py`), which `read_rows`
reads as well.

Floats are written in full (`repr`); NaN and infinity never are.
"""

import contextlib
import csv
import dataclasses
import json
import math
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.cells import csv_line, from_cell, to_cell
from ganiqa_jax.scoring.durable import append, make_room, naming, replacing
from ganiqa_jax.scoring.parquet import (
    ParquetRows,
    read_parquet_header,
    read_parquet_rows,
)

SCHEMA = 1
SUFFIXES = (".jsonl", ".csv", ".parquet")

Status = Literal["ok", "decode_error", "too_small", "too_large", "nonfinite"]


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """What is known of one picture after scoring.

    Attributes:
      path: as given.
      sha256: of the file's bytes; None if they could not be read.
      width: as stored in the header; so `height` and `mode`, Pillow's name of the
        pixel format. None if the header could not be read.
      status: `ok`, or why there is no score: `decode_error` (also for a pair whose
        sizes differ), `too_small`, `too_large`, `nonfinite`.
      score: in [0, 1], higher is better.
      sigma: standard deviation of the crops' scores before clipping; None of one
        crop.
      mos: the score on the opinion scale that the header names.
      model: name of the model; `model_sha` of its weights, `prep_sha` of its
        preprocessing.
      crops: how many the score is the mean of; 0 without a score.
      time_ms: decoding and cropping, plus the crops' share of the device calls.
      error: why there is no score; in an `ok` row what was lost on the way, such as
        "warning: cmyk".
      reference: path of the pristine picture; only `compare` writes this column.
    """

    path: str
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    status: Status
    score: float | None = None
    sigma: float | None = None
    mos: float | None = None
    model: str
    model_sha: str
    prep_sha: str
    crops: int = 0
    time_ms: float | None = None
    error: str | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        for name in ("score", "sigma", "mos", "time_ms"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name}={value} of {self.path} is not finite.")


@dataclass(frozen=True, kw_only=True)
class RowsHeader:
    """What holds for all rows of a file.

    Attributes:
      model: and its hashes, as in the rows.
      scale: name of the opinion scale of `mos`, from `mos_low` to `mos_high`.
      pairs: rows have references.
      backend: what computed the scores.
      score_range: of `score`.
      direction: always `higher_better`.
      schema: version of the columns.
    """

    model: str
    model_sha: str
    prep_sha: str
    scale: str
    mos_low: float
    mos_high: float
    pairs: bool = False
    backend: str = "jax"
    score_range: tuple[float, float] = (0.0, 1.0)
    direction: Literal["higher_better"] = "higher_better"
    schema: int = SCHEMA


PAIR_COLUMNS = tuple(field.name for field in dataclasses.fields(ScoreRow))
COLUMNS = PAIR_COLUMNS[:-1]

_HINTS = typing.get_type_hints(ScoreRow)


class RowWriter:
    """Writes rows, one after the other; made by `open_rows`."""

    def __init__(self, send: Callable[[dict[str, Any]], None], pairs: bool) -> None:
        self._send = send
        self._pairs = pairs

    def write(self, row: ScoreRow) -> None:
        """Appends one row.

        Raises:
          InputError: if the file cannot grow: disk full, for one.
        """
        self._send(row_values(row, pairs=self._pairs))


@contextlib.contextmanager
def open_rows(path: Path | None, header: RowsHeader) -> Iterator[RowWriter]:
    """Opens a file for rows; it gets its name only when all of them are in it.

    If the body ends early, an older file of that name stays as it was and the rows are
    lost: long work goes through `parts.open_part`.

    Args:
      path: a `.jsonl`, `.csv` or `.parquet` file, whose folder is made; None is
        standard output, as JSON lines.
      header: written first.

    Raises:
      InputError: if the suffix is another one, or the file cannot be written.
    """
    if path is None:
        yield _lines(_print, ".jsonl", header)
        return
    kind = kind_of(path)
    with naming(path):
        make_room(path)
    with replacing(path) as new:
        if kind == ".parquet":
            yield from _parquet_writer(new, header)
        else:
            with naming(path):
                # Unbuffered: closing a full disk's file has nothing left to fail on.
                file = new.open("wb", buffering=0)
            with file:
                yield _lines(lambda text: append(file, text, path), kind, header)
        if kind == ".csv":
            # First: rows without a header say less than a header without rows.
            with replacing(_sidecar(path)) as beside, naming(path):
                beside.write_text(header_json(header), encoding="utf-8")


def iter_rows(path: Path) -> Iterator[ScoreRow]:
    """The rows of a file that `open_rows` wrote, or of a part file, one by one.

    What was cut off at the end of a part file is left out.

    Raises:
      InputError: if a line is no row; names it.
    """
    for number, values in _records(path):
        if "header" in values:
            continue
        try:
            yield ScoreRow(**values)
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {number}: {error}") from error


def read_rows(path: Path) -> list[ScoreRow]:
    """The rows of a file, all at once; see `iter_rows`."""
    return list(iter_rows(path))


def read_header(path: Path) -> RowsHeader | None:
    """The header of a file of rows; None if it has lost it.

    Raises:
      InputError: if the header is of another version, or no header.
    """
    kind = kind_of(path)
    if kind == ".csv":
        beside = _sidecar(path)
        if not beside.exists():
            return None
        record = load_json(beside.read_text(encoding="utf-8"), beside, 1)
    elif kind == ".parquet":
        record = read_parquet_header(path)
    else:
        record = next((values for _, values in _records(path)), {})
    if "header" not in record:
        return None
    values: Any = record["header"]
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise InputError(f"{path} has no header of version {SCHEMA}.")
    try:
        values["score_range"] = tuple(values["score_range"])
        return RowsHeader(**values)
    except (TypeError, KeyError) as error:
        raise InputError(f"{path}: header: {error}") from error


def kind_of(path: Path) -> str:
    """The suffix that decides the format; a part file's is `.part`.

    Raises:
      InputError: if the name ends otherwise.
    """
    name = path.with_suffix("") if path.suffix == ".part" else path
    if name.suffix not in SUFFIXES:
        raise InputError(f"{path}: a file of rows ends in .jsonl, .csv or .parquet.")
    return path.suffix


def header_json(header: RowsHeader) -> str:
    """The header record, as a line."""
    return json.dumps({"header": dataclasses.asdict(header)}, allow_nan=False) + "\n"


def row_values(row: ScoreRow, *, pairs: bool) -> dict[str, Any]:
    """The columns of a row, in order."""
    return {name: getattr(row, name) for name in (PAIR_COLUMNS if pairs else COLUMNS)}


def load_json(line: str | bytes, path: Path, number: int) -> dict[str, Any]:
    """The object in a line of a file.

    Raises:
      InputError: if there is none; names the line.
    """
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}, line {number}: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}, line {number} is no JSON object.")
    return record


def _lines(send: Callable[[str], None], kind: str, header: RowsHeader) -> RowWriter:
    if kind == ".jsonl":
        send(header_json(header))
        return RowWriter(
            lambda values: send(json.dumps(values, allow_nan=False) + "\n"),
            header.pairs,
        )
    send(csv_line(PAIR_COLUMNS if header.pairs else COLUMNS))
    return RowWriter(
        lambda values: send(csv_line([to_cell(value) for value in values.values()])),
        header.pairs,
    )


def _parquet_writer(new: Path, header: RowsHeader) -> Iterator[RowWriter]:
    names = PAIR_COLUMNS if header.pairs else COLUMNS
    columns = [(name, _plain(_HINTS[name])) for name in names]
    with naming(new):
        rows = ParquetRows(new, header_json(header), columns)
    try:
        yield RowWriter(rows.write, header.pairs)
    finally:
        with naming(new):
            rows.close()


def _plain(kind: Any) -> type:
    """The one type of `str`, `int` and `float` that a column is of."""
    return next((k for k in (int, float) if kind in (k, k | None)), str)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and values of each record, the header of JSON lines included."""
    read = {
        ".csv": _csv_records,
        ".jsonl": _json_records,
        ".part": _part_records,
        ".parquet": lambda path: enumerate(read_parquet_rows(path), start=1),
    }[kind_of(path)]
    try:
        yield from read(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path}: {error}.") from error


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    # Lines of bytes end at newlines alone; those of a text also at carriage returns.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line != b"\n":
                yield number, load_json(line, path, number)


def _part_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            record = load_json(line, path, number)
            yield number, record.get("row", record)


def _csv_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        columns = next(reader, [])
        if tuple(columns) not in (COLUMNS, PAIR_COLUMNS):
            raise InputError(f"{path} has other columns than {', '.join(COLUMNS)}.")
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            if len(cells) != len(columns):
                raise InputError(
                    f"{where}: {len(cells)} cells in place of {len(columns)}."
                )
            try:
                pairs = zip(columns, cells, strict=True)
                values = {name: _from_cell(name, cell) for name, cell in pairs}
            except ValueError as error:
                raise InputError(f"{where}: {error}") from error
            yield reader.line_num, values


def _from_cell(name: str, cell: str) -> Any:
    if cell == "" and name != "path":
        return None
    kind = _plain(_HINTS[name])
    return from_cell(cell) if kind is str else kind(cell)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".header.json")
