import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from random_weights import random_weights

from ganiqa_jax.config import JndConfig, NoiseConfig, StudentConfig
from ganiqa_jax.errors import InputError
from ganiqa_jax.image.jnd import mjnd
from ganiqa_jax.models import Student
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1
from ganiqa_jax.models.quality import MomentBranch, QualityHead

SIDE = 64
TINY = StudentConfig(
    trunk="mobilenet_v1",
    width=8,
    heads=2,
    expansion=1,
    dropout=0.0,
    attention_window=3,
    attention_key_dim=4,
    attention_kernels=(3, 3),
    embedding_grid=4,
    bins=3,
    jnd=JndConfig(strength=0.0),  # takes long to compile
)


@functools.cache
def shapes_of(config, side=SIDE):
    picture = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    init = Student(config).init_with_output
    return jax.eval_shape(init, jax.random.key(0), picture)


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@functools.cache
def random_variables(config):
    return random_weights(shapes_of(config)[1])


PICTURES = jnp.asarray(
    np.random.default_rng(3).uniform(size=(2, SIDE, SIDE, 3)), jnp.float32
)


def sampled_pixels(next_fun, args, kwargs, context):
    """In place of a trunk: pixels of the picture, in the shapes of its taps."""
    if not isinstance(context.module, MobileNetV1):
        return next_fun(*args, **kwargs)
    strides = ((4, 96), (8, 192), *[(16, 384)] * 3, (32, 768))
    grey = args[0][..., :1]
    maps = [jnp.repeat(grey[:, ::s, ::s], channels, -1) for s, channels in strides]
    return maps[: kwargs.get("first") or None]


class Seen(Exception):
    """Ends a network where its trunk has been asked for what a test looks at."""


def test_the_trunk_sees_minimum_jnd_pictures_and_detail():
    whole, detail = PICTURES[:1], PICTURES[1:]
    jnd = JndConfig(strength=1.0)
    config = dataclasses.replace(TINY, detail=True, jnd=jnd)
    seen = []

    def noted(next_fun, args, kwargs, context):
        if not isinstance(context.module, MobileNetV1):
            return next_fun(*args, **kwargs)
        seen.append(args[0])
        if len(seen) == 2:
            raise Seen
        return sampled_pixels(next_fun, args, kwargs, context)

    with nn.intercept_methods(noted), pytest.raises(Seen):
        Student(config).apply({}, whole, detail)
    for trunk_input, picture in zip(seen, (whole, detail), strict=True):
        np.testing.assert_array_equal(trunk_input, mjnd(picture, jnd))
        assert not np.allclose(trunk_input, picture, atol=1e-3)


@functools.cache
def runner(config, train, noise):
    """A student on sampled pixels, compiled; what it returns depends on the key."""
    variables = random_variables(config)

    def run(key):
        with nn.intercept_methods(sampled_pixels):
            return Student(config).apply(
                variables,
                PICTURES,
                train=train,
                noise=noise,
                rngs={"dropout": key, "noise": key},
                mutable=["batch_stats"] if train else [],
            )[0]

    return jax.jit(run)


def test_parts_have_the_sizes_of_the_design():
    output, variables = shapes_of(StudentConfig(), side=224)
    sizes = {name: count(part) for name, part in variables["params"].items()}
    trunk = sizes.pop("trunk")
    assert 2.13e6 < trunk < 2.18e6
    assert sizes == {
        "neck": (64 + 128 + 192) * 128 + 3 * 128 + 3 * 256 + 3,
        "difference_dsc_0": 18_048,
        "difference_dsc_1": 18_048,
        "reference_dsc_0": 18_048,
        "reference_dsc_1": 18_048,
        "transformer": 14 * 14 * 128 + 255_360 + 321_664,
        # Mean and deviation of each channel of the three taps.
        # It begins with the scale and offset of each moment.
        "semantic": 2 * 2 * (64 + 128 + 192) + 2 * (64 + 128 + 192) * 128 + 128,
        "head": 33_025 + 128 * 10 + 10,
    }
    assert 2.96e6 < trunk + sum(sizes.values()) < 3.04e6
    shapes = {name: value.shape for name, value in output.features.items()}
    grid = (1, 14, 14, 128)
    assert shapes == {
        **dict.fromkeys(("difference", "reference", "encoded", "decoded"), grid),
        "pooled": (1, 128),
        "moments": (1, 2 * (64 + 128 + 192)),
        "semantic": (1, 128),
    }
    assert output.z.shape == (1,) and output.logits.shape == (1, 10)


