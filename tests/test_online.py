"""Pairs that are made while training: what they are, and that they come again."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from fixtures import make_sr4kiqa
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganiqa_jax.config import (
    DataConfig,
    DistillConfig,
    SourceConfig,
    TeacherConfig,
    TeacherTrainConfig,
)
from ganiqa_jax.data import catalog
from ganiqa_jax.data.distortions import distort
from ganiqa_jax.data.mixture import Mixture, Share, SourceData, plan
from ganiqa_jax.data.online import KINDS, MARGIN, Damage, damage_of, damaged_pair
from ganiqa_jax.data.pipeline import batches
from ganiqa_jax.data.sources import load_sources, source_data
from ganiqa_jax.data.synthetic import grade
from ganiqa_jax.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Six photographs of blobs and noise, two of them one folder down."""
    root = tmp_path_factory.mktemp("photographs")
    (root / "more").mkdir()
    random = np.random.default_rng(0)
    for number in range(6):
        coarse = random.integers(0, 256, (8, 9, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((90, 80), Image.Resampling.BICUBIC)
        noisy = np.asarray(smooth) + random.normal(0, 6, (80, 90, 3))
        place = root / ("more" if number > 3 else "") / f"{number}.png"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(place)
    return root


def config(folder: Path, role: str, distort: str | None, **settings) -> SourceConfig:
    return SourceConfig("pristine", str(folder), role, 4, distort=distort, **settings)


def mixture(folder: Path, role: str = "unlabelled_pairs", kinds: str = "all"):
    records = tuple(catalog.read("pristine", folder))
    source = SourceData(records, role, 4, kinds=KINDS[kinds], mean=0.6, std=0.2)
    return Mixture((source,), crop=48, seed=7, cache="off")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4))
def test_any_words_are_a_damage(words):
    damage = damage_of(KINDS["all"], np.array(words, np.uint64))
    assert damage.kind in KINDS["all"] and damage.level in range(1, 6)
    assert 0 <= damage.across <= MARGIN and 0 <= damage.down <= MARGIN


def test_every_kind_and_level_comes_about_equally_often(folder):
    drawn = mixture(folder)
    rows = [row.damage for step in range(1500) for row in plan(drawn, step)]
    kinds = [row.kind for row in rows]
    expected = len(rows) / len(KINDS["all"])
    assert set(kinds) == set(KINDS["all"]) and len(KINDS["all"]) >= 30
    for kind in KINDS["all"]:
        assert abs(kinds.count(kind) - expected) < 5 * math.sqrt(expected)
    levels = np.bincount([row.level for row in rows], minlength=6)[1:]
    assert np.abs(levels - 1200).max() < 5 * math.sqrt(1200)


def test_a_pair_is_one_box_of_the_damaged_window_and_of_the_window():
    window = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    damage = Damage("jpeg", 4, across=3, down=5, seed=9)
    damaged, reference = damaged_pair(window, damage)
    random = np.random.Generator(np.random.Philox(9))
    whole = distort(window, "jpeg", 4, random)
    np.testing.assert_array_equal(reference, window[5:37, 3:35])
    np.testing.assert_array_equal(damaged, whole[5:37, 3:35])


def test_reference_is_a_crop_of_its_photograph_and_the_picture_is_damaged(folder):
    drawn = mixture(folder)
    (batch,) = batches(drawn, steps=1, start_step=5)
    for row, distorted, reference in zip(
        plan(drawn, 5), batch.distorted, batch.reference, strict=True
    ):
        with Image.open(row.record.distorted) as picture:
            whole = np.asarray(picture)
        crops = np.lib.stride_tricks.sliding_window_view(whole, (48, 48, 3))
        wanted = np.round(reference * 255).astype(np.uint8)
        assert (crops == wanted).all(axis=(-1, -2, -3)).any()
        assert (distorted != reference).any()


def test_pairs_are_new_in_each_epoch_and_the_same_in_each_run(folder):
    drawn = mixture(folder)
    first, again = (list(batches(drawn, steps=6)) for _ in range(2))
    late = list(batches(drawn, start_step=3, steps=3, threads=1, prefetch=1))
    for left, right in zip(first + first[3:], again + late, strict=True):
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_equal(a, b)
    seen = {picture.tobytes() for batch in first for picture in batch.distorted}
    assert len(seen) == 24
    other = dataclasses.replace(drawn, seed=8)
    assert plan(other, 0)[0].damage != plan(drawn, 0)[0].damage


