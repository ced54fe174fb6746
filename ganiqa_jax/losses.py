"""Differentiable terms of the training objectives.

Everything is pure `jax.numpy` in float32. Rows carry `weights`, floats that are zero
for padding and for rows a term does not concern (mask times confidence); a row of
weight zero changes neither a value nor a gradient. Elementwise terms return one value
a row, which `masked_mean` reduces; terms that need the whole batch return a scalar.
Teacher values are constants: no gradient reaches an argument named `teacher…`.

Scores are in z units, the deviation of the training scores; higher is better.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

BIN_RANGE = (-3.0, 3.0)
"""Range of z that the score bins divide evenly."""

SAME_CONTENT_WEIGHT = 2.0
"""Weight of a pair of one reference or prompt: opinion scores are often made by
comparing pictures of one content, so their order is the surest."""

FEWEST_ROWS = 3
"""A correlation over fewer rows of a source says nothing."""

NORM_EPSILON = 1e-6


def masked_mean(
    values: Float[Array, " B"], weights: Float[Array, " B"]
) -> Float[Array, ""]:
    """Weighted mean over rows; 0 when no row counts."""
    counted = jnp.where(weights > 0, values, 0.0)
    return _divide(jnp.sum(counted * weights), jnp.sum(weights))


def smooth_l1(
    pred: Float[Array, " B"], target: Float[Array, " B"], beta: float = 0.5
) -> Float[Array, " B"]:
    """Squared error over `2 * beta` near zero, absolute error beyond `beta`."""
    return optax.losses.huber_loss(pred, target, delta=beta) / beta


def plcc_loss(
    pred: Float[Array, " B"],
    target: Float[Array, " B"],
    *,
    weights: Float[Array, " B"],
    source: Int[Array, " B"],
) -> Float[Array, ""]:
    """`(1 - r) / 2`, r the Pearson correlation within a source, in [0, 1].

    The mean over sources with at least three counted rows whose targets differ; 0
    when there is none. Constant predictions count as r = 0 and get no gradient.
    """
    groups = _group_rows(target, weights, source)
    product = _normalise(pred, groups.member) * _normalise(target, groups.member)
    r = _sum_within(product, groups.member)
    return jnp.sum(groups.share * (1 - r) / 2)


def norm_in_norm_loss(
    pred: Float[Array, " B"],
    target: Float[Array, " B"],
    *,
    weights: Float[Array, " B"],
    source: Int[Array, " B"],
) -> Float[Array, ""]:
    """L1 distance of centred, L2-normalised scores within a source, in [0, 1].

    Sources count as in `plcc_loss`. The distance is divided by its largest possible
    value, `2 * sqrt(B)` when all weights are 1.

    Source: Li, Jiang, Jiang, "Norm-in-Norm Loss with Faster Convergence and Better
    Performance for Image Quality Assessment", ACM MM 2020, with p = 1, q = 2.
    """
    groups = _group_rows(target, weights, source)
    distance = jnp.abs(
        _normalise(pred, groups.member) - _normalise(target, groups.member)
    )
    total = jnp.sum(groups.member, axis=1)
    largest = 2 * jnp.sqrt(jnp.where(total > 0, total, 1.0))
    return jnp.sum(groups.share * _sum_within(distance, groups.member) / largest)


def rank_loss(
    pred: Float[Array, " B"],
    target: Float[Array, " B"],
    *,
    weights: Float[Array, " B"],
    source: Int[Array, " B"],
    content: Int[Array, " B"],
    margin: float = 0.0,
    min_gap: float = 0.1,
) -> Float[Array, ""]:
    """Hinge on the predicted order of every two rows of one source.

    A pair costs `max(0, margin * |dy| - dq * sign(dy))`, with dq and dy the differences
    of prediction and target. Pairs with `|dy| < min_gap` are left out; a pair weighs
    the product of its rows' weights, twice that within one content. The result is the
    weighted mean over pairs, 0 when there is none.

    Args:
      margin: slope of the predicted over the target difference that is asked for.
      min_gap: smallest target difference, in z units, whose order is trusted.
    """
    pred = jnp.where(weights > 0, pred, 0.0)
    target = jnp.where(weights > 0, target, 0.0)
    dq = pred[:, None] - pred[None, :]
    dy = target[:, None] - target[None, :]
    cost = jax.nn.relu(margin * jnp.abs(dy) - dq * jnp.sign(dy))

    counted = (source[:, None] == source[None, :]) & (jnp.abs(dy) >= min_gap)
    counted &= ~jnp.eye(pred.shape[0], dtype=bool)  # for min_gap = 0
    emphasis = jnp.where(content[:, None] == content[None, :], SAME_CONTENT_WEIGHT, 1.0)
    pair = jnp.where(counted, emphasis, 0.0) * weights[:, None] * weights[None, :]
    return _divide(jnp.sum(pair * cost), jnp.sum(pair))


def bin_centres(bins: int) -> Float[Array, " K"]:
    """Midpoints of `bins` equal score bins over `BIN_RANGE`."""
    low, high = BIN_RANGE
    width = (high - low) / bins
    return low + width * (jnp.arange(bins, dtype=jnp.float32) + 0.5)


def soft_targets(z: Float[Array, " B"], bins: int) -> Float[Array, "B K"]:
    """A score as a distribution over bins: a Gaussian one bin width wide.

    Scores beyond `BIN_RANGE` put their mass on the last bins. Rows sum to 1.
    """
    low, high = BIN_RANGE
    sigma = (high - low) / bins
    distance = (z[:, None] - bin_centres(bins)[None, :]) / sigma
    return jax.nn.softmax(-0.5 * distance**2, axis=-1)


def bin_cross_entropy(
    logits: Float[Array, "B K"], z: Float[Array, " B"]
) -> Float[Array, " B"]:
    """Cross-entropy of predicted bins against `soft_targets` of a score.

    Its least value is the entropy of the target (about 1.4 nats), not zero.
    """
    targets = soft_targets(z, logits.shape[-1])
    return optax.losses.softmax_cross_entropy(logits.astype(jnp.float32), targets)


def soft_label_loss(
    student_logits: Float[Array, "B K"],
    teacher_logits: Float[Array, "B K"],
    temperature: float,
) -> Float[Array, " B"]:
    """`tau^2 * KL(softmax(teacher / tau) || softmax(student / tau))`, per row.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2; the factor keeps
    gradients of one size when tau changes.
    """
    teacher_logits = jax.lax.stop_gradient(teacher_logits)
    student = _log_softmax(student_logits, temperature)
    teacher = _log_softmax(teacher_logits, temperature)
    divergence = optax.losses.kl_divergence_with_log_targets(student, teacher)
    return temperature**2 * divergence


def area_resize(maps: Float[Array, "B n n D"], side: int) -> Float[Array, "B m m D"]:
    """Averages square maps onto a grid of `side` cells by exact shares of area.

    A cell of the result is the mean of what it covers, with cells it covers in part
    counted in part, so the mean of a map never changes. Not `adaptive_avg_pool2d` of
    PyTorch, whose windows overlap when the sides do not divide.
    """
    if maps.shape[1] == side:
        return maps
    shares = jnp.asarray(_area_shares(maps.shape[1], side), maps.dtype)
    return jnp.einsum("ih,jw,bhwd->bijd", shares, shares, maps, precision="highest")


def feature_loss(
    student: Float[Array, "B m m D"], teacher: Float[Array, "B n n D"]
) -> Float[Array, " B"]:
    """Mean squared difference of normalised tokens, per row.

    Teacher maps are resized to the student's grid. Every token is layer-normalised
    without learned parameters, so the scale of neither network matters.
    """
    difference = _normalise_tokens(student) - _aim(student, teacher)
    return jnp.mean(jnp.square(difference), axis=(1, 2, 3))


def statistics_loss(
    student: Float[Array, "B m m D"],
    teacher: Float[Array, "B n n D"],
    weights: Float[Array, " B"],
) -> Float[Array, ""]:
    """Squared differences of per-channel means and deviations, averaged over channels.

    The statistics run over all tokens of all rows, weighted by row, of the same
    resized and normalised tokens as in `feature_loss`: the widths of the two networks'
    raw features differ, and would drown what distinguishes their distributions.
    Averaged, not summed, over channels, so the model width does not change its weight.
    """
    mean_s, std_s = _channel_statistics(_normalise_tokens(student), weights)
    mean_t, std_t = _channel_statistics(_aim(student, teacher), weights)
    return jnp.mean(jnp.square(mean_s - mean_t) + jnp.square(std_s - std_t))


class _Groups(NamedTuple):
    """Rows of one batch by source.

    Attributes:
      member: entry i, j is row j's weight if it is of row i's source, else 0.
      share: row i's part in a mean over sources; sums to 1, or to 0 if none counts.
    """

    member: Float[Array, "B B"]
    share: Float[Array, " B"]


def _group_rows(
    target: Float[Array, " B"], weights: Float[Array, " B"], source: Int[Array, " B"]
) -> _Groups:
    same = source[:, None] == source[None, :]
    member = jnp.where(same, weights[None, :], 0.0)
    rows = jnp.sum(member > 0, axis=1)
    _, varied = _centre(target, member)
    counted = (weights > 0) & (rows >= FEWEST_ROWS) & varied
    share = jnp.where(counted, 1.0 / jnp.maximum(rows, 1), 0.0)
    return _Groups(member, _divide(share, jnp.sum(share)))


def _sum_within(
    values: Float[Array, " B"], member: Float[Array, "B B"]
) -> Float[Array, " B"]:
    """Weighted sum over the source of each row."""
    # Not a matmul, which some accelerators round to fewer bits by default.
    return jnp.sum(member * values[None, :], axis=1)


def _centre(
    values: Float[Array, " B"], member: Float[Array, "B B"]
) -> tuple[Float[Array, " B"], Bool[Array, " B"]]:
    """Differences from the source's mean, and whether they are more than rounding."""
    values = jnp.where(jnp.diagonal(member) > 0, values.astype(jnp.float32), 0.0)
    total = jnp.sum(member, axis=1)
    mean = _divide(_sum_within(values, member), total)
    centred = values - mean
    variance = _divide(_sum_within(centred**2, member), total)
    return centred, variance > 1e-10 * (1 + mean**2)