def test_quality_map_has_the_score_as_its_mean_and_sees_its_own_place():
    """Pixels are put in the trunk's place: a change on the right is one there."""
    variables = random_variables(TINY)
    changed = PICTURES.at[:, :, 48:].set(0.5)

    @jax.jit
    def run(pictures):
        with nn.intercept_methods(sampled_pixels):
            return Student(TINY).apply(variables, pictures, local=True)

    before, after = run(PICTURES), run(changed)
    quality = before.features["quality"]
    assert quality.shape == (2, 4, 4)
    np.testing.assert_allclose(quality.mean(axis=(1, 2)), before.z, atol=1e-5)
    plain = runner(TINY, train=False, noise=None)(jax.random.key(0))
    np.testing.assert_allclose(before.z, plain.z, atol=1e-5)
    moved = np.abs(after.features["quality"] - quality)
    assert moved[:, :, 3].mean() > 2 * moved[:, :, 0].mean()


def test_score_of_parts_is_the_mean_over_what_the_head_says_of_each():
    config = dataclasses.replace(TINY, parts=True)
    variables = random_variables(config)

    @jax.jit
    def run(variables):
        with nn.intercept_methods(sampled_pixels):
            return Student(config).apply(variables, PICTURES, parts=True)

    output = run(variables)
    parts = output.features["parts"]
    assert parts.shape == (2, 5, output.features["moments"].shape[1])
    head = QualityHead(config.width, config.bins)
    branch = MomentBranch(config.width)
    of_head = {"params": variables["params"]["head"]}
    of_branch = {name: part["semantic"] for name, part in variables.items()}
    found = []
    for number in range(5):
        vector = branch.apply(of_branch, parts[:, number], train=False)
        seen = jnp.concatenate([output.features["pooled"], vector], axis=-1)
        found.append(head.apply(of_head, seen, train=False))
    zs, logits = map(np.asarray, zip(*found, strict=True))
    assert np.ptp(zs, axis=0).min() > 1e-4
    np.testing.assert_allclose(output.z, zs.mean(0), atol=1e-5)
    np.testing.assert_allclose(output.logits, logits.mean(0), atol=1e-5)
    whole = runner(TINY, train=False, noise=None)(jax.random.key(0))
    np.testing.assert_allclose(zs[0], whole.z, atol=1e-5)


def test_detail_is_seen_beside_the_whole():
    config = dataclasses.replace(TINY, parts=True, detail=True)
    variables = random_variables(config)

    @jax.jit
    def run(*seen):
        with nn.intercept_methods(sampled_pixels):
            return Student(config).apply(variables, *seen, parts=True, local=True)

    alone, itself, other = (
        run(*seen)
        for seen in ((PICTURES,), (PICTURES, PICTURES), (PICTURES, PICTURES[::-1]))
    )
    np.testing.assert_allclose(itself.z, alone.z, atol=1e-6)
    assert np.abs(other.z - alone.z).min() > 1e-4
    fine = 2 * (96 + 192 + 384)
    for name in ("moments", "parts"):
        one, two = alone.features[name], other.features[name]
        np.testing.assert_allclose(one[..., :-fine], two[..., :-fine], atol=1e-6)
        np.testing.assert_allclose(one[..., -fine:], two[::-1, ..., -fine:], atol=1e-6)
    for output in (alone, other):
        quality = output.features["quality"]
        np.testing.assert_allclose(quality.mean(axis=(1, 2)), output.z, atol=1e-5)


def test_detail_needs_fine_maps_of_their_own():
    with pytest.raises(InputError, match="detail needs"):
        StudentConfig(detail=True, trunk="mobilenet_v1", semantic=False)
    with pytest.raises(InputError, match="detail needs"):
        StudentConfig(detail=True, trunk="efficientvit")


def test_noise_on_moments_is_of_training_alone_and_of_its_deviation():
    branch = MomentBranch(4, noise=0.5, fixed_statistics=True)
    zero = jnp.zeros((20_000, 3))
    variables = branch.init(jax.random.key(0), zero, train=False)
    assert not branch.apply(variables, zero, train=False).any()
    noisy = branch.apply(
        variables, zero, train=True, rngs={"dropout": jax.random.key(1)}
    )
    of_unit = jnp.linalg.norm(variables["params"]["out"]["kernel"], axis=0)
    np.testing.assert_allclose(noisy.std(axis=0), 0.5 * of_unit, rtol=0.03)


