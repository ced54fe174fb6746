"""A table of what is known of pictures beside their scores: MOS, generator, prompt."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ganiqa_jax.errors import InputError

NAME_COLUMNS = ("path", "name", "file", "filename", "image", "picture")
MOS_COLUMN = "mos"


class Labels(NamedTuple):
    """A CSV table with one line a picture.

    Attributes:
      source: the file, for messages.
      columns: without the one that names the picture.
      cells: name of the picture as written to its cells by column.
    """

    source: Path
    columns: tuple[str, ...]
    cells: Mapping[str, Mapping[str, str]]


def read_labels(path: Path) -> Labels:
    """Reads a CSV file whose first such column names pictures: `path`, `name`, `file`,
    `filename`, `image` or `picture`.

    Raises:
      InputError: if it cannot be read, has no such column, or names a picture twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            key = _name_column(path, columns)
            cells: dict[str, Mapping[str, str]] = {}
            for line in reader:
                name = line.pop(key)
                if None in line or None in line.values() or not name:
                    raise InputError(
                        f"{path}, line {reader.line_num} has not {len(columns)} cells "
                        f"with a name under {key!r}."
                    )
                if name in cells:
                    raise InputError(
                        f"{path}, line {reader.line_num}: {name!r} is there twice."
                    )
                cells[name] = line
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read {path} as CSV: {error}.") from error
    return Labels(path, tuple(name for name in columns if name != key), cells)


def match(labels: Labels, paths: Sequence[str]) -> list[Mapping[str, str] | None]:
    """The cells of each path, None where the table has none.

    A path is looked up as it is, and by its last part if that names one line of the
    table only.

    Raises:
      InputError: if no path is in the table.
    """
    by_last: dict[str, list[str]] = {}
    for name in labels.cells:
        by_last.setdefault(PurePosixPath(name).name, []).append(name)
    found = []
    for path in paths:
        cells = labels.cells.get(path)
        if cells is None:
            named = by_last.get(PurePosixPath(path).name, ())
            cells = labels.cells[named[0]] if len(named) == 1 else None
        found.append(cells)
    if paths and not any(cells is not None for cells in found):
        example = next(iter(labels.cells), "nothing")
        raise InputError(
            f"{labels.source} names none of the {len(paths)} pictures: it has "
            f"{example!r}, the rows have {paths[0]!r}."
        )
    return found


def mos_of(labels: Labels, cells: Mapping[str, str] | None) -> float | None:
    """The opinion score of a line, on the scale of the table; None if it is empty.

    Raises:
      InputError: if it is no finite number.
    """
    text = (cells or {}).get(MOS_COLUMN, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{labels.source}: {MOS_COLUMN} {text!r} is no finite number.")
    return value


def _name_column(path: Path, columns: Sequence[str]) -> str:
    for name in NAME_COLUMNS:
        if name in columns:
            return name
    raise InputError(
        f"{path} needs a column path or name that says which picture a line is of; "
        f"it has {', '.join(columns) or 'none'}."
    )
