"""The quality prediction network: semantic branch, moment branch, score head,
score bins."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ganiqa_jax.models.conv import BatchNorm
from ganiqa_jax.models.features import area_means

CELLS = 4
"""Cells along each side of a map of which its parts consist."""
PARTS = 5
"""Parts of a picture that one pass sees: the whole and four corners."""

_BALANCED = nn.initializers.glorot_normal()
"""Larger than what the inputs alone would give, where those are many more than the
outputs: fits on trunk channels that start there end 0.004 of SRCC higher."""


class SemanticBranch(nn.Module):
    """Compares the content of two whole pictures on the deepest backbone level.

    Two dense layers on the distorted picture's averaged features, their absolute
    distance from the reference's, and the cosine between the two.

    Attributes:
      width: D; the hidden layer has 2 D units.
      dropout: rate after the hidden layer (rng `dropout`).
      dtype: compute type of the dense layers; the averages are float32.
    """

    width: int
    dropout: float = 0.1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        reference: Float[Array, "B H W C"],
        distorted: Float[Array, "B H W C"],
        *,
        train: bool,
    ) -> Float[Array, "B D"]:
        """The comparison as one vector."""
        g_ref, g_dis = average_pool(reference), average_pool(distorted)
        cosine = jnp.sum(_unit(g_ref) * _unit(g_dis), axis=-1, keepdims=True)
        seen = jnp.concatenate([g_dis, jnp.abs(g_ref - g_dis), cosine], axis=-1)
        hidden = nn.Dense(2 * self.width, dtype=self.dtype, name="hidden")(seen)
        hidden = nn.Dropout(self.dropout, name="drop")(
            nn.swish(hidden), deterministic=not train
        )
        return nn.Dense(self.width, dtype=self.dtype, name="out")(hidden)


class QualityHead(nn.Module):
    """Dense, ReLU, then a score and, from the same hidden vector, score bins.

    Attributes:
      width: hidden units.
      bins: K; 0 leaves the bins out.
      dropout: rate on the hidden vector (rng `dropout`).
      dtype: compute type of the hidden layer; score and bins are float32.
      bias: of the hidden layer and the score.
    """

    width: int
    bins: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32
    bias: bool = True

    @nn.compact
    def __call__(
        self, pooled: Float[Array, "B C"], *, train: bool
    ) -> tuple[Float[Array, " B"], Float[Array, "B K"] | None]:
        """z, and the logits of K bins or None."""
        hidden = nn.Dense(
            self.width,
            use_bias=self.bias,
            kernel_init=_BALANCED,
            dtype=self.dtype,
            name="hidden",
        )(pooled)
        hidden = nn.Dropout(self.dropout, name="drop")(
            nn.relu(hidden), deterministic=not train
        )
        score = nn.Dense(
            1,
            use_bias=self.bias,
            kernel_init=nn.initializers.normal(0.01),
            dtype=jnp.float32,
            name="score",
        )
        z = score(hidden)[:, 0]
        if not self.bins:
            return z, None
        return z, nn.Dense(self.bins, dtype=jnp.float32, name="bins")(hidden)


class MomentBranch(nn.Module):
    """Mean and deviation of every trunk channel, standardised, as one vector.

    On these a regressor alone does well, so a score can begin from there.

    Attributes:
      width: D.
      dropout: rate on the standardised moments (rng `dropout`).
      noise: deviation of Gaussian noise on them in training (rng `dropout`).
      fixed_statistics: standardise by loaded numbers, not by those of the batch.
      dtype: compute type of the dense layer.
    """

    width: int
    dropout: float = 0.0
    noise: float = 0.0
    fixed_statistics: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, moments: Float[Array, "B M"], *, train: bool
    ) -> Float[Array, "B D"]:
        norm = BatchNorm(fixed_statistics=self.fixed_statistics, name="norm")
        seen = norm(moments[:, None, None], train=train)[:, 0, 0]
        if self.noise and train:
            key = self.make_rng("dropout")
            seen = seen + self.noise * jax.random.normal(key, seen.shape)
        seen = nn.Dropout(self.dropout, name="drop")(seen, deterministic=not train)
        out = nn.Dense(self.width, kernel_init=_BALANCED, dtype=self.dtype, name="out")
        return out(seen)


def average_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B C"]:
    """The mean over a map, in float32."""
    return jnp.mean(x.astype(jnp.float32), axis=(1, 2))


def moment_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B 2*C"]:
    """The mean and the deviation over a map, in float32."""
    x = x.astype(jnp.float32)
    mean = average_pool(x)
    # The mean of squares would take one pass, but sums of thousands of squares, one
    # after the other, lose the digits that a small variance is made of.
    variance = jnp.mean(jnp.square(x - mean[:, None, None]), axis=(1, 2))
    return _moments(mean, variance)


def moments_of(taps: Sequence[Array]) -> Float[Array, "B M"]:
    """`moment_pool` of [B, H, W, C] maps, one after the other."""
    return jnp.concatenate([moment_pool(tap) for tap in taps], axis=-1)


def moments_of_parts(taps: Sequence[Array]) -> Float[Array, "B 5 M"]:
    """`moments_of` the whole maps, then of their four corners, row by row.

    A corner has three quarters of each side. Sixteen cells of a map are averaged in
    one pass, and the parts are made of those.

    Args:
      taps: [B, H, W, C] maps.
    """
    return jnp.concatenate([_moments_of_parts(tap) for tap in taps], axis=-1)


def _moments_of_parts(x: Float[Array, "B H W C"]) -> Float[Array, "B 5 2*C"]:
    x = x.astype(jnp.float32)
    cells = area_means(x, CELLS, CELLS)
    whole = jnp.mean(cells, axis=(1, 2))[:, None, None]
    # Around the mean of the whole, for the digits that `moment_pool` is careful of.
    around = _of_parts(area_means(jnp.square(x - whole), CELLS, CELLS))
    mean = _of_parts(cells - whole)
    variance = jnp.maximum(around - jnp.square(mean), 0)
    return _moments(mean + whole[:, 0], variance)


def _of_parts(cells: Float[Array, "B 4 4 C"]) -> Float[Array, "B 5 C"]:
    weights = np.zeros((PARTS, CELLS, CELLS), np.float32)
    weights[0] = 1 / CELLS**2
    for part, (top, left) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1)), start=1):
        weights[part, top : top + 3, left : left + 3] = 1 / 9
    flat = cells.reshape(-1, CELLS**2, cells.shape[-1])
    return jnp.einsum("pn,bnc->bpc", jnp.asarray(weights.reshape(PARTS, -1)), flat)


def local_moments_of(
    taps: Sequence[Array], grid: tuple[int, int], share: float
) -> Float[Array, "B n m M"]:
    """`moments_of`, but around each cell of a grid and not of the whole maps.

    Args:
      taps: [B, H, W, C] maps.
      grid: rows n and columns m, spread evenly over every map.
      share: side of the square around a cell, of the side of the map; what of it lies
        outside of the map does not count.
    """
    return jnp.concatenate([_local_moments(tap, grid, share) for tap in taps], axis=-1)


def _local_moments(
    x: Float[Array, "B H W C"], grid: tuple[int, int], share: float
) -> Float[Array, "B n m 2*C"]:
    x = x.astype(jnp.float32)
    rows, columns = (
        jnp.asarray(_windows(*sides, share))
        for sides in zip(x.shape[1:3], grid, strict=True)
    )

    def mean_around(y: Array) -> Float[Array, "B n m C"]:
        return jnp.einsum("nh,bhwc,mw->bnmc", rows, y, columns)

    mean = mean_around(x)
    # The mean of squares loses digits where a map hardly varies.
    variance = jnp.maximum(mean_around(jnp.square(x)) - jnp.square(mean), 0)
    return _moments(mean, variance)


def _moments(
    mean: Float[Array, "*B C"], variance: Float[Array, "*B C"]
) -> Float[Array, "*B 2*C"]:
    """Means and deviations."""
    # The small number keeps the gradient of a constant map finite.
    return jnp.concatenate([mean, jnp.sqrt(variance + 1e-6)], axis=-1)


def _windows(cells: int, centres: int, share: float) -> Float[np.ndarray, "n h"]:
    """Weights of the cells of one side in the mean around each centre."""
    reach = max(share * cells, 1) / 2
    middle = (np.arange(centres) + 0.5) * cells / centres
    edges = np.arange(cells)
    low = np.maximum(edges, middle[:, None] - reach)
    high = np.minimum(edges + 1, middle[:, None] + reach)
    inside = np.maximum(high - low, 0)
    return (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)


def _unit(x: Float[Array, "B C"]) -> Float[Array, "B C"]:
    # The small number keeps the gradient of an all-zero vector finite.
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(squares + 1e-12)
