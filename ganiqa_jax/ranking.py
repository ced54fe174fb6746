"""Which of several generators makes the better pictures, by their scores.

Two generators are compared picture by picture where both made one for the same prompt
(or under the same name), else as two independent lots. Whatever is drawn again for an
interval is the prompt, because pictures of one prompt are not independent.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

import numpy as np

from ganiqa_jax.errors import InputError
from ganiqa_jax.metrics import Estimate
from ganiqa_jax.scoring.rows import ScoreRow

Pairing = Literal["auto", "path", "name", "stem", "none"]

SHARED_ENOUGH = 0.5
"""`auto` pairs two generators whose smaller lot has at least this share of its keys in
the other."""

_BLOCK = 4_000_000


class Standing(NamedTuple):
    """One generator.

    Attributes:
      name: of the generator.
      n: pictures with a score; `failed` have none and count nowhere.
      mean: of the scores, with its interval.
      median: of the scores.
    """

    name: str
    n: int
    failed: int
    mean: Estimate
    median: float


class Duel(NamedTuple):
    """Two generators, `a` with the higher mean difference or the first of equals.

    Attributes:
      a: and `b`, their names.
      paired: whether by pairs of one key.
      n: pairs; of unpaired lots the smaller lot.
      difference: mean score of `a` minus that of `b`.
      win_rate: chance that a picture of `a` scores higher than one of `b` (of the same
        key if paired), ties as half.
      effect: difference over the deviation: of the differences if paired (Cohen's
        d_z), else of both lots pooled (Cohen's d); nan without spread.
      p_value: two-sided, of the bootstrap; Holm's correction for all duels.
      better: name of the better one; None if `p_value` does not tell them apart.
    """

    a: str
    b: str
    paired: bool
    n: int
    difference: Estimate
    win_rate: Estimate
    effect: float
    p_value: float
    better: str | None


class Ranking(NamedTuple):
    """Generators, the highest mean first, and every two of them."""

    standings: list[Standing]
    duels: list[Duel]


def rank(
    generators: Mapping[str, Sequence[ScoreRow]],
    *,
    pair: Pairing = "auto",
    key: str = "",
    bootstrap: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Ranking:
    """Ranks generators by the scores of their pictures.

    Args:
      generators: name to rows, all by one model.
      pair: what two pictures share that belong together: their path, name, or name
        without suffix; `none` never pairs; `auto` pairs by name without suffix where
        half of the smaller lot has a partner.
      key: in place of `pair`, a regular expression found in the path, whose first
        group (or all of it) is the key, such as the number of a prompt; pictures of
        one key are averaged.
      bootstrap: number of draws.
      seed: of the draws.
      confidence: of the intervals, and what `better` is decided by.

    Raises:
      InputError: if there are fewer than two generators, one has no scores, keys do
        not match, or a setting is out of range.
    """
    _check(generators, bootstrap, confidence)
    keyed = {name: _by_key(name, rows, pair, key) for name, rows in generators.items()}
    random = np.random.default_rng(seed)
    tail = (1 - confidence) / 2
    standings = [
        _standing(name, rows, keyed[name] if key else None, bootstrap, random, tail)
        for name, rows in generators.items()
    ]
    standings.sort(key=lambda one: -one.mean.value)
    duels = [
        _duel(a.name, b.name, keyed, pair, bool(key), bootstrap, random, tail)
        for a, b in itertools.combinations(standings, 2)
    ]
    return Ranking(standings, _decide(duels, 1 - confidence))


def _check(
    generators: Mapping[str, Sequence[ScoreRow]], bootstrap: int, confidence: float
) -> None:
    if len(generators) < 2:
        raise InputError("Ranking needs the rows of two generators or more.")
    for name, rows in generators.items():
        if not any(row.score is not None for row in rows):
            raise InputError(f"{name} has no picture with a score.")
    if bootstrap < 1:
        raise InputError(f"bootstrap={bootstrap} must be at least 1.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence={confidence} must lie between 0 and 1.")


def _by_key(
    name: str, rows: Sequence[ScoreRow], pair: Pairing, pattern: str
) -> dict[str, list[float]]:
    """Scores by key; with pair `none`, every picture under its own number."""
    try:
        compiled = re.compile(pattern) if pattern else None
    except re.error as error:
        raise InputError(f"--key {pattern!r} is no pattern: {error}.") from error
    found: dict[str, list[float]] = {}
    for number, row in enumerate(rows):
        if row.score is None:
            continue
        if compiled:
            match = compiled.search(row.path)
            if not match:
                raise InputError(f"{name}: {pattern!r} is not found in {row.path}.")
            one = match[1] if compiled.groups else match[0]
        else:
            one = _key(row.path, number, pair)
        found.setdefault(one or "", []).append(row.score)
    return found


def _standing(
    name: str,
    rows: Sequence[ScoreRow],
    keyed: Mapping[str, list[float]] | None,
    bootstrap: int,
    random: np.random.Generator,
    tail: float,
) -> Standing:
    """Draws pictures, or with `keyed` all pictures of one key together."""
    scores = np.array([row.score for row in rows if row.score is not None])
    sums, counts = scores, np.ones(scores.size)
    if keyed is not None:
        sums = np.array([sum(lot) for lot in keyed.values()])
        counts = np.array([float(len(lot)) for lot in keyed.values()])
    drawn = _draw_means([sums, counts], bootstrap, random)
    mean = _interval(float(scores.mean()), drawn[:, 0] / drawn[:, 1], tail)
    failed = len(rows) - scores.size
    return Standing(name, scores.size, failed, mean, float(np.median(scores)))


def _key(path: str, number: int, pair: Pairing) -> str:
    if pair == "none":
        return str(number)
    if pair == "path":
        return path
    name = PurePosixPath(path)
    return name.name if pair == "name" else name.stem


def _duel(
    a: str,
    b: str,
    keyed: Mapping[str, dict[str, list[float]]],
    pair: Pairing,
    by_pattern: bool,
    bootstrap: int,
    random: np.random.Generator,
    tail: float,
) -> Duel:
    shared = sorted(keyed[a].keys() & keyed[b].keys())
    if pair == "auto" and not by_pattern:
        fewest = min(len(keyed[a]), len(keyed[b]))
        single = all(len(s) == 1 for n in (a, b) for s in keyed[n].values())
        paired = single and len(shared) >= max(2, SHARED_ENOUGH * fewest)
    else:
        paired = pair != "none" or by_pattern
    if not paired:
        return _unpaired(a, b, keyed, bootstrap, random, tail)
    if len(shared) < 2:
        raise InputError(
            f"{a} and {b} share {len(shared)} keys, such as {next(iter(keyed[a]))!r} "
            f"and {next(iter(keyed[b]))!r}; choose another --pair or --key, or "
            "--pair none."
        )
    means = [[float(np.mean(keyed[n][k])) for k in shared] for n in (a, b)]
    return _paired(
        a, b, np.array(means[0]), np.array(means[1]), bootstrap, random, tail
    )


def _paired(
    a: str,
    b: str,
    left: np.ndarray,
    right: np.ndarray,
    bootstrap: int,
    random: np.random.Generator,
    tail: float,
) -> Duel:
    difference = left - right
    wins = (np.sign(difference) + 1) / 2
    drawn = _draw_means([difference, wins], bootstrap, random)
    spread = float(difference.std(ddof=1))
    mean = float(difference.mean())
    return Duel(
        a,
        b,
        True,
        difference.size,
        _interval(mean, drawn[:, 0], tail),
        _interval(float(wins.mean()), drawn[:, 1], tail),
        _ratio(mean, spread),
        _p_value(drawn[:, 0]),
        None,
    )


def _unpaired(
    a: str,
    b: str,
    keyed: Mapping[str, dict[str, list[float]]],
    bootstrap: int,
    random: np.random.Generator,
    tail: float,
) -> Duel:
    left, right = (
        np.array([score for scores in keyed[name].values() for score in scores])
        for name in (a, b)
    )
    drawn = _draw_lots(left, right, bootstrap, random)
    mean = float(left.mean() - right.mean())
    ones = [np.ones(left.size), np.ones(right.size)]
    wins = _win_rate(_merged(left, right), *ones)
    free = left.size + right.size - 2
    squares = left.size * left.var() + right.size * right.var()
    pooled = float(np.sqrt(squares / free)) if free > 0 else 0.0
    return Duel(
        a,
        b,
        False,
        min(left.size, right.size),
        _interval(mean, drawn[:, 0], tail),
        _interval(wins, drawn[:, 1], tail),
        _ratio(mean, pooled),
        _p_value(drawn[:, 0]),
        None,
    )


def _draw_means(
    columns: Sequence[np.ndarray], bootstrap: int, random: np.random.Generator
) -> np.ndarray:
    """Means of the columns over the same draws of rows, `[bootstrap, columns]`."""
    size = columns[0].size
    found = np.empty((bootstrap, len(columns)))
    at_once = max(1, _BLOCK // size)
    for start in range(0, bootstrap, at_once):
        count = min(at_once, bootstrap - start)
        drawn = random.integers(size, size=(count, size))
        for place, column in enumerate(columns):
            found[start : start + count, place] = column[drawn].mean(axis=1)
    return found


def _draw_lots(
    left: np.ndarray, right: np.ndarray, bootstrap: int, random: np.random.Generator
) -> np.ndarray:
    """Difference of means and win rate of draws from both lots, `[bootstrap, 2]`."""
    merged = _merged(left, right)
    found = np.empty((bootstrap, 2))
    for draw in range(bootstrap):
        weights = [
            np.bincount(random.integers(n, size=n), minlength=n)
            for n in (left.size, right.size)
        ]
        means = [w @ v / v.size for w, v in zip(weights, (left, right), strict=True)]
        found[draw] = means[0] - means[1], _win_rate(merged, *weights)
    return found


def _merged(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """The rank of every score among the different scores of both lots."""
    values, ranks = np.unique(np.concatenate([left, right]), return_inverse=True)
    return ranks[: left.size], ranks[left.size :], values.size


def _win_rate(
    merged: tuple[np.ndarray, np.ndarray, int], left: np.ndarray, right: np.ndarray
) -> float:
    """Chance that a left score is above a right one, ties as half, with weights.

    It is the Mann-Whitney statistic over the number of pairs.
    """
    left_ranks, right_ranks, size = merged
    ours = np.bincount(left_ranks, weights=left, minlength=size)
    theirs = np.bincount(right_ranks, weights=right, minlength=size)
    below = np.cumsum(theirs) - theirs / 2
    return float(ours @ below / (left.sum() * right.sum()))


def _interval(value: float, drawn: np.ndarray, tail: float) -> Estimate:
    low, high = np.quantile(drawn, [tail, 1 - tail]).tolist()
    return Estimate(value, low, high)


def _ratio(mean: float, spread: float) -> float:
    # A spread that is rounding alone is none.
    return mean / spread if spread > 1e-12 * max(1.0, abs(mean)) else float("nan")


def _p_value(drawn: np.ndarray) -> float:
    """Two-sided: twice the share of draws on the other side of 0, never 0."""
    fewer = min(int(np.sum(drawn <= 0)), int(np.sum(drawn >= 0)))
    return min(1.0, 2 * (fewer + 1) / (drawn.size + 1))


def _decide(duels: Sequence[Duel], alpha: float) -> list[Duel]:
    """Holm's correction (Scandinavian Journal of Statistics 6, 1979), then who wins."""
    order = sorted(range(len(duels)), key=lambda i: duels[i].p_value)
    found = list(duels)
    highest = 0.0
    for place, number in enumerate(order):
        duel = duels[number]
        highest = max(highest, min(1.0, (len(duels) - place) * duel.p_value))
        ahead = duel.a if duel.difference.value > 0 else duel.b
        better = ahead if highest < alpha else None
        found[number] = duel._replace(p_value=highest, better=better)
    return found
