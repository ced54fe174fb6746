"""The readers of KADID-10k and of its companion without labels."""

import pytest
from layouts_pairs import make_kadid10k, make_kadis

from ganiqa_jax.data import kadid10k, kadis
from ganiqa_jax.errors import InputError


def test_column_dmos_is_a_mos_that_rises(tmp_path):
    records = kadid10k.read_records(make_kadid10k(tmp_path))
    by_name = {record.name: record for record in records}
    mild, strong = by_name["I01_10_01.png"], by_name["I01_10_05.png"]
    assert mild.mos == pytest.approx((4.6 - 1) / 4)
    assert strong.mos == pytest.approx(0)
    assert (strong.kind, strong.level, strong.content) == ("jpeg", 5, "I01")
    assert strong.std == pytest.approx(0.8 / 4)  # the root of the variance


def test_variance_may_be_left_out(tmp_path):
    table = make_kadid10k(tmp_path) / "dmos.csv"
    rows = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(rows))
    assert {r.std for r in kadid10k.read_records(tmp_path)} == {None}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("4.6,0.64", "5.6,0.64", r"the score of 'I01_01_01\.png' is '5\.6'.* 1 to 5"),
        ("4.6,0.64", "4.6,-1", r"the variance of 'I01_01_01\.png' is '-1'"),
        ("4.6,0.64", "4.6,99", r"the deviation of 'I01_01_01\.png'"),
        ("4.6,0.64", "4.6", r"the variance of 'I01_01_01\.png' is ''"),
        ("I01_01_01.png,I01.png", "I01.png,I01.png", "is not named as"),
        ("I01_01_01.png,I01.png", "I01_01_01.png,", "has no ref_img"),
        ("I01_01_01", "I01_01_03", "lists 'I01_01_03.png' twice"),
        ("dist_img,", "image,", "no column dist_img"),
    ],
)
def test_damaged_row_is_refused_with_its_place(tmp_path, old, new, message):
    table = make_kadid10k(tmp_path) / "dmos.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        kadid10k.read_records(tmp_path)


def test_there_are_25_distortions():
    assert list(kadid10k.KINDS)[::24] == ["01", "25"]
    assert len(set(kadid10k.KINDS.values())) == 25


def test_unlabelled_pair_is_told_by_the_last_two_parts_of_its_name(tmp_path):
    records = kadis.read_records(make_kadis(tmp_path))
    by_name = {record.name: record for record in records}
    long, short = (
        by_name["dist_imgs/abc_1280_08_02.bmp"],
        by_name["dist_imgs/abc_08_02.bmp"],
    )
    assert long.reference == tmp_path / "ref_imgs" / "abc_1280.png"
    assert short.reference == tmp_path / "ref_imgs" / "abc.png"
    for record in (long, short):
        assert record.mos is None
        assert (record.kind, record.level) == ("saturation_lab", 2)


def test_pair_never_falls_to_a_reference_of_a_shorter_name(tmp_path):
    (make_kadis(tmp_path) / "ref_imgs" / "abc_1280.png").unlink()
    with pytest.raises(InputError, match=r"1 of 2 references .*abc_1280\.bmp"):
        kadis.read_records(tmp_path)


@pytest.mark.parametrize("name", ["abc.bmp", "abc_01.bmp", "abc_01_x.bmp"])
def test_pair_of_another_name_is_refused(tmp_path, name):
    folder = make_kadis(tmp_path) / "dist_imgs"
    (folder / "abc_08_01.bmp").rename(folder / name)
    with pytest.raises(InputError, match="is not named <reference>_<type>_<level>"):
        kadis.read_records(tmp_path)
