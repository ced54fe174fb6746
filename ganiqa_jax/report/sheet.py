"""A contact sheet: pictures of a data set across its range of scores, as one PNG.

Worst first, in reading order. Under each picture are its score, on the scale of the
data set, and its kind. A picture with a reference is shown by its middle at full
size, because shrinking hides what was done to it, and to its left is the same window
of the reference; pictures without one are shown whole.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.decode import DecodeError, decode_picture

TILE = 176
"""Longest side of what is shown of a picture, pixels."""
GAP = 14
CAPTION = 40
HEAD = 58
ACROSS = 6
"""Tiles of a row; a pair takes two."""
MIN_WIDTH = 420
"""Room for the title."""

_GROUND, _INK, _FAINT, _EMPTY = "#ffffff", "#1b1f24", "#667079", "#e6e8ea"


def choose(records: Sequence[Record], count: int) -> list[Record]:
    """Pictures at even steps from the lowest to the highest score, worst first.

    Of pictures about as close to a step, one of a content and kind that is not yet
    there goes first. Records without a score are taken, at even steps in their order,
    only where there are no others.

    Args:
      records: of one data set.
      count: how many, at most.

    Raises:
      InputError: if `count` is below 1 or there are no records.
    """
    if count < 1 or not records:
        raise InputError(f"A sheet of {count} of {len(records)} pictures has none.")
    scored = sorted((r.mos, r.name, r) for r in records if r.mos is not None)
    if not scored:
        places = np.linspace(0, len(records) - 1, min(count, len(records)))
        return [records[round(place)] for place in places]
    even = np.linspace(scored[0][0], scored[-1][0], min(count, len(scored)))
    targets = [float(target) for target in even]
    step = (targets[-1] - targets[0]) / max(1, len(targets) - 1)
    shown: Counter[str] = Counter()
    taken: set[int] = set()
    for target in targets:

        def order(
            place: int, target: float = target
        ) -> tuple[bool, int, int, float, int]:
            mos, _, record = scored[place]
            away = abs(mos - target)
            # At an end, or where none is near, the closest is best.
            if target in (targets[0], targets[-1]) or away > step / 2:
                return (True, 0, 0, away, place)
            content, kind = _keys(record)
            return (False, shown[content], shown[kind], away, place)

        best = min((n for n in range(len(scored)) if n not in taken), key=order)
        taken.add(best)
        shown.update(_keys(scored[best][2]))
    return [scored[place][2] for place in sorted(taken)]


def draw_sheet(records: Sequence[Record], facts: Facts, path: Path) -> None:
    """Writes a sheet of these records, in their order.

    A picture that cannot be decoded is an empty tile that says so.

    Raises:
      InputError: if there are no records, or `path` is no PNG that can be written.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} is no .png file, which a sheet is.")
    if not records:
        raise InputError("A sheet of no pictures.")
    tiles = 2 if any(r.reference is not None for r in records) else 1
    columns = min(ACROSS // tiles, len(records))
    width = tiles * (TILE + GAP // 2) + GAP
    shown = [_shown(record) for record in records]
    rows = [shown[n : n + columns] for n in range(0, len(shown), columns)]
    heights = [max(i.height for images in row for i in images) for row in rows]
    total = HEAD + sum(height + CAPTION + GAP for height in heights)
    sheet = Image.new("RGB", (max(columns * width, MIN_WIDTH) + GAP, total), _GROUND)
    drawing = ImageDraw.Draw(sheet)
    _head(drawing, records, facts, sheet.width)
    top = HEAD
    for row, (images_of_row, height) in enumerate(zip(rows, heights, strict=True)):
        for column, images in enumerate(images_of_row):
            left = GAP + column * width
            for image in images:
                sheet.paste(image, (left, top))
                left += TILE + GAP // 2
            corner = left - TILE - GAP // 2, top + height + 3
            _caption(drawing, records[row * columns + column], facts, corner)
        top += height + CAPTION + GAP
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, format="PNG")
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error


def _keys(record: Record) -> tuple[str, str]:
    return f"content {record.content}", f"kind {record.kind}"


def _head(
    drawing: ImageDraw.ImageDraw, records: Sequence[Record], facts: Facts, width: int
) -> None:
    name, low, high = facts.mos_scale
    pairs = any(r.reference is not None for r in records)
    below = [
        f"{len(records)} pictures, worst first",
        f"score on {name}, {low:g} to {high:g}",
        *(["middle at full size, reference on the left"] if pairs else []),
    ]
    title = _fitted(facts.title, width - 2 * GAP, _font(20))
    drawing.text((GAP, GAP - 3), title, _INK, _font(20))
    text = _fitted("; ".join(below), width - 2 * GAP, _font(12))
    drawing.text((GAP, GAP + 23), text, _FAINT, _font(12))


def _caption(
    drawing: ImageDraw.ImageDraw, record: Record, facts: Facts, corner: tuple[int, int]
) -> None:
    left, top = corner
    score = "no score"
    if record.mos is not None:
        _, low, high = facts.mos_scale
        score = f"{low + record.mos * (high - low):.4g}"
    drawing.text((left, top), score, _INK, _font(15))
    kind = f"{record.kind} {record.level or ''}".strip() or record.content
    drawing.text((left, top + 18), _fitted(kind, TILE, _font(12)), _FAINT, _font(12))


def _shown(record: Record) -> list[Image.Image]:
    """What the sheet has of a picture: of a pair, the reference first."""
    if record.reference is None:
        return [_tile(record.distorted, whole=True)]
    return [_tile(path, whole=False) for path in (record.reference, record.distorted)]


def _tile(path: Path, *, whole: bool) -> Image.Image:
    try:
        image = Image.fromarray(decode_picture(path).pixels)
    except DecodeError:
        tile = Image.new("RGB", (TILE, TILE), _EMPTY)
        ImageDraw.Draw(tile).text((8, 8), "cannot be decoded", _FAINT, _font(12))
        return tile
    if whole:
        image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
        return image
    sides = [min(TILE, side) for side in image.size]
    left, top = ((a - b) // 2 for a, b in zip(image.size, sides, strict=True))
    return image.crop((left, top, left + sides[0], top + sides[1]))


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _fitted(
    text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> str:
    """The text on one line, cut where it is too wide; what cannot be drawn is `?`."""
    text = "".join(c if " " <= c <= "~" else "?" for c in text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
