"""How unlike two pictures are in the channels of a network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_arrays import normal

from ganiqa_jax.models.comparison import KINDS, compare, z_of_likeness

compared = jax.jit(lambda *taps: compare(taps))


def maps(seed: int = 0, pairs: int = 3) -> list[jax.Array]:
    """As a network gives them, none below zero: references first, then others."""
    return [
        jnp.maximum(normal(2 * pairs, side, side, channels, seed=seed + side), 0)
        for side, channels in ((8, 4), (4, 6))
    ]


def test_three_numbers_of_every_channel_are_those_of_the_formulas():
    taps = maps()
    found = compared(*taps)
    wanted = []
    for tap in np.asarray(taps[0], np.float64), np.asarray(taps[1], np.float64):
        a, b = np.split(tap, 2)
        units = [x / np.sqrt((x**2).sum(-1, keepdims=True) + 1e-6) for x in (a, b)]
        distance = np.sqrt(((units[0] - units[1]) ** 2).mean((1, 2)) + 1e-8)
        mean_a, mean_b = a.mean((1, 2)), b.mean((1, 2))
        # One less the two terms of Ding et al., whose constants are written otherwise.
        texture = (2 * mean_a * mean_b + 1e-3) / (mean_a**2 + mean_b**2 + 1e-3)
        covariance = (a * b).mean((1, 2)) - mean_a * mean_b
        variances = a.var((1, 2)) + b.var((1, 2))
        structure = (2 * covariance + 1e-3) / (variances + 1e-3)
        wanted += [distance, 1 - texture, 1 - structure]
    wanted = np.log(np.concatenate(wanted, axis=1) + 1e-2)
    assert found.channels.shape == wanted.shape == (3, KINDS * 10)
    np.testing.assert_allclose(found.channels, wanted, atol=2e-4)
    parts = wanted[:, 4:12].mean(1) + wanted[:, 18:].mean(1)
    np.testing.assert_allclose(found.likeness, parts / 2 / np.log(1e-2), atol=1e-4)


def test_equal_pictures_are_wholly_alike():
    same = [jnp.concatenate([tap[:3]] * 2) for tap in maps()]
    found = compared(*same)
    np.testing.assert_allclose(found.likeness, 1, atol=1e-6)
    assert np.ptp(found.channels) < 0.02  # the distance has a small number of its own


def test_which_of_both_is_the_reference_does_not_matter():
    taps = maps()
    swapped = [jnp.concatenate(jnp.split(tap, 2)[::-1]) for tap in taps]
    for one, other in zip(compared(*taps), compared(*swapped), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_pair_is_compared_as_it_is_alone():
    taps = maps()
    together = compared(*taps)
    alone = compared(*[tap[jnp.asarray([1, 4])] for tap in taps])
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one[1:2], other, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_the_more_is_added_the_less_alike(seed):
    references = [tap[:3] for tap in maps(seed)]
    likeness = [
        compared(
            *[
                jnp.concatenate([tap, jnp.abs(tap + share * normal(*tap.shape))])
                for tap in references
            ]
        ).likeness
        for share in (0.0, 0.1, 0.4, 1.6)
    ]
    assert (np.diff(likeness, axis=0) < 0).all()


@pytest.mark.parametrize("damage", [0.0, 0.3])
def test_the_gradient_is_finite(damage):
    references = [tap[:3] for tap in maps()]

    def total(added):
        pairs = [jnp.concatenate([tap, tap + added]) for tap in references]
        return sum(found.sum() for found in compare(pairs))

    slope = jax.jit(jax.grad(total))(damage)
    assert np.isfinite(slope)
    assert damage == 0 or np.abs(slope) > 0.1


def test_dark_channels_of_both_count_as_equal():
    dark = [1e-4 * tap for tap in maps()]
    found = compared(*dark).channels.reshape(3, -1)
    of_means = np.concatenate([found[:, 4:12], found[:, 18:]], axis=1)
    np.testing.assert_allclose(of_means, np.log(1e-2), atol=1e-2)


def test_z_of_likeness_rises():
    z = z_of_likeness(jnp.asarray([0.0, 0.5, 1.0]))
    assert (np.diff(z) > 1).all() and z[0] < 0 < z[2]
