"""Agreement of predictions with opinion scores, over a whole set, on the host.

Everything is numpy in float64. Both arrays have one value a picture, higher is better;
correlations are signed, so a metric that runs the wrong way scores below zero. A
correlation of fewer than three rows, or with one side constant, is undefined: nan, and
no warning. A value that is not finite is an `InputError`: leaving rows out is for the
caller to decide and to report.

PLCC is given twice under two names: raw, and after the logistic fit that the Video
Quality Experts Group describes. RMSE is raw, on the scale of the arrays given.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ganiqa_jax.errors import InputError

# scipy.stats takes most of a second to import, so functions import it where needed.

FEWEST_ROWS = 3

FIT_LOWEST = (-np.inf, -np.inf, -5.0, 0.01)
FIT_HIGHEST = (np.inf, np.inf, 5.0, 10.0)
"""Bounds of a, b, c, d of the logistic, in deviations of the predictions and scores.
Without them a nearly straight relation sends a, b and d to infinity together, and the
fit ends nowhere."""

FITTED_DRAWS = 200
"""Most bootstrap draws for the fitted PLCC, each of which is a nonlinear fit."""

Metric = Callable[[np.ndarray, np.ndarray], float]


class Estimate(NamedTuple):
    """A value and its percentile interval; the interval is nan if it has none."""

    value: float
    low: float
    high: float


class LogisticFit(NamedTuple):
    """`(a - b) / (1 + exp(-(x - c) / d)) + b`, d > 0, or the identity if not converged.

    Attributes:
      a: value approached for high predictions.
      b: value approached for low predictions.
      c: prediction half-way between.
      d: width of the transition.
      converged: whether the fit succeeded; if not, `__call__` returns its argument.
    """

    a: float
    b: float
    c: float
    d: float
    converged: bool

    def __call__(self, prediction: np.ndarray) -> np.ndarray:
        if not self.converged:
            return prediction
        from scipy.special import expit

        return (self.a - self.b) * expit((prediction - self.c) / self.d) + self.b


def plcc(prediction: np.ndarray, mos: np.ndarray) -> float:
    """Pearson correlation of the raw predictions, in [-1, 1]."""
    return _pearson(*_checked(prediction, mos))


def plcc_fitted(prediction: np.ndarray, mos: np.ndarray) -> float:
    """Pearson correlation after `logistic_fit`; raw where the fit fails.

    A falling fit counts as negative, so that the fit cannot mend a wrong direction.
    """
    prediction, mos = _checked(prediction, mos)
    return _fitted(prediction, mos, logistic_fit(prediction, mos))


def srcc(prediction: np.ndarray, mos: np.ndarray) -> float:
    """Spearman rank correlation, ties at their mean rank, in [-1, 1]."""
    from scipy.stats import rankdata

    prediction, mos = _checked(prediction, mos)
    return _pearson(rankdata(prediction), rankdata(mos))


def krcc(prediction: np.ndarray, mos: np.ndarray) -> float:
    """Kendall rank correlation, tau-b, in [-1, 1]."""
    from scipy.stats import kendalltau

    prediction, mos = _checked(prediction, mos)
    if not (_varies(prediction) and _varies(mos)):
        return float("nan")
    found: Any = kendalltau(prediction, mos, method="asymptotic")
    return float(found.statistic)


def rmse(prediction: np.ndarray, mos: np.ndarray) -> float:
    """Root mean squared error on the scale given; nan for no rows."""
    prediction, mos = _checked(prediction, mos)
    if not prediction.size:
        return float("nan")
    return float(np.sqrt(np.mean(np.square(prediction - mos))))


def logistic_fit(prediction: np.ndarray, mos: np.ndarray) -> LogisticFit:
    """Least-squares fit of the four-parameter logistic from predictions to scores.

    It starts from a, b = highest and lowest score, c = mean and d = deviation of the
    predictions. Both sides are standardised while fitting, so scales do not matter.
    Fewer than four rows, or a constant side, give an unconverged fit.

    Source: Video Quality Experts Group, final report on FR-TV phase II, 2003.
    """
    prediction, mos = _checked(prediction, mos)
    if not (_varies(prediction) and _varies(mos)) or prediction.size < 4:
        return LogisticFit(0.0, 0.0, 0.0, 0.0, converged=False)
    from scipy.optimize import least_squares

    x = (prediction - prediction.mean()) / prediction.std()
    y = (mos - mos.mean()) / mos.std()
    start = np.array([y.max(), y.min(), 0.0, 1.0])
    found = least_squares(
        _residuals,
        start,
        jac=_jacobian,  # pyright: ignore[reportArgumentType]
        args=(x, y),
        bounds=(FIT_LOWEST, FIT_HIGHEST),
        x_scale="jac",
        max_nfev=300,
    )
    a, b, c, d = found.x
    return LogisticFit(
        a=float(a * mos.std() + mos.mean()),
        b=float(b * mos.std() + mos.mean()),
        c=float(c * prediction.std() + prediction.mean()),
        d=float(d * prediction.std()),
        converged=bool(found.success),
    )


def mean_per_group_srcc(
    prediction: np.ndarray, mos: np.ndarray, groups: Sequence[str]
) -> float:
    """Mean over groups (references, prompts) of the SRCC inside each.

    Groups of fewer than three rows or with one score throughout have no order to find
    and are left out; constant predictions for a group that has one score 0. Nan when
    no group counts.
    """
    prediction, mos = _checked(prediction, mos)
    return _mean(_srcc_of_groups(prediction, mos, _rows_by_group(groups, mos.size)))


def summary(
    prediction: np.ndarray,
    mos: np.ndarray,
    *,
    groups: Sequence[str] | None,
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Every metric with a percentile interval from a cluster bootstrap.

    Whole groups are drawn with replacement, because pictures of one reference or prompt
    are not independent. Draws where a metric is undefined are left out of its interval.
    The fitted PLCC is fitted anew in each of the first `FITTED_DRAWS` draws.

    Args:
      prediction: predicted scores.
      mos: opinion scores, in the same order.
      groups: content of each row; None takes every row as its own group.
      bootstrap: number of draws; 0 gives no intervals.
      seed: of the draws.
      confidence: share of draws inside the interval.

    Returns:
      An `Estimate` each under `plcc`, `plcc_fitted`, `srcc`, `krcc` and `rmse`, and
      where a group has an order to find, `srcc_per_group` as `mean_per_group_srcc`;
      `n` and `n_groups`, the numbers of rows and groups; `fit_converged`, False if
      `plcc_fitted` fell back to raw.

    Raises:
      InputError: if lengths differ, values are not finite or settings out of range.
    """
    prediction, mos = _checked(prediction, mos)
    members = _rows_by_group(groups, mos.size)
    chosen = _chosen(members, bootstrap, seed)
    draws = _draws(members, chosen)
    measures: dict[str, Metric] = {
        "plcc": plcc,
        "plcc_fitted": plcc_fitted,
        "srcc": srcc,
        "krcc": krcc,
        "rmse": rmse,
    }
    found: dict[str, Any] = {}
    for name, measure in measures.items():
        used = draws[:FITTED_DRAWS] if name == "plcc_fitted" else draws
        values = [measure(prediction[rows], mos[rows]) for rows in used]
        found[name] = _estimate(measure(prediction, mos), values, confidence)
    of_groups = _srcc_of_groups(prediction, mos, members)
    if np.isfinite(mean := _mean(of_groups)):
        values = [_mean(of_groups[draw]) for draw in chosen]
        found["srcc_per_group"] = _estimate(mean, values, confidence)
    found["n"] = int(mos.size)
    found["n_groups"] = len(members)
    found["fit_converged"] = logistic_fit(prediction, mos).converged
    return found


