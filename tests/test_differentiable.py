"""A model as a loss: the score's own value, and gradients worth following."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_models import fake_model
from PIL import Image, ImageFilter
from skimage import data as photographs

import ganiqa_jax as gq
from ganiqa_jax.config import Preprocessing
from ganiqa_jax.differentiable import differentiable_crops, differentiable_views
from ganiqa_jax.scoring.cropping import prepare, views

SIDE = 256


@pytest.fixture(scope="module")
def photograph():
    image = Image.fromarray(photographs.astronaut()).resize((SIDE, SIDE))
    return np.asarray(image)


@pytest.fixture(scope="module")
def loss_and_slope():
    """The loss of two pictures, and its gradient in them: one program for all."""
    loss = gq.as_loss()

    @jax.jit
    def run(pictures):
        each, back = jax.vjp(loss, pictures)
        return each, back(jnp.ones_like(each))[0]

    return run


def floats(*pictures):
    return jnp.asarray(np.stack(pictures), jnp.float32) / 255


@pytest.mark.parametrize("sides", [(256, 256), (300, 400), (64, 48)])
@pytest.mark.parametrize("mirror", [False, True])
def test_crops_are_those_of_scoring(sides, mirror):
    preprocessing = Preprocessing(short_side=96, crop=80, points=5, mirror=mirror)
    smooth = Image.fromarray(photographs.astronaut()).resize(sides[::-1])
    pixels = np.asarray(smooth)
    wanted = prepare(pixels, preprocessing)
    found = differentiable_crops(floats(pixels), preprocessing) * 255
    # Pillow rounds to 8 bits after each of the two passes.
    np.testing.assert_allclose(found, wanted, atol=2)
    assert np.abs(found - wanted).mean() < 0.5


@pytest.mark.parametrize("sides", [(256, 256), (120, 400), (64, 48)])
def test_whole_pictures_are_those_of_scoring(sides):
    preprocessing = Preprocessing(crop=80, points=1, mirror=True, whole=True)
    smooth = Image.fromarray(photographs.astronaut()).resize(sides[::-1])
    wanted = prepare(np.asarray(smooth), preprocessing)
    found = differentiable_crops(floats(np.asarray(smooth)), preprocessing) * 255
    np.testing.assert_allclose(found, wanted, atol=2)
    assert np.abs(found - wanted).mean() < 0.5


@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize(
    "sides", [(256, 256), (120, 400), (60, 400), (64, 48), (20, 30)]
)
def test_views_are_those_of_scoring(sides, reflect):
    settings = dict(points=1, mirror=True, whole=True, detail_side=128, reflect=reflect)
    view = Preprocessing(crop=80, **settings)
    smooth = Image.fromarray(photographs.astronaut()).resize(sides[::-1])
    both = views(np.asarray(smooth), view)
    again = differentiable_views(floats(np.asarray(smooth)), view)
    for wanted, found in zip(both, again, strict=True):
        np.testing.assert_allclose(found * 255, wanted, atol=2)
        assert np.abs(found * 255 - wanted).mean() < 0.5


def test_it_is_one_minus_the_score_of_each_picture(loss_and_slope, photograph):
    turned = photograph[::-1].copy()
    scorer = gq.create_scorer(pictures=2)
    scores = scorer.score_batch(np.stack([photograph, turned]))
    assert abs(scores[0] - scores[1]) > 0.03
    loss, _ = loss_and_slope(floats(photograph, turned))
    np.testing.assert_allclose(loss, 1 - scores, atol=0.01)


def test_pictures_of_a_batch_do_not_touch_each_other(loss_and_slope, photograph):
    turned, dark = photograph[::-1].copy(), photograph // 2
    (one, _), slope = loss_and_slope(floats(photograph, turned))
    (other, _), other_slope = loss_and_slope(floats(photograph, dark))
    np.testing.assert_allclose(one, other, atol=1e-5)
    largest = np.abs(slope[0]).max()
    np.testing.assert_allclose(slope[0], other_slope[0], atol=1e-3 * largest)


def test_a_teacher_takes_pairs():
    loss = gq.as_loss(fake_model("teacher"))
    white, black = jnp.ones((1, 20, 20, 3)), jnp.zeros((1, 20, 20, 3))
    assert loss(white, white)[0] < loss(white, black)[0]


def test_gradients_of_flat_and_saturated_pictures_are_finite(loss_and_slope):
    random = np.random.default_rng(0)
    corners = random.integers(0, 2, (SIDE, SIDE, 3)).astype(np.float32)
    black, white = np.zeros_like(corners), np.ones_like(corners)
    for pair in ((black, white), (white / 2, corners)):
        _, slope = loss_and_slope(jnp.asarray(np.stack(pair)))
        assert np.isfinite(slope).all()


def test_steps_along_the_gradient_lower_the_loss(loss_and_slope, photograph):
    blurs = [
        Image.fromarray(photograph).filter(ImageFilter.GaussianBlur(r)) for r in (1, 3)
    ]
    pictures = floats(*map(np.asarray, blurs))
    before, slope = loss_and_slope(pictures)
    size = jnp.sqrt(jnp.mean(slope**2, axis=(1, 2, 3), keepdims=True))
    assert (size > 0).all()
    after, _ = loss_and_slope(jnp.clip(pictures - 0.002 * slope / size, 0, 1))
    assert (after < before).all()
