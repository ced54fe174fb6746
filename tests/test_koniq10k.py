"""The KonIQ-10k reader: two tables with two scales, and the authors' parts."""

import csv
import dataclasses

import pytest
from layouts_pictures import VERSIONS, make_koniq10k

from ganiqa_jax.data import koniq10k
from ganiqa_jax.data.protocols import parse, split_records
from ganiqa_jax.errors import InputError

TABLE = "koniq10k_distributions_sets.csv"


def rows_of(table):
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def write(table, rows):
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_mos_is_of_0_to_100_and_its_deviation_of_the_ratings(tmp_path):
    records = koniq10k.read_records(make_koniq10k(tmp_path))
    assert records[0].name == "1011.jpg"
    assert records[0].mos == pytest.approx(0.65)
    assert records[0].std == pytest.approx(0.52 / 4)
    assert records[0].content == "1011"
    assert records[0].reference is None


def test_larger_pictures_are_preferred(tmp_path):
    make_koniq10k(tmp_path, sides=("512x384", "1024x768"))
    records = koniq10k.read_records(tmp_path)
    assert {record.distorted.parent.name for record in records} == {"1024x768"}


def test_older_table_has_the_scale_of_ratings_beside_it(tmp_path):
    before = koniq10k.read_records(make_koniq10k(tmp_path))
    rows = rows_of(tmp_path / TABLE)
    (tmp_path / TABLE).unlink()
    for row in rows:
        row["MOS_zscore"], row["MOS"] = row["MOS"], str(1 + float(row["MOS"]) / 30)
        del row["set"]
    write(tmp_path / "koniq10k_scores_and_distributions.csv", rows)
    bare = [dataclasses.replace(record, part="") for record in before]
    assert koniq10k.read_records(tmp_path) == bare


def test_table_with_the_scale_of_ratings_alone_is_read_on_it(tmp_path):
    rows = rows_of(make_koniq10k(tmp_path) / TABLE)
    for row in rows:
        row["MOS"] = "2.5"
    write(tmp_path / TABLE, rows)
    assert {r.mos for r in koniq10k.read_records(tmp_path)} == {(2.5 - 1) / 4}


def test_column_of_names_may_be_spelled_with_a_blank(tmp_path):
    before = koniq10k.read_records(make_koniq10k(tmp_path))
    table = tmp_path / TABLE
    table.write_text(table.read_text().replace("image_name", "image name"))
    assert koniq10k.read_records(tmp_path) == before


def test_official_split_is_that_of_the_table(tmp_path):
    records = koniq10k.read_records(make_koniq10k(tmp_path))
    split = split_records(records, parse("official"))
    names = [f"10{scene}{rank}.jpg" for scene, rank in VERSIONS]
    assert [r.name for r in split.train] == [names[n] for n in (0, 1, 4, 5)]
    assert [r.name for r in split.validation] == [names[2]]
    assert [r.name for r in split.test] == [names[3]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",65,", ",165,", r"MOS of '1011\.jpg' is '165'.* 0 to 100"),
        (",65,", ",,", r"MOS of '1011\.jpg' is ''"),
        (",0.52,", ",5,", r"SD of '1011\.jpg' is '5'.* 0 to 4"),
        (
            "training",
            "trained",
            r"set of '1011\.jpg' is 'trained', not one of training",
        ),
        ("1011", "1012", "lists '1012.jpg' twice"),
        ("image_name", "file", "no column image_name"),
        ("MOS", "score", "no column MOS"),
    ],
)
def test_damaged_row_is_refused_with_its_place(tmp_path, old, new, message):
    table = make_koniq10k(tmp_path) / TABLE
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        koniq10k.read_records(tmp_path)
