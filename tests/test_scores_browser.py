"""The page of scores in a real browser: sorted, filtered, magnified, and closed."""

import io

import numpy as np
import pytest
from chromium import Browser, find_chromium
from PIL import Image
from report_cases import EVIL, write_labels, write_pictures, write_rows

from ganiqa_jax.report.scores import make_report
from ganiqa_jax.report.scores_page import write_report

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]

TEXTS = "[...document.querySelectorAll('{}')].map(e => e.textContent)"
CARDS = TEXTS.format("#gallery li:not([hidden]) .name")
TABLE = TEXTS.format("#rows td:first-child")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    pictures = write_pictures(folder / "pictures", 12)
    # The names say the order of the scores: 00 is the worst.
    scores = [i / 20 for i in range(12)]
    scores[4] = None
    names = [str(path) for path in pictures]
    rows = write_rows(folder / "scores.jsonl", names, scores)
    labels = write_labels(
        folder / "mos.csv",
        names,
        mos=[5 * (s or 0) for s in scores],
        generator=["a" if i % 3 else EVIL for i in range(12)],
    )
    maps = folder / "maps"
    maps.mkdir()
    Image.new("RGB", (64, 48), "red").save(maps / "picture11.png")
    report = make_report([rows], labels=labels, group_by="generator", bootstrap=20)
    page = folder / "report.html"
    write_report(page, report, title=EVIL, maps=maps)
    assert CHROMIUM is not None
    with Browser(CHROMIUM, folder / "profile") as opened:
        opened.open(page)
        yield opened
        requests = [
            e["params"]["request"]["url"]
            for e in opened.events
            if e["method"] == "Network.requestWillBeSent"
        ]
        asked = {url.partition(":")[0] for url in requests}
        assert asked <= {"file", "data"}
        complaints = [
            e
            for e in opened.events
            if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]
        assert not complaints


@pytest.fixture(autouse=True)
def start(browser):
    browser.run("document.getElementById('reset').click()")
    browser.run("document.getElementById('view-gallery').click()")


def choose(browser, **values) -> None:
    for name, value in values.items():
        browser.run(
            f"(e => {{ e.value = {value!r}; "
            "e.dispatchEvent(new Event('input', {bubbles: true})); })"
            f"(document.getElementById({name!r}))"
        )
    browser.run("new Promise(done => setTimeout(done, 30))")


def numbers(names: list[str]) -> list[int]:
    return [int(name[len("picture") :][:2]) for name in names]


def test_opens_with_the_best_first_and_failures_last(browser):
    assert numbers(browser.run(CARDS)) == [11, 10, 9, 8, 7, 6, 5, 3, 2, 1, 0, 4]


def test_sorts(browser):
    choose(browser, sort="score")
    assert numbers(browser.run(CARDS)) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 4]


def test_filters_by_name_status_group_and_range(browser):
    choose(browser, find="URE1")
    assert numbers(browser.run(CARDS)) == [11, 10]
    choose(browser, find="", status="1")
    assert numbers(browser.run(CARDS)) == [4]
    choose(browser, status="", low="0.2", high="0.4")
    assert numbers(browser.run(CARDS)) == [8, 7, 6, 5]
    browser.run("document.getElementById('reset').click()")
    browser.run(
        "[...document.querySelectorAll('#groups [data-group]')]"
        ".find(e => e.dataset.group === 'a').click()"
    )
    assert numbers(browser.run(CARDS)) == [11, 10, 8, 7, 5, 2, 1, 4]


def test_says_when_nothing_matches(browser):
    choose(browser, find="no such name")
    assert browser.run(CARDS) == []
    assert browser.run("document.getElementById('empty').checkVisibility()")


def test_a_bar_of_the_distribution_filters(browser):
    browser.run(
        "document.querySelector('.hit[data-low=\"0.500\"]')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert numbers(browser.run(CARDS)) == [10]


def test_table_has_every_row_and_sorts_by_its_heads(browser):
    browser.run("document.getElementById('view-table').click()")
    assert numbers(browser.run(TABLE))[:3] == [11, 10, 9]
    head = "document.querySelector('#columns [data-key=score]').click()"
    browser.run(head)
    assert numbers(browser.run(TABLE)) == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 4]
    browser.run(head)
    assert numbers(browser.run(TABLE))[0] == 11


def test_zooms_steps_and_shows_the_map(browser):
    image = "document.getElementById('zoom-picture')"
    scale = f"new DOMMatrix(getComputedStyle({image}).transform).a"
    source = f"{image}.src"
    browser.run("document.querySelector('#gallery li .frame').click()")
    assert browser.run("document.getElementById('zoom').open")
    assert browser.run(scale) == 1
    browser.run("document.getElementById('zoom-in').click()")
    assert browser.run(scale) == pytest.approx(1.5)
    picture = browser.run(source)
    browser.run("document.getElementById('zoom-map').click()")
    assert browser.run(source) != picture
    browser.press("ArrowRight")
    name = browser.run("document.getElementById('zoom-name').textContent")
    assert name.startswith("picture10")
    browser.run("document.getElementById('zoom-close').click()")
    assert not browser.run("document.getElementById('zoom').open")


def test_runs_nothing_that_a_name_brings(browser):
    assert browser.run("window.injected") is None
    assert browser.run("document.title") == EVIL
    assert browser.run("document.querySelectorAll('script').length") == 2
    refused = browser.run(
        "new Promise(done => { const s = document.createElement('script');"
        "s.textContent = 'window.injected = 1'; document.body.append(s); "
        "setTimeout(() => { s.remove(); done(window.injected === undefined); }, 20) })"
    )
    assert refused
    # The refusal is logged; it is the only one that may be.
    browser.send("Runtime.evaluate", expression="0")
    logged = [e for e in browser.events if e["method"] == "Log.entryAdded"]
    assert len(logged) == 1, [e["params"]["entry"]["text"] for e in logged]
    assert "Content Security Policy" in logged[0]["params"]["entry"]["text"]
    browser.events.remove(logged[0])


def test_screenshot_shows_the_pictures(browser):
    browser.run("document.getElementById('pictures').scrollIntoView()")
    shot = Image.open(io.BytesIO(browser.screenshot())).convert("RGB")
    # Every picture of the cases is of one strong colour.
    colours = np.asarray(shot).reshape(-1, 3).astype(int)
    strong = np.ptp(colours, axis=1) > 150
    assert shot.width == 1280
    assert strong.mean() > 0.05
