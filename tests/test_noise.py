"""What disturbs the student."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganiqa_jax.config import NoiseConfig
from ganiqa_jax.image import noise

jit = functools.partial(jax.jit, static_argnums=2)
noise_pictures = jit(noise.noise_pictures)
noise_features = jit(noise.noise_features)
drop_tokens = jit(noise.drop_tokens)
jitter_labels = jit(noise.jitter_labels)

OFF = NoiseConfig.off()
HOLES = dataclasses.replace(OFF, cutout_prob=1.0, cutout_holes=2, cutout_side=0.25)
PIXELS = dataclasses.replace(OFF, pixel_prob=1.0, pixel_std=0.05)
FEATURES = dataclasses.replace(OFF, feature_prob=1.0, feature_std=0.1)


def pictures() -> jax.Array:
    random = np.random.default_rng(9)
    return jnp.asarray(random.uniform(0.6, 1, (100, 16, 16, 3)), jnp.float32)


@pytest.mark.parametrize(
    "config",
    [
        OFF,
        dataclasses.replace(HOLES, cutout_holes=0),
        dataclasses.replace(HOLES, cutout_side=0.0),
        dataclasses.replace(HOLES, cutout_prob=0.0),
        dataclasses.replace(PIXELS, pixel_std=0.0),
        dataclasses.replace(PIXELS, pixel_prob=0.0),
    ],
)
def test_pictures_are_untouched_when_noise_is_off(key, config):
    x = pictures()
    np.testing.assert_array_equal(noise_pictures(key, x, config), x)


def test_features_tokens_and_labels_are_untouched_when_noise_is_off(key):
    h = pictures()
    np.testing.assert_array_equal(noise_features(key, h, OFF), h)
    still = dataclasses.replace(FEATURES, feature_std=0.0)
    np.testing.assert_array_equal(noise_features(key, h, still), h)
    np.testing.assert_array_equal(drop_tokens(key, h, 0.0), h)
    np.testing.assert_array_equal(jitter_labels(key, h[:, 0, 0, 0], 0.0), h[:, 0, 0, 0])


def test_same_key_gives_the_same_and_another_key_another(key):
    x = pictures()
    config = NoiseConfig(cutout_prob=1.0, pixel_prob=1.0, feature_prob=1.0)
    other = jax.random.key(1)
    for noised in (
        lambda k: noise_pictures(k, x, config),
        lambda k: noise_features(k, x, config),
        lambda k: drop_tokens(k, x, 0.5),
        lambda k: jitter_labels(k, x[:, 0, 0, 0], 0.1),
    ):
        np.testing.assert_array_equal(noised(key), noised(key))
        assert (noised(key) != noised(other)).any()


def test_holes_are_whole_grey_squares(key):
    x = pictures()
    out = np.asarray(noise_pictures(key, x, HOLES))
    holes = (out == 0.5).all(axis=-1)
    np.testing.assert_array_equal(out[~holes], np.asarray(x)[~holes])
    sizes = holes.sum(axis=(1, 2))
    assert sizes.min() == 16 and 16 < sizes.max() <= 32  # one hole of 4x4, or two
    for one in holes[sizes == 16]:
        rows, columns = np.nonzero(one)
        assert (np.ptp(rows), np.ptp(columns)) == (3, 3)
    places = holes.any(axis=0)
    assert places[0, :].any() and places[-1, :].any() and places[:, -1].any()


def test_only_a_share_of_the_rows_is_noised(key):
    x = pictures()
    for config in (
        dataclasses.replace(HOLES, cutout_prob=0.25),
        dataclasses.replace(PIXELS, pixel_prob=0.25),
    ):
        touched = (noise_pictures(key, x, config) != x).any(axis=(1, 2, 3))
        assert 12 < touched.sum() < 40
    some = dataclasses.replace(FEATURES, feature_prob=0.25)
    touched = (noise_features(key, x, some) != x).any(axis=(1, 2, 3))
    assert 12 < touched.sum() < 40


def test_noised_pictures_stay_in_range_and_have_the_deviation_asked_for(key):
    shades = jnp.arange(100) % 3 / 2
    x = jnp.broadcast_to(shades[:, None, None, None], (100, 16, 16, 3))
    out = noise_pictures(key, x, PIXELS)
    np.testing.assert_allclose(out[1::3].std(), 0.05, rtol=0.1)
    assert out.min() == 0 and out.max() == 1
    assert (out[::3] > 0).any() and (out[2::3] < 1).any()


def test_feature_noise_scales_with_each_rows_own_spread(key):
    h = pictures() * jnp.arange(1.0, 101.0)[:, None, None, None]
    added = (noise_features(key, h, FEATURES) - h).std(axis=(1, 2, 3))
    np.testing.assert_allclose(added, 0.1 * h.std(axis=(1, 2, 3)), rtol=0.15)


def test_feature_noise_has_finite_gradients_on_constant_features(key):
    def total(h):
        return (noise.noise_features(key, h, FEATURES) ** 2).sum()

    slope = jax.jit(jax.grad(total))(jnp.ones((1, 2, 2, 4)))
    np.testing.assert_allclose(slope, 2.0)


def test_whole_tokens_are_dropped_and_the_rest_kept_as_they_are(key):
    tokens = pictures()
    out = drop_tokens(key, tokens, 0.3)
    gone = (out == 0).all(axis=-1)
    np.testing.assert_array_equal(out[~gone], tokens[~gone])
    assert abs(gone.mean() - 0.3) < 0.03
    np.testing.assert_array_equal(drop_tokens(key, tokens, 1.0), 0.0)


def test_label_jitter_has_the_deviation_asked_for(key):
    added = jitter_labels(key, jnp.full(4000, 2.0), 0.05) - 2.0
    np.testing.assert_allclose(added.std(), 0.05, rtol=0.1)
    assert abs(added.mean()) < 0.005
