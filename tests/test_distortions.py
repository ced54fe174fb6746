"""Distortions: what all of them keep to, and what each of them does."""

import numpy as np
import pytest
from scipy import ndimage

from ganiqa_jax.data import distortions_blurs
from ganiqa_jax.data.distortions import (
    DISTORTIONS,
    GENERATOR_KINDS,
    GRADED_KINDS,
    KADID_KINDS,
    LEVELS,
    MEDIUM_KINDS,
    distort,
)
from ganiqa_jax.data.distortions_pixels import (
    floats,
    from_lab,
    from_ycbcr,
    rounded,
    to_lab,
    to_ycbcr,
)
from ganiqa_jax.errors import InputError


@pytest.fixture(scope="module")
def windows() -> list[np.ndarray]:
    data = pytest.importorskip("skimage.data")
    return [
        data.astronaut()[60:220, 100:280],
        data.coffee()[60:220, 200:380],
        data.cat()[40:200, 80:260],
    ]


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def scene() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 8, (40, 48, 3))
    down, across = np.mgrid[:40, :48]
    waves = 70 * np.sin(down / 2)[..., None] * np.cos(across / 5)[..., None]
    return (128 + waves + noise).clip(0, 255).astype(np.uint8)


def psnr(reference: np.ndarray, distorted: np.ndarray) -> float:
    error = np.mean((reference.astype(float) - distorted) ** 2)
    return 10 * np.log10(255**2 / error)


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_psnr_falls_from_level_to_level(kind, windows):
    by_level = [
        np.mean(
            [
                psnr(window, distort(window, kind, level, np.random.default_rng(n)))
                for n, window in enumerate(windows)
            ]
        )
        for level in LEVELS
    ]
    assert (np.diff(by_level) < -0.7).all(), by_level
    assert 24 < by_level[0] and by_level[-1] < 29, by_level


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_distortion_is_a_function_of_picture_level_and_generator(kind):
    picture = scene()
    before = picture.copy()
    once, again = (
        distort(picture, kind, 3, np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(picture, before)
    assert (once.shape, once.dtype) == (picture.shape, np.uint8)
    assert once.flags.writeable and not np.shares_memory(once, picture)
    assert (once != picture).any()


@pytest.mark.parametrize("kind", DISTORTIONS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (17, 9)])
def test_tiny_and_odd_pictures_keep_their_size(kind, shape):
    picture = np.full((*shape, 3), 90, np.uint8)
    for level in (1, 5):
        damaged = distort(picture, kind, level, np.random.default_rng(0))
        assert (damaged.shape, damaged.dtype) == (picture.shape, np.uint8)


RANDOM_KINDS = {
    *("gaussian_noise", "white_noise", "color_noise", "impulse_noise"),
    *("multiplicative_noise", "denoise", "motion_blur", "color_shift", "mean_shift"),
    *("jitter", "patch_shift", "color_block", "contrast_change", "local_warp"),
    *("haze", "underwater"),
}


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_other_generators_give_other_damage_to_the_kinds_that_are_random(kind):
    made = {
        distort(scene(), kind, 3, np.random.default_rng(seed)).tobytes()
        for seed in range(8)
    }
    assert (len(made) > 1) == (kind in RANDOM_KINDS)


def test_unknown_kind_and_level_are_named(random):
    with pytest.raises(InputError, match="No distortion 'smudge'.*jpeg"):
        distort(scene(), "smudge", 1, random)
    with pytest.raises(InputError, match="level 6"):
        distort(scene(), "jpeg", 6, random)


def test_every_kind_is_of_one_set():
    sets = (*KADID_KINDS, *GENERATOR_KINDS, *MEDIUM_KINDS, "gaussian_noise")
    assert sorted(sets) == sorted(DISTORTIONS)


def test_kinds_that_stored_data_sets_draw_from_stay_in_their_order():
    assert GRADED_KINDS == (
        "gaussian_blur",
        "gaussian_noise",
        "jpeg",
        "down_up_scale",
        "checkerboard",
        "ringing",
        "texture_smear",
        "colour_banding",
        "local_warp",
    )


def test_colour_spaces_lead_back_and_know_white_and_grey(windows):
    pixels = windows[0]
    np.testing.assert_array_equal(from_lab(to_lab(pixels)), pixels)
    back = rounded(from_ycbcr(to_ycbcr(floats(pixels))))
    np.testing.assert_array_equal(back, pixels)
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    lab = to_lab(greys)
    np.testing.assert_allclose(lab[..., 1:], 0, atol=0.01)
    np.testing.assert_allclose(lab[[0, 255], 0, 0], [0, 100], atol=0.01)
    # Red of sRGB, as CIE 1976 under D65 has it.
    red = to_lab(np.array([[[255, 0, 0]]], np.uint8))[0, 0]
    np.testing.assert_allclose(red, [53.24, 80.09, 67.20], atol=0.05)


@pytest.mark.parametrize("kind", ["lens_blur", "motion_blur", "gaussian_blur"])
def test_blurs_keep_the_mean_and_flat_places(kind, windows, random):
    flat = np.full((30, 30, 3), 77, np.uint8)
    np.testing.assert_array_equal(distort(flat, kind, 5, random), flat)
    blurred = distort(windows[0], kind, 4, random).astype(float)
    np.testing.assert_allclose(blurred.mean(), windows[0].mean(), atol=1)


def test_lens_spreads_a_point_to_a_disc_and_motion_to_a_line(random):
    point = np.zeros((41, 41, 3), np.uint8)
    point[20, 20] = 255
    disc = distort(point, "lens_blur", 3, random)[..., 0]
    lit = disc > 2
    assert lit[20, 17:24].all() and lit[17:24, 20].all() and not lit[16:18, 16].any()
    line = distort(point, "motion_blur", 4, random)[..., 0].astype(float)
    place = np.argwhere(line > 0) - 20.0
    along, across = np.linalg.svd(place, full_matrices=False)[1]
    assert along > 5 * across
    assert distortions_blurs.MOTION_LENGTH[3] - 2 < np.ptp(np.hypot(*place.T)) * 2


def test_colour_diffuses_and_lightness_stays(windows, random):
    before, after = (
        to_lab(x)
        for x in (windows[1], distort(windows[1], "color_diffusion", 3, random))
    )
    moved = np.abs(after - before).mean((0, 1))
    assert moved[0] < 0.6 and moved[1:].min() > 3 * moved[0]


def test_shifted_colour_is_green_alone_and_at_edges(random):
    picture = np.full((30, 60, 3), 60, np.uint8)
    picture[:, 30:] = 190
    moved = distort(picture, "color_shift", 3, random)
    np.testing.assert_array_equal(moved[..., [0, 2]], picture[..., [0, 2]])
    changed = np.flatnonzero((moved != picture).any((0, 2)))
    assert changed.size and 20 < changed.min() and changed.max() < 40


def test_saturation_goes_to_grey_and_gains(windows, random):
    grey = distort(windows[0], "saturation_hsv", 5, random)
    np.testing.assert_array_equal(grey, windows[0].max(2, keepdims=True).repeat(3, 2))
    chroma = [
        np.hypot(*np.moveaxis(to_lab(x)[..., 1:], -1, 0)).mean()
        for x in (windows[0], distort(windows[0], "saturation_lab", 3, random))
    ]
    assert chroma[1] > 1.5 * chroma[0]


def test_haze_greys_and_water_takes_red_first(windows, random):
    white, black = np.full((2, 30, 40, 3), [[[[255]]], [[[0]]]], np.uint8)
    # Of the light of the scene what is left; the rest is of the medium.
    haze, water = (
        np.subtract(
            *(
                distort(flat, kind, 3, np.random.default_rng(2)).astype(float)
                for flat in (white, black)
            )
        )
        for kind in ("haze", "underwater")
    )
    assert np.ptp(haze, axis=2).max() <= 1 and np.ptp(haze) > 20
    assert water[..., 0].max() < water[..., 1:].min()
    for kind in MEDIUM_KINDS:
        spread = [distort(windows[0], kind, level, random).std() for level in LEVELS]
        assert (np.diff(spread) < 0).all()
    cast = to_lab(distort(windows[0], "underwater", 5, random)).mean((0, 1))
    assert cast[1] < to_lab(windows[0]).mean((0, 1))[1] - 10


@pytest.mark.parametrize(("level", "most"), [(1, 64), (5, 6)])
def test_palette_has_few_colours(windows, random, level, most):
    few = distort(windows[0], "color_quantization", level, random)
    assert 2 < len(np.unique(few.reshape(-1, 3), axis=0)) <= most


@pytest.mark.parametrize(("level", "most"), [(1, 16), (5, 3)])
def test_quantization_leaves_the_best_few_values(windows, random, level, most):
    few = distort(windows[0], "quantization", level, random)
    assert len(np.unique(few)) <= most
    even = np.round(np.round(windows[0] / 255 * (most - 1)) * 255 / (most - 1))
    assert psnr(windows[0], few) > psnr(windows[0], even.astype(np.uint8))


def test_color_noise_leaves_luma(random):
    grey = np.full((64, 64, 3), 128, np.uint8)
    noise = to_ycbcr(floats(distort(grey, "color_noise", 2, random)))
    assert noise[..., 0].std() < 1
    np.testing.assert_allclose(noise[..., 1:].std((0, 1)), 11, rtol=0.1)


def test_impulses_are_black_and_white_in_equal_number(random):
    grey = np.full((100, 100, 3), 128, np.uint8)
    hit = distort(grey, "impulse_noise", 5, random)
    counts = np.bincount(hit.ravel(), minlength=256) / hit.size
    np.testing.assert_allclose(counts[[0, 255]], 0.08, atol=0.01)
    np.testing.assert_allclose(counts[128], 0.84, atol=0.01)


def test_speckle_grows_with_the_value(random):
    picture = np.full((50, 100, 3), 20, np.uint8)
    picture[:, 50:] = 120
    noisy = floats(distort(picture, "multiplicative_noise", 3, random))
    np.testing.assert_allclose(noisy[:, 50:].std() / noisy[:, :50].std(), 6, rtol=0.1)


def test_denoiser_wipes_noise_from_flat_places_and_leaves_edges(random):
    picture = np.full((60, 60, 3), 60, np.uint8)
    picture[:, 30:] = 190
    cleaned = floats(distort(picture, "denoise", 2, random))
    assert cleaned[5:55, 5:24].std() < 16 / 2
    assert (cleaned[5:55, 30] - cleaned[5:55, 29]).mean() > 90


def test_brightness_moves_midtones_and_keeps_black_and_white(random):
    ramp = np.repeat(np.linspace(0, 255, 52).astype(np.uint8)[None, :, None], 3, 2)
    for kind, sign in (("brighten", 1), ("darken", -1)):
        moved = floats(distort(ramp, kind, 3, random)) - floats(ramp)
        np.testing.assert_allclose(moved[0, [0, -1]], 0, atol=1)
        assert (sign * moved[0, 5:-5] > 3).all()


def test_mean_moves_both_ways_and_contrast_too():
    ramp = np.repeat(np.arange(100, 156, dtype=np.uint8)[None, :, None], 3, 2)
    shifts, widths = set(), set()
    for seed in range(12):
        moved = distort(ramp, "mean_shift", 2, np.random.default_rng(seed))
        shifts |= set(np.unique(moved.astype(int) - ramp))
        changed = distort(ramp, "contrast_change", 3, np.random.default_rng(seed))
        widths.add(int(np.ptp(changed)))
        assert abs(int(changed[0, 28, 0]) - 128) <= 1
    assert shifts == {-24, 24}
    assert len(widths) == 2 and min(widths) < 40 and max(widths) > 90


def test_jitter_scatters_edges_by_its_own_distance(random):
    picture = np.zeros((80, 80, 3), np.uint8)
    picture[:, 40:] = 200
    scattered = floats(distort(picture, "jitter", 4, random))[..., 0]
    away = np.abs(np.arange(80) - 39.5)
    changed = (scattered != picture[..., 0]).mean(0)
    assert changed[away < 2].min() > 0.1 and changed[away > 9].max() < 0.01


def test_patches_come_from_nearby(random):
    down, across = np.mgrid[:120, :120]
    places = np.stack([down, across, 0 * down], -1).astype(np.uint8)
    moved = distort(places, "patch_shift", 3, random)
    offset = np.abs(floats(moved) - floats(places)).max(2)
    assert 0 < offset.max() <= 12
    assert 0.05 < (offset > 0).mean() < 0.2


def test_pixelated_squares_are_flat_and_keep_their_mean(windows, random):
    square = windows[0][:154, :154]
    flat = distort(square, "pixelate", 4, random)
    cells = flat.reshape(22, 7, 22, 7, 3)
    assert (cells == cells[:, :1, :, :1]).all()
    means = square.reshape(22, 7, 22, 7, 3).mean((1, 3))
    np.testing.assert_allclose(cells[:, 0, :, 0], means, atol=1)


def test_colour_blocks_are_flat_and_the_rest_is_untouched(windows, random):
    blocked = distort(windows[0], "color_block", 2, random)
    changed = (blocked != windows[0]).any(2)
    assert 0.02 < changed.mean() < 0.06
    labels, count = ndimage.label(changed)
    assert count >= 2
    assert len(np.unique(blocked[changed], axis=0)) <= 6


def test_sharpening_overshoots_at_an_edge(random):
    picture = np.full((30, 30, 3), 80, np.uint8)
    picture[:, 15:] = 160
    sharp = distort(picture, "sharpen", 2, random)[15, :, 0]
    assert sharp[14] < 70 and sharp[15] > 170
    assert (sharp[[2, 27]] == [80, 160]).all()


def test_jpeg2000_is_smooth_where_jpeg_has_blocks(windows, random):
    steps = {}
    for kind in ("jpeg", "jpeg2000"):
        damaged = floats(distort(windows[0], kind, 5, random)).mean(2)
        jump = np.abs(np.diff(damaged, axis=1)).mean(0)
        steps[kind] = jump[7::8].mean() / np.delete(jump, np.s_[7::8]).mean()
    assert steps["jpeg"] > 2 and steps["jpeg2000"] < 1.3


def test_checkerboard_leaves_a_grid_of_period_two_and_keeps_the_mean():
    flat = np.full((32, 32, 3), 100, np.uint8)
    damaged = distort(flat, "checkerboard", 5, np.random.default_rng(0)).astype(float)
    np.testing.assert_allclose(damaged[8:24, 8:24].mean(), 100, atol=1)
    assert damaged[9, 9, 0] - damaged[8, 8, 0] > 40
    np.testing.assert_array_equal(damaged[8:22], damaged[10:24])


def test_smear_wipes_texture_and_keeps_an_edge():
    random = np.random.default_rng(0)
    picture = np.full((40, 40, 3), 60.0)
    picture[:, 20:] = 190
    picture = (picture + random.normal(0, 8, picture.shape)).astype(np.uint8)
    smeared = distort(picture, "texture_smear", 4, random).astype(float)
    assert smeared[5:35, 4:16].std() < 0.4 * picture[5:35, 4:16].std()
    assert (smeared[5:35, 20] - smeared[5:35, 19]).mean() > 110


def test_warp_moves_structures_and_leaves_flat_places(windows):
    flat = np.full((30, 30, 3), 77, np.uint8)
    random = np.random.default_rng(0)
    np.testing.assert_array_equal(distort(flat, "local_warp", 5, random), flat)
    warped = distort(windows[0], "local_warp", 3, random)
    counts = [np.histogram(x, 16, (0, 256))[0] for x in (windows[0], warped)]
    moved = np.abs(counts[0] - counts[1]).sum() / windows[0].size
    assert moved < 0.1 and psnr(windows[0], warped) < 30
