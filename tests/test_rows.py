"""Rows survive the way to a file and back, whatever their names hold."""

import csv
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.rows import (
    COLUMNS,
    RowsHeader,
    ScoreRow,
    open_rows,
    read_header,
    read_rows,
)

HEADER = RowsHeader(
    model="m",
    model_sha="a1",
    prep_sha="b2",
    scale="AGIQA-3K",
    mos_low=0.0,
    mos_high=5.0,
)
SPECIAL = ["a\udc80b", "\\udc80", "\\\udcff\\", "\\\\udc80", "'=1+1", "''@x", '\r\n,"']

names = st.one_of(
    st.text(st.characters(exclude_characters="\x00"), min_size=1),
    st.text(st.sampled_from("\\ud80cf\udc80\udcff'=+-@\t\r\n\",;a"), min_size=1),
)


def make_row(path="a.png", **values):
    known = {"status": "ok", "model": "m", "model_sha": "a1", "prep_sha": "b2"}
    return ScoreRow(path=path, **known | values)


def round_trip(path, rows, header=HEADER):
    with open_rows(path, header) as writer:
        for row in rows:
            writer.write(row)
    return read_rows(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    name=names,
    error=st.none() | names,
    number=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_name_and_number_round_trips(suffix, tmp_path, name, error, number):
    row = make_row(name, error=error, score=number, width=3, status="too_small")
    assert round_trip(tmp_path / f"rows{suffix}", [row]) == [row]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_awkward_names_round_trip(suffix, tmp_path):
    rows = [make_row(name) for name in SPECIAL]
    assert round_trip(tmp_path / f"rows{suffix}", rows) == rows


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1", "'=1"])
def test_no_cell_of_a_csv_can_be_a_formula(text, tmp_path):
    path = tmp_path / "rows.csv"
    round_trip(path, [make_row(text, error=text)])
    with path.open(newline="") as file:
        row = list(csv.DictReader(file))[0]
    assert row["path"] == row["error"] == "'" + text


def test_columns_are_the_published_ones_in_order(tmp_path):
    published = (
        "path,sha256,width,height,mode,status,score,sigma,mos,model,model_sha,"
        "prep_sha,crops,time_ms,error"
    )
    assert ",".join(COLUMNS) == published
    path = tmp_path / "rows.jsonl"
    round_trip(path, [make_row(reference="r.png")])
    lines = path.read_text().splitlines()
    assert ",".join(json.loads(lines[1])) == published


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_pairs_keep_their_reference_in_one_more_column(suffix, tmp_path):
    header = RowsHeader(**{**vars(HEADER), "pairs": True})
    row = make_row(reference="ref.png")
    path = tmp_path / f"rows{suffix}"
    assert round_trip(path, [row], header) == [row]
    assert read_header(path) == header


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_header_states_scale_and_direction(suffix, tmp_path):
    path = tmp_path / f"rows{suffix}"
    round_trip(path, [])
    header = read_header(path)
    assert header == HEADER
    assert (header.direction, header.schema) == ("higher_better", 1)


def test_floats_are_written_in_full(tmp_path):
    path = tmp_path / "rows.jsonl"
    round_trip(path, [make_row(score=0.1 + 0.2)])
    assert '"score": 0.30000000000000004' in path.read_text()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_row_holds_a_number_that_is_none(bad):
    with pytest.raises(ValueError, match="not finite"):
        make_row(score=bad)


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("an older result\n")
    with pytest.raises(KeyboardInterrupt), open_rows(path, HEADER) as writer:
        writer.write(make_row("1.png"))
        raise KeyboardInterrupt
    assert path.read_text() == "an older result\n"
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_is_one_line_that_names_the_file(tmp_path):
    (tmp_path / "rows.jsonl.tmp").symlink_to("/dev/full")
    path = tmp_path / "rows.jsonl"
    with (
        pytest.raises(InputError, match=r"rows\.jsonl: No space left"),
        open_rows(path, HEADER) as writer,
    ):
        writer.write(make_row())
    assert not path.exists()


def test_refuses_what_it_cannot_write_before_scoring(tmp_path):
    for path, match in [
        (tmp_path / "rows.xlsx", r"\.jsonl, \.csv or \.parquet"),
        (tmp_path / "none", r"\.jsonl, \.csv or \.parquet"),
    ]:
        with pytest.raises(InputError, match=match), open_rows(path, HEADER):
            pytest.fail("the body must not run")
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="Cannot write"),
        open_rows(tmp_path / "file" / "rows.csv", HEADER),
    ):
        pytest.fail("the body must not run")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", '{"header": {}}\n{"path": \n'),
        ("rows.jsonl", '{"path": "a", "colour": 3}\n'),
        ("rows.csv", "path,score\na,1\n"),
    ],
)
def test_names_the_file_that_holds_no_rows(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=name):
        read_rows(tmp_path / name)
