"""The AGIQA-3K reader, on a tiny copy of its layout."""

import numpy as np
import pytest
from fixtures import GENERATORS, make_agiqa3k
from PIL import Image

from ganiqa_jax.data import agiqa3k
from ganiqa_jax.data.records import split_by_content
from ganiqa_jax.errors import InputError


@pytest.mark.parametrize("flat", [False, True])
def test_reads_every_row_in_file_order(tmp_path, flat):
    records = agiqa3k.read_records(make_agiqa3k(tmp_path, flat=flat))
    assert len(records) == 6 * len(GENERATORS)
    first = records[0]
    assert first.name == "AttnGAN_normal_001.jpg"
    assert first.distorted.is_file()
    assert first.reference is None
    assert first.kind == "AttnGAN"
    assert first.mos == pytest.approx((4.4 - 1.2 * 1.55) / 5)
    assert first.std == pytest.approx(0.51 / 5)


def test_prompt_groups_across_generators_and_variants(tmp_path):
    records = agiqa3k.read_records(make_agiqa3k(tmp_path))
    of_prompt = [r for r in records if r.content == "003"]
    assert [r.name for r in of_prompt] == [f"{g}_003.jpg" for g in GENERATORS]
    assert {r.kind for r in of_prompt} == {"AttnGAN", "sd1.5", "xl2.2"}
    split = split_by_content(records, fractions=(0.5, 0.2, 0.3), seed=0)
    assert all(len(part) % len(GENERATORS) == 0 for part in split)


def test_sharper_pictures_have_higher_scores(tmp_path):
    def sharpness(record):
        pixels = np.asarray(Image.open(record.distorted), np.float64)
        return np.abs(np.diff(pixels, axis=1)).mean()

    records = agiqa3k.read_records(make_agiqa3k(tmp_path, prompts=(2,)))
    by_score = sorted(records, key=lambda record: record.mos)
    values = [sharpness(record) for record in by_score]
    assert values == sorted(values)


def test_columns_are_found_by_name(tmp_path):
    table = make_agiqa3k(tmp_path, prompts=(1, 2)) / "data.csv"
    before = agiqa3k.read_records(tmp_path)
    rows = [line.split(",") for line in table.read_text().splitlines()]
    # Prompts are quoted and hold one comma, so the last columns count from the end.
    rows = [[row[-5], "x", row[0], row[-4]] for row in rows[1:]]
    lines = [",".join(row) for row in [["mos_quality", "y", "name", "std_quality"]]]
    table.write_text("\n".join(lines + [",".join(row) for row in rows]), "utf-8-sig")
    assert agiqa3k.read_records(tmp_path) == before


def test_says_what_to_unpack_where_if_the_table_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"data\.csv .*Unpack AGIQA-3K") as error:
        agiqa3k.read_records(tmp_path / "nowhere")
    assert "\n" not in str(error.value)


def test_counts_the_pictures_that_are_there(tmp_path):
    make_agiqa3k(tmp_path)
    (tmp_path / "images" / "xl2.2_normal_002.jpg").unlink()
    with pytest.raises(InputError, match=r"23 of 24 pictures found; .*xl2\.2") as error:
        agiqa3k.read_records(tmp_path)
    assert "Unpack AGIQA-3K" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mos_quality", "quality", "no column mos_quality"),
        ("2.540000000", "7.5", "mos_quality of 'AttnGAN_normal_001.jpg' is '7.5'"),
        ("2.540000000", "", "mos_quality of 'AttnGAN_normal_001.jpg' is ''"),
        ("0.510000000", "nan", "std_quality of 'AttnGAN_normal_001.jpg' is 'nan'"),
        ("AttnGAN_normal_001.jpg", "AttnGAN.jpg", "does not end in a prompt number"),
        ("AttnGAN_normal_001", "AttnGAN_normal_002", "lists .* twice"),
    ],
)
def test_damaged_table_is_refused_with_its_place(tmp_path, old, new, message):
    table = make_agiqa3k(tmp_path) / "data.csv"
    text = table.read_text()
    assert old in text
    table.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        agiqa3k.read_records(tmp_path)


def test_empty_table_is_refused(tmp_path):
    (tmp_path / "data.csv").write_text("name,mos_quality,std_quality\n")
    with pytest.raises(InputError, match="lists no pictures"):
        agiqa3k.read_records(tmp_path)
