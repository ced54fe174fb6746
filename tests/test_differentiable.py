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
from ganiqa_jax.differentiable import differentiable_crops
from ganiqa_jax.scoring.cropping import prepare

SIDE = 256


@pytest.fixture(scope="module")
def photograph():
    image = Image.fromarray(photographs.astronaut()).resize((SIDE, SIDE))
    return np.asarray(image)


@pytest.fixture(scope="module")
def loss():
    return jax.jit(gq.as_loss())


@pytest.fixture(scope="module")
def gradient():
    loss = gq.as_loss()
    return jax.jit(jax.grad(lambda pictures: loss(pictures).sum()))


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


def test_it_is_one_minus_the_score(loss, photograph):
    score = gq.create_scorer().score(photograph).score
    assert float(loss(floats(photograph))[0]) == pytest.approx(1 - score, abs=0.01)


def test_a_batch_is_the_pictures_one_by_one(loss, photograph):
    turned = photograph[::-1].copy()
    both = loss(floats(photograph, turned))
    alone = [loss(floats(each))[0] for each in (photograph, turned)]
    np.testing.assert_allclose(both, alone, atol=1e-5)


def test_a_teacher_takes_pairs():
    loss = gq.as_loss(fake_model("teacher"))
    white, black = jnp.ones((1, 20, 20, 3)), jnp.zeros((1, 20, 20, 3))
    assert loss(white, white)[0] < loss(white, black)[0]


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_gradients_of_flat_pictures_are_finite(gradient, level):
    flat = jnp.full((1, SIDE, SIDE, 3), level)
    assert np.isfinite(gradient(flat)).all()


def test_gradients_of_saturated_colours_are_finite(gradient):
    random = np.random.default_rng(0)
    corners = random.integers(0, 2, (1, SIDE, SIDE, 3)).astype(np.float32)
    assert np.isfinite(gradient(jnp.asarray(corners))).all()


def test_a_step_along_the_gradient_lowers_the_loss(loss, gradient, photograph):
    blurred = Image.fromarray(photograph).filter(ImageFilter.GaussianBlur(2))
    start = floats(np.asarray(blurred))
    slope = gradient(start)
    assert float(jnp.abs(slope).max()) > 0
    step = 0.002 * slope / jnp.sqrt(jnp.mean(slope**2))
    assert loss(jnp.clip(start - step, 0, 1))[0] < loss(start)[0]
