import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_arrays import normal

from ganiqa_jax.models.conv import Conv
from ganiqa_jax.models.features import (
    DISTILLED_MAPS,
    FeatureAdapters,
    MultiResolutionFusion,
    resize_map,
)
from ganiqa_jax.models.quality import local_moments_of, moments_of, moments_of_parts

TAPS = ((2, 6, 6, 5), (2, 3, 3, 7), (2, 2, 2, 9))


def start(module, maps):
    """Output and first variables, compiled as one."""
    return jax.jit(lambda m: module.init_with_output(jax.random.key(1), m))(maps)


def taps_of(shapes=TAPS):
    return [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]


def test_a_single_tap_passes_one_convolution_alone():
    tap = taps_of()[0]
    out, variables = start(MultiResolutionFusion(4), [tap])
    assert set(variables["params"]) == {"project_0"}
    conv = variables["params"]["project_0"]
    expected = tap @ conv["kernel"][0, 0] + conv["bias"][None, None, None, :]
    np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize(("level", "side"), [(0, 6), (1, 3)])
@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_takes_the_grid_of_its_level(level, side, fusion):
    module = MultiResolutionFusion(4, fusion=fusion, level=level)
    out, variables = start(module, taps_of())
    assert out.shape == (2, side, side, 4)
    assert ("level_weights" in variables["params"]) == (fusion == "sum")
    assert ("mix" in variables["params"]) == (fusion == "concat")


def test_level_weights_choose_between_levels():
    chosen = 1
    module = MultiResolutionFusion(4)
    taps = taps_of()
    params = start(module, taps)[1]["params"]
    np.testing.assert_array_equal(params["level_weights"], 0)
    params = {**params, "level_weights": 90 * jnp.eye(3)[chosen]}
    fuse = jax.jit(lambda taps: module.apply({"params": params}, taps))
    first = fuse(taps)
    for other in range(3):
        changed = [2 * t + 1 if i == other else t for i, t in enumerate(taps)]
        moved = jnp.abs(fuse(changed) - first).max()
        assert (moved > 1e-3) == (other == chosen)


def test_every_level_is_normalised_before_the_sum():
    module = MultiResolutionFusion(4)
    taps = taps_of()
    first, variables = start(module, taps)
    louder = [taps[0], 1000 * taps[1], taps[2]]
    second = jax.jit(module.apply)(variables, louder)
    np.testing.assert_allclose(first, second, atol=1e-2)


def test_reduces_by_average_pooling():
    x = normal(1, 6, 4, 3)
    pooled = x.reshape(1, 3, 2, 2, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(resize_map(x, 3, 2), pooled, atol=1e-6)


def test_reduces_odd_sides_by_the_area_covered():
    x = jnp.arange(3.0).reshape(1, 3, 1, 1)
    x = jnp.broadcast_to(x, (1, 3, 3, 1))
    out = resize_map(x, 2, 2)[0, :, 0, 0]
    np.testing.assert_allclose(out, [1 / 3, 5 / 3], atol=1e-6)


def test_enlarges_bilinearly_between_cell_centres():
    x = jnp.broadcast_to(jnp.array([0.0, 4.0])[None, :, None, None], (1, 2, 2, 1))
    out = resize_map(x, 4, 4)[0, :, 0, 0]
    np.testing.assert_allclose(out, [0, 1, 3, 4], atol=1e-6)


def test_moments_around_a_cell_are_those_of_what_is_there():
    x = normal(2, 8, 12, 3, seed=1)
    near = local_moments_of([x], (4, 4), share=0.25)
    np.testing.assert_allclose(near[:, 1, 2], moments_of([x[:, 2:4, 6:9]]), atol=1e-5)
    # Of a window wider than the map, what lies outside does not count.
    wide = local_moments_of([x], (3, 5), share=2.5)
    whole = jnp.broadcast_to(moments_of([x])[:, None, None], wide.shape)
    np.testing.assert_allclose(wide, whole, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (10, 8), (6, 7), (1, 2)])
def test_moments_of_parts_are_those_of_the_whole_and_its_corners(height, width):
    x = normal(2, height, width, 3, seed=2) + 50
    parts = moments_of_parts([x, 2 * x])
    # Each cell of the map as sixteen, of which a corner takes whole ones.
    fine = np.repeat(np.repeat(np.asarray(x, np.float64), 4, axis=1), 4, axis=2)
    top, bottom = slice(0, 3 * height), slice(height, None)
    left, right = slice(0, 3 * width), slice(width, None)
    places = itertools.product((top, bottom), (left, right))
    views = [fine, *(fine[:, rows, columns] for rows, columns in places)]
    for part, view in zip(np.moveaxis(parts, 1, 0), views, strict=True):
        mean, deviation = view.mean((1, 2)), np.sqrt(view.var((1, 2)) + 1e-6)
        wanted = [mean, deviation, 2 * mean, np.sqrt(4 * view.var((1, 2)) + 1e-6)]
        np.testing.assert_allclose(part, np.concatenate(wanted, 1), rtol=1e-5)


def test_a_finer_level_is_the_same_projected_before_or_after_it_is_reduced():
    taps = taps_of(((2, 8, 12, 5), (2, 4, 6, 5)))
    module = MultiResolutionFusion(4, level=1)
    fused, variables = start(module, taps)
    unit = Conv(4, bias=True)
    project = {"params": variables["params"]["project_0"]}
    coarse = resize_map(unit.apply(project, taps[0]), 4, 6)
    norm = {"params": variables["params"]["norm_0"]}
    level = nn.LayerNorm(epsilon=1e-5).apply(norm, coarse)
    alone = {**variables["params"], "level_weights": jnp.array([30.0, -30.0])}
    fused = module.apply({"params": alone}, taps)
    np.testing.assert_allclose(fused, level, atol=1e-5)


@pytest.mark.parametrize("grid", [(5, 3), (16, 16)])
def test_moments_around_cells_of_any_grid_lie_between_those_of_the_map(grid):
    x = jnp.arange(8.0)[None, :, None, None] * jnp.ones((1, 8, 8, 1))
    near = local_moments_of([x], grid, share=0.25)
    assert near.shape == (1, *grid, 2)
    mean = near[0, :, :, 0]
    assert (jnp.diff(mean, axis=0) >= 0).all() and 0 <= mean[0, 0] <= mean[-1, 0] <= 7


@pytest.mark.parametrize(("width", "expected"), [(0, 4), (6, 6)])
def test_adapters_map_the_four_distilled_maps(width, expected):
    maps = taps_of(((1, 2, 2, 4),) * 4)
    features = dict(zip(DISTILLED_MAPS, maps, strict=True))
    features |= {"pooled": jnp.zeros((1, 4)), "semantic": jnp.zeros((1, 4))}
    out, variables = start(FeatureAdapters(width), features)
    assert set(out) == set(variables["params"]) == set(DISTILLED_MAPS)
    dense = variables["params"]["encoded"]
    assert dense["kernel"].shape == (4, expected)
    np.testing.assert_allclose(
        out["encoded"], features["encoded"] @ dense["kernel"], atol=1e-6
    )