def test_parts_are_of_the_semantic_branch():
    with pytest.raises(InputError, match="parts needs semantic"):
        StudentConfig(semantic=False, parts=True)


@pytest.mark.parametrize(("side", "grid"), [(192, 12), (256, 16), (75, 5)])
@pytest.mark.parametrize(
    "trunk", ["mobilenet_v1", "efficientnet_lite0", "efficientvit"]
)
def test_maps_are_at_a_sixteenth(trunk, side, grid):
    config = dataclasses.replace(TINY, trunk=trunk)
    output, _ = shapes_of(config, side=side)
    assert output.features["difference"].shape == (1, grid, grid, 8)


@pytest.mark.parametrize("attention", ["cga", "mhsa", "none"])
@pytest.mark.parametrize("trunk", ["mobilenet_v1", "efficientvit"])
def test_attention_is_in_the_trunk_or_on_the_neck(trunk, attention):
    config = dataclasses.replace(TINY, trunk=trunk, attention=attention)
    params = shapes_of(config)[1]["params"]
    in_trunk = any("attention" in name for name in params["trunk"])
    assert in_trunk == (trunk == "efficientvit" and attention != "none")
    on_neck = "attention" in params
    assert on_neck == (trunk == "mobilenet_v1" and attention != "none")


def test_frozen_blocks_are_the_only_frozen_parameters():
    config = dataclasses.replace(TINY, frozen_blocks=11)
    variables = shapes_of(config)[1]
    assert set(variables["frozen"]) == {"trunk"}
    assert set(variables["params"]["trunk"]) == {
        f"conv_{kind}_{i}" for kind in ("dw", "pw") for i in (12, 13)
    }
    assert "conv1" in variables["frozen"]["trunk"]


@pytest.mark.parametrize(
    ("trunk", "frozen"), [("mobilenet_v1", 11), ("efficientnet_lite0", 15)]
)
def test_every_part_learns(trunk, frozen):
    config = dataclasses.replace(TINY, trunk=trunk, frozen_blocks=frozen)
    variables = random_variables(config)
    assert "trunk" in variables["params"]

    @jax.jit
    def gradient(params):
        def total(params):
            output, _ = Student(config).apply(
                {**variables, "params": params},
                PICTURES,
                train=True,
                mutable=["batch_stats"],
            )
            return output.z.sum() + output.logits[:, 0].sum()

        return jax.grad(total)(params)

    for name, part in gradient(variables["params"]).items():
        leaves = jax.tree.leaves(part)
        assert all(np.isfinite(g).all() for g in leaves), name
        assert max(np.abs(g).max() for g in leaves) > 0, name


@pytest.mark.parametrize(("frozen", "side"), [(15, 64), (16, 75)])
def test_efficientnet_lite_is_fused_on_the_grid_of_its_level(frozen, side):
    config = dataclasses.replace(
        TINY, trunk="efficientnet_lite0", frozen_blocks=frozen, neck_level=2
    )
    output, variables = shapes_of(config, side)
    assert ("trunk" in variables["params"]) == (frozen < 16)
    grid = -(-side // 32)
    assert output.z.shape == (1,) and output.logits.shape == (1, 3)
    assert output.features["difference"].shape == (1, grid, grid, 8)
    channels = 144 + 240 + 480 + 672 + 1152
    assert output.features["moments"].shape == (1, 2 * channels)


@pytest.mark.parametrize(("level", "grid"), [(0, 8), (1, 4), (2, 2)])
def test_maps_are_fused_on_the_chosen_grid(level, grid):
    config = dataclasses.replace(TINY, neck_level=level)
    output, variables = shapes_of(config)
    assert output.features["difference"].shape == (1, grid, grid, 8)
    assert variables == shapes_of(TINY)[1]  # the same weights serve


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"trunk": "mobilenet_v1", "frozen_blocks": 14}, "0 to 13"),
        ({"trunk": "efficientnet_lite0", "frozen_blocks": 17}, "0 to 16"),
        ({"trunk": "efficientnet_lite0", "frozen_blocks": -1}, "0 to 16"),
        ({"trunk": "efficientvit", "frozen_blocks": 1}, "needs trunk"),
        ({"neck_level": 3}, "neck_level must be 0 to 2"),
        ({"neck_level": -1}, "neck_level must be 0 to 2"),
    ],
)
def test_blocks_and_levels_that_are_not_there_are_refused(fields, says):
    with pytest.raises(InputError, match=says):
        StudentConfig(**fields)


