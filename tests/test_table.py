"""One's own table of pictures and scores."""

import sys

import pytest
from layouts_pictures import make_table

from ganiqa_jax.data import catalog, table
from ganiqa_jax.data.protocols import parse, split_records
from ganiqa_jax.data.records import split_by_content
from ganiqa_jax.errors import InputError


def test_range_is_that_of_the_data_unless_it_is_given(tmp_path):
    make_table(tmp_path)
    of_data = table.read_records(tmp_path)
    assert [r.mos for r in of_data[:3]] == [1.0, 0.5, 0.0]
    assert of_data[0].std == pytest.approx(0.5 / 4)
    given = table.read_records(tmp_path, low=1.0, high=11.0)
    assert [r.mos for r in given[:3]] == pytest.approx([0.6, 0.4, 0.2])
    assert given[0].std == pytest.approx(0.05)
    from_zero = table.read_records(tmp_path, low=0.0)
    assert [r.mos for r in from_zero[:3]] == pytest.approx([1, 5 / 7, 3 / 7])


def test_scores_that_fall_with_quality_are_turned_round(tmp_path):
    make_table(tmp_path)
    rising = table.read_records(tmp_path, low=1.0, high=11.0)
    falling = table.read_records(tmp_path, low=1.0, high=11.0, rises=False)
    assert [r.mos for r in falling] == pytest.approx([1 - r.mos for r in rising])


def test_parquet_says_the_same_as_csv(tmp_path):
    read = [
        table.read_records(make_table(tmp_path / suffix[1:], suffix=suffix))
        for suffix in (".csv", ".parquet")
    ]
    assert [(r.name, r.mos, r.std, r.content) for r in read[0]] == [
        (r.name, r.mos, r.std, r.content) for r in read[1]
    ]


def test_table_is_named_or_found_in_its_folder(tmp_path):
    make_table(tmp_path)
    before = table.read_records(tmp_path)
    (tmp_path / "labels.csv").rename(tmp_path / "mine.CSV")
    assert table.read_records(tmp_path / "mine.CSV") == before
    assert catalog.read("table", tmp_path / "mine.CSV") == before


def test_group_decides_what_a_split_keeps_together(tmp_path):
    records = table.read_records(make_table(tmp_path))
    assert {r.content for r in records} == {"scene 1", "scene 2"}
    split = split_by_content(records, fractions=(0.5, 0.0, 0.5), seed=0)
    assert len(split.train) == len(split.test) == 3


def test_without_a_group_the_reference_keeps_together_or_nothing_does(tmp_path):
    path = make_table(tmp_path) / "labels.csv"
    path.write_text(path.read_text().replace("group", "other"))
    contents = {r.content for r in table.read_records(tmp_path)}
    assert contents == {"pristine/1.png", "pristine/2.png"}
    path.write_text(path.read_text().replace("reference", "another"))
    records = table.read_records(tmp_path)
    assert [r.content for r in records] == [r.name for r in records]
    assert {r.reference for r in records} == {None}


def test_only_path_and_mos_are_needed(tmp_path):
    before = table.read_records(make_table(tmp_path))
    lines = [f"{r.distorted},{r.mos}" for r in before]  # absolute paths
    (tmp_path / "short.csv").write_text("\n".join(["path,mos", *lines]))
    records = table.read_records(tmp_path / "short.csv")
    assert [r.mos for r in records] == [r.mos for r in before]
    assert {r.std for r in records} == {None}


def test_split_of_the_table(tmp_path):
    records = table.read_records(make_table(tmp_path))
    split = split_records(records, parse("official"))
    assert {r.content for r in split.train} == {"scene 1"}
    assert split.validation == ()
    assert {r.content for r in split.test} == {"scene 2"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("scene 2,test", "scene 1,test", "'scene 1' in train and in test"),
        ("scene 2,test", "scene 2,", r"21\.png is in no part of a split of the set's"),
        ("scene 2,test", "scene 2,dev", r"21\.png' is 'dev', not one of train, valid"),
    ],
)
def test_split_that_parts_a_group_or_leaves_one_out_is_refused(
    tmp_path, old, new, message
):
    path = make_table(tmp_path) / "labels.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        split_records(table.read_records(tmp_path), parse("official"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("path,", "file,", "no column path; it has file, mos"),
        (",7.0,", ",,", r"mos of 'shots/11\.png' is ''"),
        (",7.0,", ",inf,", r"mos of 'shots/11\.png' is 'inf'"),
        (",0.5,", ",-1,", r"std of 'shots/11\.png' is '-1'"),
        ("shots/11.png,", ",", "a row has no path"),
        ("shots/11.png", "shots/12.png", "lists 'shots/12.png' twice"),
    ],
)
def test_damaged_row_is_refused_with_its_place(tmp_path, old, new, message):
    path = make_table(tmp_path) / "labels.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        table.read_records(tmp_path)


def test_score_outside_the_given_range_is_refused(tmp_path):
    make_table(tmp_path)
    with pytest.raises(InputError, match=r"mos of 'shots/11\.png' is '7\.0'.* 1 to 5"):
        table.read_records(tmp_path, low=1.0, high=5.0)
    with pytest.raises(InputError, match="scores from 9 to 7 are no range; give low"):
        table.read_records(tmp_path, low=9.0)


def test_table_without_rows_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("path,mos\n")
    with pytest.raises(InputError, match="lists no pictures. Give a .csv"):
        table.read_records(tmp_path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    make_table(tmp_path, suffix=".parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"ganiqa-jax\[datasets\]"):
        table.read_records(tmp_path)


def test_parquet_without_a_column_says_so(tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"path": ["a"]}), tmp_path / "labels.parquet")
    with pytest.raises(InputError, match="no column mos; it has path"):
        table.read_records(tmp_path)
