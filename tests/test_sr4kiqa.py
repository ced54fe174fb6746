"""The SR4KIQA reader, on a tiny copy of its layout."""

import numpy as np
import pytest
from fixtures import make_sr4kiqa
from PIL import Image

from ganiqa_jax.data import sr4kiqa
from ganiqa_jax.errors import InputError


def test_reads_pairs_with_upscaler_and_factor(tmp_path):
    records = sr4kiqa.read_records(make_sr4kiqa(tmp_path))
    assert len(records) == 4 * 9
    record = next(r for r in records if r.name == "Face1/Face1_result_c_DCSCN_x2.jpg")
    assert record.distorted == tmp_path / "Face1" / "Face1_result_c_DCSCN_x2.jpg"
    assert record.reference == tmp_path / "reference" / "Face1_GT.jpg"
    assert (record.kind, record.level, record.content) == ("DCSCN", 2, "Face1")
    assert record.mos == pytest.approx((4.3 - 1) / 4)
    assert record.std is None


def test_higher_factors_are_farther_from_the_reference_and_score_lower(tmp_path):
    def distance(record):
        pair = [
            np.asarray(Image.open(path), np.float64)
            for path in (record.reference, record.distorted)
        ]
        return np.square(pair[0] - pair[1]).mean()

    records = sr4kiqa.read_records(make_sr4kiqa(tmp_path, contents=("Animal1",)))
    bicubic = [r for r in records if r.kind == "Bicubic"]
    by_score = sorted(bicubic, key=lambda record: record.mos)
    distances = [distance(record) for record in by_score]
    assert distances == sorted(distances, reverse=True)


def test_missing_table_says_what_to_unpack(tmp_path):
    with pytest.raises(InputError, match=r"mos\.csv .*Unpack SR4KIQA") as error:
        sr4kiqa.read_records(tmp_path)
    assert "\n" not in str(error.value)


def test_missing_reference_is_named(tmp_path):
    make_sr4kiqa(tmp_path)
    (tmp_path / "reference" / "Face1_GT.jpg").unlink()
    with pytest.raises(InputError, match=r"3 of 4 references found; .*Face1_GT\.jpg"):
        sr4kiqa.read_records(tmp_path)


def test_missing_picture_is_named(tmp_path):
    make_sr4kiqa(tmp_path)
    (tmp_path / "Face1" / "Face1_NN_x4.jpg").unlink()
    with pytest.raises(InputError, match=r"35 of 36 pictures found; .*NN_x4\.jpg"):
        sr4kiqa.read_records(tmp_path)


def test_file_name_without_factor_is_refused(tmp_path):
    table = make_sr4kiqa(tmp_path) / "mos.csv"
    table.write_text(table.read_text().replace("Animal1_NN_x2.jpg", "Animal1.jpg", 1))
    with pytest.raises(InputError, match="does not end in upscaler and factor"):
        sr4kiqa.read_records(tmp_path)


def test_score_off_the_scale_is_refused(tmp_path):
    table = make_sr4kiqa(tmp_path) / "mos.csv"
    table.write_text(table.read_text().replace(",3.9", ",0.9", 1))
    with pytest.raises(
        InputError, match=r"mos of 'Animal1_NN_x2.jpg' is '0\.9'.* 1 to 5"
    ):
        sr4kiqa.read_records(tmp_path)