def test_inference_ignores_noise_and_keys():
    noisy = NoiseConfig(cutout_prob=1.0, pixel_prob=1.0, feature_prob=1.0)
    plain = runner(TINY, False, None)(jax.random.key(0))
    other = runner(TINY, False, noisy)(jax.random.key(1))
    np.testing.assert_array_equal(plain.z, other.z)


@pytest.mark.parametrize(
    ("noise", "keeps_the_distilled_map"),
    [
        ({"cutout_prob": 1.0, "cutout_side": 0.4}, False),
        ({"feature_prob": 1.0, "feature_std": 0.5}, False),
        ({"token_dropout": 0.5}, True),
    ],
)
def test_each_noise_reaches_the_score_in_training(noise, keeps_the_distilled_map):
    run = runner(TINY, True, dataclasses.replace(NoiseConfig.off(), **noise))
    first, second = (run(jax.random.key(i)) for i in (0, 1))
    assert np.abs(first.z - second.z).max() > 1e-5
    maps = [output.features["difference"] for output in (first, second)]
    assert bool((maps[0] == maps[1]).all()) == keeps_the_distilled_map


def test_training_without_noise_depends_on_no_key():
    run = runner(TINY, True, NoiseConfig.off())
    first, second = (run(jax.random.key(i)) for i in (0, 1))
    np.testing.assert_array_equal(first.z, second.z)


def test_dropout_acts_in_training():
    config = dataclasses.replace(TINY, dropout=0.5)
    run = runner(config, True, None)
    first, second = (run(jax.random.key(i)) for i in (0, 1))
    assert np.abs(first.z - second.z).max() > 1e-5


def test_the_two_branches_have_their_own_weights():
    output = runner(TINY, False, None)(jax.random.key(0))
    features = output.features
    assert np.abs(features["difference"] - features["reference"]).max() > 1e-2


def test_options_leave_their_part_out():
    config = dataclasses.replace(TINY, semantic=False, bins=0, attention="none")
    output, variables = shapes_of(config)
    assert output.logits is None and "semantic" not in output.features
    assert not {"semantic", "attention"} & set(variables["params"])


@pytest.mark.parametrize(
    ("trunk", "channels"),
    [("mobilenet_v1", 384), ("efficientnet_lite0", 672), ("efficientvit", 128)],
)
def test_a_single_tap_is_the_map_at_a_sixteenth_alone(trunk, channels):
    config = dataclasses.replace(TINY, trunk=trunk, taps="single")
    output, variables = shapes_of(config)
    assert output.features["moments"].shape == (1, 2 * channels)
    kernels = jax.tree.map(jnp.shape, variables["params"]["neck"])
    assert kernels == {"project_0": {"kernel": (1, 1, channels, 8), "bias": (8,)}}
    grid = SIDE // 16
    assert output.features["difference"].shape == (1, grid, grid, 8)


@pytest.mark.parametrize("trunk", ["mobilenet_v1", "efficientvit"])
def test_bfloat16_leaves_scores_and_parameters_in_float32(trunk):
    config = dataclasses.replace(TINY, trunk=trunk, dtype="bfloat16")
    output, variables = shapes_of(config)
    assert output.z.dtype == output.logits.dtype == jnp.float32
    assert output.features["decoded"].dtype == jnp.bfloat16
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_a_picture_too_small_is_named():
    with pytest.raises(InputError, match="32 pixels"):
        shapes_of(TINY, side=24)


def test_wraps_as_an_nnx_module():
    config = dataclasses.replace(TINY, trunk="efficientvit")

    def build():
        network = nnx.bridge.ToNNX(Student(config), rngs=nnx.Rngs(0))
        network = nnx.bridge.lazy_init(network, PICTURES)
        return network, network(PICTURES)

    network, output = nnx.eval_shape(build)
    assert output.z.shape == (2,)
    params = nnx.state(network, nnx.Param)
    assert count(params) == count(shapes_of(config)[1]["params"])
