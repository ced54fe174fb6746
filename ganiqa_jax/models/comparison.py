"""How unlike two pictures are in each channel of a backbone: nothing is learned.

Of both maps of a channel three things are told: how far the unit vectors of their cells
lie apart (Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric, CVPR 2018, arXiv:1801.03924), and what their means and their covariance lack of
being those of equal maps (Ding et al., Image Quality Assessment: Unifying Structure and
Texture Similarity, TPAMI 2020, arXiv:2004.07728). Ours is that each channel stays by
itself, as a logarithm: people judge ratios, and a regression on them does well.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

KINDS = 3
"""Numbers of a channel: distance of unit vectors, of means, of the rest."""

LIKENESS_MEAN, LIKENESS_STD = 0.6, 0.17
"""Of damaged photographs, roughly: what `z_of_likeness` is made with."""

_EQUAL = 1e-2
"""What is as good as equal: logarithms begin here."""
_DARK = 1e-3
"""Squared, the means and variances that count as none."""


class Comparison(NamedTuple):
    """How unlike the pictures of B pairs are.

    Attributes:
      channels: `KINDS` numbers of every channel of every map, kind after kind for each
        map; logarithms, from about -4.6 where both maps are the same.
      likeness: 1 for equal pictures and near 0 where they have nothing in common: the
        mean logarithm of what means and covariances lack, each map counting the same.
    """

    channels: Float[Array, "B K"]
    likeness: Float[Array, " B"]


def compare(taps: Sequence[Array]) -> Comparison:
    """Compares [2 B, H, W, C] maps, those of the B references first, in float32."""
    maps = [_unlikeness(tap) for tap in taps]
    lacking = sum((each[:, 1:].mean(axis=(1, 2)) for each in maps), start=jnp.zeros(()))
    channels = jnp.concatenate(
        [each.reshape(each.shape[0], -1) for each in maps], axis=-1
    )
    return Comparison(channels, lacking / (len(maps) * np.log(_EQUAL)))


def z_of_likeness(likeness: Float[Array, " B"]) -> Float[Array, " B"]:
    """A likeness as the z of a pair that nobody scored."""
    return (likeness - LIKENESS_MEAN) / LIKENESS_STD


def _unlikeness(tap: Float[Array, "R H W C"]) -> Float[Array, "B 3 C"]:
    a, b = jnp.split(tap.astype(jnp.float32), 2)
    # The small number keeps the gradient of equal maps finite.
    distance = jnp.sqrt(_mean(jnp.square(_unit(a) - _unit(b))) + 1e-8)
    mean_a, mean_b = _mean(a), _mean(b)
    means = jnp.square(mean_a - mean_b) / (
        jnp.square(mean_a) + jnp.square(mean_b) + _DARK
    )
    rest_a, rest_b = a - mean_a[:, None, None], b - mean_b[:, None, None]
    # Twice the covariance short of the sum of variances is the variance of the
    # difference, and that of equal maps is exactly 0.
    apart = _mean(jnp.square(rest_a - rest_b))
    rest = apart / (_mean(jnp.square(rest_a)) + _mean(jnp.square(rest_b)) + _DARK)
    kinds = [kind[:, None] for kind in (distance, means, rest)]
    return jnp.log(jnp.concatenate(kinds, axis=1) + _EQUAL)


def _mean(x: Float[Array, "B H W C"]) -> Float[Array, "B C"]:
    return jnp.mean(x, axis=(1, 2))


def _unit(x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    squares = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(squares + 1e-6)
