"""Files of score rows as one HTML page that sorts, filters and zooms offline.

Every row is in the page, as data; pictures are embedded for a few of them only: the
best, the worst, an even sample between, and with labels those they disagree on most.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ganiqa_jax import metrics
from ganiqa_jax.errors import InputError
from ganiqa_jax.report.groups import Group, compare_groups
from ganiqa_jax.report.labels import Labels, match, mos_of, read_labels
from ganiqa_jax.scoring.rows import COLUMNS, RowsHeader, ScoreRow, read_header
from ganiqa_jax.scoring.rows import read_rows as read_score_rows

MOST_BOOTSTRAPPED = 5000
"""Labelled pictures above which correlations get no interval: it would be narrower
than 0.03 (Fisher's z), and Kendall's correlation of each draw takes long."""
NO_GROUP = "(none)"


class Agreement(NamedTuple):
    """Predictions against opinion scores.

    Attributes:
      estimates: as `metrics.summary` names them.
      fit: from score to opinion score: the logistic, or a line if it did not converge.
      scores: of the labelled rows.
      mos: opinion scores of the same, on the scale of the table.
      rows: places of the same in `Report.rows`.
    """

    estimates: Mapping[str, metrics.Estimate]
    fit: Callable[[np.ndarray], np.ndarray]
    scores: np.ndarray
    mos: np.ndarray
    rows: Sequence[int]

    def residuals(self) -> np.ndarray:
        """Opinion score minus what the fit predicts, on the scale of the table."""
        return self.mos - self.fit(self.scores)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a page shows.

    Attributes:
      rows: of all files, in their order.
      sources: file names with the SHA-256 of each file.
      header: what holds for all rows; None if the files have lost it.
      group_by: name of the column that `groups` are of; empty without groups.
      group_of: group of every row; empty without groups.
      groups: sorted by mean score.
      agreement: with labels.
      labelled: rows that the table of labels names, scored or not.
    """

    rows: Sequence[ScoreRow]
    sources: Mapping[str, str]
    header: RowsHeader | None = None
    group_by: str = ""
    group_of: Sequence[str] = ()
    groups: Sequence[Group] = ()
    agreement: Agreement | None = None
    labelled: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)

    def scores(self) -> np.ndarray:
        """Scores of the rows that have one, float64."""
        return np.array([row.score for row in self.rows if row.score is not None])


def make_report(
    files: Sequence[Path],
    *,
    labels: Path | None = None,
    group_by: str = "",
    bootstrap: int = 1000,
) -> Report:
    """Reads rows and measures what the page shows.

    Args:
      files: of `ganiqa score` or `compare`, by one model with one preprocessing.
      labels: CSV with `path` and `mos`, on any scale, higher is better; other columns
        may hold groups.
      group_by: a column of `labels` or of the rows, `folder` for the folder of each
        picture, or `file` for the file of rows; of several files this is the default.
      bootstrap: draws for intervals.

    Raises:
      InputError: if a file cannot be read, the files are of several models, labels
        match nothing, or there is no such column.
    """
    tables = [read_score_rows(path) for path in files]
    rows = [row for table in tables for row in table]
    if not rows:
        raise InputError(f"{', '.join(map(str, files))}: no rows, nothing to report.")
    check_one_model(rows)
    table = read_labels(labels) if labels else None
    cells = match(table, [row.path for row in rows]) if table else []
    by = group_by or ("file" if len(files) > 1 else "")
    group_of: list[str] = []
    if by == "file":
        names = unique_names(files)
        group_of = [n for n, t in zip(names, tables, strict=True) for _ in t]
    elif by:
        group_of = _group_names(by, rows, table, cells)
    scores = [row.score for row in rows]
    return Report(
        rows=rows,
        sources={str(path): _sha256(path) for path in files},
        header=next((h for h in map(read_header, files) if h), None),
        group_by=by,
        group_of=group_of,
        groups=compare_groups(scores, group_of, bootstrap=bootstrap) if by else (),
        agreement=_agreement(rows, table, cells, bootstrap) if table else None,
        labelled=sum(found is not None for found in cells),
        statuses=dict(Counter(row.status for row in rows).most_common()),
    )


def check_one_model(rows: Sequence[ScoreRow]) -> None:
    """Refuses rows whose scores do not compare.

    Raises:
      InputError: if they are of several weights or preprocessings; names them.
    """
    kinds = Counter((row.model, row.model_sha, row.prep_sha) for row in rows)
    if len(kinds) > 1:
        (one, _), (other, _) = kinds.most_common(2)
        raise InputError(
            f"The rows are of {len(kinds)} models or preprocessings ({' '.join(one)} "
            f"and {' '.join(other)}), whose scores do not compare; score all pictures "
            "with one."
        )


def unique_names(files: Sequence[Path]) -> list[str]:
    """What to call each file: its stem, or its whole path where stems are the same."""
    stems = Counter(path.stem for path in files)
    return [path.stem if stems[path.stem] == 1 else str(path) for path in files]


def _group_names(
    by: str,
    rows: Sequence[ScoreRow],
    table: Labels | None,
    cells: Sequence[Mapping[str, str] | None],
) -> list[str]:
    if table and by in table.columns:
        return [(found or {}).get(by, "") or NO_GROUP for found in cells]
    if by == "folder":
        return [PurePosixPath(row.path).parent.name or NO_GROUP for row in rows]
    if by in COLUMNS:
        values = [getattr(row, by) for row in rows]
        return [NO_GROUP if value is None else str(value) for value in values]
    named = ", ".join((*(table.columns if table else ()), "folder", "file", *COLUMNS))
    raise InputError(f"There is no column {by!r} to group by; there are {named}.")


def _agreement(
    rows: Sequence[ScoreRow],
    table: Labels,
    cells: Sequence[Mapping[str, str] | None],
    bootstrap: int,
) -> Agreement | None:
    pairs = [
        (place, row.score, mos)
        for place, (row, found) in enumerate(zip(rows, cells, strict=True))
        if row.score is not None and (mos := mos_of(table, found)) is not None
    ]
    if not pairs:
        return None
    places = [place for place, _, _ in pairs]
    scores = np.array([score for _, score, _ in pairs])
    mos = np.array([value for _, _, value in pairs])
    draws = bootstrap if len(pairs) <= MOST_BOOTSTRAPPED else 0
    found = metrics.summary(scores, mos, groups=None, bootstrap=draws)
    estimates = {k: v for k, v in found.items() if isinstance(v, metrics.Estimate)}
    # Scores and labels are on different scales, so a raw error means nothing.
    fit = _fit(scores, mos)
    nan = float("nan")
    estimates["rmse"] = metrics.Estimate(metrics.rmse(fit(scores), mos), nan, nan)
    return Agreement(estimates, fit, scores, mos, places)


def _fit(scores: np.ndarray, mos: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    fit = metrics.logistic_fit(scores, mos)
    if fit.converged:
        return fit
    centred = scores - scores.mean()
    spread = float(centred @ centred)
    slope = float(centred @ mos) / spread if spread > 0 else 0.0
    return lambda x: mos.mean() + slope * (x - scores.mean())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
