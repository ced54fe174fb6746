"""Sources that share rows by weight: in proportion, in step, and by a pure function."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganiqa_jax.config import DataConfig, SourceConfig
from ganiqa_jax.data.mixture import PERIOD, Mixture, SourceData, plan
from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError


def source(role: str, count: int, *, rows: int = 0, weight: float = 0) -> SourceData:
    records = tuple(
        Record(f"{role}{n}", Path(f"{n}.png"), Path("r.png"), 0.5, f"c{n}")
        for n in range(count)
    )
    return SourceData(records, role, rows, weight=float(weight))


def drawn(mixture: Mixture, steps: int) -> list[list[int]]:
    return [[row.source for row in plan(mixture, step)] for step in range(steps)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5), st.integers(1, 9))
def test_rows_are_given_in_proportion_to_the_weights(weights, rows):
    sources = tuple(source("pictures", 7, weight=w) for w in weights)
    mixture = Mixture(sources, crop=32, seed=0, shared_picture_rows=rows)
    counts: Counter[int] = Counter()
    for step, batch in enumerate(drawn(mixture, 60)):
        counts.update(batch)
        done = (step + 1) * rows
        for number, weight in enumerate(weights):
            exact = done * weight / sum(weights)
            rounding = 1 + done / PERIOD * len(weights)
            assert abs(counts[number] - exact) <= len(weights) + rounding


def test_every_weighted_source_is_shown_whole_in_epochs_of_its_own():
    sources = (
        source("pictures", 11, weight=3),
        source("pictures", 5, weight=1),
    )
    mixture = Mixture(sources, crop=32, seed=2, shared_picture_rows=4)
    steps = 3 * PERIOD // 4  # over the end of the pattern
    rows = [row for step in range(steps) for row in plan(mixture, step)]
    for number, item in enumerate(sources):
        names = [row.record.name for row in rows if row.source == number]
        size = len(item.records)
        for start in range(0, len(names) - size + 1, size):
            assert len(set(names[start : start + size])) == size
    assert [row.index for row in rows] == list(range(4 * steps))


def test_batches_keep_their_shape_and_begin_with_the_pairs():
    mixture = Mixture(
        (
            source("pictures", 9, weight=1),
            source("labelled_pairs", 9, weight=2),
            source("pictures", 9, rows=1),
            source("unlabelled_pairs", 9, weight=1),
            source("labelled_pairs", 9, rows=2),
        ),
        crop=32,
        seed=0,
        shared_pair_rows=3,
        shared_picture_rows=2,
    )
    assert (mixture.batch_size, mixture.pair_rows) == (8, 5)
    shares = set()
    for batch in drawn(mixture, 40):
        assert batch[:2] == [4, 4] and set(batch[2:5]) <= {1, 3}
        assert batch[5:] == [2, 0, 0]
        shares.add(batch[2:5].count(1))
    assert shares == {2} or shares == {2, 3} or shares == {1, 2, 3}


def test_a_step_can_be_planned_without_those_before_it():
    sources = source("pictures", 9, weight=2), source("pictures", 4, weight=1)
    mixture = Mixture(sources, crop=32, seed=5, shared_picture_rows=3)
    late = plan(mixture, 5000)
    assert late == plan(dataclasses.replace(mixture), 5000)
    other = plan(dataclasses.replace(mixture, seed=6), 5000)
    assert [r.source for r in other] == [r.source for r in late] and other != late


def test_an_epoch_is_that_of_the_largest_source_also_by_weight():
    sources = source("pictures", 90, weight=3), source("pictures", 4, weight=1)
    mixture = Mixture(sources, crop=32, seed=0, shared_picture_rows=4)
    assert mixture.steps_per_epoch == 30


def test_one_source_with_a_weight_is_as_one_with_rows():
    weighted = Mixture(
        (source("pictures", 9, weight=0.3),), 32, seed=1, shared_picture_rows=4
    )
    plain = Mixture((source("pictures", 9, rows=4),), 32, seed=1)
    for step in (0, 3, 400):
        assert plan(weighted, step) == plan(plain, step)


def test_weights_without_rows_to_share_are_refused():
    with pytest.raises(InputError, match="0 rows are shared by 1 sources"):
        Mixture((source("pictures", 9, weight=1),), 32, seed=0)
    with pytest.raises(InputError, match="2 rows are shared by 0 sources"):
        Mixture((source("pictures", 9, rows=1),), 32, seed=0, shared_pair_rows=2)


def test_settings_of_weights_are_checked():
    def data(*sources: SourceConfig, **shared: int) -> DataConfig:
        return DataConfig(sources, scale="agiqa3k", **shared)

    weighted = SourceConfig("agiqa3k", "a", "pictures", weight=0.5)
    pairs = SourceConfig("sr4kiqa", "b", "labelled_pairs", rows=2)
    assert data(weighted, pairs, shared_picture_rows=3).batch_size == 5
    with pytest.raises(InputError, match="data.shared_picture_rows must be > 0"):
        data(weighted, pairs)
    with pytest.raises(InputError, match="data.shared_pair_rows must be > 0"):
        data(weighted, pairs, shared_picture_rows=3, shared_pair_rows=1)
    for wrong in ({}, {"rows": 1, "weight": 1.0}, {"weight": -1.0}, {"rows": -1}):
        with pytest.raises(InputError, match="rows > 0 or a weight > 0"):
            SourceConfig("agiqa3k", "a", "pictures", **wrong)
