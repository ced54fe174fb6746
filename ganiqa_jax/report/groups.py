"""Scores of several generators side by side, with bootstrap intervals."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ganiqa_jax.errors import InputError
from ganiqa_jax.metrics import Estimate

# Elements of one block of drawn indices: 32 MB however large a group is.
_BLOCK = 4_000_000


class Group(NamedTuple):
    """The scores of one generator.

    Attributes:
      name: of the generator, or of whatever the pictures are grouped by.
      n: pictures with a score; `failed` have none.
      mean: with its interval; nan without a score.
      median: of the scores; so are the quartiles.
      lower_quartile: a quarter of the scores lies below.
      upper_quartile: a quarter of the scores lies above.
      best: share of draws in which its mean is the highest.
    """

    name: str
    n: int
    failed: int
    mean: Estimate
    median: float
    lower_quartile: float
    upper_quartile: float
    best: float


def compare_groups(
    scores: Sequence[float | None],
    names: Sequence[str],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[Group]:
    """Mean score of every group, the highest first; groups without a score go last.

    Pictures are drawn with replacement inside each group, so groups are taken as
    independent; `ganiqa_jax.ranking` pairs pictures of one prompt.

    Args:
      scores: in [0, 1]; None for a picture that has none.
      names: the group of each.
      bootstrap: number of draws.
      seed: of the draws.
      confidence: share of the draws inside an interval.

    Raises:
      InputError: if the lists differ in length or a setting is out of range.
    """
    if len(scores) != len(names):
        raise InputError(f"There are {len(names)} groups for {len(scores)} scores.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence} must lie between 0 and 1.")
    values: dict[str, list[float]] = {name: [] for name in names}
    failed = dict.fromkeys(values, 0)
    for score, name in zip(scores, names, strict=True):
        if score is None:
            failed[name] += 1
        else:
            values[name].append(score)
    random = np.random.default_rng(seed)
    arrays = {name: np.asarray(values[name]) for name in sorted(values)}
    draws = {
        name: drawn_means(array, bootstrap, random)
        for name, array in arrays.items()
        if array.size
    }
    best = _share_of_best(draws)
    tail = (1 - confidence) / 2
    groups = [
        _group(name, array, failed[name], draws.get(name), best.get(name, 0.0), tail)
        for name, array in arrays.items()
    ]
    return sorted(groups, key=lambda g: (g.n == 0, -g.mean.value if g.n else 0, g.name))


def drawn_means(
    values: np.ndarray, bootstrap: int, random: np.random.Generator
) -> np.ndarray:
    """Mean of each of `bootstrap` draws of `values` with replacement, `[bootstrap]`."""
    found = np.empty(bootstrap)
    at_once = max(1, _BLOCK // values.size)
    for start in range(0, bootstrap, at_once):
        count = min(at_once, bootstrap - start)
        drawn = random.integers(values.size, size=(count, values.size))
        found[start : start + count] = values[drawn].mean(axis=1)
    return found


def _share_of_best(draws: dict[str, np.ndarray]) -> dict[str, float]:
    if not draws:
        return {}
    stacked = np.stack(list(draws.values()))
    if not stacked.shape[1]:
        return {}
    winner = np.bincount(stacked.argmax(axis=0), minlength=len(draws))
    return dict(zip(draws, (winner / stacked.shape[1]).tolist(), strict=True))


def _group(
    name: str,
    values: np.ndarray,
    failed: int,
    draws: np.ndarray | None,
    best: float,
    tail: float,
) -> Group:
    nan = float("nan")
    if draws is None:
        none = Estimate(nan, nan, nan)
        return Group(name, 0, failed, none, nan, nan, nan, 0.0)
    mean = float(values.mean())
    low, high = nan, nan
    if values.size > 1 and draws.size:
        low, high = np.quantile(draws, [tail, 1 - tail]).tolist()
    quarter, median, three = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    estimate = Estimate(mean, low, high)
    return Group(name, values.size, failed, estimate, median, quarter, three, best)
