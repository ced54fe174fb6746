"""Rows as a Parquet file; needs pyarrow, of the extra `datasets`.

The header record is in the file's metadata, under the key `ganiqa`. Texts are escaped
as by `cells.to_utf8`, because Parquet holds no bytes that are no UTF-8.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.cells import from_utf8, to_utf8

GROUP = 20_000
"""Rows that are held before they are written as one row group."""

_KEY = b"ganiqa"


class ParquetRows:
    """Writes rows to a file that is closed at the end.

    Args:
      path: of the file.
      header: of the rows, as JSON.
      columns: names and types (str, int, float) of the columns.
    """

    def __init__(
        self, path: Path, header: str, columns: Sequence[tuple[str, type]]
    ) -> None:
        pyarrow = import_pyarrow()
        kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
        self._schema = pyarrow.schema(
            [(name, kinds[kind]) for name, kind in columns], {_KEY: header.encode()}
        )
        self._texts = [name for name, kind in columns if kind is str]
        self._table = pyarrow.Table
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, values: dict[str, Any]) -> None:
        """Adds a row; it is in the file after `close`."""
        for name in self._texts:
            if values[name] is not None:
                values[name] = to_utf8(values[name])
        self._rows.append(values)
        if len(self._rows) == GROUP:
            self._flush()

    def close(self) -> None:
        """Writes what is held and the file's end."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_table(self._table.from_pylist(self._rows, self._schema))
        self._rows = []


def read_parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The values of each row.

    Raises:
      InputError: if it is no Parquet file.
    """
    pyarrow = import_pyarrow()
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(GROUP):
                for values in batch.to_pylist():
                    yield {name: _text(value) for name, value in values.items()}
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"Cannot read {path}: {error}.") from error


def read_parquet_header(path: Path) -> dict[str, Any]:
    """The header record of a file of rows; empty if it has none.

    Raises:
      InputError: if it is no Parquet file.
    """
    pyarrow = import_pyarrow()
    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
        return json.loads(metadata.get(_KEY, b"{}"))
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(f"Cannot read {path}: {error}.") from error


def import_pyarrow() -> Any:
    """The package pyarrow.

    Raises:
      InputError: if it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(
            "Parquet needs the package pyarrow: pip install 'ganiqa-jax[datasets]'."
        ) from error
    return pyarrow


def _text(value: Any) -> Any:
    return from_utf8(value) if isinstance(value, str) else value
