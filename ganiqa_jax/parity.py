"""How far two sets of scores, or of a network's activations, agree.

Scores are compared picture by picture, activations array by array, in the order in
which the first file has them: for a dump that is the order of the layers, so that the
first array that departs is where two networks part.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ganiqa_jax.convert.files import read_weights
from ganiqa_jax.errors import InputError
from ganiqa_jax.metrics import srcc
from ganiqa_jax.scoring.rows import COLUMNS, PAIR_COLUMNS, read_rows

NAME_COLUMNS = ("path", "name")
TABLES = (".jsonl", ".csv")
DUMPS = (".npz", ".safetensors")


class Agreement(NamedTuple):
    """Two arrays of numbers compared.

    Attributes:
      name: of the array.
      n: numbers compared.
      max: the largest absolute difference; infinite if shapes differ.
      mean: the mean absolute difference.
      scale: the largest absolute number of the second.
      rank: Spearman's rank correlation; None if there is nothing to rank.
      departs: whether the largest difference is beyond the tolerance.
      note: what cannot be compared, such as two shapes.
    """

    name: str
    n: int
    max: float
    mean: float
    scale: float
    rank: float | None
    departs: bool
    note: str = ""


class Case(NamedTuple):
    """One number of the first file beside that of the second."""

    name: str
    first: float
    second: float
    difference: float


class Parity(NamedTuple):
    """The whole comparison.

    Attributes:
      arrays: one entry an array; of score files one.
      worst: the largest differences, largest first.
      only_first: names that the second file lacks, or has no score for.
      only_second: the same of the first.
      first_departure: name of the first array beyond the tolerance, if any.
      atol: absolute tolerance.
      rtol: tolerance relative to the largest number of an array.
    """

    arrays: list[Agreement]
    worst: list[Case]
    only_first: list[str]
    only_second: list[str]
    first_departure: str | None
    atol: float
    rtol: float

    @property
    def agrees(self) -> bool:
        """Whether all is there on both sides, and within the tolerance."""
        lone = self.only_first or self.only_second
        return self.first_departure is None and not lone


def compare_files(
    first: Path,
    second: Path,
    *,
    atol: float = 1e-4,
    rtol: float = 0.0,
    top: int = 20,
    column: str = "score",
) -> Parity:
    """Compares two files of scores, or two dumps of activations.

    Args:
      first: `.jsonl` or `.csv` of rows, or any CSV with a column of `NAME_COLUMNS`
        and one of scores; or an `.npz` or `.safetensors` of arrays by layer.
      second: the same kind.
      atol: largest difference that still agrees.
      rtol: added to it, times the largest number of an array.
      top: how many of the worst cases are kept.
      column: which numbers of a file of scores.

    Raises:
      InputError: if the files are of different kinds, cannot be read, or have
        nothing in common.
      IntegrityError: if a dump is damaged.
    """
    for path in (first, second):
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
    kinds = {_kind(first), _kind(second)}
    if len(kinds) > 1:
        raise InputError(
            f"{first} has scores and {second} activations, or the reverse."
        )
    if kinds == {"scores"}:
        tables = read_scores(first, column), read_scores(second, column)
        return compare_scores(*tables, atol=atol, rtol=rtol, top=top)
    dumps = read_weights(first).arrays, read_weights(second).arrays
    return compare_activations(*dumps, atol=atol, rtol=rtol, top=top)


def compare_scores(
    first: Mapping[str, float | None],
    second: Mapping[str, float | None],
    *,
    atol: float,
    rtol: float = 0.0,
    top: int = 20,
) -> Parity:
    """Compares scores by picture.

    A picture that neither side has a score for agrees, and does not count.

    Args:
      first: name of a picture to its score, None without one.
      second: the same.
      atol, rtol, top: as in `compare_files`.

    Raises:
      InputError: if no picture has a score on both sides.
    """
    second = _renamed(first, second)
    scored = [{k for k, v in side.items() if v is not None} for side in (first, second)]
    common = [name for name in first if name in scored[0] & scored[1]]
    if not common:
        raise InputError("No picture has a score in both files.")
    a = np.array([first[name] for name in common], np.float64)
    b = np.array([second[name] for name in common], np.float64)
    agreement = _agreement("score", a, b, atol, rtol)
    return Parity(
        [agreement],
        _worst(common, a, b, top),
        sorted(scored[0] - scored[1]),
        sorted(scored[1] - scored[0]),
        "score" if agreement.departs else None,
        atol,
        rtol,
    )


def compare_activations(
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    *,
    atol: float,
    rtol: float = 0.0,
    top: int = 20,
) -> Parity:
    """Compares arrays by name, in the order of the first.

    Args:
      first: name of a layer to its activations.
      second: the same.
      atol, rtol, top: as in `compare_files`.

    Raises:
      InputError: if no array has the same name on both sides.
    """
    common = [name for name in first if name in second]
    if not common:
        raise InputError("No array has the same name in both files.")
    arrays, worst = [], []
    for name in common:
        a, b = np.asarray(first[name]), np.asarray(second[name])
        if a.shape != b.shape:
            note = f"{a.shape} against {b.shape}"
            arrays.append(Agreement(name, 0, math.inf, math.inf, 0.0, None, True, note))
            continue
        a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        arrays.append(_agreement(name, a, b, atol, rtol))
        worst.extend(_worst_of_layer(name, first[name].shape, a, b, top))
    departing = [array.name for array in arrays if array.departs]
    return Parity(
        arrays,
        sorted(worst, key=lambda case: -case.difference)[:top],
        [name for name in first if name not in second],
        [name for name in second if name not in first],
        departing[0] if departing else None,
        atol,
        rtol,
    )


def read_scores(path: Path, column: str = "score") -> dict[str, float | None]:
    """The scores of a file by the names of its pictures.

    Raises:
      InputError: if the file has no such columns, a score is no number, or a picture
        is there twice.
    """
    if path.suffix == ".jsonl" or _columns(path) in (COLUMNS, PAIR_COLUMNS):
        if column not in COLUMNS:
            raise InputError(f"{path} has no column {column!r}.")
        pairs = [(_name(row), getattr(row, column)) for row in read_rows(path)]
    else:
        pairs = _read_table(path, column)
    scores = dict(pairs)
    if len(scores) != len(pairs):
        seen: set[str] = set()
        twice = next(n for n, _ in pairs if n in seen or seen.add(n))
        raise InputError(f"{path} has {twice} more than once.")
    return scores


def to_json(parity: Parity) -> dict[str, Any]:
    """A comparison as JSON values; infinity is null."""
    return {
        "agrees": parity.agrees,
        "atol": parity.atol,
        "rtol": parity.rtol,
        "first_departure": parity.first_departure,
        "arrays": [_plain(entry._asdict()) for entry in parity.arrays],
        "worst": [case._asdict() for case in parity.worst],
        "only_first": parity.only_first,
        "only_second": parity.only_second,
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if v == math.inf else v for k, v in values.items()}


def _agreement(
    name: str, a: np.ndarray, b: np.ndarray, atol: float, rtol: float
) -> Agreement:
    if not a.size:
        return Agreement(name, 0, 0.0, 0.0, 0.0, None, False, "empty")
    difference = np.abs(a - b)
    scale, largest = float(np.abs(b).max()), float(difference.max())
    rank = srcc(a, b)
    return Agreement(
        name,
        a.size,
        largest,
        float(difference.mean()),
        scale,
        None if math.isnan(rank) else rank,
        largest > atol + rtol * scale,
    )


def _worst(names: Sequence[str], a: np.ndarray, b: np.ndarray, top: int) -> list[Case]:
    difference = np.abs(a - b)
    order = np.argsort(-difference, kind="stable")[:top]
    return [
        Case(str(names[i]), float(a[i]), float(b[i]), float(difference[i]))
        for i in order.tolist()
    ]


def _worst_of_layer(
    name: str, shape: tuple[int, ...], a: np.ndarray, b: np.ndarray, top: int
) -> list[Case]:
    """The worst cells of one array, called `layer[0, 3, 7]`."""
    order = np.argsort(-np.abs(a - b), kind="stable")[:top]
    places = [np.unravel_index(i, shape) if shape else () for i in order]
    cells = [f"{name}{[int(p) for p in place]}" for place in places]
    return _worst(cells, a[order], b[order], top)


def _renamed(
    first: Mapping[str, float | None], second: Mapping[str, float | None]
) -> Mapping[str, float | None]:
    """The second under the names of the first, if the folders differ and no more."""
    if set(first) & set(second):
        return second
    by_file = {Path(name).name: name for name in first}
    files = [Path(name).name for name in second]
    if len(by_file) < len(first) or len(set(files)) < len(files):
        return second
    return {
        by_file.get(file, name): second[name]
        for file, name in zip(files, second, strict=True)
    }


def _read_table(path: Path, column: str) -> list[tuple[str, float | None]]:
    columns = _columns(path)
    name = next((c for c in NAME_COLUMNS if c in columns), None)
    if name is None or column not in columns:
        raise InputError(
            f"{path} needs a column {' or '.join(NAME_COLUMNS)} and one {column!r}; "
            f"it has {', '.join(columns) or 'none'}."
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(row[name], row[column]) for row in csv.DictReader(file)]
    try:
        return [(name, float(cell) if cell else None) for name, cell in rows]
    except ValueError as error:
        raise InputError(f"{path}: {error}.") from error


def _columns(path: Path) -> tuple[str, ...]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return tuple(next(csv.reader(file), ()))
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text: {error}.") from error


def _name(row: Any) -> str:
    """A picture's path; of a pair both."""
    return row.path if row.reference is None else f"{row.path} < {row.reference}"


def _kind(path: Path) -> str:
    if path.suffix in TABLES:
        return "scores"
    if path.suffix in DUMPS:
        return "activations"
    raise InputError(f"{path} is none of {', '.join((*TABLES, *DUMPS))}.")
