"""The rows that scoring writes: one a picture, with a fixed set of columns.

JSON lines (`.jsonl`) is the format of record: first `{"header": {...}}`, then one
object a row. Names that are no valid UTF-8 survive as JSON escapes.

CSV (`.csv`) has the same columns; its header record goes beside it, into
`NAME.csv.header.json`, because comment lines break readers. Three rules keep it both
harmless and reversible; `read_rows` undoes them:

- None is an empty cell;
- a text cell that begins with = + - @, a tab or a carriage return (after any number
  of apostrophes) gets one apostrophe in front, so that no spreadsheet runs it;
- a byte that is no UTF-8 is written `\\udcXX`; backslashes before such a sequence
  are doubled.

Floats are written in full (`repr`); NaN and infinity never are.
"""

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
import re
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from ganiqa_jax.errors import InputError

SCHEMA = 1

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
    score_range: tuple[float, float] = (0.0, 1.0)
    direction: Literal["higher_better"] = "higher_better"
    schema: int = SCHEMA


PAIR_COLUMNS = tuple(field.name for field in dataclasses.fields(ScoreRow))
COLUMNS = PAIR_COLUMNS[:-1]

_HINTS = typing.get_type_hints(ScoreRow)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPABLE = re.compile(r"(\\*)(?:([\ud800-\udfff])|((?<=\\)ud[89a-f][0-9a-f]{2}))")
_ESCAPED = re.compile(r"(\\+)u(d[89a-f][0-9a-f]{2})")


class RowWriter:
    """Writes rows to an open stream, each at once; made by `open_rows`."""

    def __init__(
        self, send: Callable[[str], None], encode: Callable[[ScoreRow], str]
    ) -> None:
        self._send = send
        self._encode = encode

    def write(self, row: ScoreRow) -> None:
        """Appends one row.

        Raises:
          InputError: if the file cannot grow: disk full, for one.
        """
        self._send(self._encode(row))


@contextlib.contextmanager
def open_rows(path: Path | None, header: RowsHeader) -> Iterator[RowWriter]:
    """Opens a file for rows; it gets its name only when all of them are in it.

    Until then, and for good if the body ends early, they are in `NAME.part` beside
    it, each written out as it comes.

    Args:
      path: a `.jsonl` or `.csv` file, whose folder is made; None is standard
        output, as JSON lines.
      header: written first.

    Raises:
      InputError: if the suffix is another one, or the file cannot be written.
    """
    if path is None:
        yield _start(_print, ".jsonl", header)
        return
    kind = kind_of(path)
    part = path.with_name(path.name + ".part")
    with _naming(path):
        if path.is_dir():
            raise InputError(f"{path} is a folder; give the name of a file.")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: a row is in the file when `write` returns, and closing a full
        # disk's file has nothing left to fail on.
        file = part.open("wb", buffering=0)
    with file:
        try:
            yield _start(lambda text: _append(file, text, path), kind, header)
        except BaseException as error:
            error.add_note(f"The rows so far are in {part}.")
            raise
        with _naming(path):
            os.fsync(file.fileno())
    with _naming(path):
        if kind == ".csv":
            _sidecar(path).write_text(_header_json(header), encoding="utf-8")
        os.replace(part, path)


def read_rows(path: Path) -> list[ScoreRow]:
    """The rows of a file that `open_rows` wrote, or of its `.part`.

    A last line that was cut off is left out of a `.part`.

    Raises:
      InputError: if a line is no row; names it.
    """
    rows = []
    for number, values in _records(path):
        if "header" in values:
            continue
        try:
            rows.append(ScoreRow(**values))
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, line {number}: {error}") from error
    return rows


def read_header(path: Path) -> RowsHeader | None:
    """The header of a file of rows; None if it has lost it.

    Raises:
      InputError: if the header is of another version, or no header.
    """
    if kind_of(path) == ".csv":
        beside = _sidecar(path)
        if not beside.exists():
            return None
        record = _load_json(beside.read_text(encoding="utf-8"), beside, 1)
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
    """`.jsonl` or `.csv`, also of a `.part`.

    Raises:
      InputError: if the name ends otherwise.
    """
    name = path.with_suffix("") if path.suffix == ".part" else path
    if name.suffix not in (".jsonl", ".csv"):
        raise InputError(f"{path}: a file of rows ends in .jsonl or .csv.")
    return name.suffix


def _start(send: Callable[[str], None], kind: str, header: RowsHeader) -> RowWriter:
    columns = PAIR_COLUMNS if header.pairs else COLUMNS
    if kind == ".jsonl":
        send(_header_json(header))
        return RowWriter(send, lambda row: _json_line(row, columns))
    send(_csv_line(columns))
    return RowWriter(
        send,
        lambda row: _csv_line([_to_cell(getattr(row, name)) for name in columns]),
    )


def _append(file: IO[bytes], text: str, path: Path) -> None:
    rest = memoryview(text.encode("utf-8"))
    with _naming(path):
        while rest:  # an unbuffered write may take only a part
            rest = rest[file.write(rest) :]


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error


def _header_json(header: RowsHeader) -> str:
    return json.dumps({"header": dataclasses.asdict(header)}, allow_nan=False) + "\n"


def _json_line(row: ScoreRow, columns: Sequence[str]) -> str:
    values = {name: getattr(row, name) for name in columns}
    return json.dumps(values, allow_nan=False) + "\n"


def _csv_line(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _to_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = to_utf8(value)
    return "'" + text if _FORMULA.match(text) else text


def to_utf8(text: str) -> str:
    """A text that may be stored anywhere: bytes that are no UTF-8 are told of as in
    CSV."""
    return _ESCAPABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    backslashes, surrogate, literal = match.groups()
    tail = f"\\u{ord(surrogate):x}" if surrogate else literal
    return 2 * backslashes + tail


def _from_cell(name: str, cell: str) -> Any:
    if cell == "" and name != "path":
        return None
    kind = _HINTS[name]
    for number in (int, float):
        if kind in (number, number | None):
            return number(cell)
    text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return _ESCAPED.sub(_unescape, text)


def _unescape(match: re.Match[str]) -> str:
    backslashes, digits = match.groups()
    half = "\\" * (len(backslashes) // 2)
    return half + (chr(int(digits, 16)) if len(backslashes) % 2 else "u" + digits)


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and values of each record, the header of JSON lines included."""
    csv_file = kind_of(path) == ".csv"
    partial = path.suffix == ".part"
    try:
        # Not read_text: it would turn the carriage returns of a name into newlines.
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {error}.") from error
    if partial:
        text = text[: text.rfind("\n") + 1]
    yield from (_csv_records if csv_file else _json_records)(path, text)


def _json_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line:
            yield number, _load_json(line, path, number)


def _csv_records(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    columns = next(reader, [])
    if tuple(columns) not in (COLUMNS, PAIR_COLUMNS):
        raise InputError(f"{path} has other columns than {', '.join(COLUMNS)}.")
    for cells in reader:
        if len(cells) != len(columns):
            raise InputError(
                f"{path}, line {reader.line_num}: {len(cells)} cells in place of "
                f"{len(columns)}."
            )
        try:
            pairs = zip(columns, cells, strict=True)
            values = {name: _from_cell(name, cell) for name, cell in pairs}
        except ValueError as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}") from error
        yield reader.line_num, values


def _load_json(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"{path}, line {number} is no JSON object.")
    return record


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".header.json")
