"""The list of data sets."""

import pytest
from fixtures import draw_scene, make_agiqa3k, make_sr4kiqa

from ganiqa_jax.data import catalog
from ganiqa_jax.data.synthetic import write_pairs
from ganiqa_jax.errors import InputError, IntegrityError


@pytest.mark.parametrize(
    ("name", "make"), [("agiqa3k", make_agiqa3k), ("sr4kiqa", make_sr4kiqa)]
)
def test_reads_a_data_set_by_name(tmp_path, name, make):
    records = catalog.read(name, make(tmp_path))
    assert records == catalog.READERS[name](tmp_path)
    assert all(record.mos is not None and 0 <= record.mos <= 1 for record in records)


def test_every_data_set_has_a_scale():
    assert set(catalog.MOS_SCALES) == set(catalog.READERS)
    assert catalog.MOS_SCALES["agiqa3k"][1:] == (0.0, 5.0)
    assert catalog.MOS_SCALES["sr4kiqa"][1:] == (1.0, 5.0)
    assert all(low < high for _, low, high in catalog.MOS_SCALES.values())


def test_unknown_data_set_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match="agiqa3k, .*kadid10k, .*tid2013"):
        catalog.read("kadid", tmp_path)


def test_set_of_choices_says_how_it_is_read(tmp_path):
    with pytest.raises(InputError, match=r"bapps\.read_triplets"):
        catalog.read("bapps", tmp_path)


def test_missing_pictures_can_be_left_out_by_name(tmp_path):
    root = make_agiqa3k(tmp_path)
    (root / "images" / "xl2.2_normal_002.jpg").unlink()
    assert len(catalog.read("agiqa3k", root, allow_missing=True)) == 23


def test_missing_synthetic_pictures_can_be_left_out(tmp_path):
    scenes = {name: draw_scene(n, height=40, width=48) for n, name in enumerate("ab")}
    records = write_pairs(scenes, tmp_path / "pairs", seed=0, per_picture=3)
    records[4].distorted.unlink()
    with pytest.raises(IntegrityError, match="lacks 1 of 8 pictures"):
        catalog.read("synthetic", tmp_path / "pairs")
    kept = catalog.read("synthetic", tmp_path / "pairs", allow_missing=True)
    assert kept == records[:4] + records[5:]
