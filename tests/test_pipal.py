"""The PIPAL reader: types, Elo, and the unlabelled pairs of the challenges."""

import pytest
from layouts_pairs import make_pipal, make_pipal_ntire

from ganiqa_jax.data import pipal
from ganiqa_jax.errors import InputError


def test_reads_reference_type_and_elo(tmp_path):
    records = pipal.read_records(make_pipal(tmp_path))
    record = records[4]
    assert record.name == "A0002_04_02.bmp"
    assert record.distorted == tmp_path / "Distortion_2" / "A0002_04_02.bmp"
    assert record.reference == tmp_path / "Train_Ref" / "A0002.bmp"
    assert (record.kind, record.level, record.content) == ("sr_gan", 0, "A0002")
    assert record.mos == pytest.approx((1151.25 - 700) / 1300)


@pytest.mark.parametrize("elo", [800, 1850])
def test_published_ratings_are_well_inside_the_bounds(elo):
    low, high = pipal.FACTS.bounds
    assert low + 50 < elo < high - 50


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1500.25", "3000", r"the score of 'A0001_00_01\.bmp' is '3000'"),
        ("1500.25", "nan", r"the score of 'A0001_00_01\.bmp' is 'nan'"),
        ("A0001_00_01.bmp,1500.25", "A0001_00_01.bmp 1500.25", "is not a line such as"),
        ("A0001_00_01.bmp", "A0001.bmp", "is not a line such as"),
        ("A0001_00_01", "A0001_04_02", "lists .* twice"),
    ],
)
def test_damaged_line_is_refused_with_its_place(tmp_path, old, new, message):
    table = make_pipal(tmp_path) / "Train_Label" / "A0001.txt"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        pipal.read_records(tmp_path)


def test_references_may_be_in_another_folder(tmp_path):
    before = pipal.read_records(make_pipal(tmp_path))
    (tmp_path / "Train_Ref").rename(tmp_path / "Reference")
    after = pipal.read_records(tmp_path)
    assert [r.mos for r in after] == [r.mos for r in before]


def test_pairs_of_a_challenge_have_no_score(tmp_path):
    records = pipal.read_unlabelled(make_pipal_ntire(tmp_path))
    assert {record.mos for record in records} == {None}
    by_name = {record.name: record for record in records}
    record = by_name["NTIRE2022_FR_Testing_Dis/A0007_10_02.bmp"]
    assert record.reference == tmp_path / "NTIRE2022_FR_Testing_Ref" / "A0007.bmp"
    assert (record.kind, record.level, record.content) == ("10", 0, "A0007")


def test_labelled_pictures_are_no_challenge(tmp_path):
    make_pipal(tmp_path, layout="merged")
    (tmp_path / "Dist_Imgs").rename(tmp_path / "Train_Dis")
    with pytest.raises(InputError, match="no folder .* ends in _Dis"):
        pipal.read_unlabelled(tmp_path)
    assert len(pipal.read_records(tmp_path)) == 6
