"""Texts of rows as CSV cells and as plain UTF-8, both ways.

Three rules keep a CSV file both harmless and reversible:

- None is an empty cell;
- a text that begins with = + - @, a tab or a carriage return (after any number of
  apostrophes) gets one apostrophe in front, so that no spreadsheet runs it;
- a byte that is no UTF-8 is written `\\udcXX`; backslashes before such a sequence
  are doubled.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPABLE = re.compile(r"(\\*)(?:([\ud800-\udfff])|((?<=\\)ud[89a-f][0-9a-f]{2}))")
_ESCAPED = re.compile(r"(\\+)u(d[89a-f][0-9a-f]{2})")


def csv_line(cells: Sequence[Any]) -> str:
    """A line of a CSV file, ended."""
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def to_cell(value: Any) -> Any:
    """What a CSV cell holds for a value."""
    if not isinstance(value, str):
        return value
    text = to_utf8(value)
    return "'" + text if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text that a CSV cell was written for."""
    text = cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
    return from_utf8(text)


def to_utf8(text: str) -> str:
    """A text that may be stored anywhere: bytes that are no UTF-8 become `\\udcXX`."""
    return _ESCAPABLE.sub(_escape, text)


def from_utf8(text: str) -> str:
    """Undoes `to_utf8`."""
    return _ESCAPED.sub(_unescape, text)


def _escape(match: re.Match[str]) -> str:
    backslashes, surrogate, literal = match.groups()
    tail = f"\\u{ord(surrogate):x}" if surrogate else literal
    return 2 * backslashes + tail


def _unescape(match: re.Match[str]) -> str:
    backslashes, digits = match.groups()
    half = "\\" * (len(backslashes) // 2)
    return half + (chr(int(digits, 16)) if len(backslashes) % 2 else "u" + digits)
