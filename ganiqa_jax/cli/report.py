"""`ganiqa report`: files of scores as one page that people read."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro


def report(
    rows: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(metavar="ROWS...")]
    ],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("report.html"),
    labels: Path | None = None,
    group_by: str = "",
    maps: Path | None = None,
    root: Path | None = None,
    title: str = "",
    best: int = 24,
    worst: int = 24,
    between: int = 48,
    side: int = 384,
    bootstrap: int = 1000,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
    progress: bool = True,
) -> None:
    """One HTML page of scored pictures: distribution, best, worst, groups, residuals.

    It opens offline, holds every row and the pictures that it shows, and sorts,
    filters and zooms.

      ganiqa report scores.jsonl
      ganiqa report scores.jsonl --labels mos.csv --group-by generator
      ganiqa report model_a.jsonl model_b.jsonl --out both.html

    Args:
        rows: files of ganiqa score or compare (.jsonl, .csv, .parquet), by one model.
        out: the page.
        labels: CSV with the columns path and mos (any scale, higher is better); other
            columns may be grouped by.
        group_by: column of the labels or the rows, folder, or file.
        maps: folder of quality maps, PNG files named as the pictures.
        root: folder that relative paths of pictures start from.
        title: heading of the page.
        best: most pictures of the highest scores to embed.
        worst: most pictures of the lowest scores.
        between: most pictures evenly between them.
        side: longest side of an embedded picture, in pixels.
        bootstrap: draws for the intervals.
        json_output: print the page's numbers as JSON.
        progress: a progress line on standard error.
    """
    from ganiqa_jax.report.scores import make_report
    from ganiqa_jax.report.scores_page import Shown, write_report

    made = make_report(rows, labels=labels, group_by=group_by, bootstrap=bootstrap)
    write_report(
        out,
        made,
        title=title,
        shown=Shown(best=best, worst=worst, between=between, side=side),
        root=root,
        maps=maps,
        progress=_say if progress and sys.stderr.isatty() else None,
    )
    if json_output:
        json.dump(_numbers(made, out), sys.stdout, indent=2)
        print()
    else:
        print(f"{out}: {len(made.rows)} pictures, {_counts(made.statuses)}")


def _say(done: int, total: int) -> None:
    end = "\n" if done + 1 == total else ""
    print(f"\rpicture {done + 1} of {total}", end=end, file=sys.stderr, flush=True)


def _counts(statuses) -> str:
    return ", ".join(f"{count} {status}" for status, count in statuses.items())


def _numbers(made, out: Path) -> dict[str, Any]:
    from ganiqa_jax.metrics import to_json

    scores = made.scores()
    found: dict[str, Any] = {
        "out": str(out),
        "pictures": len(made.rows),
        "statuses": dict(made.statuses),
        "mean": float(scores.mean()) if scores.size else None,
        "groups": [to_json(group._asdict()) for group in made.groups],
    }
    if made.agreement:
        found["agreement"] = to_json(dict(made.agreement.estimates))
        found["agreement"]["n"] = len(made.agreement.rows)
    return found
