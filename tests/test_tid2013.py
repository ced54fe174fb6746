"""The TID2013 reader: mixed case, deviations in a file of their own."""

import pytest
from layouts_pairs import make_tid2013

from ganiqa_jax.data import tid2013
from ganiqa_jax.errors import InputError


def test_names_are_matched_in_mixed_case(tmp_path):
    records = tid2013.read_records(make_tid2013(tmp_path))
    record = next(r for r in records if r.name == "i25_08_3.bmp")
    assert record.distorted == tmp_path / "distorted_images" / "I25_08_3.bmp"
    assert record.reference == tmp_path / "reference_images" / "i25.bmp"
    assert (record.kind, record.level) == ("gaussian_blur", 3)
    assert record.content == "I25"
    assert record.mos == pytest.approx(1.2 / 9)
    assert record.std == pytest.approx(0.38 / 9)


def test_deviations_may_be_left_out(tmp_path):
    (make_tid2013(tmp_path) / "mos_std.txt").unlink()
    assert {r.std for r in tid2013.read_records(tmp_path)} == {None}


def test_deviations_of_another_archive_are_refused(tmp_path):
    table = make_tid2013(tmp_path) / "mos_std.txt"
    table.write_text(table.read_text() + "0.1\n")
    with pytest.raises(InputError, match="has 13 lines and mos_with_names.txt 12"):
        tid2013.read_records(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("5.20000 I01", "9.2 I01", r"the score of 'i01_01_1\.bmp' is '9\.2'"),
        ("5.20000 I01", "x I01", r"the score of 'i01_01_1\.bmp' is 'x'"),
        ("I01_01_1", "I01_25_1", "is not a line such as"),
        ("I01_01_1", "I01_00_1", "is not a line such as"),
        ("I01_01_1", "I01_1", "is not a line such as"),
        ("I01_01_1", "i01_01_3", "lists 'i01_01_3.bmp' twice"),
    ],
)
def test_damaged_line_is_refused_with_its_place(tmp_path, old, new, message):
    table = make_tid2013(tmp_path) / "mos_with_names.txt"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        tid2013.read_records(tmp_path)
