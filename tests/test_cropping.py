"""Crops: where they lie, and that a part is resized as the whole is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.cropping import (
    cut_resized,
    detail_of,
    prepare,
    reflect_to,
    resize_short_side,
    resize_to,
    resized_sides,
    views,
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


@pytest.mark.parametrize(
    "size", [(512, 512), (481, 321), (321, 481), (640, 512), (1024, 1024), (200, 300)]
)
def test_detail_is_windows_of_the_picture_as_they_lie(size):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (*size, 3), np.uint8)
    shorter = min(max(min(size), 320), 512)
    resized = resize_short_side(pixels, shorter)
    view = Preprocessing(crop=320, points=1, whole=True, detail_side=512)
    detail = detail_of(pixels, view)
    assert detail.shape == (320, 320, 3)
    height, width = resized.shape[:2]
    for down in range(4):
        for across in range(4):
            window = detail[80 * down :, 80 * across :][:80, :80]
            # Its middle lies in the middle of its share, to the pixel.
            top = (2 * down + 1) * height // 8 - 40
            left = (2 * across + 1) * width // 8 - 40
            wanted = resized[top : top + 80, left : left + 80]
            np.testing.assert_array_equal(window, wanted)


def test_a_picture_as_large_as_the_view_is_its_own_detail():
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    view = Preprocessing(crop=96, points=1, whole=True, detail_side=128)
    whole, detail = views(pixels, view)
    np.testing.assert_array_equal(whole[0], pixels)
    np.testing.assert_array_equal(detail[0], pixels)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(whole=False, points=5), "needs whole"),
        (dict(detail_side=64), "at least the pixels of crop"),
        (dict(crop=98), "a multiple of 4"),
        (dict(whole=False, detail_side=0, reflect=True), "reflect needs whole"),
    ],
)
def test_detail_is_of_whole_pictures(wrong, message):
    right = dict(crop=96, points=1, whole=True, detail_side=128)
    Preprocessing(**right)
    with pytest.raises(InputError, match=message):
        Preprocessing(**(right | wrong))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 96), st.integers(1, 96), st.booleans())
def test_a_small_picture_is_seen_as_it_is_and_mirrored_out(height, width, mirror):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    rules = dict(crop=96, points=1, mirror=mirror, whole=True, detail_side=128)
    found = views(pixels, Preprocessing(**rules, reflect=True))
    wanted = reflect_to(pixels, 96)
    for view in found:
        np.testing.assert_array_equal(view[0], wanted)
        np.testing.assert_array_equal(view[1:], view[:mirror, :, ::-1])


@settings(max_examples=30, deadline=None)
@given(st.integers(96, 300), st.integers(96, 300))
def test_of_a_large_picture_nothing_is_mirrored_out(height, width):
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    rules = dict(crop=96, points=1, whole=True, detail_side=128)
    both = (views(pixels, Preprocessing(**rules, reflect=r)) for r in (False, True))
    for stretched, reflected in zip(*both, strict=True):
        np.testing.assert_array_equal(stretched, reflected)


def test_a_flat_strip_is_made_narrower_and_mirrored_out():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 384, 3), np.uint8)
    view = Preprocessing(crop=96, points=1, whole=True, detail_side=128, reflect=True)
    whole, detail = views(pixels, view)
    narrow = resize_to(Image.fromarray(pixels), (32, 96))
    np.testing.assert_array_equal(whole[0], reflect_to(np.asarray(narrow), 96))
    # The first window is in the middle of the first quarter, not resized.
    high = reflect_to(pixels, 96)
    np.testing.assert_array_equal(detail[0, :24, :24], high[:24, 36:60])


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


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(-8, 8), st.booleans(), st.booleans())
def test_the_whole_of_any_picture_is_one_view(short, aspect, tall, mirror):
    long = short * max(1, abs(aspect))
    sides = (long, short) if tall else (short, long)
    pixels = np.random.default_rng(long).integers(0, 256, (*sides, 3), np.uint8)
    rules = Preprocessing(crop=48, points=1, mirror=mirror, whole=True)
    views = prepare(pixels, rules)
    assert views.shape == (1 + mirror, 48, 48, 3) and views.dtype == np.uint8
    np.testing.assert_array_equal(views[-1], views[0, :, ::-1] if mirror else views[0])
    # Nothing is left out, and nothing is nearer than it was.
    assert np.abs(views[0].mean() - pixels.mean()) < 40


@pytest.mark.parametrize("sides", [(1, 1), (1, 300), (300, 1), (20_000, 16)])
@pytest.mark.parametrize("reflect", [False, True])
def test_even_a_thread_is_seen_whole(sides, reflect):
    rules = Preprocessing(crop=32, points=1, whole=True, reflect=reflect)
    grey = np.full((*sides, 3), 77, np.uint8)
    np.testing.assert_array_equal(prepare(grey, rules), np.full((1, 32, 32, 3), 77))


def test_a_whole_picture_is_stretched_and_its_corners_stay_corners():
    pixels = np.zeros((40, 160, 3), np.uint8)
    pixels[:20, :80, 0] = pixels[20:, 80:, 1] = 200
    (view,) = prepare(pixels, Preprocessing(crop=32, points=1, whole=True))
    assert (view[:13, :13] == (200, 0, 0)).all()
    assert (view[19:, 19:] == (0, 200, 0)).all()
    assert not view[19:, :13].any() and not view[:13, 19:].any()


def test_a_whole_picture_of_the_right_size_is_not_touched():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (view,) = prepare(pixels, Preprocessing(crop=64, points=1, whole=True))
    np.testing.assert_array_equal(view, pixels)


@pytest.mark.parametrize("side", [512, 333, 100])
def test_of_a_square_the_whole_is_the_resized_picture(side):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    whole = Preprocessing(crop=320, points=1, whole=True)
    cut = Preprocessing(short_side=320, crop=320, points=1)
    np.testing.assert_array_equal(prepare(pixels, whole), prepare(pixels, cut))


@pytest.mark.parametrize("others", [{}, {"points": 9}, {"points": 1, "short_side": 8}])
def test_a_whole_picture_has_no_positions_and_no_shorter_side(others):
    with pytest.raises(InputError, match="points must be 1 and short_side 0"):
        Preprocessing(whole=True, **others)


def test_the_identity_of_released_models_stays_and_the_whole_has_its_own():
    """The hexadecimal digits were those before there was `whole`."""
    assert Preprocessing().sha == "8fb115270079"
    assert Preprocessing(short_side=320, crop=224).sha == "09a8a1c39882"
    cut = Preprocessing(crop=320, points=1)
    assert cut.sha == "72fe2d35ce5c"
    whole = Preprocessing(crop=320, points=1, whole=True)
    mirrored = Preprocessing(crop=320, points=1, mirror=True, whole=True)
    reflected = Preprocessing(crop=320, points=1, whole=True, reflect=True)
    assert len({cut.sha, whole.sha, mirrored.sha, reflected.sha}) == 4
