"""The JND map and the minimum-JND picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganiqa_jax.config import JndConfig
from ganiqa_jax.errors import InputError
from ganiqa_jax.image import jnd as jnd_module
from ganiqa_jax.image.jnd import luminance_adaptation

jnd_map = jax.jit(jnd_module.jnd_map, static_argnames="form")
mjnd = jax.jit(jnd_module.mjnd, static_argnames="config")
pattern_complexity = jax.jit(jnd_module.pattern_complexity)

FORMS = ("yang", "wu2017")


def noise(shape: tuple[int, ...], seed: int = 0) -> jax.Array:
    random = np.random.default_rng(seed)
    return jnp.asarray(random.uniform(size=shape), jnp.float32)


def luma_of(image: jax.Array) -> jax.Array:
    return 255 * (image * jnp.array([0.299, 0.587, 0.114])[None, None, None, :]).sum(-1)


def step_edge(low: float, high: float) -> jax.Array:
    """Columns 0 to 7 at one grey level, 8 to 15 at another."""
    row = jnp.where(jnp.arange(16) < 8, low, high)
    return jnp.tile(row[None, None, :], (1, 16, 1))


@pytest.mark.parametrize(("grey", "levels"), [(0, 20), (127, 3), (255, 6)])
def test_flat_fields_have_the_published_thresholds(grey, levels):
    flat = jnp.full((1, 4, 4), float(grey))
    np.testing.assert_allclose(luminance_adaptation(flat), levels, rtol=1e-6)


def test_step_edge_has_the_value_worked_out_by_hand():
    # Left of a step of 100: 13 of 32 background weights lie on the bright side, so
    # bg = 140.625, LA = 3.3193, gradient 100, TM = 12.0; JND = LA + TM - 0.3 LA.
    jnd = jnd_map(step_edge(100.0, 200.0))
    np.testing.assert_allclose(
        jnd[0, 4:12, 7], 3.31934 + 12.0 - 0.3 * 3.31934, rtol=1e-4
    )


@pytest.mark.parametrize("form", FORMS)
def test_texture_hides_more_than_a_flat_field_of_the_same_mean(form):
    texture = 255 * noise((1, 16, 16))
    flat = jnp.full_like(texture, texture.mean())
    middle = (0, slice(3, -3), slice(3, -3))
    textured, plain = (jnd_map(x, form=form)[middle] for x in (texture, flat))
    assert textured.mean() > 1.5 * plain.mean()


def test_directions_are_treated_alike():
    luma = 255 * noise((1, 16, 16))
    for turn in (
        lambda x: x.swapaxes(1, 2),
        lambda x: x[:, ::-1],
        lambda x: x[:, :, ::-1],
    ):
        np.testing.assert_allclose(
            jnd_map(turn(luma)), turn(jnd_map(luma)), rtol=1e-5, atol=1e-4
        )


def test_complexity_counts_orientations():
    flat = pattern_complexity(jnp.full((1, 16, 16), 80.0))
    np.testing.assert_allclose(flat, 1.0, rtol=1e-6)
    across = 10.0 * jnp.arange(16.0)[None, :] + jnp.zeros((16, 1))
    for ramp in (across, across.T, across + across.T, across - across.T):
        same = pattern_complexity(ramp[None, :, :] + noise((1, 16, 16)) * 1e-3)
        np.testing.assert_allclose(same[0, 3:-3, 3:-3], 1.0, rtol=1e-6)
    rough = pattern_complexity(255 * noise((1, 16, 16)))[0, 3:-3, 3:-3]
    assert 4 < rough.mean() <= 9


def test_wu_lets_a_pattern_hide_more_than_a_lone_edge_of_more_contrast():
    texture = 100 + 50 * noise((1, 16, 16))
    edge = step_edge(75.0, 175.0)
    middle = (0, slice(4, -4), slice(6, 10))
    assert edge[middle].std() > 2 * texture[middle].std()
    in_texture, at_edge = (
        jnd_map(x, form="wu2017")[middle].mean() for x in (texture, edge)
    )
    assert in_texture > 1.5 * at_edge


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("grey", [0.0, 0.3, 1.0])
def test_constant_picture_is_unchanged(form, grey):
    images = jnp.full((1, 16, 16, 3), grey)
    np.testing.assert_allclose(mjnd(images, JndConfig(form=form)), images, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_strength_zero_is_the_identity(form):
    images = noise((1, 16, 16, 3))
    out = mjnd(images, JndConfig(form=form, strength=0.0))
    np.testing.assert_array_equal(out, images)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_change_stays_within_the_threshold(form, strength):
    images = noise((1, 16, 16, 3)) * jnp.linspace(0.1, 1, 16)[None, :, None, None]
    out = mjnd(images, JndConfig(form=form, strength=strength))
    jnd = jnd_map(luma_of(images), form=form)[..., None] / 255
    change = np.abs(out - images)
    assert (change <= strength * jnd + 1e-6).all()
    assert change.max() > 0.9 * strength * jnd.min()  # and it is used
    assert out.min() >= -1e-6 and out.max() <= 1 + 1e-6


def test_faint_texture_goes_and_strong_edge_stays():
    faint = 0.5 + 0.01 * (noise((1, 16, 16, 3)) - 0.5)
    assert mjnd(faint, JndConfig()).std() < 0.5 * faint.std()
    edge = jnp.repeat(step_edge(0.2, 0.8)[..., None], 3, axis=-1)
    kept = mjnd(edge, JndConfig())
    assert kept[0, 8, 8, 0] - kept[0, 8, 7, 0] > 0.4


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_finite_on_black_white_flat_and_rough(form):
    images = jnp.concatenate(
        [
            jnp.zeros((1, 9, 9, 3)),
            jnp.ones((1, 9, 9, 3)),
            jnp.full((1, 9, 9, 3), 127 / 255),
            noise((1, 9, 9, 3)),
            jnp.round(noise((1, 9, 9, 3))),
        ]
    )
    weights = noise(images.shape, 2)

    def total(x):
        return (jnd_module.mjnd(x, JndConfig(form=form)) * weights).sum()

    slopes = jax.jit(jax.grad(total))(images)
    assert np.isfinite(slopes).all()
    assert np.abs(slopes[3]).max() > 0.1


def test_gradient_agrees_with_a_difference_quotient():
    luma = 40 + 150 * noise((1, 16, 16))
    direction = noise(luma.shape, 3) - 0.5
    slope = jax.jvp(lambda x: jnd_map(x).sum(), (luma,), (direction,))[1]
    ahead, behind = (jnd_map(luma + h * direction).sum() for h in (0.05, -0.05))
    np.testing.assert_allclose(slope, (ahead - behind) / 0.1, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("form", FORMS)
def test_smallest_picture_has_three_pixels_a_side(form):
    assert np.isfinite(mjnd(noise((1, 3, 4, 3)), JndConfig(form=form))).all()
    with pytest.raises(InputError, match="5x2 pixels.*at least 3"):
        mjnd(noise((1, 2, 5, 3)), JndConfig(form=form))


def test_unknown_form_names_those_there_are():
    with pytest.raises(InputError, match="'yang2'; use 'yang' or 'wu2017'"):
        jnd_map(jnp.zeros((1, 5, 5)), form="yang2")
