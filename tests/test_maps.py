"""Maps of crops become one of the picture, each cell where it was."""

import numpy as np
import pytest

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.scoring import cropping, maps

SIDE = 32


def rules(**settings):
    return Preprocessing(crop=SIDE, **{"mirror": False, **settings})


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("points", [1, 5, 9])
@pytest.mark.parametrize("sides", [(32, 32), (40, 70), (90, 33), (20, 50), (9, 9)])
def test_a_map_that_tells_the_place_tells_it_of_the_picture(sides, points, mirror):
    """Cells are the mean columns of crops, whose pixels tell their own columns."""
    width = sides[1]
    columns = np.broadcast_to(np.arange(width, dtype=np.uint8), sides)
    preprocessing = rules(points=points, mirror=mirror)
    crops = cropping.prepare(np.stack([columns] * 3, axis=-1), preprocessing)
    cells = crops[..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    whole = maps.map_of_picture(cells, sides, preprocessing)
    assert whole.shape == sides
    seen = np.isfinite(whole)
    if points > 1 and max(sides) <= 2 * SIDE:
        assert seen.all()
    # Bilinear enlarging is off by half a cell at the border of a crop.
    assert np.abs(whole - columns)[seen].max() <= 4


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("sides", [(32, 32), (20, 160), (90, 33), (5, 7), (1, 60)])
def test_a_map_of_the_whole_covers_it_in_its_own_shape(sides, mirror):
    """As above; the whole is stretched to a square, and the map back."""
    across = np.linspace(0, 240, sides[1])
    columns = np.broadcast_to(np.round(across).astype(np.uint8), sides)
    preprocessing = rules(points=1, mirror=mirror, whole=True)
    views = cropping.prepare(np.stack([columns] * 3, axis=-1), preprocessing)
    assert len(views) == 1 + mirror
    cells = views[..., 0].reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4))
    found = maps.map_of_picture(cells, sides, preprocessing)
    assert found.shape == sides and np.isfinite(found).all()
    # Off by half a cell of 8 at a border, and by a stretched pixel.
    assert np.abs(found - columns).max() <= 240 / 8 / 2 + 240 / sides[1] / 2


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("sides", [(32, 32), (20, 25), (20, 160), (90, 24), (9, 9)])
def test_a_map_of_a_small_picture_leaves_out_what_was_mirrored(sides, mirror):
    """As above, for rows: a picture that is not high enough is mirrored up and down."""
    rows = np.round(np.linspace(0, 240, sides[0])).astype(np.uint8)
    rows = np.broadcast_to(rows[:, None], sides)
    preprocessing = rules(points=1, mirror=mirror, whole=True, reflect=True)
    views = cropping.prepare(np.stack([rows] * 3, axis=-1), preprocessing)
    cells = views[..., 0].reshape(-1, 16, 2, 8, 4).mean(axis=(2, 4))
    found = maps.map_of_picture(cells, sides, preprocessing)
    assert found.shape == sides
    # A cell is two pixels high; where mirrored rows meet the first, it is half of each.
    assert np.abs(found - rows).max() <= 2.5 * 240 / (min(sides[0], SIDE) - 1)


def test_overlay_has_one_colour_for_a_score_and_leaves_what_is_not_known():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    quality = np.full((6, 8), 0.5)
    quality[:, 4:] = np.nan
    shown = maps.overlay(pixels, quality)
    np.testing.assert_array_equal(shown[:, 4:], pixels[:, 4:])
    flat = np.full((6, 8, 3), 128, np.uint8)
    bad, good = (maps.overlay(flat, np.full((6, 8), q))[0, 0] for q in (0.0, 1.0))
    assert bad[2] > bad[0] and good[0] > good[2]  # blue, yellow
    np.testing.assert_array_equal(maps.overlay(flat, np.full((6, 8), 7.0))[0, 0], good)
