"""Label files that are no CSV table: lines of text, MATLAB arrays, spreadsheets.

What is wrong with a file is said in one line that names it. The libraries are
imported when a file is opened, because most data sets need none of them.
"""

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
      InputError: if the file is missing or no text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}). {advice}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text: {error.reason}. {advice}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_matlab(path: Path, *, advice: str) -> Mapping[str, np.ndarray]:
    """Arrays of a MATLAB file, by name.

    Raises:
      InputError: if the file is missing or damaged.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(path, appendmat=False)
    except FileNotFoundError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}). {advice}") from error
    except (
        # All of these are what loadmat raises for files that are cut or no MATLAB.
        MatReadError,
        NotImplementedError,
        OSError,
        OverflowError,
        TypeError,
        ValueError,
        struct.error,
        zlib.error,
    ) as error:
        raise InputError(f"{path} is not a MATLAB file: {error}. {advice}") from error


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
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise InputError(f"Reading {path} {ADVICE_EXTRA}") from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except FileNotFoundError as error:
        raise InputError(f"Cannot read {path} ({error.strerror}). {advice}") from error
    except (InvalidFileException, zipfile.BadZipFile, KeyError, OSError) as error:
        raise InputError(f"{path} is not an Excel file: {error}. {advice}") from error
    try:
        if sheet not in book.sheetnames:
            raise InputError(
                f"{path} has no sheet {sheet}; it has {', '.join(book.sheetnames)}. "
                f"{advice}"
            )
        rows = [
            ["" if cell is None else str(cell).strip() for cell in row]
            for row in book[sheet].iter_rows(values_only=True)
        ]
    finally:
        book.close()
    for number, row in enumerate(rows):
        if set(columns) <= set(row):
            places = {name: row.index(name) for name in columns}
            below = [row for row in rows[number + 1 :] if any(row)]
            return [{n: row[place] for n, place in places.items()} for row in below]
    raise InputError(
        f"{path}, sheet {sheet}, has no columns {', '.join(columns)}. {advice}"
    )


def _array(
    arrays: Mapping[str, np.ndarray], key: str, path: Path, advice: str
) -> np.ndarray:
    if key not in arrays:
        there = [name for name in arrays if not name.startswith("__")]
        raise InputError(
            f"{path} has no array {key}; it has {', '.join(there) or 'none'}. {advice}"
        )
    return np.ravel(arrays[key], order="F")
