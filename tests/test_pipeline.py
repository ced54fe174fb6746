"""The mixture's order, and the batches that tf.data makes of it."""

import dataclasses
import math
import subprocess
import sys
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from fixtures import draw_scene, make_sr4kiqa
from PIL import Image

from ganiqa_jax.data import sr4kiqa
from ganiqa_jax.data.pipeline import (
    Mixture,
    Share,
    SourceData,
    batches,
    epoch,
    plan,
)
from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError


def make_pictures(folder, *, count, content="p", size=(40, 40)):
    """Lossless records without references, each of one flat colour of its own."""
    folder.mkdir(exist_ok=True)
    records = []
    for number in range(count):
        path = folder / f"{content}{number}.png"
        Image.new("RGB", size, (number, 2 * number, 255 - number)).save(path)
        records.append(
            Record(
                name=path.name,
                distorted=path,
                reference=None,
                mos=number / count,
                content=f"{content}{number // 2}",
            )
        )
    return tuple(records)


def make_pairs(folder, *, count, size=(48, 40), reference_size=None):
    """Pairs whose distorted picture is the reference, inverted."""
    folder.mkdir(exist_ok=True)
    records = []
    for number in range(count):
        pixels = draw_scene(number, height=size[1], width=size[0])
        paths = folder / f"r{number}.png", folder / f"d{number}.png"
        reference = Image.fromarray(pixels)
        reference.resize(reference_size or size).save(paths[0])
        Image.fromarray(255 - pixels).save(paths[1])
        records.append(
            Record(
                name=f"pair{number}",
                distorted=paths[1],
                reference=paths[0],
                mos=0.25,
                content=f"s{number}",
            )
        )
    return tuple(records)


@pytest.fixture
def mixture(tmp_path):
    """Pictures first, then labelled and unlabelled pairs: 4 + 2 + 2 rows."""
    pairs = make_pairs(tmp_path / "pairs", count=3)
    pseudo = {record.name: (0.5, 0.1 * n) for n, record in enumerate(pairs)}
    return Mixture(
        sources=(
            SourceData(
                make_pictures(tmp_path / "pictures", count=10),
                "pictures",
                4,
                mean=0.5,
                std=0.25,
            ),
            SourceData(pairs, "labelled_pairs", 2, mean=0.5, std=0.5),
            SourceData(pairs, "unlabelled_pairs", 2, pseudo=pseudo),
        ),
        crop=32,
        seed=3,
    )


