"""The start of a student on a pretrained trunk."""

import dataclasses
import functools
import os
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_models import fake_model
from PIL import Image
from random_weights import random_weights
from scipy.stats import spearmanr

from ganiqa_jax import moments, probe, release
from ganiqa_jax.compared import see_compared
from ganiqa_jax.config import (
    DataConfig,
    DistillConfig,
    DistillWeights,
    FitConfig,
    JndConfig,
    Preprocessing,
    ProbeConfig,
    SourceConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTrainConfig,
)
from ganiqa_jax.data.mixture import Mixture, SourceData
from ganiqa_jax.data.online import pristine_of
from ganiqa_jax.data.pipeline import batches, chosen
from ganiqa_jax.data.records import Record, Split
from ganiqa_jax.data.sources import Source, write_splits
from ganiqa_jax.errors import InputError
from ganiqa_jax.models import Student, Teacher
from ganiqa_jax.models.comparison import z_of_likeness
from ganiqa_jax.models.quality import PARTS
from ganiqa_jax.release import LoadedModel
from ganiqa_jax.scoring.cropping import views
from ganiqa_jax.types import NetworkOutput

STUDENT = StudentConfig(
    trunk="mobilenet_v1",
    trunk_weights="not read here",
    frozen_blocks=11,
    width=8,
    heads=2,
    dropout=0.0,
    attention_key_dim=4,
    attention_kernels=(3, 3),
    bins=3,
    jnd=JndConfig(strength=0.0),
)
CONFIG = DistillConfig(
    data=DataConfig(
        sources=(SourceConfig("table", "not read here", "pictures", rows=4),),
        scale="table",
        crop=32,
    ),
    steps=1,
    student=STUDENT,
    probe=ProbeConfig(steps=300, crops=2, peak_lr=3e-3, weight_decay=0.1),
)


def weights(student: StudentConfig):
    picture = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(Student(student).init, jax.random.key(0), picture)
    return random_weights(shapes)


@pytest.fixture(scope="module")
def variables():
    return weights(STUDENT)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Mixture:
    """Grey pictures whose score is their brightness."""
    folder = tmp_path_factory.mktemp("grey")
    records = []
    for n in range(24):
        pixels = np.random.default_rng(n).integers(0, 20, (40, 40, 3)) + 9 * n
        path = folder / f"{n}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        records.append(Record(path.name, path, None, n / 23, path.stem))
    source = SourceData(tuple(records), "pictures", 4, mean=0.5, std=0.3)
    mixture = Mixture((source,), crop=32, seed=0)
    return moments.alone(moments.sizes(mixture, 0, records, CONFIG.probe)[0], 0)


@pytest.fixture(scope="module")
def scored(pictures) -> SourceData:
    """The training part of the same: all of it."""
    return dataclasses.replace(pictures.sources[0], mean=0.5, std=0.3)


def files(mixture: Mixture) -> set[Path]:
    return {record.distorted for record in mixture.sources[0].records}


@pytest.fixture(scope="module")
def started(variables, pictures, scored):
    return probe.start_from_trunk(
        Student(STUDENT), variables, [pictures], CONFIG, scored=scored, progress=False
    )


apply = jax.jit(Student(STUDENT).apply)


def outputs(variables, pictures: Mixture):
    (batch,) = batches(pictures, steps=1)
    return apply(variables, batch.distorted), (batch.mos - 0.5) / 0.3


def test_moments_are_standardised_over_the_training_pictures(started, pictures):
    network = Student(STUDENT)
    seen = moments.see(network, started, pictures, 2, held_out=(), progress=False)
    assert seen.moments.shape == (48, 2 * (96 + 192 + 3 * 384 + 768))
    norm = jax.tree.map(np.asarray, started["frozen"]["semantic"]["norm"])
    flat = (seen.moments - norm["mean"]) / np.sqrt(norm["var"] + 1e-5)
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=1e-2)
    spread = flat.std(axis=0)[seen.moments.std(axis=0) > 0.1]
    np.testing.assert_allclose(spread, 1, atol=1e-2)