def mean(
    values: np.ndarray,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """A mean over independent rows with a percentile interval from a bootstrap.

    Args:
      values: finite, [N].
      bootstrap, seed, confidence: as in `summary`.

    Raises:
      InputError: if settings are out of range.
    """
    _check_draws(bootstrap)
    random = np.random.default_rng(seed)
    rows = len(values)
    draws = bootstrap if rows > 1 else 0  # one row has no spread to resample
    drawn = [values[random.integers(rows, size=rows)].mean() for _ in range(draws)]
    return _estimate(float(values.mean()), drawn, confidence)


def difference(
    prediction_a: np.ndarray,
    prediction_b: np.ndarray,
    mos: np.ndarray,
    groups: Sequence[str] | None,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Estimate:
    """SRCC of `prediction_a` minus that of `prediction_b`, on the same draws.

    The paired cluster bootstrap of `summary`: both are measured on the same resampled
    groups, so what makes a draw easy or hard for both cancels. An interval without 0
    says that the two differ.
    """
    prediction_a, mos = _checked(prediction_a, mos)
    prediction_b, mos = _checked(prediction_b, mos)
    members = _rows_by_group(groups, mos.size)
    draws = _draws(members, _chosen(members, bootstrap, seed))
    values = [
        srcc(prediction_a[rows], mos[rows]) - srcc(prediction_b[rows], mos[rows])
        for rows in draws
    ]
    value = srcc(prediction_a, mos) - srcc(prediction_b, mos)
    return _estimate(value, values, confidence)


def to_json(found: dict[str, Any]) -> dict[str, Any]:
    """What `summary` returned as JSON values: nan becomes None."""

    def plain(value: Any) -> Any:
        if isinstance(value, Estimate):
            return {name: plain(part) for name, part in value._asdict().items()}
        if isinstance(value, float) and not np.isfinite(value):
            return None
        return value

    return {name: plain(value) for name, value in found.items()}


def _checked(prediction: np.ndarray, mos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays as float64 vectors of one length."""
    prediction = np.asarray(prediction, np.float64)
    mos = np.asarray(mos, np.float64)
    if prediction.ndim != 1 or prediction.shape != mos.shape:
        raise InputError(
            f"Predictions {prediction.shape} and scores {mos.shape} "
            "must be two lists of one length."
        )
    for name, values in (("predictions", prediction), ("scores", mos)):
        bad = int(np.sum(~np.isfinite(values)))
        if bad:
            raise InputError(
                f"{bad} of {values.size} {name} are not finite; leave those rows out."
            )
    return prediction, mos


def _varies(values: np.ndarray) -> bool:
    """Whether there is anything to correlate: three rows, spread above rounding."""
    if values.size < FEWEST_ROWS:
        return False
    return bool(np.ptp(values) > 1e-12 * np.max(np.abs(values)))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    """As `scipy.stats.pearsonr`, which also computes a p-value, 20 times slower."""
    if not (_varies(x) and _varies(y)):
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    return float(np.clip(x @ y, -1.0, 1.0))


def _fitted(prediction: np.ndarray, mos: np.ndarray, fit: LogisticFit) -> float:
    if not fit.converged:
        return _pearson(prediction, mos)
    return float(np.sign(fit.a - fit.b)) * _pearson(fit(prediction), mos)


def _residuals(params: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    a, b, c, d = params
    return (a - b) * expit((x - c) / d) + b - y


def _jacobian(params: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    del y
    a, b, c, d = params
    t = (x - c) / d
    s = expit(t)
    slope = (a - b) * s * (1 - s) / d
    return np.stack([s, 1 - s, -slope, -slope * t], axis=1)


def _rows_by_group(groups: Sequence[str] | None, rows: int) -> list[np.ndarray]:
    """Row numbers of each group, groups in sorted order."""
    if groups is None:
        return list(np.arange(rows)[:, None])
    if len(groups) != rows:
        raise InputError(f"There are {len(groups)} groups for {rows} scores.")
    _, number = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(number, kind="stable")
    return np.split(order, np.cumsum(np.bincount(number))[:-1]) if rows else []


def _srcc_of_groups(
    prediction: np.ndarray, mos: np.ndarray, members: list[np.ndarray]
) -> np.ndarray:
    """SRCC inside each group; nan where there is no order to find."""

    def inside(rows: np.ndarray) -> float:
        if rows.size < FEWEST_ROWS or not _varies(mos[rows]):
            return float("nan")
        return srcc(prediction[rows], mos[rows]) if _varies(prediction[rows]) else 0.0

    return np.array([inside(rows) for rows in members])


def _mean(values: np.ndarray) -> float:
    """Mean of the finite values; nan if there are none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _chosen(members: list[np.ndarray], bootstrap: int, seed: int) -> np.ndarray:
    """Groups of each draw: as many as there are, with replacement, [draws, groups]."""
    _check_draws(bootstrap)
    groups = len(members)
    if groups < 2:  # one group has no spread to resample
        return np.zeros((0, groups), np.int64)
    return np.random.default_rng(seed).integers(groups, size=(bootstrap, groups))


def _check_draws(bootstrap: int) -> None:
    if bootstrap < 0:
        raise InputError(f"bootstrap={bootstrap} must not be negative.")


def _draws(members: list[np.ndarray], chosen: np.ndarray) -> list[np.ndarray]:
    """Row numbers of each draw."""
    return [np.concatenate([members[g] for g in draw]) for draw in chosen]


def _estimate(value: float, values: Sequence[float], confidence: float) -> Estimate:
    """Percentile interval of the draws that are defined."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence} must lie between 0 and 1.")
    defined = [drawn for drawn in values if np.isfinite(drawn)]
    if not defined or not np.isfinite(value):
        return Estimate(value, float("nan"), float("nan"))
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))
