"""Your own scored pictures: a CSV or Parquet table of paths and scores.

The columns `path` and `mos` must be there. `reference` is the pristine picture,
`std` the deviation of the opinions, `group` what a split must never part (a scene, a
prompt, a person), and `split` one of train, validation and test, or nothing. Other
columns are passed over. Paths are relative to the folder of the table, or absolute.

The range of the scores is what `low` and `high` say. Where they are left out it is
that of the data itself, from the lowest to the highest score of the table: then the
scores of two tables, or of a table before and after rows were added, do not compare.
"""

import math
from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.labels import ADVICE_EXTRA
from ganiqa_jax.data.records import Record, Split, check_records, read_table, score_in
from ganiqa_jax.errors import InputError

FACTS = Facts(
    name="table",
    title="Your table",
    kind="pictures",
    pictures=0,
    references=0,
    contents=0,
    scale="score in [0, 1]",
    low=0.0,
    high=1.0,
    rises=True,
    licence="yours",
    address="",
    layout=(
        "Give a .csv or .parquet file with the columns path and mos (and reference, "
        "std, group, split), or a folder that holds it as labels.csv or "
        "labels.parquet."
    ),
    citation="",
)

COLUMNS = ("path", "mos")


def read_records(
    root: Path,
    *,
    allow_missing: bool = False,
    low: float | None = None,
    high: float | None = None,
    rises: bool = True,
) -> list[Record]:
    """Reads a table of pictures and scores; opens no picture.

    Args:
      root: the table, or a folder that holds `labels.csv` or `labels.parquet`.
      allow_missing: leave out pictures that are not there.
      low: lowest score of the scale; the lowest of the table if left out.
      high: highest score of the scale; the highest of the table if left out.
      rises: whether the scores rise with quality; False turns them round.

    Returns:
      One record per row, in file order, scores rescaled to [0, 1], higher is better.
      The content is the group, or else the reference, or else the picture.

    Raises:
      InputError: if table, columns or pictures are missing or damaged, or the scores
        leave the range.
    """
    table = _find(root)
    rows = _rows(table)
    bounds = _bounds(rows, low, high, table)
    records = [_record(row, table, bounds, rises) for row in rows]
    return check_records(
        records, dataset=str(table), advice=FACTS.layout, allow_missing=allow_missing
    )


def _find(root: Path) -> Path:
    if root.suffix.lower() in (".csv", ".parquet"):
        return root
    return Folder(root).file("labels.csv", "labels.parquet")


def _rows(table: Path) -> list[dict[str, str]]:
    if table.suffix.lower() != ".parquet":
        return read_table(table, COLUMNS, advice=FACTS.layout)
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise InputError(f"Reading {table} {ADVICE_EXTRA}") from error
    try:
        columns = parquet.read_table(table)
        names, rows = columns.column_names, columns.to_pylist()
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise InputError(f"Cannot read {table} ({reason}). {FACTS.layout}") from error
    except (ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{table} is not a Parquet table. {FACTS.layout}") from error
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise InputError(
            f"{table} has no column {', '.join(missing)}; it has "
            f"{', '.join(names) or 'none'}. {FACTS.layout}"
        )
    return [
        {name: "" if cell is None else str(cell) for name, cell in row.items()}
        for row in rows
    ]


def _bounds(
    rows: list[dict[str, str]], low: float | None, high: float | None, table: Path
) -> tuple[float, float]:
    if low is None or high is None:
        scores = [_number(row, table) for row in rows]
        if not scores:
            return 0.0, 1.0  # an empty table is refused when it is checked
        low = min(scores) if low is None else low
        high = max(scores) if high is None else high
    if not low < high:
        raise InputError(
            f"{table}: scores from {low:g} to {high:g} are no range; give low and high."
        )
    return low, high


def _number(row: dict[str, str], table: Path) -> float:
    try:
        value = float(row["mos"])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{table}: mos of {row['path']!r} is {row['mos']!r}, not a number; check "
            "the file."
        )
    return value


def _record(
    row: dict[str, str], table: Path, bounds: tuple[float, float], rises: bool
) -> Record:
    name = row["path"]
    if not name:
        raise InputError(f"{table}: a row has no path; check the file.")
    share = score_in(row, "mos", bounds, name=name, table=table)
    reference = row.get("reference") or None
    part = row.get("split", "")
    if part not in ("", *Split._fields):
        raise InputError(
            f"{table}: split of {name!r} is {part!r}, not one of "
            f"{', '.join(Split._fields)}; mend or empty that cell."
        )
    width = (0.0, bounds[1] - bounds[0])
    return Record(
        name=name,
        distorted=table.parent / name,
        reference=None if reference is None else table.parent / reference,
        mos=share if rises else 1.0 - share,
        content=row.get("group") or reference or name,
        std=score_in(row, "std", width, name=name, table=table)
        if row.get("std")
        else None,
        part=part,
    )