def _normalise(
    values: Float[Array, " B"], member: Float[Array, "B B"]
) -> Float[Array, " B"]:
    """Centred values over their source's L2 norm; 0 for constant sources."""
    centred, varied = _centre(values, member)
    squares = _sum_within(centred**2, member)
    # Both branches of a `where` are differentiated, so the root never sees a zero.
    return jnp.where(varied, centred * jax.lax.rsqrt(jnp.where(varied, squares, 1)), 0)


def _aim(
    student: Float[Array, "B m m D"], teacher: Float[Array, "B n n D"]
) -> Float[Array, "B m m D"]:
    teacher = jax.lax.stop_gradient(teacher).astype(jnp.float32)
    return _normalise_tokens(area_resize(teacher, student.shape[1]))


def _normalise_tokens(maps: Float[Array, "B n n D"]) -> Float[Array, "B n n D"]:
    # Not `jax.nn.standardize`: its one-pass variance can be negative for large values.
    maps = maps.astype(jnp.float32)
    centred = maps - jnp.mean(maps, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + NORM_EPSILON)


def _channel_statistics(
    maps: Float[Array, "B n n D"], weights: Float[Array, " B"]
) -> tuple[Float[Array, " D"], Float[Array, " D"]]:
    """Weighted mean and deviation of each channel over rows and tokens."""
    share = _divide(weights, jnp.sum(weights))[:, None, None, None]
    maps = jnp.where(share > 0, maps, 0.0)
    share = share / (maps.shape[1] * maps.shape[2])
    mean = jnp.sum(share * maps, axis=(0, 1, 2))
    squares = jnp.square(maps - mean[None, None, None, :])
    variance = jnp.sum(share * squares, axis=(0, 1, 2))
    return mean, jnp.sqrt(variance + NORM_EPSILON)


def _log_softmax(
    logits: Float[Array, "B K"], temperature: float
) -> Float[Array, "B K"]:
    return jax.nn.log_softmax(logits.astype(jnp.float32) / temperature, axis=-1)


def _area_shares(size: int, side: int) -> np.ndarray:
    """Share of old cell j in new cell i, [side, size]; rows sum to 1."""
    edges = np.arange(side + 1) * (size / side)
    cells = np.arange(size)
    start = np.maximum(edges[:-1, None], cells[None, :])
    stop = np.minimum(edges[1:, None], cells[None, :] + 1)
    return np.maximum(stop - start, 0.0) * (side / size)


def _divide(value: Array, by: Array) -> Array:
    """`value / by`, and 0 where `by` is 0, with finite gradients."""
    return jnp.where(by > 0, value / jnp.where(by > 0, by, 1.0), 0.0)
