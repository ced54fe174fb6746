"""The HTML page: complete, escaped, and closed to the outside."""

import html.parser
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganiqa_jax.errors import InputError
from ganiqa_jax.metrics import Estimate
from ganiqa_jax.report.page import (
    PageRow,
    Panel,
    ResultRow,
    Section,
    scatter_svg,
    thumbnail_uri,
    write_page,
)

EVIL = "<script>alert(1)</script>.png"


class Elements(html.parser.HTMLParser):
    """Collects the start tags and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data.strip())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def picture(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 400, 3), np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def page_of(tmp_path: Path, **settings) -> str:
    path = tmp_path / "new" / "page.html"
    write_page(path, **{"title": "T", "summary": "S", "rows": (), **settings})
    return path.read_text(encoding="utf-8")


def test_sorts_pictures_by_score_with_unscored_last(tmp_path, picture):
    rows = [
        PageRow(picture, "middle", 0.5),
        PageRow(picture, "broken", None, error="cut off"),
        PageRow(picture, "best", 0.9, mos=1.0),
        PageRow(picture, "worst", 0.1, mos=0.0),
    ]
    text = Elements(page_of(tmp_path, rows=rows)).text
    names = [t for t in text if t in {"best", "middle", "worst", "broken"}]
    assert names == ["best", "middle", "worst", "broken"]
    assert "cut off" in text
    assert {"0.900", "true 1.000"} <= set(text)


def test_escapes_whatever_comes_from_outside(tmp_path, picture):
    evil = picture.with_name("evil.png")
    page = page_of(
        tmp_path,
        title=EVIL,
        summary=EVIL,
        rows=[
            PageRow(picture.rename(evil), EVIL, 0.5, mos=0.5, kind=EVIL),
            PageRow(evil, EVIL, None, error=EVIL),
            PageRow(evil, '" onerror="alert(1)', 0.4),
        ],
        results=[ResultRow(EVIL, EVIL, 3, 1, {EVIL: Estimate(0.5, 0.4, 0.6)})],
        panels=[Panel(EVIL, [0.1], [0.2], [EVIL]), Panel("P", [0.1], [0.2], [EVIL])],
        sections=[Section(EVIL, [EVIL])],
        facts={EVIL: EVIL},
    )
    found = Elements(page)
    assert not found.named("script")
    assert not [a for _, a in found.tags if any(k.startswith("on") for k in a)]
    assert EVIL in found.text


def test_takes_a_picture_named_as_a_script(tmp_path, picture):
    named = picture.rename(tmp_path / EVIL.replace("/", "\u2044"))
    page = page_of(tmp_path, rows=[PageRow(named, named.name, 0.5)])
    (image,) = Elements(page).named("img")
    assert image["alt"] == named.name


def test_shows_names_that_are_not_unicode(tmp_path, picture):
    page = page_of(tmp_path, rows=[PageRow(picture, "caf\udce9.png", 0.5)])
    assert "caf\\udce9.png" in Elements(page).text


def test_asks_nothing_of_the_network(tmp_path, picture):
    page = page_of(
        tmp_path,
        rows=[PageRow(picture, "p", 0.5)],
        panels=[Panel("P", [0.1, 0.7], [0.2, 0.6], ["blur", "noise"])],
    )
    found = Elements(page)
    policy = next(
        m
        for m in found.named("meta")
        if m.get("http-equiv") == "Content-Security-Policy"
    )
    assert (policy["content"] or "").startswith("default-src 'none'; img-src data:;")
    sources = [a.get("src") or "" for _, a in found.tags if "src" in a]
    assert sources and all(s.startswith("data:image/jpeg;base64,") for s in sources)
    assert not found.named("link") and "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    for _, attributes in found.tags:
        links = [v for k, v in attributes.items() if k in ("href", "xlink:href")]
        assert all((v or "").startswith("#") for v in links)


def test_thumbnail_is_small_and_keeps_its_shape(picture):
    import base64
    import io

    uri = thumbnail_uri(picture, side=100)
    assert uri is not None
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert (image.format, image.size) == ("JPEG", (100, 10))


def test_thumbnail_of_a_damaged_picture_is_none(picture):
    picture.write_bytes(picture.read_bytes()[:200])
    assert thumbnail_uri(picture) is None


def test_table_gives_values_with_intervals_and_says_where_there_is_none(tmp_path):
    nan = float("nan")
    page = page_of(
        tmp_path,
        results=[
            ResultRow("a", "set", 20, 4, {"srcc": Estimate(0.8123, 0.7, 0.9)}),
            ResultRow("b", "set", 20, 1, {"srcc": Estimate(0.5, nan, nan)}),
        ],
    )
    text = " ".join(Elements(page).text)
    assert "0.812 [0.700, 0.900]" in text
    assert "0.500 no interval" in text
    assert "nan" not in text


def test_plot_has_a_point_a_picture_and_takes_the_ink_of_the_page():
    panel = Panel("P", [0.1, 0.5, 0.9], [0.0, 0.5, 1.0], ["blur"] * 3)
    svg = scatter_svg(panel)
    start = svg.index('<g id="PathCollection')
    points = svg[start : svg.index('<g id="matplotlib.axis', start)]
    assert points.count("<use") == 3
    assert "currentColor" in svg and "#010203" not in svg
    assert svg == scatter_svg(panel)


def test_plot_shows_labels_as_they_are_written():
    svg = scatter_svg(Panel("P", [0.1, 0.2], [0.1, 0.2], [r"$\oops$", "_b_c"]))
    assert {r"$\oops$", "b c"} <= set(re.findall(r">([^<>]+)</text>", svg))


def test_plot_names_what_does_not_match():
    with pytest.raises(InputError, match="2 scores, 1 true scores and 2 kinds"):
        scatter_svg(Panel("P", [0.1, 0.2], [0.1], ["a", "b"]))
