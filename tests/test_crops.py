"""Boxes, crops, and the flips and turns that a pair shares."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganiqa_jax.errors import InputError
from ganiqa_jax.image import boxes, crops


def row_keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), count)


def numbered(*shape: int) -> jax.Array:
    """A picture, or a batch of them, whose values all differ."""
    return jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)


def test_one_box_is_the_centre():
    assert boxes.test_boxes(10, 21, 8, 1) == [(1, 6)]


def test_five_boxes_are_the_corners_and_the_centre():
    found = boxes.test_boxes(10, 20, 8, 5)
    assert set(found) == {(0, 0), (0, 12), (2, 0), (2, 12), (1, 6)}
    assert len(found) == 5


def test_nine_boxes_are_a_grid():
    found = boxes.test_boxes(10, 20, 8, 9)
    assert found == [(y, x) for y in (0, 1, 2) for x in (0, 6, 12)]


@pytest.mark.parametrize("points", [1, 5, 9])
def test_every_picture_has_as_many_boxes(points):
    assert boxes.test_boxes(8, 8, 8, points) == [(0, 0)] * points


@pytest.mark.parametrize("size", [(7, 20), (20, 7)])
def test_picture_smaller_than_the_crop_is_refused(size):
    height, width = size
    with pytest.raises(InputError, match=f"{width}x{height} pixels .* 8x8"):
        boxes.test_boxes(*size, 8, 5)


@pytest.mark.parametrize("points", [0, 4, 6])
def test_other_numbers_of_points_are_refused(points):
    with pytest.raises(InputError, match=f"no {points} crop positions.*1, 5 or 9"):
        boxes.test_boxes(20, 20, 8, points)


def test_crops_hold_what_is_at_their_boxes():
    picture = numbered(5, 6, 3)
    out = crops.crops_at(picture, [(0, 0), (1, 2)], 4)
    np.testing.assert_array_equal(out[0], picture[:4, :4])
    np.testing.assert_array_equal(out[1], picture[1:5, 2:6])


@pytest.mark.parametrize("box", [(2, 0), (0, 3), (-1, 0)])
def test_box_outside_the_picture_is_refused(box):
    with pytest.raises(InputError, match="not inside a picture of 6x5"):
        crops.crops_at(numbered(5, 6, 3), [box], 4)
    with pytest.raises(InputError, match="no box"):
        crops.crops_at(numbered(5, 6, 3), [], 4)


def test_joint_crop_cuts_both_at_one_place():
    reference = numbered(7, 9, 3)
    cut = jax.jit(crops.joint_crop, static_argnums=3)
    corners = set()
    for key in row_keys(60):
        sharp, blunt = cut(key, reference, reference + 1000, 5)
        assert sharp.shape == (5, 5, 3)
        np.testing.assert_array_equal(blunt, sharp + 1000)
        corners.add(int(sharp[0, 0, 0]) // 3)
    assert corners == {9 * top + left for top in range(3) for left in range(5)}
    with pytest.raises(InputError, match="9x7 pixels .* 8x8"):
        crops.joint_crop(key, reference, reference, 8)


@pytest.mark.parametrize("quarter_turns", [False, True])
def test_pairs_are_moved_alike(quarter_turns):
    distorted = numbered(40, 4, 4, 3)
    reference, moved = crops.joint_augment(
        row_keys(40), distorted[:25] + 5000, distorted, quarter_turns=quarter_turns
    )
    np.testing.assert_array_equal(reference, moved[:25] + 5000)


@pytest.mark.parametrize(("quarter_turns", "ways"), [(False, 2), (True, 8)])
def test_every_symmetry_comes_up_and_nothing_else(quarter_turns, ways):
    picture = numbered(3, 3, 3)
    batch = jnp.broadcast_to(picture, (200, 3, 3, 3))
    _, moved = crops.joint_augment(
        row_keys(200), batch[:0], batch, quarter_turns=quarter_turns
    )
    flips = [np.asarray(picture), np.asarray(picture)[:, ::-1]]
    turned = [np.rot90(flip, k) for flip in flips for k in range(4)]
    allowed = {x.tobytes() for x in (turned if quarter_turns else flips)}
    seen = [np.asarray(row).tobytes() for row in moved]
    assert set(seen) == allowed and len(allowed) == ways
    assert min(seen.count(x) for x in allowed) > 100 / ways


def test_a_row_is_moved_by_its_own_key_alone():
    pictures, keys = numbered(6, 4, 4, 3), row_keys(6)
    _, whole = crops.joint_augment(keys, pictures[:0], pictures, quarter_turns=True)
    _, part = crops.joint_augment(
        keys[3:], pictures[:0], pictures[3:], quarter_turns=True
    )
    np.testing.assert_array_equal(part, whole[3:])


def test_oblong_crops_may_be_mirrored_but_not_turned():
    pictures = numbered(2, 4, 6, 3)
    _, moved = crops.joint_augment(row_keys(2), pictures, pictures, quarter_turns=False)
    assert moved.shape == pictures.shape
    with pytest.raises(InputError, match="6x4 are not square"):
        crops.joint_augment(row_keys(2), pictures, pictures, quarter_turns=True)
