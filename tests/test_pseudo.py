"""Pseudo-labels: what the teacher says of pairs, and how sure it is."""

import numpy as np
import pytest
from fake_models import CROP, fake_model
from fixtures import make_sr4kiqa

from ganiqa_jax.config import DataConfig, DistillConfig, SourceConfig
from ganiqa_jax.data import catalog
from ganiqa_jax.data.records import Split
from ganiqa_jax.data.sources import Source
from ganiqa_jax.pseudo import pseudo_labels
from ganiqa_jax.scoring.cropping import resize_short_side
from ganiqa_jax.scoring.decode import decode_picture


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_sr4kiqa(tmp_path_factory.mktemp("sr4kiqa"), factors=(2,))


def made(root, workdir, *, whole, role="unlabelled_pairs"):
    config = SourceConfig("sr4kiqa", str(root), role, rows=1, short_side=2 * CROP)
    split = Split(tuple(catalog.read("sr4kiqa", root)), (), ())
    run = DistillConfig(DataConfig((config,), scale="sr4kiqa"), steps=1)
    teacher = fake_model("teacher", whole=whole)
    sources = [Source(config, split, 0.5, 1.0)]
    return pseudo_labels(run, workdir, sources, teacher, progress=False)


@pytest.mark.parametrize("whole", [False, True])
def test_a_teacher_is_asked_about_crops_of_its_size(root, tmp_path, whole):
    """Of whole pictures it is one too; they are then as small as its crops."""
    found = made(root, tmp_path, whole=whole)["sr4kiqa"]
    records = catalog.read("sr4kiqa", root)
    assert found.keys() == {record.name for record in records}
    for record in records:
        reference, distorted = (
            resize_short_side(decode_picture(path).pixels, CROP if whole else 2 * CROP)
            for path in (record.reference, record.distorted)
        )
        height, width = np.array(reference.shape[:2]) - CROP
        boxes = [(0, 0), (0, width), (height, 0), (height, width)]
        boxes += [(height // 2, width // 2)]
        red = (np.float32(distorted) - reference)[..., 0] / 255
        of_crops = [red[y : y + CROP, x : x + CROP].mean() for y, x in boxes]
        z, confidence = found[record.name]
        np.testing.assert_allclose(z, np.mean(of_crops), atol=1e-5)
        if confidence:  # the least sure have none
            expected = np.exp(-np.var(of_crops) / 0.1)
            np.testing.assert_allclose(confidence, expected, atol=1e-4)
    assert made(root, tmp_path, whole=whole)["sr4kiqa"] == found  # as they were kept


def test_scored_pairs_have_none(root, tmp_path):
    assert made(root, tmp_path, whole=True, role="labelled_pairs") == {}
    assert not list(tmp_path.iterdir())
