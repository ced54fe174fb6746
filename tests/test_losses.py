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
ONES = jnp.ones(ROWS)
ONE_SOURCE = jnp.zeros(ROWS, jnp.int32)
CONTENT = jnp.arange(ROWS)

scores = hnp.arrays(np.float32, ROWS, elements=st.floats(-3, 3, width=32))
masks = hnp.arrays(np.bool_, ROWS)
quick = settings(max_examples=25, deadline=None)


def sample(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


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


feature_loss = jax.jit(losses.feature_loss)
statistics_loss = jax.jit(losses.statistics_loss)
plcc_loss = jax.jit(losses.plcc_loss)


@pytest.mark.parametrize("name", ["smooth_l1", "plcc", "norm", "rank"])
def test_score_terms_vanish_when_prediction_is_the_target(name):
    z = sample(ROWS)
    assert term(z, z, ONES, name=name)[0] < 1e-6


def test_feature_terms_vanish_when_student_is_the_teacher():
    logits, maps = sample(3, 10), sample(3, 5, 5, 8)
    resized = losses.area_resize(maps, 3)
    assert jnp.all(losses.soft_label_loss(logits, logits, 2.0) == 0)
    for student in (maps, resized):
        assert jnp.all(feature_loss(student, maps) < 1e-12)
        assert statistics_loss(student, maps, jnp.ones(3)) < 1e-12


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
    student, teacher, weights = sample(3, 2, 2, 4), sample(3, 4, 4, 4), jnp.eye(3)[0]
    value = statistics_loss(student, teacher, weights)
    moved = statistics_loss(student.at[1:].set(9.0), teacher, weights)
    alone = statistics_loss(student[:1], teacher[:1], jnp.ones(1))
    assert value == moved
    np.testing.assert_allclose(value, alone, rtol=1e-5)


@pytest.mark.parametrize("name", ["smooth_l1", "plcc", "norm", "rank"])
@pytest.mark.parametrize("weights", [ONES, jnp.zeros(ROWS)])
def test_gradients_stay_finite_for_constant_scores_and_empty_batches(name, weights):
    flat = jnp.full(ROWS, 3.3)
    for pred, target in ((flat, sample(ROWS)), (sample(ROWS), flat), (flat, flat)):
        value, grad = term(pred, target, weights, name=name)
        assert jnp.isfinite(value) and jnp.all(jnp.isfinite(grad))


@pytest.mark.parametrize("offset", [0.0, 500.0])
def test_gradients_stay_finite_for_constant_tokens(offset):
    flat, teacher = jnp.full((2, 2, 2, 4), offset), sample(2, 4, 4, 4)
    features = jax.grad(lambda s: feature_loss(s, teacher).sum())(flat)
    statistics = jax.grad(statistics_loss)(flat, teacher, jnp.ones(2))
    assert jnp.all(jnp.isfinite(features)) and jnp.all(jnp.isfinite(statistics))


def test_no_gradient_reaches_the_teacher():
    maps, logits = sample(2, 2, 2, 4), sample(2, 5)
    other = sample(2, 2, 2, 4, seed=1)
    grads = [
        jax.grad(lambda t: feature_loss(maps, t).sum())(other),
        jax.grad(lambda t: statistics_loss(maps, t, jnp.ones(2)))(other),
        jax.grad(lambda t: losses.soft_label_loss(logits, t, 2.0).sum())(logits + 1),
    ]
    assert all(jnp.all(grad == 0) for grad in grads)


def test_masked_mean_weighs_rows_and_ignores_what_is_masked():
    values = jnp.array([1.0, 4.0, jnp.nan])
    mean = losses.masked_mean(values, jnp.array([1.0, 0.5, 0.0]))
    np.testing.assert_allclose(mean, (1 + 2) / 1.5)
    assert losses.masked_mean(values, jnp.zeros(3)) == 0


def test_smooth_l1_is_quadratic_near_and_linear_far():
    got = losses.smooth_l1(jnp.array([0.25, 2.0, -2.0]), jnp.zeros(3), beta=0.5)
    np.testing.assert_allclose(got, [0.0625, 1.75, 1.75])


def test_plcc_is_the_mean_over_sources_of_one_minus_pearson_over_two():
    source = jnp.array([0, 0, 0, 0, 7, 7, 7, 3])
    pred, target = sample(8), sample(8, seed=1)
    loss = plcc_loss(pred, target, weights=jnp.ones(8), source=source)
    r = [stats.pearsonr(pred[a:b], target[a:b]).statistic for a, b in ((0, 4), (4, 7))]
    np.testing.assert_allclose(loss, (1 - np.mean(r)) / 2, rtol=1e-5)


def test_plcc_of_a_source_ignores_the_offset_of_another():
    source = jnp.array([0, 0, 0, 1, 1, 1])
    pred, target = sample(ROWS), sample(ROWS, seed=1)
    loss = plcc_loss(pred, target, weights=ONES, source=source)
    moved = plcc_loss(pred + 50.0 * source, target, weights=ONES, source=source)
    np.testing.assert_allclose(loss, moved, atol=1e-4)


def test_plcc_leaves_out_sources_of_two_rows_or_equal_targets():
    target = jnp.array([0.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    source = jnp.array([0, 0, 1, 1, 1, 1])
    assert plcc_loss(sample(ROWS), target, weights=ONES, source=source) == 0


@pytest.mark.parametrize("name", ["plcc", "norm"])
def test_scale_free_terms_end_at_one_for_the_opposite(name):
    target = jnp.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    loss = term(-3 * target, target, ONES, name=name)[0]
    np.testing.assert_allclose(loss, 1.0, rtol=1e-6)


def test_rank_charges_the_wrong_order_only():
    target = jnp.arange(ROWS, dtype=jnp.float32)
    assert term(5 * target, target, ONES, name="rank")[0] == 0
    assert term(-target, target, ONES, name="rank")[0] > 0


def test_rank_margin_asks_for_a_distance():
    pred, target = jnp.array([0.0, 0.5]), jnp.array([0.0, 2.0])
    loss = losses.rank_loss(
        pred,
        target,
        weights=jnp.ones(2),
        source=jnp.zeros(2, jnp.int32),
        content=jnp.arange(2),
        margin=1.0,
    )
    np.testing.assert_allclose(loss, 1.5)


def test_rank_weighs_contents_gaps_sources_and_rows():
    # Wrong pairs: 0-1 (same content, cost 1), 0-2 (cost 2); right: 1-2 by cost 1.
    # Row 3 is close to row 0 in target; row 4 is of another source.
    pred = jnp.array([2.0, 1.0, 0.0, 9.0, 9.0])
    target = jnp.array([0.0, 1.0, 2.0, 0.05, 3.0])
    weights = jnp.array([1.0, 0.5, 1.0, 1.0, 1.0])
    loss = losses.rank_loss(
        pred[jnp.array([0, 1, 2, 4])],
        target[jnp.array([0, 1, 2, 4])],
        weights=weights[jnp.array([0, 1, 2, 4])],
        source=jnp.array([0, 0, 0, 1]),
        content=jnp.array([5, 5, 6, 5]),
    )
    pairs = {"01": (2 * 0.5, 1.0), "02": (1.0, 2.0), "12": (0.5, 1.0)}
    expected = sum(w * c for w, c in pairs.values()) / sum(w for w, _ in pairs.values())
    np.testing.assert_allclose(loss, expected, rtol=1e-6)

    two = jnp.array([0, 3])
    close = losses.rank_loss(
        -target[two],
        target[two],
        weights=jnp.ones(2),
        source=jnp.zeros(2, jnp.int32),
        content=jnp.zeros(2, jnp.int32),
    )
    assert close == 0


def test_soft_targets_keep_the_score_as_their_mean():
    z = jnp.array([-1.2, 0.0, 0.7])
    targets = losses.soft_targets(z, 10)
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(targets @ losses.bin_centres(10), z, atol=0.02)


def test_bins_are_the_midpoints_of_their_range():
    centres = losses.bin_centres(10)
    np.testing.assert_allclose(jnp.diff(centres), 0.6, rtol=1e-5)
    np.testing.assert_allclose(centres[jnp.array([0, 9])], [-2.7, 2.7], rtol=1e-6)


def test_bin_cross_entropy_is_least_at_the_soft_targets():
    z = jnp.array([0.3, -5.0])
    best = jnp.log(losses.soft_targets(z, 10))
    grad = jax.grad(lambda logits: losses.bin_cross_entropy(logits, z).sum())(best)
    np.testing.assert_allclose(grad, 0.0, atol=1e-6)
    assert jnp.all(losses.bin_cross_entropy(best[::-1], z) > 2)


def test_soft_label_loss_is_tempered_divergence():
    student, teacher = sample(2, 10), sample(2, 10, seed=1)
    p, q = jax.nn.softmax(teacher / 2), jax.nn.softmax(student / 2)
    expected = 4 * stats.entropy(p, q, axis=1)
    np.testing.assert_allclose(
        losses.soft_label_loss(student, teacher, 2.0), expected, rtol=1e-4
    )


@pytest.mark.parametrize(("size", "side"), [(4, 2), (5, 3), (25, 14), (3, 7)])
def test_area_resize_keeps_the_mean_and_constants(size, side):
    maps = sample(2, size, size, 3)
    resized = losses.area_resize(maps, side)
    assert resized.shape == (2, side, side, 3)
    np.testing.assert_allclose(
        resized.mean(axis=(1, 2)), maps.mean(axis=(1, 2)), atol=1e-6
    )
    flat = losses.area_resize(jnp.ones_like(maps), side)
    np.testing.assert_allclose(flat, 1.0, rtol=1e-6)


def test_area_resize_shares_a_cell_between_two():
    row = jnp.array([1.0, 2.0, 3.0])
    maps = jnp.broadcast_to(row[None, None, :, None], (1, 3, 3, 1))
    resized = losses.area_resize(maps, 2)
    np.testing.assert_allclose(
        resized[0, 0, :, 0], [(1 + 0.5 * 2) / 1.5, (0.5 * 2 + 3) / 1.5], rtol=1e-6
    )


def test_feature_terms_ignore_scale_and_see_direction():
    student, teacher = sample(2, 3, 3, 8), sample(2, 6, 6, 8, seed=1)
    weights = jnp.ones(2)
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
    assert statistics_loss(student, shuffled, jnp.ones(2)) < 1e-10
    assert statistics_loss(student, -student, jnp.ones(2)) > 1e-3
