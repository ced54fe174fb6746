"""Label files that are no CSV table: lines of text, MATLAB arrays, spreadsheets.

What is wrong with a file is said in one line that names it. The libraries are
imported when a file is opened, because most data sets need none of them.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ganiqa_jax.errors import InputError

ADVICE_EXTRA = "needs the datasets extra: pip install 'ganiqa-jax[datasets]'."
"""What to do if a library of the extra is missing; follows `Reading <file>`."""


def read_lines(path: Path, *, advice: str) -> list[str]:
    """Lines of a text file without the blanks around them; empty lines are left out.

    Raises:
      InputError: if the file is missing, empty or no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}). {advice}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text: {error.reason}. {advice}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty. {advice}")
    return lines


def read_matlab(path: Path, *, advice: str) -> Mapping[str, np.ndarray]:
    """Arrays of a MATLAB file, by name.

    Raises:
      InputError: if the file is missing or damaged.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    data = _bytes(path, advice)
    try:
        found = loadmat(io.BytesIO(data))
    except (
        # All of these are what loadmat raises for files that are cut or no MATLAB.
        MatReadError,
        IndexError,
        NotImplementedError,
        OSError,
        OverflowError,
        TypeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise InputError(f"{path} is not a MATLAB file: {error}. {advice}") from error
    return {name: array for name, array in found.items() if not name.startswith("__")}


def numbers_of(
    arrays: Mapping[str, np.ndarray], key: str, *, path: Path, advice: str
) -> list[float]:
    """A numeric array of a MATLAB file, whatever its shape, as one row.

    Raises:
      InputError: if there is no such array, or it does not hold numbers.
    """
    values = _array(arrays, key, path, advice)
    if values.dtype.kind not in "biuf":
        raise InputError(f"{path}: {key} does not hold numbers. {advice}")
    return [float(value) for value in values]


def names_of(
    arrays: Mapping[str, np.ndarray], key: str, *, path: Path, advice: str
) -> list[str]:
    """A cell array of names of a MATLAB file, whatever its shape, as one row.

    Raises:
      InputError: if there is no such array, or a cell is no name.
    """
    names = []
    for cell in _array(arrays, key, path, advice):
        while isinstance(cell, np.ndarray) and cell.size == 1:
            cell = cell.flat[0]
        if not isinstance(cell, str):
            raise InputError(f"{path}: {key} does not hold names. {advice}")
        names.append(cell.strip())
    return names


def read_sheet(
    path: Path, sheet: str, columns: Sequence[str], *, advice: str
) -> list[dict[str, str]]:
    """Rows of one sheet of an Excel file, columns found by name, cells as text.

    Rows above the header, columns beside it and empty rows are passed over, because
    spreadsheets have titles, margins and notes.

    Raises:
      InputError: if openpyxl is not installed, or file, sheet or a column is missing.
    """
    rows = _cells(path, sheet, advice)
    for number, row in enumerate(rows):
        if set(columns) <= set(row):
            places = {name: row.index(name) for name in columns}
            below = [row for row in rows[number + 1 :] if any(row)]
            return [{n: row[place] for n, place in places.items()} for row in below]
    raise InputError(
        f"{path}, sheet {sheet}, has no columns {', '.join(columns)}. {advice}"
    )


def _cells(path: Path, sheet: str, advice: str) -> list[list[str]]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise InputError(f"Reading {path} {ADVICE_EXTRA}") from error
    data = _bytes(path, advice)
    try:
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        names = list(book.sheetnames)
        rows = list(book[sheet].iter_rows(values_only=True)) if sheet in names else []
    except (
        # All of these are what openpyxl raises for files that are cut or no workbook.
        EOFError,
        InvalidFileException,
        KeyError,
        NotImplementedError,
        OSError,
        SyntaxError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"{path} is not an Excel file: {error}. {advice}") from error
    if sheet not in names:
        raise InputError(
            f"{path} has no sheet {sheet}; it has {', '.join(names)}. {advice}"
        )
    return [["" if cell is None else str(cell).strip() for cell in row] for row in rows]


def _bytes(path: Path, advice: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}). {advice}") from error


def _array(
    arrays: Mapping[str, np.ndarray], key: str, path: Path, advice: str
) -> np.ndarray:
    if key not in arrays:
        raise InputError(
            f"{path} has no array {key}; it has {', '.join(arrays) or 'none'}. {advice}"
        )
    return np.ravel(arrays[key], order="F")
