"""The PieAPP reader: errors of the test part, and choices of all parts."""

import logging

import pytest
from layouts_pairs import make_pieapp

from ganiqa_jax.data import pieapp
from ganiqa_jax.errors import InputError


def test_error_is_negated_and_headers_may_begin_with_a_blank(tmp_path):
    records = pieapp.read_records(make_pieapp(tmp_path))
    table = tmp_path / "labels" / "test" / "ref_161_per_image_score.csv"
    assert ", distorted image," in table.read_text()
    assert [r.content for r in records] == ["ref_161"] * 3 + ["ref_162"] * 3
    assert records[0].name == "ref_161/distort_161_jpeg_2_inter_1.png"
    assert records[0].kind == "jpeg_2"
    assert records[0].mos == pytest.approx(1 - 6.5 / 20)
    assert records[0].mos > records[1].mos > records[2].mos


def test_choice_of_raters_or_where_nobody_rated_the_estimate(tmp_path):
    made = pieapp.read_preferences(make_pieapp(tmp_path))
    assert [(p.share, p.estimated) for p in made[:3]] == [
        (0.9, False),
        (0.75, False),
        (0.95, True),
    ]
    assert len(made) == 6
    folder = tmp_path / "distorted_images" / "train" / "ref_1"
    assert made[1] == pieapp.Preference(
        reference=tmp_path / "reference_images" / "train" / "ref_1.png",
        a=folder / "distort_1_jpeg_2_inter_1.png",
        b=folder / "distort_1_jpeg_2_inter_2.png",
        share=0.75,
        content="ref_1",
    )


def test_reference_itself_may_be_chosen(tmp_path):
    first = pieapp.read_preferences(make_pieapp(tmp_path), part="test")[0]
    assert first.a == first.reference
    assert first.a.is_file()


def test_choice_without_a_picture_is_refused_or_left_out(tmp_path, caplog):
    make_pieapp(tmp_path)
    name = "distort_1_jpeg_2_inter_2.png"
    (tmp_path / "distorted_images" / "train" / "ref_1" / name).unlink()
    with pytest.raises(InputError, match=f"found; .*{name} is missing"):
        pieapp.read_preferences(tmp_path)
    with caplog.at_level(logging.WARNING, "ganiqa_jax"):
        kept = pieapp.read_preferences(tmp_path, allow_missing=True)
    assert len(kept) == 5 and all(name not in (p.a.name, p.b.name) for p in kept)
    assert "left out" in caplog.text


def test_part_without_a_list_of_references_is_answered(tmp_path):
    with pytest.raises(InputError, match=r"val_reference_list\.txt .*Unpack PieAPP"):
        pieapp.read_preferences(make_pieapp(tmp_path), part="val")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.75", "75", "the share of .*inter_1.png' over .*inter_2.png' is no number"),
        (",0.95", ",", "the share of .*inter_1.png' over .*inter_3.png' is no number"),
        (",0.75,0.7", "", "is not reference, A, B and share"),
    ],
)
def test_damaged_choice_is_refused_with_its_place(tmp_path, old, new, message):
    table = make_pieapp(tmp_path) / "labels" / "train" / "ref_1_pairwise_labels.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        pieapp.read_preferences(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",1.5", ",99", "the score of 'distort_161_jpeg_2_inter_1.png' is '99'"),
        (",1.5", ",", "the score of 'distort_161_jpeg_2_inter_1.png' is ''"),
        (" score for", " points for", "no column score for distorted image"),
    ],
)
def test_damaged_score_is_refused_with_its_place(tmp_path, old, new, message):
    table = make_pieapp(tmp_path) / "labels" / "test" / "ref_161_per_image_score.csv"
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        pieapp.read_records(tmp_path)
