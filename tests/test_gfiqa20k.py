"""The GFIQA-20k reader: columns by whatever name, names without an ending."""

import dataclasses

import pytest
from layouts_pictures import make_gfiqa20k

from ganiqa_jax.data import gfiqa20k
from ganiqa_jax.errors import InputError


def test_name_without_an_ending_is_a_jpeg(tmp_path):
    records = gfiqa20k.read_records(make_gfiqa20k(tmp_path))
    assert [r.name for r in records][2:4] == ["13.jpg", "21.jpg"]
    assert records[0].mos == pytest.approx(0.68)
    assert records[0].content == "11"


@pytest.mark.parametrize(
    "header", ["img_name,mos", "Image name, MOS", "filename,Score"]
)
def test_columns_are_found_by_name_in_any_case(tmp_path, header):
    before = gfiqa20k.read_records(make_gfiqa20k(tmp_path))
    table = tmp_path / "mos_val_rating.csv"
    table.write_text("\n".join([header, *table.read_text().splitlines()[1:]]))
    assert gfiqa20k.read_records(tmp_path) == before


def test_several_tables_are_joined_and_each_is_a_part(tmp_path):
    before = gfiqa20k.read_records(make_gfiqa20k(tmp_path))
    assert {record.part for record in before} == {""}
    header, *rows = (tmp_path / "mos_val_rating.csv").read_text().splitlines()
    (tmp_path / "mos_val_rating.csv").write_text("\n".join([header, *rows[4:]]))
    (tmp_path / "mos_train_rating.csv").write_text("\n".join([header, *rows[:4]]))
    parts = ["train"] * 4 + ["validation"] * 2
    assert gfiqa20k.read_records(tmp_path) == [
        dataclasses.replace(record, part=part)
        for record, part in zip(before, parts, strict=True)
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Image Name", "who", "no columns of picture and MOS; it has who, MOS"),
        ("11.jpg,0.", "11.jpg,6.", r"the score of '11\.jpg' is '6\.6.* 0 to 1"),
        ("12.jpg", "11.jpg", "lists '11.jpg' twice"),
    ],
)
def test_damaged_table_is_refused_with_its_place(tmp_path, old, new, message):
    table = make_gfiqa20k(tmp_path) / "mos_val_rating.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        gfiqa20k.read_records(tmp_path)