def assert_same(left, right):
    for name, a, b in zip(left._fields, left, right, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
        assert a.dtype == b.dtype


def test_every_epoch_draws_each_record_once_in_a_new_order(mixture):
    drawn = [
        row.record.name
        for step in range(5)
        for row in plan(mixture, step)
        if row.source == 0
    ]
    epochs = drawn[:10], drawn[10:]
    assert [set(Counter(epoch).values()) for epoch in epochs] == [{1}, {1}]
    assert epochs[0] != epochs[1]


def test_plan_depends_on_seed_and_step_alone(mixture):
    assert plan(mixture, 7) == plan(dataclasses.replace(mixture), 7)
    assert plan(mixture, 7) != plan(dataclasses.replace(mixture, seed=4), 7)
    rows = [row for step in range(50) for row in plan(mixture, step)]
    assert [row.index for row in rows] == list(range(50 * 8))
    for where in ([row.across for row in rows], [row.down for row in rows]):
        assert len(set(where)) == len(where)
        assert 0 <= min(where) and max(where) < 1
        assert abs(np.mean(where) - 0.5) < 0.1


def test_plan_stays_what_it_was(mixture):
    # Noted once: a change would make a resumed run see other pictures.
    rows = plan(mixture, 4)
    names = "pair2 pair0 pair1 pair2 p1.png p2.png p6.png p3.png".split()
    assert [row.record.name for row in rows] == names
    assert rows[0].across == pytest.approx(0.7091447608987175, abs=1e-15)
    assert rows[0].down == pytest.approx(0.4154271029804447, abs=1e-15)


def test_rows_past_int32_are_refused(mixture):
    assert plan(mixture, 2**28 - 1)[-1].index == 2**31 - 1
    with pytest.raises(InputError, match=r"passes 2\*\*31 rows"):
        plan(mixture, 2**28)


def test_counts_of_the_mixture(mixture):
    assert (mixture.batch_size, mixture.pair_rows) == (8, 4)
    assert mixture.steps_per_epoch == 3


def test_rows_with_references_come_first_with_their_targets(mixture):
    (batch,) = batches(mixture, start_step=2, steps=1)
    rows = plan(mixture, 2)
    assert batch.distorted.shape == (8, 32, 32, 3)
    assert batch.reference.shape == (4, 32, 32, 3)
    assert batch.distorted.dtype == np.float32
    np.testing.assert_array_equal(batch.source, [1, 1, 2, 2, 0, 0, 0, 0])
    np.testing.assert_array_equal(batch.labelled, [True] * 2 + [False] * 2 + [True] * 4)
    np.testing.assert_array_equal(batch.mask, [True] * 8)
    np.testing.assert_array_equal(batch.index, np.arange(16, 24))
    pseudo = mixture.sources[2].pseudo
    expected = [-0.5, -0.5, 0.5, 0.5] + [(r.record.mos - 0.5) / 0.25 for r in rows[4:]]
    np.testing.assert_allclose(batch.mos, expected, rtol=1e-6)
    np.testing.assert_allclose(
        batch.confidence,
        [1, 1, *(pseudo[r.record.name][1] for r in rows[2:4]), 1, 1, 1, 1],
        rtol=1e-6,
    )
    assert [f"p{number}" for number in batch.content[4:]] == [
        row.record.content for row in rows[4:]
    ]


def test_pixels_are_those_of_the_planned_record_in_unit_range(mixture):
    (batch,) = batches(mixture, steps=1)
    for row, picture in zip(plan(mixture, 0)[4:], batch.distorted[4:], strict=True):
        number = int(row.record.name.removeprefix("p").removesuffix(".png"))
        color = np.array([number, 2 * number, 255 - number]) / 255
        np.testing.assert_allclose(picture, np.broadcast_to(color, (32, 32, 3)))


def test_pair_is_cropped_at_one_box(mixture):
    for batch in batches(mixture, steps=4):
        total = batch.distorted[:4] + batch.reference
        np.testing.assert_allclose(total, np.ones_like(total), atol=1e-6)
        # Were the pictures flat, any two boxes would sum to one.
        assert batch.reference.std() > 0.1


def test_same_batches_for_any_threads_prefetch_and_cache(mixture, tmp_path):
    one = list(batches(mixture, steps=4, threads=1, prefetch=0))
    bare = dataclasses.replace(mixture, cache="off")
    small = dataclasses.replace(mixture, cache_bytes=3 * 40 * 40 * 5)
    disk = dataclasses.replace(mixture, cache="disk", cache_dir=tmp_path / "cache")
    for other in (mixture, bare, small, disk, disk):
        many = batches(other, steps=4, threads=4, prefetch=3)
        for left, right in zip(one, many, strict=True):
            assert_same(left, right)


@pytest.mark.parametrize(("cache", "grows"), [("off", False), ("memory", True)])
def test_memory_grows_with_the_pictures_in_the_memory_cache_alone(
    cache, grows, tmp_path
):
    records = make_pictures(tmp_path / "p", count=40, size=(160, 160))
    source = SourceData(records, "pictures", 2)
    drawn = batches(Mixture((source,), 32, seed=0, cache=cache), steps=20)
    tracemalloc.start()
    try:
        next(drawn)
        before, _ = tracemalloc.get_traced_memory()
        for _ in drawn:
            pass
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert (grown > 20 * 3 * 160 * 160) == grows, grown
    assert grows or grown < 8 * 3 * 160 * 160


def test_resumed_run_sees_what_it_would_have_seen(mixture):
    whole = list(batches(mixture, steps=5))
    rest = list(batches(mixture, start_step=3, steps=2))
    for left, right in zip(whole[3:], rest, strict=True):
        assert_same(left, right)


def test_a_share_has_the_rows_and_references_it_names(mixture):
    (whole,) = batches(mixture, steps=1)
    for share in (
        Share((0, 1, 2, 3), (0, 1)),
        Share((4, 5, 6, 7), (2, 3)),
        Share((3, 6), (0, 3)),
        Share((), (1,)),
        Share((2,), ()),
    ):
        (part,) = batches(mixture, steps=1, share=share)
        np.testing.assert_array_equal(part.reference, whole.reference[[*share[1]]])
        for name in set(whole._fields) - {"reference"}:
            expected = getattr(whole, name)[[*share.rows]]
            np.testing.assert_array_equal(getattr(part, name), expected, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": Share((0, 8), ())}, r"share.rows=\(0, 8\) must be .* 0 to 7"),
        ({"share": Share((1, 0), ())}, "share.rows"),
        ({"share": Share((0,), (4,))}, r"share.references=\(4,\) must be .* 0 to 3"),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_impossible_shares_and_numbers_are_refused(mixture, arguments, message):
    with pytest.raises(InputError, match=message):
        batches(mixture, **{"steps": 1, **arguments})


def test_sizes_of_a_pair_are_compared_when_only_its_reference_is_read(tmp_path):
    records = make_pairs(tmp_path, count=1, size=(48, 40), reference_size=(96, 80))
    mixture = Mixture((SourceData(records, "labelled_pairs", 1),), crop=32, seed=0)
    with pytest.raises(InputError, match=r"d0\.png is 48x40"):
        list(batches(mixture, steps=1, share=Share((), (0,))))


@pytest.mark.parametrize(("rows", "steps"), [(4, 3), (5, 2), (16, 1)])
def test_an_epoch_shows_each_record_once_and_masks_the_rest(mixture, rows, steps):
    source = mixture.sources[0]
    found = list(epoch(source, rows=rows, crop=32))
    assert [len(batch.distorted) for batch in found] == [rows] * steps
    shown = np.concatenate([batch.distorted[batch.mask] for batch in found])
    colours = [[n / 255, 2 * n / 255, (255 - n) / 255] for n in range(10)]
    np.testing.assert_allclose(shown[:, 0, 0], colours, rtol=1e-6)
    z = np.concatenate([batch.mos[batch.mask] for batch in found])
    np.testing.assert_allclose(
        z, [source.target(r, math.nan)[0] for r in source.records]
    )
    last = found[-1]
    assert list(last.mask) == sorted(last.mask, reverse=True)


def test_processes_have_equal_batches_of_an_epoch(mixture):
    source = mixture.sources[1]  # 3 pairs: the second process has one row to fill
    whole = list(epoch(source, rows=4, crop=32))
    for own in ((0, 1), (2, 3)):
        for batch, part in zip(
            whole, epoch(source, rows=4, crop=32, share=Share(own, own)), strict=True
        ):
            assert_same(type(batch)(*(array[[*own]] for array in batch)), part)
    with pytest.raises(InputError, match="rows=0"):
        epoch(source, rows=0, crop=32)


def test_short_side_and_small_pictures(tmp_path):
    large = make_pictures(tmp_path / "large", count=2, content="a", size=(120, 90))
    small = make_pictures(tmp_path / "small", count=2, content="b", size=(20, 50))
    mixture = Mixture(
        sources=(
            SourceData(large, "pictures", 1, short_side=33),
            SourceData(small, "pictures", 1),
        ),
        crop=32,
        seed=0,
    )
    (batch,) = batches(mixture, steps=1)
    assert batch.distorted.shape == (2, 32, 32, 3)
    assert batch.reference.shape == (0, 32, 32, 3)


def test_reads_a_data_set_and_labels_without_pseudo_count_fully(tmp_path):
    records = sr4kiqa.read_records(make_sr4kiqa(tmp_path))
    source = SourceData(tuple(records), "unlabelled_pairs", 4)
    (batch,) = batches(Mixture((source,), crop=64, seed=0), steps=1)
    np.testing.assert_array_equal(batch.mos, np.zeros(4))
    np.testing.assert_array_equal(batch.confidence, np.ones(4))
    assert not batch.labelled.any()
    # A crop of one scene is nearer to its own reference than to the others.
    error = np.abs(batch.distorted[:, None] - batch.reference[None]).mean((2, 3, 4))
    assert (error.diagonal() <= error.min(axis=1) + 1e-6).all()


def test_damaged_picture_is_named(tmp_path):
    records = make_pictures(tmp_path / "pictures", count=2)
    data = records[1].distorted.read_bytes()
    records[1].distorted.write_bytes(data[: len(data) // 2])
    mixture = Mixture((SourceData(records, "pictures", 2),), crop=32, seed=0)
    with pytest.raises(InputError, match=r"p1\.png cannot be read") as error:
        list(batches(mixture, steps=1))
    assert "\n" not in str(error.value)


def test_pair_of_unequal_sizes_is_refused(tmp_path):
    records = make_pairs(tmp_path, count=1, size=(48, 40), reference_size=(96, 80))
    source = SourceData(records, "labelled_pairs", 1, short_side=36)
    with pytest.raises(InputError, match=r"d0\.png is 48x40 .*r0\.png is 96x80"):
        list(batches(Mixture((source,), crop=32, seed=0), steps=1))


def test_sources_that_cannot_play_their_role_are_refused(tmp_path):
    records = make_pictures(tmp_path, count=2)
    with pytest.raises(InputError, match=r"p0\.png has no reference"):
        SourceData(records, "labelled_pairs", 1)
    bare = tuple(dataclasses.replace(record, mos=None) for record in records)
    with pytest.raises(InputError, match=r"p0\.png has no score"):
        SourceData(bare, "pictures", 1)
    pairs = make_pairs(tmp_path, count=1)
    with pytest.raises(InputError, match="pair0 has no pseudo-label"):
        SourceData(pairs, "unlabelled_pairs", 1, pseudo={})
    with pytest.raises(InputError, match="no training pictures"):
        SourceData((), "pictures", 1)


def test_an_unfinished_run_ends_when_python_does(tmp_path):
    make_pictures(tmp_path, count=4, size=(1500, 1500))
    script = f"""
from pathlib import Path
from ganiqa_jax.data.pipeline import Mixture, SourceData, batches
from ganiqa_jax.data.records import Record
paths = sorted(Path({str(tmp_path)!r}).glob("*.png"))
records = tuple(Record(p.name, p, None, 0.5, p.name) for p in paths)
mixture = Mixture((SourceData(records, "pictures", 8),), 32, seed=0, cache="off")
unfinished = batches(mixture, steps=1000)
next(unfinished)
print("last line")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=90
    )
    assert (done.returncode, done.stdout) == (0, "last line\n"), done.stderr