def test_what_the_trunk_says_is_kept_for_runs_with_the_same_trunk(
    variables, pictures, tmp_path, monkeypatch
):
    kept = dataclasses.replace(pictures, cache="disk", cache_dir=tmp_path)

    every = files(pictures)

    def looks(variables=variables, student=STUDENT, crops=1, mixture=kept, held_out=()):
        """What is seen, and whether pictures were opened for it."""
        if student is not STUDENT:
            others = weights(student)
            variables = {
                part: {
                    name: variables[part][name] if name == "trunk" else array
                    for name, array in arrays.items()
                }
                for part, arrays in others.items()
            }
        opened = []

        def spy(*args, **kwargs):
            opened.append(True)
            return chosen(*args, **kwargs)

        monkeypatch.setattr("ganiqa_jax.data.pipeline.chosen", spy)
        network = Student(student)
        found = moments.see(
            network, variables, mixture, crops, held_out=held_out, progress=False
        )
        return found, bool(opened)

    uncached, _ = looks(mixture=pictures)
    first, opened = looks()
    assert opened
    again, opened = looks()
    assert not opened
    for one in (first, again):
        np.testing.assert_array_equal(one.moments, uncached.moments)
        np.testing.assert_array_equal(one.z, uncached.z)

    # Which contents are held out makes no difference to what is kept.
    some = {path for path in every if path.stem > "15"}
    fewer, opened = looks(held_out=every - some)
    alone, _ = looks(held_out=every - some, mixture=pictures)
    assert not opened and len(fewer.z) == len(some) < len(every)
    np.testing.assert_array_equal(fewer.z, alone.z)
    np.testing.assert_allclose(fewer.moments, alone.moments, rtol=1e-5, atol=1e-6)

    # What comes after the trunk makes no difference; all else does.
    plain = dataclasses.replace(STUDENT, attention="mhsa", width=16)
    assert not looks(student=plain)[1]
    single = dataclasses.replace(STUDENT, taps="single")
    assert looks(student=single)[1]
    assert looks(crops=2)[1]
    assert looks(mixture=dataclasses.replace(kept, seed=1))[1]
    trunk = jax.tree.map(lambda leaf: leaf * 1.01, variables["params"]["trunk"])
    params = {**variables["params"], "trunk": trunk}
    assert looks({**variables, "params": params})[1]
    file = kept.sources[0].records[0].distorted
    os.utime(file, (0, 0))
    changed, opened = looks()
    assert opened

    # A damaged file is made again.
    for path in tmp_path.glob("moments-*.npz"):
        path.write_bytes(path.read_bytes()[:1000])
    mended, opened = looks()
    assert opened
    np.testing.assert_array_equal(mended.moments, changed.moments)


def test_the_whole_network_starts_from_the_fit(variables, started, pictures):
    before, z = outputs(variables, pictures)
    after, _ = outputs(started, pictures)
    assert spearmanr(after.z, z).statistic > 0.97
    assert np.mean(np.square(after.z - z)) < 0.1 < np.mean(np.square(before.z - z))


def test_what_has_not_learned_is_passed_over(started, pictures):
    other = jax.tree.map(lambda leaf: leaf + 1, started["params"]["transformer"])
    params = {**started["params"], "transformer": other}
    changed, _ = outputs({**started, "params": params}, pictures)
    whole, _ = outputs(started, pictures)
    assert not np.allclose(changed.features["pooled"], whole.features["pooled"])
    np.testing.assert_array_equal(changed.z, whole.z)


def test_the_trunk_and_the_rest_stay(variables, started):
    for name in set(variables["params"]) - {"semantic", "head"}:
        same = jax.tree.map(
            lambda old, new: old is new,
            variables["params"][name],
            started["params"][name],
        )
        assert all(jax.tree.leaves(same)), name
    assert started["frozen"]["trunk"] is variables["frozen"]["trunk"]