def test_shares_of_processes_make_up_the_batch(folder):
    drawn = mixture(folder, "labelled_pairs", "graded")
    (whole,) = batches(drawn, steps=1)
    shares = (Share((0, 1), (0,)), Share((2, 3), (1, 2, 3)))
    parts = [next(batches(drawn, steps=1, share=share)) for share in shares]
    for name in ("distorted", "reference", "mos"):
        found = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(found, getattr(whole, name))


def test_labelled_pairs_have_the_grade_of_their_crops(folder):
    (batch,) = batches(mixture(folder, "labelled_pairs", "graded"), steps=1)
    pixels = [np.round(part * 255).astype(np.uint8) for part in batch[:2]]
    for z, distorted, reference in zip(batch.mos, *pixels, strict=True):
        assert z == pytest.approx((grade(reference, distorted) - 0.6) / 0.2, abs=1e-5)
    assert batch.labelled.all() and (batch.confidence == 1).all()


def test_unlabelled_pairs_wait_for_the_teacher(folder):
    (batch,) = batches(mixture(folder), steps=1)
    assert np.isnan(batch.mos).all() and not batch.labelled.any()
    assert (batch.confidence == 1).all() and batch.mask.all()


def test_grades_of_a_source_are_standardised_by_a_sample_of_them(folder, tmp_path):
    source = config(folder, "labelled_pairs", "graded")
    data = DataConfig((source,), scale="pristine", crop=48)
    (loaded,) = load_sources(data, tmp_path)
    drawn = Mixture((source_data(loaded),), crop=48, seed=1, cache="off")
    z = np.concatenate([batch.mos for batch in batches(drawn, steps=30)])
    assert abs(z.mean()) < 0.25 and 0.8 < z.std() < 1.25
    assert load_sources(data, tmp_path) == [loaded]


def test_of_a_set_of_pairs_the_references_are_damaged(tmp_path):
    root = make_sr4kiqa(tmp_path / "sr4kiqa")
    pairs = catalog.read("sr4kiqa", root)
    made = SourceConfig("sr4kiqa", str(root), "labelled_pairs", 2, distort="generators")
    (source,) = load_sources(DataConfig((made,), scale="sr4kiqa", crop=32), tmp_path)
    records = [record for part in source.split for record in part]
    assert {r.distorted for r in records} == {r.reference for r in pairs}
    assert len(records) == len({r.reference for r in pairs}) < len(pairs)
    assert {r.content for r in records} == {r.content for r in pairs}


@pytest.mark.parametrize(
    ("role", "kinds", "message"),
    [
        ("pictures", "all", "must not be 'pictures'"),
        ("labelled_pairs", "all", "cannot be graded"),
        ("labelled_pairs", "kadid", "cannot be graded"),
    ],
)
def test_roles_that_do_not_fit_are_refused(folder, role, kinds, message):
    with pytest.raises(InputError, match=message):
        config(folder, role, kinds)


def test_a_scale_without_scores_is_refused(folder):
    data = DataConfig((config(folder, "unlabelled_pairs", "all"),), scale="pristine")
    with pytest.raises(InputError, match="'pristine' has no scores"):
        DistillConfig(data, steps=1)
    with pytest.raises(InputError, match="teacher.channels"):
        TeacherTrainConfig(data, steps=1)
    compared = TeacherConfig(backbone="mobilenet_v1", channels=True)
    TeacherTrainConfig(data, steps=1, teacher=compared)  # grades them itself
    pretrained = dataclasses.replace(compared, backbone_weights="not read here")
    with pytest.raises(InputError, match="probe.pairs must be positive"):
        TeacherTrainConfig(data, steps=1, teacher=pretrained)
    read = dataclasses.replace(data.sources[0], distort=None)
    unscored = dataclasses.replace(data, sources=(read,))
    with pytest.raises(InputError, match="teacher.channels"):
        TeacherTrainConfig(unscored, steps=1, teacher=compared)


def test_undamaged_pictures_alone_are_no_pairs(folder, tmp_path):
    data = DataConfig((config(folder, "unlabelled_pairs", None),), scale="pristine")
    with pytest.raises(InputError, match="set `distort`"):
        load_sources(data, tmp_path)


def test_photographs_are_found_in_folders_and_an_empty_one_is_refused(folder, tmp_path):
    names = [record.name for record in catalog.read("pristine", folder)]
    assert names == ["0.png", "1.png", "2.png", "3.png", "more/4.png", "more/5.png"]
    with pytest.raises(InputError, match="holds no pictures"):
        catalog.read("pristine", tmp_path)
