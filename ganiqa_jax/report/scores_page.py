"""The page of a `Report`: one file that opens offline and asks nothing of anybody.

Its content policy allows the one script and the one style sheet by their hashes, and
pictures that are inside. Names reach the page escaped, as text or as JSON in a block
that no browser runs.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ganiqa_jax.errors import InputError
from ganiqa_jax.report import charts
from ganiqa_jax.report.scores import Report
from ganiqa_jax.report.thumbnails import embedded, find_map
from ganiqa_jax.scoring.rows import ScoreRow

MAP_SIDE = 256
MOST_GROUPS = 60
"""Groups with a line in the comparison: half the best, half the worst if more."""

# Ends a script or starts a comment in HTML, or a line in JavaScript before 2019.
_UNSAFE = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


class Shown(NamedTuple):
    """How many pictures are embedded, by why, and how large.

    Attributes:
      best: of the highest scores.
      worst: of the lowest.
      between: evenly over the rest, by rank.
      residuals: of the largest residuals, with labels.
      failed: without a score.
      side: longest side in pixels.
    """

    best: int = 24
    worst: int = 24
    between: int = 48
    residuals: int = 12
    failed: int = 12
    side: int = 384


EMBEDDED = Shown()


def write_report(
    path: Path,
    report: Report,
    *,
    title: str = "",
    shown: Shown = EMBEDDED,
    root: Path | None = None,
    maps: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes the page.

    Args:
      path: the HTML file; its folder is made if need be, and it gets its name when
        it is complete.
      report: of `make_report`.
      title: heading; the files' names if empty.
      shown: which pictures are embedded.
      root: folder that relative paths of pictures start from; None is the current.
      maps: folder of quality maps, for the pictures that are embedded.
      progress: called with the number of pictures read and to read.

    Raises:
      InputError: if the file cannot be written.
    """
    chosen = choose(report, shown)
    cards = []
    for done, (place, why) in enumerate(chosen.items()):
        if progress:
            progress(done, len(chosen))
        cards.append(_card(report, place, why, shown.side, root, maps))
    html = _render(report, title or _title(report), cards)
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(html, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error


def choose(report: Report, shown: Shown) -> dict[int, list[str]]:
    """Places of the rows to embed, the best score first, and why each is."""
    scored = [i for i, row in enumerate(report.rows) if row.score is not None]
    order = sorted(scored, key=lambda i: (-(report.rows[i].score or 0.0), i))
    # Of few pictures, half at most are the best and half at most the worst.
    best = order[: min(shown.best, (len(order) + 1) // 2)]
    worst = order[max(len(best), len(order) - shown.worst) :]
    rest = order[len(best) : len(order) - len(worst)]
    why: dict[int, list[str]] = {place: ["best"] for place in best}
    for place in charts.even(rest, shown.between):
        why[place] = ["between"]
    for place in worst:
        why[place] = ["worst"]
    if report.agreement:
        sizes = np.abs(report.agreement.residuals())
        for nth in np.argsort(-sizes, kind="stable")[: shown.residuals].tolist():
            why.setdefault(report.agreement.rows[nth], []).append("residual")
    unscored = [i for i, row in enumerate(report.rows) if row.score is None]
    for place in charts.even(unscored, shown.failed):
        why[place] = ["failed"]
    places = {place: rank for rank, place in enumerate(order)}
    return dict(sorted(why.items(), key=lambda e: places.get(e[0], len(order) + e[0])))


def printable(text: str) -> str:
    """Text for a page: what is no Unicode or a control character is escaped."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def short_names(rows: Sequence[ScoreRow]) -> tuple[str, list[str]]:
    """The folder that all paths share, with its slash, and the rest of each path."""
    paths = [row.path for row in rows]
    common = os.path.commonprefix([os.path.dirname(path) + "/" for path in paths])
    common = common[: common.rfind("/") + 1]
    return printable(common), [printable(path[len(common) :]) for path in paths]


def data_json(value: Any) -> Markup:
    """JSON that is safe inside a `<script type="application/json">` block."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_UNSAFE))


def policy(script: str, style: str) -> str:
    """The content policy that allows this script and this style sheet alone."""
    return (
        "default-src 'none'; img-src data:; "
        f"script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode()


def _render(report: Report, title: str, cards: Sequence[dict[str, Any]]) -> str:
    environment = Environment(
        loader=PackageLoader("ganiqa_jax.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    files = resources.files("ganiqa_jax.report")
    script = files.joinpath("scores.js").read_text(encoding="utf-8")
    style = files.joinpath("scores.css").read_text(encoding="utf-8")
    folder, names = short_names(report.rows)
    columns = _columns(report, names)
    for card in cards:
        card["name"] = names[card["row"]]
        card["mos"] = columns["mos"][card["row"]] if columns["mos"] else None
    return environment.get_template("scores.html.j2").render(
        title=printable(title),
        policy=policy(script, style),
        script=Markup(script),
        style=Markup(style),
        report=report,
        folder=folder,
        cards=cards,
        summary=_summary(report),
        plots=_plots(report, names),
        groups=_group_lines(report),
        data=data_json(columns),
    )


def _title(report: Report) -> str:
    names = [Path(source).name for source in report.sources]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return "Scores of " + ", ".join(names[:3]) + more


def _summary(report: Report) -> dict[str, Any]:
    scores = report.scores()
    found: dict[str, Any] = {
        "pictures": len(report.rows),
        "scored": int(scores.size),
        "statuses": report.statuses,
    }
    if scores.size:
        low, median, high = np.quantile(scores, [0.05, 0.5, 0.95]).tolist()
        found |= {"mean": float(scores.mean()), "low": low, "median": median}
        found["high"] = high
    return found


def _plots(report: Report, names: Sequence[str]) -> dict[str, Markup]:
    plots = {"distribution": charts.histogram(report.scores())}
    if report.agreement:
        found = report.agreement
        called = [names[place] for place in found.rows]
        scores = found.scores.tolist()
        truth = zip(scores, found.mos.tolist(), called, strict=True)
        left = zip(scores, found.residuals().tolist(), called, strict=True)
        plots["agreement"] = charts.scatter(
            list(truth), across="predicted score", up="MOS", curve=found.fit
        )
        plots["residuals"] = charts.scatter(
            list(left), across="predicted score", up="MOS minus fit", zero=True
        )
    return plots


def _group_lines(report: Report) -> list[dict[str, Any]]:
    groups = list(report.groups)
    if len(groups) > MOST_GROUPS:
        half = MOST_GROUPS // 2
        groups = groups[:half] + groups[-half:]
    return [
        group._asdict() | {"bar": charts.interval_bar(*group.mean) if group.n else ""}
        for group in groups
    ]


def _columns(report: Report, names: Sequence[str]) -> dict[str, Any]:
    """Every row, by column: a tenth of the size of an object a row."""
    kinds = list(report.statuses)
    groups = sorted(set(report.group_of))
    number = {name: place for place, name in enumerate(groups)}
    found: dict[str, Any] = {
        "name": names,
        "kinds": kinds,
        "status": [kinds.index(row.status) for row in report.rows],
        "score": [_round(row.score) for row in report.rows],
        "sigma": [_round(row.sigma) for row in report.rows],
        "note": {
            place: printable(row.error)
            for place, row in enumerate(report.rows)
            if row.error
        },
        "groups": [printable(name) for name in groups],
        "group": [number[name] for name in report.group_of],
        "groupBy": printable(report.group_by),
        "mos": [],
        "residual": [],
    }
    if report.agreement:
        places = report.agreement.rows
        residuals = report.agreement.residuals()
        found["mos"] = _spread(places, report.agreement.mos, len(names))
        found["residual"] = _spread(places, residuals, len(names))
    return found


def _spread(
    places: Sequence[int], values: np.ndarray, count: int
) -> list[float | None]:
    """Values at their places among `count` rows, four digits each; None elsewhere."""
    found: list[float | None] = [None] * count
    for place, value in zip(places, values.tolist(), strict=True):
        found[place] = float(f"{value:.4g}")
    return found


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _card(
    report: Report,
    place: int,
    why: Sequence[str],
    side: int,
    root: Path | None,
    maps: Path | None,
) -> dict[str, Any]:
    row = report.rows[place]
    file = Path(row.path) if root is None else root / row.path
    quality_map = find_map(maps, row.path, row.sha256) if maps else None
    return {
        "row": place,
        "why": why,
        "source": row,
        "group": report.group_of[place] if report.group_of else "",
        "picture": embedded(file, side),
        "map": embedded(quality_map, MAP_SIDE) if quality_map else None,
    }
