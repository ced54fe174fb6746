"""The page of scores: complete, escaped, closed to the outside, and of bounded size."""

import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_cases import EVIL, row, write_labels, write_pictures, write_rows

from ganiqa_jax import cli
from ganiqa_jax.errors import InputError
from ganiqa_jax.report.scores import Report, make_report
from ganiqa_jax.report.scores_page import Shown, choose, policy, write_report

FEW = Shown(best=2, worst=2, between=3, residuals=1, failed=1)


class Elements(html.parser.HTMLParser):
    """Start tags, visible text, and what script and style blocks hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.blocks: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if self.cdata_elem and tag in ("script", "style"):
            self.blocks.append((attributes | {"tag": tag}, data))
        elif data.strip():
            self.text.append(data.strip())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def data(self) -> dict:
        return json.loads(
            next(t for a, t in self.blocks if a.get("type") == "application/json")
        )


@pytest.fixture
def scored(tmp_path) -> Path:
    """Rows of 12 pictures in two folders; the ninth has no score."""
    paths = [
        *write_pictures(tmp_path / "pictures" / "a", 6),
        *write_pictures(tmp_path / "pictures" / "b", 6),
    ]
    scores = [0.05 + i / 20 for i in range(12)]
    return write_rows(
        tmp_path / "scores.jsonl",
        [str(path) for path in paths],
        [None if i == 8 else score for i, score in enumerate(scores)],
    )


def page_of(report: Report, tmp_path: Path, **settings) -> str:
    page = tmp_path / "new" / "report.html"
    write_report(page, report, **settings)
    return page.read_text(encoding="utf-8")


def test_counts_every_status_and_holds_every_row(scored, tmp_path):
    found = Elements(page_of(make_report([scored]), tmp_path))
    data = found.data()
    assert data["kinds"] == ["ok", "decode_error"]
    assert data["status"] == [int(i == 8) for i in range(12)]
    assert data["score"][:2] == [0.05, 0.1] and data["score"][8] is None
    assert data["name"][0] == "a/picture00.png"
    assert data["note"] == {"8": "cut off"}
    said = " ".join(found.text)
    assert "ok 11 91.7 %" in said and "decode_error 1 8.3 %" in said
    assert "of 12 scored" in said


def test_says_which_model_and_preprocessing(scored, tmp_path):
    said = " ".join(Elements(page_of(make_report([scored]), tmp_path)).text)
    assert "student abc123" in said and "def456" in said
    assert "grade, 0.0 to 5.0" in said


def test_embeds_the_best_the_worst_and_an_even_sample_in_order(scored, tmp_path):
    report = make_report([scored])
    chosen = choose(report, FEW)
    assert [(place, why[0]) for place, why in chosen.items()] == [
        (11, "best"),
        (10, "best"),
        (9, "between"),
        (5, "between"),
        (2, "between"),
        (1, "worst"),
        (0, "worst"),
        (8, "failed"),
    ]
    found = Elements(page_of(report, tmp_path, shown=FEW))
    assert len(found.named("li")) == 8
    sources = [image["src"] or "" for image in found.named("img") if "src" in image]
    assert len(sources) == 8
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_shows_every_picture_once_where_there_are_few(scored):
    places = list(choose(make_report([scored]), Shown()))
    assert places == [11, 10, 9, 7, 6, 5, 4, 3, 2, 1, 0, 8]


def test_lost_and_damaged_pictures_stay_on_the_page(scored, tmp_path):
    (tmp_path / "pictures" / "a" / "picture00.png").unlink()
    (tmp_path / "pictures" / "b" / "picture05.png").write_bytes(b"\x89PNG\r\n")
    found = Elements(page_of(make_report([scored]), tmp_path))
    assert len(found.named("li")) == 12
    assert found.text.count("not found or unreadable") == 2


def test_finds_pictures_below_another_root(tmp_path):
    write_pictures(tmp_path / "moved" / "a", 1)
    rows = write_rows(tmp_path / "scores.jsonl", ["a/picture00.png"], [0.5])
    found = Elements(page_of(make_report([rows]), tmp_path, root=tmp_path / "moved"))
    assert "not found or unreadable" not in found.text


def test_groups_are_compared_with_intervals(scored, tmp_path):
    report = make_report([scored], group_by="folder")
    best, other = report.groups
    assert (best.name, best.n, best.failed) == ("b", 5, 1)
    assert other.mean.value == pytest.approx(0.175)
    assert other.mean.low < 0.175 < other.mean.high < best.mean.low
    assert (best.best, other.best) == (1.0, 0.0)
    said = " ".join(Elements(page_of(report, tmp_path)).text)
    assert f"{best.mean.low:.3f} – {best.mean.high:.3f}" in said


def test_several_files_are_groups_and_must_be_of_one_model(scored, tmp_path):
    other = write_rows(tmp_path / "other.jsonl", ["x.png"], [0.9])
    report = make_report([scored, other])
    assert [group.name for group in report.groups] == ["other", "scores"]
    alien = write_rows(tmp_path / "alien.jsonl", ["x.png"], [0.9], prep_sha="zzz")
    with pytest.raises(InputError, match="do not compare"):
        make_report([scored, alien])


def test_labels_give_correlations_and_residuals(scored, tmp_path):
    # The table names pictures by their last part, on another scale than the scores.
    names = [f"deep/{part}/picture{i:02d}.png" for part in "ab" for i in range(6)]
    mos = [20 + 5 * i for i in range(12)]
    mos[3] += 30
    paths = [str(p) for p in sorted((tmp_path / "pictures").rglob("*.png"))]
    labels = write_labels(tmp_path / "mos.csv", paths, mos=mos)
    report = make_report([scored], labels=labels)
    assert report.agreement is not None and report.labelled == 12
    assert len(report.agreement.rows) == 11
    assert 0.5 < report.agreement.estimates["srcc"].value < 1
    assert int(np.argmax(report.agreement.residuals())) == 3
    data = Elements(page_of(report, tmp_path)).data()
    assert data["mos"][3] == 65 and data["mos"][8] is None
    assert data["residual"][3] == max(r for r in data["residual"] if r is not None)
    assert "residual" in choose(report, Shown(best=0, worst=0, between=0))[3]
    twice = write_labels(tmp_path / "twice.csv", names, mos=mos)
    with pytest.raises(InputError, match="names none of the 12 pictures"):
        make_report([scored], labels=twice)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("who,mos\na,1\n", "needs a column path or name"),
        ("path,mos\na/picture00.png,high\n", "'high' is no finite number"),
        ("path,mos\na,1\na,2\n", "'a' is there twice"),
        ("path,mos\na,1,2\n", "line 2 has not 2 cells"),
        ("", "needs a column path or name"),
    ],
)
def test_says_what_is_wrong_with_a_table_of_labels(tmp_path, text, message):
    labels = tmp_path / "mos.csv"
    labels.write_text(text)
    rows = write_rows(tmp_path / "scores.jsonl", ["a/picture00.png"], [0.5])
    with pytest.raises(InputError, match=re.escape(message)):
        make_report([rows], labels=labels)


def test_says_which_columns_can_be_grouped_by(scored, tmp_path):
    with pytest.raises(InputError, match="no column 'generator'.*folder, file, path"):
        make_report([scored], group_by="generator")


def test_quality_maps_come_with_their_pictures(scored, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    Image.new("RGB", (64, 64), "red").save(maps / "picture03.png")
    found = Elements(page_of(make_report([scored]), tmp_path, maps=maps))
    with_map = [i["alt"] for i in found.named("img") if "data-map" in i]
    assert sorted(map(str, with_map)) == ["a/picture03.png", "b/picture03.png"]


def test_escapes_whatever_comes_from_outside(tmp_path):
    evil = EVIL.replace("/", "\u2044")
    names = [f"{EVIL}.png", f"{evil}.png", "caf\udce9\u202e\n.png"]
    rows = write_rows(
        tmp_path / "scores.jsonl", names, [0.1, 0.2, 0.3], error=EVIL, model=EVIL
    )
    labels = write_labels(
        tmp_path / "mos.csv", names[:2], mos=[1, 2], **{EVIL: [EVIL, "b"]}
    )
    report = make_report([rows], labels=labels, group_by=EVIL)
    page = page_of(report, tmp_path, title=EVIL)
    found = Elements(page)
    assert len(found.named("script")) == 2
    assert not [a for _, a in found.tags if any(k.startswith("on") for k in a)]
    assert all(a.get("src") != "x" for _, a in found.tags)
    assert "window.injected = 1</script>" not in page
    assert EVIL in found.text
    data = found.data()
    assert data["name"][0] == f"{EVIL}.png" and data["groups"] == ["(none)", EVIL, "b"]
    assert data["name"][2] == "caf\\udce9\\u202e\\n.png"


def test_policy_allows_its_own_script_and_style_alone(scored, tmp_path):
    page = page_of(make_report([scored], group_by="folder"), tmp_path)
    found = Elements(page)
    given = next(m for m in found.named("meta") if m.get("http-equiv"))
    script = next(t for a, t in found.blocks if a == {"tag": "script"})
    style = next(t for a, t in found.blocks if a["tag"] == "style")
    assert given["content"] == policy(script, style)
    assert "default-src 'none'" in policy(script, style)
    assert "unsafe" not in policy(script, style)
    # An attribute would be refused by the policy, and the page would lose its shape.
    assert not [a for _, a in found.tags if "style" in a]


def test_asks_nothing_of_the_network(scored, tmp_path):
    page = page_of(make_report([scored], group_by="folder"), tmp_path)
    found = Elements(page)
    assert not found.named("link") and not found.named("iframe")
    assert "http://" not in page and "https://" not in page
    assert "@import" not in page and "url(" not in page and "fetch(" not in page
    links = {k for _, a in found.tags for k in a if k in ("href", "action", "srcset")}
    assert not links


def test_a_hundred_thousand_rows_make_a_page_of_a_few_megabytes(tmp_path):
    picture = write_pictures(tmp_path / "pictures", 1)[0]
    count = 100_000
    scores = np.random.default_rng(0).beta(4, 2, count).tolist()
    template = row(str(picture), 0.5)
    rows = []
    for number, score in enumerate(scores):
        one = object.__new__(type(template))
        one.__dict__.update(template.__dict__)
        one.__dict__.update(
            path=f"{tmp_path}/pictures/lot{number % 40}/picture_{number:08d}.png",
            score=score,
        )
        rows.append(one)
    report = Report(
        rows=rows, sources={"scores.jsonl": "0" * 64}, statuses={"ok": count}
    )
    page = tmp_path / "report.html"
    write_report(page, report, root=tmp_path)
    found = Elements(page.read_text())
    assert page.stat().st_size < 8_000_000
    assert len(found.named("li")) == 96
    assert len(found.data()["name"]) == count


def test_command_writes_the_page_and_prints_numbers(scored, tmp_path, capsys):
    out = tmp_path / "r.html"
    arguments = [str(scored), "--group-by", "folder", "--out", str(out), "--json"]
    assert cli.main(["report", *arguments]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["pictures"] == 12 and said["statuses"] == {"ok": 11, "decode_error": 1}
    assert [group["name"] for group in said["groups"]] == ["b", "a"]
    assert out.exists() and not list(tmp_path.glob("*.part"))


def test_command_names_what_cannot_be_used(scored, tmp_path, capsys):
    assert cli.main(["report", str(tmp_path / "none.jsonl")]) == 2
    assert "none.jsonl" in capsys.readouterr().err
    assert cli.main(["report", str(scored), "--out", str(tmp_path)]) == 2
    assert "Cannot write" in capsys.readouterr().err
    empty = write_rows(tmp_path / "empty.jsonl", [], [])
    assert cli.main(["report", str(empty)]) == 2
    assert "no rows" in capsys.readouterr().err
