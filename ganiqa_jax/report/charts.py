"""Charts as `<svg>` elements drawn by classes of the page's style sheet.

They have no style attributes, which the page's content policy would refuse, and the
file is of one size however many pictures are behind a chart.
"""

from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT, TALL = 640.0, 250.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 12.0, 42.0
BINS = 40
BAR_WIDTH = 420
MOST_POINTS = 1500
"""Points of one scatter plot; more cannot be told apart, and would fill the file."""

Point = tuple[float, float, str]


def histogram(scores: np.ndarray) -> Markup:
    """Counts of scores in 40 equal parts of [0, 1]; each bar knows its range.

    The script of the page filters by the range of the bar that is clicked.
    """
    counts, edges = np.histogram(scores, bins=BINS, range=(0.0, 1.0))
    top = _ceiling(float(counts.max(initial=4)))  # so that the steps are whole
    x, y = _axis(0.0, 1.0), _axis(0.0, top, vertical=True)
    parts = _frame(x, y, _steps(0.0, 1.0, 5), _steps(0.0, top, 4), "score", "pictures")
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        left, width = x(low) + 0.75, x(high) - x(low) - 1.5
        said = f"{low:.3f} to {high:.3f}: {count:,} pictures"
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{y(count):.1f}" '
            f'width="{width:.1f}" height="{y(0.0) - y(count):.1f}"/>'
            f'<rect class="hit" data-low="{low:.3f}" data-high="{high:.3f}" '
            f'x="{left:.1f}" y="{TOP}" width="{width:.1f}" '
            f'height="{y(0.0) - TOP:.1f}"><title>{said}</title></rect>'
        )
    if scores.size:
        middle = x(float(np.median(scores)))
        parts.append(_line("median", middle, TOP, middle, y(0.0)))
        at_right = middle > WIDTH / 2
        parts.append(
            _text(
                f"median {np.median(scores):.3f}",
                middle + (-6 if at_right else 6),
                TOP + 11,
                "end" if at_right else "start",
            )
        )
    return _svg(parts, "Distribution of scores", HEIGHT)


def scatter(
    points: Sequence[Point],
    *,
    across: str,
    up: str,
    curve: Callable[[np.ndarray], np.ndarray] | None = None,
    zero: bool = False,
) -> Markup:
    """Points over scores in [0, 1]; an even sample if there are too many.

    Args:
      points: score, value and name of each picture.
      across: name of the scores.
      up: name of the values.
      curve: function of the scores to draw through the points.
      zero: a line at 0, with the same room above and below.
    """
    values = np.array([value for _, value, _ in points] or [0.0, 1.0])
    low, high = float(values.min()), float(values.max())
    if zero:
        low, high = -max(-low, high), max(-low, high)
    room = 0.04 * (high - low) or 0.5
    low, high = low - room, high + room
    x, y = _axis(0.0, 1.0), _axis(low, high, vertical=True, height=TALL)
    parts = _frame(x, y, _steps(0.0, 1.0, 5), _steps(low, high, 5), across, up, TALL)
    if zero:
        parts.append(_line("median", x(0.0), y(0.0), x(1.0), y(0.0)))
    for score, value, name in even(sorted(points), MOST_POINTS):
        said = escape(f"{name}: {score:.3f}, {value:.4g}")
        parts.append(
            f'<circle class="dot" cx="{x(score):.1f}" cy="{y(value):.1f}" r="3.2">'
            f"<title>{said}</title></circle>"
        )
    if curve is not None:
        across_all = np.linspace(min(p[0] for p in points), max(p[0] for p in points))
        bent = " ".join(
            f"{x(score):.1f},{y(float(value)):.1f}"
            for score, value in zip(across_all, curve(across_all), strict=True)
        )
        parts.append(f'<polyline class="curve" points="{bent}"/>')
    return _svg(parts, f"{up} over {across}", TALL)


def interval_bar(value: float, low: float, high: float) -> Markup:
    """A mean in [0, 1] with its interval on a line from 0 to 1."""
    unit = BAR_WIDTH
    parts = [
        f'<rect class="track" y="6" width="{unit}" height="4" rx="2"/>',
        f'<rect class="reach" y="6" width="{unit * value:.1f}" height="4" rx="2"/>',
    ]
    if low == low:  # nan: no interval
        width = max(2.0, unit * (high - low))
        parts.append(
            f'<rect class="span" x="{unit * low:.1f}" y="2.5" width="{width:.1f}" '
            'height="11" rx="3"/>'
        )
    parts.append(f'<circle class="dot-mean" cx="{unit * value:.1f}" cy="8" r="3"/>')
    return Markup(
        f'<svg class="interval" viewBox="-4 0 {unit + 8} 16" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )


def even(items: Sequence, most: int) -> list:
    """At most `most` items at equal steps of their order, both ends among them."""
    if most <= 0:
        return []
    if len(items) <= most:
        return list(items)
    places = np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))
    return [items[place] for place in places]


def _axis(
    low: float, high: float, *, vertical: bool = False, height: float = HEIGHT
) -> Callable[[float], float]:
    start, end = (height - BOTTOM, TOP) if vertical else (LEFT, WIDTH - RIGHT)
    return lambda value: start + (end - start) * (value - low) / (high - low)


def _steps(low: float, high: float, most: int) -> list[float]:
    """Round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [float(step * place) for place in range(first, last + 1)]


def _ceiling(value: float) -> float:
    steps = _steps(0.0, value, 4)
    return steps[-1] if steps[-1] >= value else steps[-1] + steps[1]


def _frame(x, y, across, up, name_across, name_up, height: float = HEIGHT) -> list[str]:
    bottom = height - BOTTOM
    parts = []
    for value in up:
        parts.append(_line("grid", LEFT, y(value), WIDTH - RIGHT, y(value)))
        parts.append(_text(f"{value:,.6g}", LEFT - 7, y(value) + 4, "end"))
    for value in across:
        parts.append(_text(f"{value:.1f}", x(value), bottom + 17, "middle"))
    parts.append(_line("axis", LEFT, bottom, WIDTH - RIGHT, bottom))
    parts.append(_text(name_across, (LEFT + WIDTH - RIGHT) / 2, height - 6, "middle"))
    middle = (TOP + bottom) / 2
    parts.append(
        f'<text transform="translate(11 {middle:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(name_up)}</text>'
    )
    return parts


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" '
        f'x2="{x2:.1f}" y2="{y2:.1f}"/>'
    )


def _text(text: str, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], name: str, height: float) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )
