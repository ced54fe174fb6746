"""The CSIQ reader: three spellings of a type, text and spreadsheet."""

import sys

import pytest
from layouts_pairs import make_csiq
from openpyxl import load_workbook

from ganiqa_jax.data import csiq
from ganiqa_jax.errors import InputError


def test_dmos_falls_and_the_name_tells_reference_type_and_level(tmp_path):
    records = csiq.read_records(make_csiq(tmp_path))
    record = next(r for r in records if r.name == "1600.jpeg2000.2.png")
    assert record.distorted == tmp_path / "dst_imgs" / "1600.jpeg2000.2.png"
    assert record.reference == tmp_path / "src_imgs" / "1600.png"
    assert (record.kind, record.level, record.content) == ("jpeg2000", 2, "1600")
    assert record.mos == pytest.approx(1 - 0.63)
    assert record.std is None


def test_spreadsheet_says_the_same_with_deviations(tmp_path):
    text = csiq.read_records(make_csiq(tmp_path / "text"))
    sheet = csiq.read_records(make_csiq(tmp_path / "sheet", labels="sheet"))
    assert [(r.name, r.mos) for r in sheet] == [(r.name, r.mos) for r in text]
    assert {r.std for r in sheet} == {0.05}


def test_spreadsheet_without_openpyxl_names_the_extra(tmp_path, monkeypatch):
    make_csiq(tmp_path, labels="sheet")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"ganiqa-jax\[datasets\]"):
        csiq.read_records(tmp_path)


def test_spreadsheet_without_the_sheet_or_a_column_says_so(tmp_path):
    path = make_csiq(tmp_path, labels="sheet") / "csiq.DMOS.xlsx"
    book = load_workbook(path)
    book["all_by_image"]["H2"] = "score"
    book.save(path)
    with pytest.raises(InputError, match="no columns image, .*dmos"):
        csiq.read_records(tmp_path)
    book["all_by_image"].title = "other"
    book.save(path)
    with pytest.raises(InputError, match="no sheet all_by_image; it has .*other"):
        csiq.read_records(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1600.AWGN.1.png 0.31", "1600.AWGN.1.png", "is not a line such as"),
        ("1600.AWGN.1.png 0.31", "1600.png 0.31", "is not a line such as"),
        ("1600.AWGN.1.png 0.31", "1600.AWGN.x.png 0.31", "has no level"),
        ("0.31", "31", r"the score of '1600\.awgn\.1\.png' is '31'"),
        ("1600.AWGN.1", "1600.awgn.2", "lists .* twice"),
    ],
)
def test_damaged_line_is_refused_with_its_place(tmp_path, old, new, message):
    table = make_csiq(tmp_path) / "csiq_label.txt"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        csiq.read_records(tmp_path)
