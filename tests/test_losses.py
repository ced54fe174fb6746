import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from ganiqa_jax import losses

ROWS = 6
ONES = np.ones(ROWS, np.float32)
ONE_SOURCE = jnp.zeros(ROWS, jnp.int32)
CONTENT = jnp.arange(ROWS)

scores = hnp.arrays(np.float32, ROWS, elements=st.floats(-3, 3, width=32))
masks = hnp.arrays(np.bool_, ROWS)
quick = settings(max_examples=25, deadline=None, database=None)


def sample(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@functools.partial(jax.jit, static_argnames="name")
def term(pred, target, weights, *, name):
    """A scalar term over six rows of one source, and its gradient in `pred`."""

    def value(pred):
        if name == "smooth_l1":
            return losses.masked_mean(losses.smooth_l1(pred, target), weights)
        if name == "rank":
            return losses.rank_loss(
                pred, target, weights=weights, source=ONE_SOURCE, content=CONTENT
            )
        loss = {"plcc": losses.plcc_loss, "norm": losses.norm_in_norm_loss}[name]
        return loss(pred, target, weights=weights, source=ONE_SOURCE)

    return jax.value_and_grad(value)(pred)


# Compiled once a shape: eager dispatch would compile every operation.
masked_mean = jax.jit(losses.masked_mean)
smooth_l1 = jax.jit(losses.smooth_l1, static_argnames="beta")
plcc_loss = jax.jit(losses.plcc_loss)
rank_loss = jax.jit(losses.rank_loss, static_argnames=("margin", "min_gap"))
soft_targets = jax.jit(losses.soft_targets, static_argnums=1)
bin_cross_entropy = jax.jit(losses.bin_cross_entropy)
soft_label_loss = jax.jit(losses.soft_label_loss, static_argnums=2)
area_resize = jax.jit(losses.area_resize, static_argnums=1)
feature_loss = jax.jit(losses.feature_loss)
statistics_loss = jax.jit(losses.statistics_loss)
feature_grads = jax.jit(
    jax.grad(lambda s, t: losses.feature_loss(s, t).sum(), argnums=(0, 1))
)
statistics_grads = jax.jit(jax.grad(losses.statistics_loss, argnums=(0, 1)))


@pytest.mark.parametrize("name", ["smooth_l1", "plcc", "norm", "rank"])
def test_score_terms_vanish_when_prediction_is_the_target(name):
    z = sample(ROWS)
    assert term(z, z, ONES, name=name)[0] < 1e-6


def test_feature_terms_vanish_when_student_is_the_teacher():
    logits, maps = sample(3, 10), sample(3, 5, 5, 8)
    resized = area_resize(maps, 3)
    assert np.all(soft_label_loss(logits, logits, 2.0) == 0)
    for student in (maps, resized):
        assert np.all(feature_loss(student, maps) < 1e-12)
        assert statistics_loss(student, maps, np.ones(3)) < 1e-12


@pytest.mark.parametrize("name", ["smooth_l1", "plcc", "norm", "rank"])
@quick
@given(pred=scores, target=scores, other=scores, mask=masks)
def test_masked_rows_change_no_score_term(name, pred, target, other, mask):
    weights = mask.astype(np.float32)
    value, grad = term(pred, target, weights, name=name)
    pred, target = np.where(mask, pred, other), np.where(mask, target, -other)
    moved, _ = term(pred, target, weights, name=name)
    np.testing.assert_array_equal(value, moved)
    assert np.all(np.isfinite(grad)) and np.all(np.asarray(grad)[~mask] == 0)


def test_masked_rows_change_no_statistics():
    student, teacher, weights = sample(3, 2, 2, 4), sample(3, 4, 4, 4), np.eye(3)[0]
    value = statistics_loss(student, teacher, weights)
    moved = statistics_loss(
        np.concatenate([student[:1], 9 + student[1:]]), teacher, weights
    )
    alone = statistics_loss(student[:1], teacher[:1], np.ones(1))
    assert value == moved
    np.testing.assert_allclose(value, alone, rtol=1e-5)


@pytest.mark.parametrize("name", ["smooth_l1", "plcc", "norm", "rank"])
@pytest.mark.parametrize("weights", [ONES, np.zeros(ROWS)])
def test_gradients_stay_finite_for_constant_scores_and_empty_batches(name, weights):
    flat = np.full(ROWS, 3.3)
    for pred, target in ((flat, sample(ROWS)), (sample(ROWS), flat), (flat, flat)):
        value, grad = term(pred, target, weights, name=name)
        assert np.isfinite(value) and np.all(np.isfinite(grad))


@pytest.mark.parametrize("offset", [0.0, 500.0])
def test_gradients_stay_finite_for_constant_tokens(offset):
    flat, teacher = np.full((2, 2, 2, 4), offset), sample(2, 4, 4, 4)
    features, _ = feature_grads(flat, teacher)
    statistics, _ = statistics_grads(flat, teacher, np.ones(2))
    assert np.all(np.isfinite(features)) and np.all(np.isfinite(statistics))


def test_no_gradient_reaches_the_teacher():
    maps, logits = sample(2, 2, 2, 4), sample(2, 5)
    other = sample(2, 2, 2, 4, seed=1)
    soft = jax.jit(
        jax.grad(lambda s, t: losses.soft_label_loss(s, t, 2.0).sum(), (0, 1))
    )
    for to_student, to_teacher in (
        feature_grads(maps, other),
        statistics_grads(maps, other, np.ones(2)),
        soft(logits, logits[::-1]),
    ):
        assert np.any(to_student != 0) and np.all(to_teacher == 0)


def test_masked_mean_weighs_rows_and_ignores_what_is_masked():
    values = np.array([1.0, 4.0, np.nan])
    mean = masked_mean(values, np.array([1.0, 0.5, 0.0]))
    np.testing.assert_allclose(mean, (1 + 2) / 1.5)
    assert masked_mean(values, np.zeros(3)) == 0


def test_smooth_l1_is_quadratic_near_and_linear_far():
    got = smooth_l1(np.array([0.25, 2.0, -2.0]), np.zeros(3), beta=0.5)
    np.testing.assert_allclose(got, [0.0625, 1.75, 1.75])


def test_plcc_is_the_mean_over_sources_of_one_minus_pearson_over_two():
    source = np.array([0, 0, 0, 0, 7, 7, 7, 3])
    pred, target = sample(8), sample(8, seed=1)
    loss = plcc_loss(pred, target, weights=np.ones(8), source=source)
    r = [stats.pearsonr(pred[a:b], target[a:b]).statistic for a, b in ((0, 4), (4, 7))]
    np.testing.assert_allclose(loss, (1 - np.mean(r)) / 2, rtol=1e-5)


def test_plcc_of_a_source_ignores_the_offset_of_another():
    source = np.array([0, 0, 0, 1, 1, 1])
    pred, target = sample(ROWS), sample(ROWS, seed=1)
    loss = plcc_loss(pred, target, weights=ONES, source=source)
    moved = plcc_loss(pred + 50.0 * source, target, weights=ONES, source=source)
    np.testing.assert_allclose(loss, moved, atol=1e-4)


def test_plcc_leaves_out_sources_of_two_rows_or_equal_targets():
    target = np.array([0.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    source = np.array([0, 0, 1, 1, 1, 1])
    assert plcc_loss(sample(ROWS), target, weights=ONES, source=source) == 0


@pytest.mark.parametrize("name", ["plcc", "norm"])
def test_scale_free_terms_end_at_one_for_the_opposite(name):
    target = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    loss = term(-3 * target, target, ONES, name=name)[0]
    np.testing.assert_allclose(loss, 1.0, rtol=1e-6)


def test_rank_charges_the_wrong_order_only():
    target = np.arange(ROWS, dtype=np.float32)
    assert term(5 * target, target, ONES, name="rank")[0] == 0
    assert term(-target, target, ONES, name="rank")[0] > 0


def test_rank_margin_asks_for_a_distance():
    pred, target = np.array([0.0, 0.5]), np.array([0.0, 2.0])
    loss = rank_loss(
        pred,
        target,
        weights=np.ones(2),
        source=np.zeros(2, np.int32),
        content=np.arange(2),
        margin=1.0,
    )
    np.testing.assert_allclose(loss, 1.5)


def test_rank_weighs_contents_gaps_sources_and_rows():
    # Wrong pairs: 0-1 (same content, cost 1), 0-2 (cost 2); right: 1-2 by cost 1.
    # Row 3 is close to row 0 in target; row 4 is of another source.
    pred = np.array([2.0, 1.0, 0.0, 9.0, 9.0])
    target = np.array([0.0, 1.0, 2.0, 0.05, 3.0])
    weights = np.array([1.0, 0.5, 1.0, 1.0, 1.0])
    loss = rank_loss(
        pred[np.array([0, 1, 2, 4])],
        target[np.array([0, 1, 2, 4])],
        weights=weights[np.array([0, 1, 2, 4])],
        source=np.array([0, 0, 0, 1]),
        content=np.array([5, 5, 6, 5]),
    )
    pairs = {"01": (2 * 0.5, 1.0), "02": (1.0, 2.0), "12": (0.5, 1.0)}
    expected = sum(w * c for w, c in pairs.values()) / sum(w for w, _ in pairs.values())
    np.testing.assert_allclose(loss, expected, rtol=1e-6)

    two = np.array([0, 3])
    close = rank_loss(
        -target[two],
        target[two],
        weights=np.ones(2),
        source=np.zeros(2, np.int32),
        content=np.zeros(2, np.int32),
    )
    assert close == 0


def test_soft_targets_keep_the_score_as_their_mean():
    z = np.array([-1.2, 0.0, 0.7])
    targets = soft_targets(z, 10)
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(targets @ losses.bin_centres(10), z, atol=0.02)


def test_bins_are_the_midpoints_of_their_range():
    centres = losses.bin_centres(10)
    np.testing.assert_allclose(np.diff(centres), 0.6, rtol=1e-5)
    np.testing.assert_allclose(centres[np.array([0, 9])], [-2.7, 2.7], rtol=1e-6)


def test_bin_cross_entropy_is_least_at_the_soft_targets():
    z = np.array([0.3, -5.0])
    best = np.log(soft_targets(z, 10))
    grad = jax.jit(jax.grad(lambda x, z: losses.bin_cross_entropy(x, z).sum()))(best, z)
    np.testing.assert_allclose(grad, 0.0, atol=1e-6)
    assert np.all(bin_cross_entropy(best[::-1], z) > 2)


def test_soft_label_loss_is_tempered_divergence():
    student, teacher = sample(2, 10), sample(2, 10, seed=1)
    p, q = jax.nn.softmax(teacher / 2), jax.nn.softmax(student / 2)
    expected = 4 * stats.entropy(p, q, axis=1)
    np.testing.assert_allclose(
        soft_label_loss(student, teacher, 2.0), expected, rtol=1e-4
    )


@pytest.mark.parametrize(("size", "side"), [(4, 2), (5, 3), (25, 14), (3, 7)])
def test_area_resize_keeps_the_mean_and_constants(size, side):
    maps = sample(2, size, size, 3)
    resized = area_resize(maps, side)
    assert resized.shape == (2, side, side, 3)
    np.testing.assert_allclose(
        resized.mean(axis=(1, 2)), maps.mean(axis=(1, 2)), atol=1e-6
    )
    flat = area_resize(np.ones_like(maps), side)
    np.testing.assert_allclose(flat, 1.0, rtol=1e-6)


def test_area_resize_shares_a_cell_between_two():
    row = np.array([1.0, 2.0, 3.0])
    maps = np.broadcast_to(row[None, None, :, None], (1, 3, 3, 1))
    resized = area_resize(maps, 2)
    np.testing.assert_allclose(
        resized[0, 0, :, 0], [(1 + 0.5 * 2) / 1.5, (0.5 * 2 + 3) / 1.5], rtol=1e-6
    )


def test_feature_terms_ignore_scale_and_see_direction():
    student, teacher = sample(2, 3, 3, 8), sample(2, 6, 6, 8, seed=1)
    weights = np.ones(2)
    np.testing.assert_allclose(
        feature_loss(40 * student, 7 * teacher),
        feature_loss(student, teacher),
        rtol=1e-3,
    )
    np.testing.assert_allclose(
        statistics_loss(40 * student, 7 * teacher, weights),
        statistics_loss(student, teacher, weights),
        rtol=1e-3,
    )
    opposite = feature_loss(-student, student)
    np.testing.assert_allclose(opposite, 4.0, rtol=1e-3)


def test_statistics_ignore_where_a_token_stands():
    student = sample(2, 3, 3, 8)
    shuffled = student[:, ::-1, :, :].swapaxes(1, 2)
    assert statistics_loss(student, shuffled, np.ones(2)) < 1e-10
    assert statistics_loss(student, -student, np.ones(2)) > 1e-3
