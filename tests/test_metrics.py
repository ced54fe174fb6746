import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from ganiqa_jax import metrics
from ganiqa_jax.errors import InputError

# Few distinct values, so that ties are common.
tied = st.integers(3, 25).flatmap(
    lambda n: st.tuples(*[hnp.arrays(np.int64, n, elements=st.integers(-4, 4))] * 2)
)
quick = settings(max_examples=60, deadline=None, database=None)


def noisy(rows: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mos = random.normal(size=rows)
    return mos + noise * random.normal(size=rows), mos


def tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """Kendall's definition, over all pairs."""
    dx, dy = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    return (dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum())


@quick
@given(tied)
def test_correlations_agree_with_scipy_and_definition_with_ties(pair):
    x, y = (values.astype(np.float64) for values in pair)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        for metric in (metrics.plcc, metrics.plcc_fitted, metrics.srcc, metrics.krcc):
            assert np.isnan(metric(x, y))
        return
    r = stats.pearsonr(x, y).statistic
    rho = stats.spearmanr(x, y).statistic
    np.testing.assert_allclose(metrics.plcc(x, y), r, atol=1e-9)
    np.testing.assert_allclose(metrics.srcc(x, y), rho, atol=1e-9)
    np.testing.assert_allclose(metrics.krcc(x, y), tau_b(x, y), atol=1e-9)
    assert -1 <= metrics.plcc_fitted(x, y) <= 1 or np.isnan(metrics.plcc_fitted(x, y))


@quick
@given(tied)
def test_rank_correlations_ignore_a_rising_curve_and_follow_the_sign(pair):
    x, y = (values.astype(np.float64) for values in pair)
    for metric in (metrics.srcc, metrics.krcc):
        np.testing.assert_allclose(metric(np.exp(x), y), metric(x, y), atol=1e-9)
        np.testing.assert_allclose(metric(-x, y), -metric(x, y), atol=1e-9)


def test_rmse_is_on_the_scale_given():
    assert metrics.rmse(np.array([1.0, 5.0]), np.array([1.0, 2.0])) == np.sqrt(4.5)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_nan_without_a_warning(rows):
    x = np.arange(rows, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.summary(x, x, groups=None, bootstrap=5)
    assert all(np.isnan(found[name].value) for name in ("plcc", "srcc", "krcc"))
    assert (found["n"], found["fit_converged"]) == (rows, False)


def test_nearly_constant_predictions_are_nan_without_a_warning():
    flat = np.full(5, 0.1)
    flat[0] += 1e-17
    assert np.isnan(metrics.plcc(flat, np.arange(5.0)))


def test_logistic_fit_recovers_a_known_curve():
    x = np.random.default_rng(0).uniform(-2, 3, size=80)
    fit = metrics.logistic_fit(x, 5 / (1 + np.exp(-(x - 0.3) / 0.2)) + 2)
    np.testing.assert_allclose(fit[:4], (7.0, 2.0, 0.3, 0.2), rtol=1e-5)
    assert fit.converged
    np.testing.assert_allclose(fit(np.array([0.3])), 4.5, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_fitted_plcc_mends_curvature_on_any_scale_but_not_direction(scale):
    x = scale * np.linspace(-4, 4, 60)
    mos = 900 + 300 * np.tanh(x / scale)
    assert metrics.plcc(x, mos) < 0.95
    np.testing.assert_allclose(metrics.plcc_fitted(x, mos), 1.0, atol=1e-6)
    np.testing.assert_allclose(metrics.plcc_fitted(-x, mos), -1.0, atol=1e-6)


def test_straight_relations_are_fitted_too():
    x, mos = noisy(200, 0.5)
    fit = metrics.logistic_fit(x, 3 * mos + 1)
    assert fit.converged
    assert metrics.plcc_fitted(x, mos) >= metrics.plcc(x, mos) - 1e-4


def test_fit_falls_back_to_raw_and_says_so():
    x, mos = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 3.0])
    fit = metrics.logistic_fit(x, mos)
    assert not fit.converged
    np.testing.assert_array_equal(fit(x), x)
    assert metrics.plcc_fitted(x, mos) == metrics.plcc(x, mos)


def test_summary_holds_every_metric_its_interval_and_the_counts():
    x, mos = noisy(60, 0.5)
    groups = [f"scene{i % 12}" for i in range(60)]
    found = metrics.summary(x, mos, groups=groups, bootstrap=60)
    for name in ("plcc", "plcc_fitted", "srcc", "krcc", "rmse"):
        estimate = found[name]
        assert estimate.low < estimate.value < estimate.high
        assert estimate.value == getattr(metrics, name)(x, mos)
    assert (found["n"], found["n_groups"], found["fit_converged"]) == (60, 12, True)
    assert found == metrics.summary(x, mos, groups=groups, bootstrap=60)


def test_summary_looks_inside_groups_where_they_have_an_order():
    mos = np.tile([0.1, 0.5, 0.9], 6)
    x = mos + np.repeat(np.arange(6.0), 3)  # right inside each, wrong across
    x[:3] = x[2::-1]
    groups = [f"scene{i // 3}" for i in range(18)]
    found = metrics.summary(x, mos, groups=groups, bootstrap=200)["srcc_per_group"]
    np.testing.assert_allclose(found.value, (5 - 1) / 6)
    assert -1 <= found.low < found.value < found.high <= 1 + 1e-9
    assert "srcc_per_group" not in metrics.summary(x, mos, groups=None, bootstrap=5)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    truth = 1 / np.sqrt(1 + 0.5**2)
    covered = 0
    for seed in range(40):
        x, mos = noisy(60, 0.5, seed=seed)
        members = metrics._rows_by_group(None, 60)
        draws = metrics._draws(members, metrics._chosen(members, 100, seed))
        values = [metrics.plcc(x[rows], mos[rows]) for rows in draws]
        estimate = metrics._estimate(metrics.plcc(x, mos), values, 0.9)
        covered += estimate.low <= truth <= estimate.high
    assert 30 <= covered <= 40


def test_groups_widen_the_interval_when_rows_of_a_group_are_alike():
    x, mos = noisy(10, 0.7)
    x, mos = np.repeat(x, 10), np.repeat(mos, 10)
    by_row = metrics.summary(x, mos, groups=None, bootstrap=100)["srcc"]
    groups = [str(i) for i in np.repeat(np.arange(10), 10)]
    by_group = metrics.summary(x, mos, groups=groups, bootstrap=100)["srcc"]
    assert by_group.high - by_group.low > 1.5 * (by_row.high - by_row.low)


@pytest.mark.parametrize(("groups", "bootstrap"), [(["a"] * 9, 20), (None, 0)])
def test_no_interval_from_one_group_or_no_draws(groups, bootstrap):
    x, mos = noisy(9, 0.5)
    estimate = metrics.summary(x, mos, groups=groups, bootstrap=bootstrap)["srcc"]
    assert np.isfinite(estimate.value)
    assert np.isnan(estimate.low) and np.isnan(estimate.high)


def test_difference_is_signed_and_paired():
    good, mos = noisy(80, 0.2)
    poor = mos + 2 * np.random.default_rng(1).normal(size=80)
    better = metrics.difference(good, poor, mos, None, bootstrap=100)
    assert better.low > 0
    np.testing.assert_allclose(
        better.value, metrics.srcc(good, mos) - metrics.srcc(poor, mos)
    )
    same = metrics.difference(poor, 3 * poor, mos, None, bootstrap=20)
    assert same == (0.0, 0.0, 0.0)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(2.0, 3.0, 400)
    found = metrics.mean(values)
    assert found.value == values.mean()
    half = 1.96 * values.std() / 20
    wanted = values.mean() - half, values.mean() + half
    np.testing.assert_allclose(found[1:], wanted, atol=0.1 * half)
    assert np.isnan(metrics.mean(values[:1])[1:]).all()


def test_mean_per_group_counts_flat_predictions_as_zero():
    mos = np.array([1, 2, 3, 1, 2, 3, 5, 5, 5, 1, 2], np.float64)
    prediction = np.array([1, 2, 3, 4, 4, 4, 1, 2, 3, 2, 1], np.float64)
    groups = ["right"] * 3 + ["flat"] * 3 + ["one score"] * 3 + ["two rows"] * 2
    mean = metrics.mean_per_group_srcc(prediction, mos, groups)
    np.testing.assert_allclose(mean, 0.5)
    assert np.isnan(metrics.mean_per_group_srcc(prediction[:2], mos[:2], ["a", "a"]))


def test_to_json_writes_nan_as_null():
    found = metrics.summary(np.zeros(4), np.arange(4.0), groups=None, bootstrap=5)
    text = json.dumps(metrics.to_json(found), allow_nan=False)
    assert json.loads(text)["srcc"] == {"value": None, "low": None, "high": None}
    assert json.loads(text)["n"] == 4


def test_errors_name_what_does_not_fit():
    with pytest.raises(InputError, match=r"\(3,\) and scores \(2,\)"):
        metrics.plcc(np.zeros(3), np.zeros(2))
    with pytest.raises(InputError, match="1 of 3 predictions are not finite"):
        metrics.srcc(np.array([0.0, np.nan, 1.0]), np.zeros(3))
    with pytest.raises(InputError, match="2 groups for 3 scores"):
        metrics.summary(np.arange(3.0), np.arange(3.0), groups=["a", "b"])
    with pytest.raises(InputError, match="confidence=95"):
        metrics.summary(np.arange(3.0), np.arange(3.0), groups=None, confidence=95.0)
    with pytest.raises(InputError, match="bootstrap=-1"):
        metrics.summary(np.arange(3.0), np.arange(3.0), groups=None, bootstrap=-1)
    with pytest.raises(InputError, match="bootstrap=-1"):
        metrics.mean(np.arange(3.0), bootstrap=-1)
