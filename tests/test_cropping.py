"""Crops: where they lie, and that a part is resized as the whole is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.scoring.cropping import (
    cut_resized,
    prepare,
    reflect_to,
    resize_short_side,
    resized_sides,
)
from ganiqa_jax.scoring.decode import DecodeError


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


SIDES = st.one_of(st.integers(16, 300), st.sampled_from([128, 192, 256, 300, 512, 640]))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_square_of_the_resized_picture_is_that_of_the_whole(data):
    height, width = data.draw(SIDES), data.draw(SIDES)
    short = data.draw(st.sampled_from([0, 20, 96, 160, 320]))
    pixels = np.random.default_rng(height * width).integers(
        0, 256, (height, width, 3), np.uint8
    )
    sides = resized_sides(height, width, short)
    side = data.draw(st.integers(1, min(sides)))
    top, left = (data.draw(st.integers(0, length - side)) for length in sides)
    whole = resize_short_side(pixels, short)
    assert whole.shape[:2] == sides
    found = cut_resized(Image.fromarray(pixels), sides, top, left, side)
    np.testing.assert_array_equal(found, whole[top : top + side, left : left + side])


@pytest.mark.parametrize("size", [(512, 512), (768, 512), (1024, 1024), (1920, 1080)])
def test_squares_of_usual_pictures_are_those_of_the_whole(size):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (size[1], size[0], 3), np.uint8)
    image, whole = Image.fromarray(pixels), resize_short_side(pixels, 320)
    for _ in range(6):
        top, left = (int(random.integers(0, n - 223)) for n in whole.shape[:2])
        found = cut_resized(image, whole.shape[:2], top, left, 224)
        np.testing.assert_array_equal(found, whole[top : top + 224, left : left + 224])


def test_resize_sets_the_short_side_and_smooths(rgb):
    assert resize_short_side(rgb, 0) is rgb
    assert resize_short_side(rgb, 12).shape == (12, 20, 3)
    assert resize_short_side(rgb, 48).shape == (48, 80, 3)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert resize_short_side(stripes, 16)[4:-4, 4:-4].std() < 3


@pytest.mark.parametrize("size", [(64, 16), (16, 64), (100, 30)])
def test_rows_are_resized_before_columns(size):
    """Pillow 13 turns the order round for tall pictures."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (*size, 3), np.uint8)
    height, width = resized_sides(*size, 10)
    wide = Image.fromarray(pixels).resize((width, size[0]), Image.Resampling.BICUBIC)
    expected = wide.resize((width, height), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize_short_side(pixels, 10), expected)


def test_a_thread_of_pixels_does_not_grow_without_bound():
    thread = np.zeros((16, 200_000, 3), np.uint8)
    with pytest.raises(DecodeError, match="too thin") as caught:
        resize_short_side(thread, 512)
    assert caught.value.status == "too_large"


def test_reflection_keeps_the_middle_and_mirrors(rgb):
    padded = reflect_to(rgb[:16, :16], 21)
    assert padded.shape == (21, 21, 3)
    np.testing.assert_array_equal(padded[2:18, 2:18], rgb[:16, :16])
    np.testing.assert_array_equal(padded[2:18, 1], rgb[:16, 1])
    assert reflect_to(rgb, 24) is rgb


@pytest.mark.parametrize("side", [1, 2, 3, 16, 63, 64])
def test_any_side_can_be_mirrored_out(side):
    column = np.arange(side * 3, dtype=np.uint8).reshape(side, 1, 3)
    padded = reflect_to(column, 64)
    assert padded.shape == (64, 64, 3)
    assert set(np.unique(padded)) == set(np.unique(column))


def test_crops_are_where_they_should_be(rgb):
    rules = Preprocessing(crop=16, points=5, mirror=True)
    crops = prepare(rgb, rules)
    assert crops.shape == (10, 16, 16, 3)
    np.testing.assert_array_equal(crops[0], rgb[:16, :16])
    np.testing.assert_array_equal(crops[4], rgb[4:20, 12:28])
    np.testing.assert_array_equal(crops[5:], crops[:5, :, ::-1])


def test_a_picture_smaller_than_the_crop_is_mirrored_out(rgb):
    crops = prepare(rgb, Preprocessing(crop=48, points=1))
    np.testing.assert_array_equal(crops[0], reflect_to(rgb, 48))
    assert prepare(rgb, Preprocessing(crop=48, points=1, short_side=64)).shape[1] == 48