def test_the_same_start_again(variables, started, pictures, scored):
    again = probe.start_from_trunk(
        Student(STUDENT), variables, [pictures], CONFIG, scored=scored, progress=False
    )
    for old, new in zip(jax.tree.leaves(started), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_is_fitted_to_is_no_part_of_the_program(variables, caplog):
    readers = probe.readers_of(STUDENT)

    def fit(seed: int) -> list[str]:
        """Fits to pictures and pairs made from a seed; what that compiles."""
        draw = np.random.default_rng(seed).standard_normal
        rows = draw((4, 8, 2 * (96 + 192 + 3 * 384 + 768)), np.float32)
        z = draw((2, 8), np.float32)
        seen = moments.Seen(rows[0], z[0])
        pairs = moments.SeenPairs(rows[1], rows[2], z[1])
        caplog.clear()
        with jax.log_compiles(), caplog.at_level("WARNING"):
            probe.fit(variables, readers, seen, pairs, CONFIG)
        return [text for text in caplog.messages if text.startswith("Compiling")]

    assert fit(seed=0)
    assert not fit(seed=1)


def test_no_steps_fit_nothing(variables, pictures, scored):
    config = dataclasses.replace(CONFIG, probe=ProbeConfig(steps=0, crops=1))
    started = probe.start_from_trunk(
        Student(STUDENT), variables, [pictures], config, scored=scored, progress=False
    )
    assert started["params"] is variables["params"]
    mean = started["frozen"]["semantic"]["norm"]["mean"]
    assert np.abs(mean - variables["frozen"]["semantic"]["norm"]["mean"]).max() > 0.01


class Strict:
    """A teacher that gives 1 to a window as it is and 0 to any other."""

    def apply(self, variables, reference, distorted, *, train):
        same = jnp.all(reference == distorted, axis=(1, 2, 3))
        return NetworkOutput(z=same.astype(jnp.float32), logits=None, features={})


def test_pairs_are_made_of_the_photographs_and_of_the_scored_pictures(scored):
    photographs = dataclasses.replace(
        scored,
        records=tuple(pristine_of(scored.records[:3])),
        role="unlabelled_pairs",
        kinds=("gaussian_noise",),
    )
    mixture = Mixture((scored, photographs), crop=32, seed=0)
    assert moments.damaged(dataclasses.replace(mixture, sources=(scored,)), 0) == []
    made = moments.damaged(mixture, 0)
    assert [len(one.sources[0].records) for one in made] == [3, 24]
    for one in made:
        (batch,) = batches(one, steps=1)
        assert batch.reference.shape == batch.distorted.shape
        assert np.abs(batch.reference - batch.distorted).max() > 0.01


def test_a_fit_with_pairs_learns_what_damage_costs(
    variables, pictures, scored, started
):
    noisy = dataclasses.replace(
        scored,
        records=tuple(pristine_of(scored.records)),
        role="unlabelled_pairs",
        kinds=("gaussian_noise",),
    )
    pairs = [dataclasses.replace(pictures, sources=(noisy,))]
    config = dataclasses.replace(
        CONFIG,
        weights=DistillWeights(drop=3.0, drop_share=0.5),
        probe=dataclasses.replace(CONFIG.probe, pairs=64),
    )
    card = SimpleNamespace(preprocessing=Preprocessing(crop=24))
    teacher = LoadedModel(network=Strict(), variables={}, card=card)
    taught = probe.start_from_trunk(
        Student(STUDENT),
        variables,
        [pictures],
        config,
        scored=scored,
        pairs=pairs,
        teacher=teacher,
        progress=False,
    )

    def costly(variables) -> float:
        """Share of new pairs whose damage costs a quarter of what the teacher says."""
        (batch,) = batches(dataclasses.replace(pairs[0], seed=1), steps=1)
        of_reference = apply(variables, batch.reference).z
        return np.mean(of_reference - apply(variables, batch.distorted).z > 0.25)

    assert costly(started) < 0.5
    assert costly(taught) > 0.8
    after, z = outputs(taught, pictures)
    assert spearmanr(after.z, z).statistic > 0.9  # and people's scores still count


def source_of(dataset: str, train: str, tested: str) -> Source:
    """Contents by letter."""
    parts = [
        tuple(Record(c, Path(c), None, 0.5, c) for c in part)
        for part in (train, "", tested)
    ]
    config = SourceConfig(dataset, "not read here", "pictures", rows=4)
    return Source(config, Split(*parts), 0.5, 0.1)


def test_what_trained_the_trunk_is_not_tested_on(tmp_path, caplog):
    run = tmp_path
    release.write_card(run, fake_model().card)
    write_splits([source_of("table", "abc", "de")], run)
    probe.check_trunk(str(run), [source_of("table", "ab", "d")])
    probe.check_trunk(str(run), [source_of("csiq", "x", "a")])
    with pytest.raises(InputError, match="student of the trunk .* on 1 contents"):
        probe.check_trunk(str(run), [source_of("table", "a", "bd")])

    probe.check_trunk(None, [source_of("agiqa3k", "a", "b")])
    probe.check_trunk("weights.npz", [source_of("agiqa3k", "a", "b")])
    probe.check_trunk("student-s", [source_of("agiqa3k", "ab", "")])
    probe.check_trunk("student-s", [source_of("csiq", "a", "b")])
    assert not caplog.records
    probe.check_trunk("student-s", [source_of("agiqa3k", "a", "b")])
    assert "what is measured there flatters" in caplog.text


def test_pictures_are_seen_at_several_sizes_and_with_their_detail(pictures):
    student = dataclasses.replace(STUDENT, detail=True)
    variables = weights(student)
    sides = dataclasses.replace(CONFIG.probe, sides=(64, 32))
    large, small = moments.sizes(pictures, 0, (), sides)
    assert [one.crop for one in (large, small)] == [64, 32]
    assert [one.sources[0].short_side for one in (large, small)] == [64, 32]
    view = Preprocessing(crop=32, points=1, whole=True, detail_side=64)

    def see(mixture: Mixture) -> moments.Seen:
        network = Student(student)
        return moments.see(
            network, variables, mixture, 1, view=view, held_out=(), progress=False
        )

    (batch,) = batches(large, steps=1)
    seen = see(large)
    network = jax.jit(Student(student).apply)
    pixels = np.round(255 * batch.distorted).astype(np.uint8)
    shown = map(np.concatenate, zip(*(views(x, view) for x in pixels), strict=True))
    wanted = network(variables, *(np.float32(x) / 255 for x in shown))
    np.testing.assert_allclose(
        seen.moments, wanted.features["moments"][: len(seen.z)], rtol=1e-4, atol=1e-5
    )
    # A small picture is its own detail.
    of_small, fine = see(small).moments, 2 * (96 + 192 + 384)
    same = of_small[:, :fine], of_small[:, -fine:]
    np.testing.assert_allclose(*same, rtol=1e-4, atol=1e-5)
    assert not np.allclose(seen.moments[:, :fine], seen.moments[:, -fine:], atol=1e-3)


def test_a_crop_is_seen_whole_and_by_its_corners(started, pictures):
    network = Student(STUDENT)
    see = functools.partial(moments.see, held_out=(), progress=False)
    whole = see(network, started, pictures, 1)
    parts = see(network, started, pictures, 1, parts=True)
    assert len(parts.z) == len(parts.moments) == PARTS * len(whole.z)
    np.testing.assert_array_equal(parts.z[::PARTS], whole.z)
    np.testing.assert_array_equal(parts.z[1::PARTS], whole.z)
    np.testing.assert_allclose(
        parts.moments[::PARTS], whole.moments, rtol=1e-4, atol=1e-5
    )
    assert not np.allclose(parts.moments[1::PARTS], whole.moments, atol=1e-3)


@pytest.fixture(scope="module")
def noisy(pictures, tmp_path_factory) -> SourceData:
    """Pairs whose score falls with the noise."""
    folder = tmp_path_factory.mktemp("noisy")
    records = []
    for n, record in enumerate(pictures.sources[0].records):
        clean = np.asarray(Image.open(record.distorted), np.float32)
        noise = np.random.default_rng(n).normal(0, 2 * n, clean.shape)
        path = folder / record.name
        Image.fromarray((clean + noise).clip(0, 255).astype(np.uint8)).save(path)
        records.append(Record(path.name, path, record.distorted, 1 - n / 23, path.stem))
    return SourceData(tuple(records), "labelled_pairs", 4, mean=0.5, std=0.3)


def halved(record: Record, folder: Path) -> Record:
    """A pair whose reference has half of its height."""
    reference = Image.open(record.reference)
    path = folder / "half.png"
    reference.crop((0, 0, reference.width, reference.height // 2)).save(path)
    return dataclasses.replace(record, reference=path)


def test_a_teacher_starts_from_what_it_compares(noisy, tmp_path):
    making = dataclasses.replace(
        noisy,
        records=tuple(pristine_of(noisy.records)),
        role="unlabelled_pairs",
        kinds=("gaussian_blur",),
    )
    mixture = Mixture((noisy, making), crop=32, seed=0)
    teacher = TeacherConfig(
        backbone="mobilenet_v1",
        backbone_weights="not read here",
        channels=True,
        dropout=0.0,
        **{name: getattr(STUDENT, name) for name in ("width", "heads", "bins", "jnd")},
        attention_key_dim=4,
        attention_kernels=(3, 3),
    )
    view = Preprocessing(crop=32, points=1, whole=True)
    config = TeacherTrainConfig(
        DataConfig(
            (SourceConfig("table", "not read here", "labelled_pairs", rows=4),), "table"
        ),
        steps=1,
        teacher=teacher,
        probe=FitConfig(steps=300, pairs=12, peak_lr=3e-3, weight_decay=0.1),
        preprocessing=view,
    )
    network = Teacher(teacher)
    picture = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    variables = random_weights(
        jax.eval_shape(network.init, jax.random.key(0), picture, picture)
    )
    look = functools.partial(see_compared, network, variables, mixture, view)
    seen = look(12, progress=False)
    assert len(seen.z) == len(seen.moments) == 24 + 12
    assert len(look(0, progress=False).z) == 24
    broken = dataclasses.replace(noisy, records=(halved(noisy.records[0], tmp_path),))
    with pytest.raises(InputError, match="must have one size"):
        see_compared(
            network,
            variables,
            dataclasses.replace(mixture, sources=(broken,)),
            view,
            0,
            progress=False,
        )
    z_of_people = (np.array([r.mos for r in noisy.records]) - 0.5) / 0.3
    np.testing.assert_allclose(seen.z[:24], z_of_people, rtol=1e-5)

    started = probe.start_teacher(network, variables, mixture, config, progress=False)
    norm = started["frozen"]["semantic"]["norm"]
    np.testing.assert_allclose(norm["mean"], seen.moments.mean(axis=0), rtol=1e-5)
    apply = jax.jit(network.apply)
    shown = [
        np.stack([views(np.asarray(Image.open(path)), view)[0][0] for path in paths])
        for paths in zip(
            *((r.reference, r.distorted) for r in noisy.records), strict=True
        )
    ]
    output = apply(started, *(np.float32(pictures) / 255 for pictures in shown))
    np.testing.assert_allclose(
        output.features["channels"], seen.moments[:24], rtol=1e-3, atol=1e-3
    )
    assert spearmanr(output.z, z_of_people).statistic > 0.97
    (batch,) = batches(dataclasses.replace(mixture, sources=(making,)), steps=1)
    output = apply(started, batch.reference, batch.distorted)
    said = z_of_likeness(output.features["likeness"])
    np.testing.assert_allclose(output.z, said, atol=0.5)
