"""Scores of pictures as one HTML page that needs nothing else.

Thumbnails and plots are inside the file, it runs no script, and its content policy
forbids every request. Whatever comes from outside (names above all) is escaped.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ganiqa_jax.errors import InputError
from ganiqa_jax.metrics import Estimate
from ganiqa_jax.scoring.decode import DecodeError, decode_picture

THUMBNAIL_SIDE = 160
THUMBNAIL_QUALITY = 82
# Colours that keep apart on white and on black: Okabe and Ito 2008 without black,
# and three more.
COLOURS = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#cc79a7",
    "#0072b2",
    "#d55e00",
    "#b8ac22",
    "#7a5cc2",
    "#8c6d4f",
    "#999999",
)
# Matplotlib writes this colour, the page reads it as "the colour of the text".
_INK = "#010203"


class PageRow(NamedTuple):
    """One picture of the gallery.

    Attributes:
      picture: its file.
      name: what the page calls it.
      score: prediction in [0, 1], higher is better; None if there is none.
      mos: true score in [0, 1]; None if nobody knows it.
      kind: what was done to it; empty if unknown.
      error: why there is no score.
    """

    picture: Path
    name: str
    score: float | None
    mos: float | None = None
    kind: str = ""
    error: str = ""


class ResultRow(NamedTuple):
    """One line of the table of results: a model on one set of pictures."""

    model: str
    data: str
    n: int
    contents: int
    estimates: Mapping[str, Estimate]


class Panel(NamedTuple):
    """One scatter plot: `mos` across, `score` up, both in [0, 1]."""

    title: str
    score: Sequence[float]
    mos: Sequence[float]
    kinds: Sequence[str]


class Section(NamedTuple):
    """A heading and the sentences under it."""

    heading: str
    sentences: Sequence[str]


def write_page(
    path: Path,
    *,
    title: str,
    summary: str,
    rows: Sequence[PageRow],
    results: Sequence[ResultRow] = (),
    panels: Sequence[Panel] = (),
    sections: Sequence[Section] = (),
    facts: Mapping[str, str] | None = None,
) -> None:
    """Writes the page; pictures are sorted by score, the best first.

    Args:
      path: the HTML file; its folder is made if need be.
      title: heading of the page.
      summary: what the page shows, in a sentence or two.
      rows: the pictures; one without a score goes last, with its error.
      results: correlations, a line a model; all with the same estimates.
      panels: scatter plots.
      sections: text after the results, such as what they do not show.
      facts: small print at the end: name to value.

    Raises:
      InputError: if a panel's lists differ in length.
    """
    environment = Environment(
        loader=PackageLoader("ganiqa_jax.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    ordered = sorted(
        rows, key=lambda row: -math.inf if row.score is None else row.score
    )
    html = environment.get_template("page.html.j2").render(
        title=title,
        summary=summary,
        cards=[_card(row) for row in reversed(ordered)],
        measures=list(results[0].estimates) if results else [],
        results=results,
        plots=[(panel.title, Markup(scatter_svg(panel))) for panel in panels],
        sections=sections,
        facts=facts or {},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(html, encoding="utf-8", errors="backslashreplace")
    partial.replace(path)


def thumbnail_uri(path: Path, side: int = THUMBNAIL_SIDE) -> str | None:
    """A picture as a JPEG data URI, its longer side at most `side` pixels.

    Returns None for a picture that cannot be decoded.
    """
    from PIL import Image

    try:
        pixels = decode_picture(path).pixels
    except DecodeError:
        return None
    small = Image.fromarray(pixels)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def scatter_svg(panel: Panel) -> str:
    """A scatter plot as an `<svg>` element whose ink is the colour of the text.

    Raises:
      InputError: if its lists differ in length.
    """
    import matplotlib
    from matplotlib.figure import Figure

    lengths = {len(panel.score), len(panel.mos), len(panel.kinds)}
    if len(lengths) != 1:
        raise InputError(
            f"{panel.title}: {len(panel.score)} scores, {len(panel.mos)} true scores "
            f"and {len(panel.kinds)} kinds; a plot needs as many of each."
        )
    ink = dict.fromkeys(
        (
            "text.color",
            "axes.labelcolor",
            "axes.edgecolor",
            "xtick.color",
            "ytick.color",
        ),
        _INK,
    )
    settings: dict[Any, Any] = {
        **ink,
        "svg.fonttype": "none",
        "svg.hashsalt": panel.title,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(4.4, 4.7), layout="constrained")
        _draw(figure, panel)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")


def _draw(figure, panel: Panel) -> None:
    axes = figure.add_subplot()
    axes.axline((0, 0), slope=1, color="#888888", linewidth=0.8, dashes=(4, 4))
    for place, kind in enumerate(sorted(set(panel.kinds))):
        chosen = [i for i, other in enumerate(panel.kinds) if other == kind]
        axes.scatter(
            [panel.mos[i] for i in chosen],
            [panel.score[i] for i in chosen],
            s=16,
            alpha=0.8,
            linewidths=0,
            color=COLOURS[place % len(COLOURS)],
            label=(_words(kind) or "unknown").replace("$", r"\$"),  # no formulas
        )
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.set_xlabel("true score")
    axes.set_ylabel("predicted score")
    axes.spines[["top", "right"]].set_visible(False)
    if len(set(panel.kinds)) > 1:
        figure.legend(
            loc="outside lower center",
            ncols=3,
            frameon=False,
            fontsize=8,
            markerscale=1.4,
        )


def _words(identifier: str) -> str:
    return identifier.replace("_", " ").strip()


def _card(row: PageRow) -> dict[str, str | float | None]:
    return {
        "name": row.name.encode("utf-8", "backslashreplace").decode(),
        "kind": _words(row.kind),
        "score": row.score,
        "mos": row.mos,
        "error": row.error or ("no score" if row.score is None else ""),
        "thumbnail": thumbnail_uri(row.picture),
    }
