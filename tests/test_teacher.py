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

from ganiqa_jax.config import JndConfig, TeacherConfig
from ganiqa_jax.errors import InputError
from ganiqa_jax.image.jnd import mjnd
from ganiqa_jax.models import Teacher
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1
from ganiqa_jax.models.quality import QualityHead

SIDE = 64
TINY = TeacherConfig(
    backbone="mobilenet_v1",
    width=8,
    heads=2,
    expansion=1,
    attention_key_dim=4,
    attention_kernels=(3, 3),
    attention_grid=8,
    embedding_grid=8,
    bins=3,
    jnd=JndConfig(strength=0.0),  # takes long to compile
)


def shapes_of(config, side=SIDE):
    picture = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    teacher = Teacher(config)
    return jax.eval_shape(teacher.init_with_output, jax.random.key(0), picture, picture)


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def random_variables(config):
    return random_weights(shapes_of(config)[1])


PICTURES = np.random.default_rng(3).uniform(size=(2, 2, SIDE, SIDE, 3))
ONE, TWO = jnp.asarray(PICTURES, jnp.float32)


@functools.cache
def scorer(config):
    return jax.jit(functools.partial(Teacher(config).apply, train=False))


class Seen(Exception):
    """Ends a network where its backbone has been asked."""


def test_the_backbone_sees_minimum_jnd_pictures():
    jnd = JndConfig(strength=1.0)
    seen = []

    def noted(next_fun, args, kwargs, context):
        if not isinstance(context.module, MobileNetV1):
            return next_fun(*args, **kwargs)
        seen.append(args[0])
        raise Seen

    with nn.intercept_methods(noted), pytest.raises(Seen):
        Teacher(dataclasses.replace(TINY, jnd=jnd)).apply({}, ONE, TWO)
    (backbone_input,) = seen
    both = jnp.concatenate([ONE, TWO])
    np.testing.assert_array_equal(backbone_input, mjnd(both, jnd))
    assert not np.allclose(backbone_input, both, atol=1e-3)


def test_predecessor_has_its_published_size():
    _, variables = shapes_of(TeacherConfig.iqa_conformer(), side=192)
    assert count(variables["params"]) == 1_159_169
    assert count(variables["params"]["head"]) == 16_641


def test_parts_have_the_sizes_of_the_design():
    output, variables = shapes_of(TeacherConfig(), side=192)
    sizes = {name: count(part) for name, part in variables["params"].items()}
    assert sizes == {
        "fusion": (1920 + 1088 + 1536) * 128 + 3 * 128 + 3 * 256 + 3,
        "attention": 26_944 + 4 * 35 * 35,
        "dsc": 18_048,
        "transformer": 21 * 21 * 128 + 386_944 + 453_248,
        "semantic": 819_840,
        "head": 33_025 + 128 * 10 + 10,
    }
    assert output.z.shape == (1,) and output.logits.shape == (1, 10)
    shapes = {name: value.shape for name, value in output.features.items()}
    grid = (1, 21, 21, 128)
    assert shapes == {
        **dict.fromkeys(("difference", "reference", "encoded", "decoded"), grid),
        "pooled": (1, 128),
        "semantic": (1, 128),
    }


@pytest.mark.parametrize(
    "backbone", ["inception_v3", "mobilenet_v1", "efficientnet_lite0"]
)
def test_the_backbone_is_frozen_and_nothing_else_is(backbone):
    config = dataclasses.replace(TINY, backbone=backbone, attention_grid=21)
    _, variables = shapes_of(config, side=96)
    assert set(variables) == {"params", "frozen", "batch_stats"}
    assert set(variables["frozen"]) == {"backbone"}
    assert "backbone" not in variables["params"]
    assert "backbone" not in variables["batch_stats"]


@pytest.mark.parametrize("attention", ["cga", "mhsa"])
def test_identical_pictures_have_no_difference(attention):
    config = dataclasses.replace(TINY, attention=attention, dsc=False)
    picture = ONE
    output = scorer(config)(random_variables(config), picture, picture)
    np.testing.assert_array_equal(output.features["difference"], 0)
    assert np.abs(output.features["reference"]).max() > 1e-2


def test_the_convolved_difference_of_identical_pictures_is_constant_over_pictures():
    variables = random_variables(TINY)
    first = scorer(TINY)(variables, ONE, ONE).features["difference"]
    second = scorer(TINY)(variables, TWO, TWO).features["difference"]
    np.testing.assert_array_equal(first, second)


def test_swapping_the_pictures_changes_the_score_and_the_sign():
    config = dataclasses.replace(TINY, dsc=False)
    variables = random_variables(config)
    forth, back = (scorer(config)(variables, *p) for p in ((ONE, TWO), (TWO, ONE)))
    difference = forth.features["difference"]
    np.testing.assert_allclose(difference, -back.features["difference"], atol=1e-5)
    assert np.abs(difference).max() > 1e-2
    assert np.abs(forth.z - back.z).min() > 1e-4


def sampled_pixels(next_fun, args, kwargs, context):
    """In place of a backbone: pixels of the picture, in the shapes of its taps."""
    if not isinstance(context.module, MobileNetV1):
        return next_fun(*args, **kwargs)
    strides = ((8, 192), (16, 384), (32, 768))
    grey = args[0][..., :1]
    return [jnp.repeat(grey[:, ::s, ::s], channels, -1) for s, channels in strides]


def test_every_trainable_part_learns():
    config = dataclasses.replace(TINY, dropout=0.0)
    variables = random_variables(config)

    def total(params):
        variant = {**variables, "params": params}
        output, _ = Teacher(config).apply(
            variant, ONE, TWO, train=True, mutable=["batch_stats"]
        )
        return output.z.sum() + output.logits[:, 0].sum()

    with nn.intercept_methods(sampled_pixels):
        parts = jax.jit(jax.grad(total))(variables["params"])
    for name in ("fusion", "attention", "dsc", "transformer", "semantic", "head"):
        gradients = jax.tree.leaves(parts[name])
        assert all(np.isfinite(g).all() for g in gradients), name
        assert max(np.abs(g).max() for g in gradients) > 0, name


def test_options_leave_their_part_out():
    config = dataclasses.replace(
        TINY, attention="none", dsc=False, semantic=False, bins=0, taps="single"
    )
    output, variables = shapes_of(config)
    assert set(variables["params"]) == {"fusion", "transformer", "head"}
    assert output.logits is None and "semantic" not in output.features


def test_bfloat16_leaves_scores_and_parameters_in_float32():
    output, variables = shapes_of(dataclasses.replace(TINY, dtype="bfloat16"))
    assert output.z.dtype == output.logits.dtype == jnp.float32
    assert output.features["decoded"].dtype == jnp.bfloat16
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_the_score_layer_starts_small(key):
    head = QualityHead(width=64, bins=3)
    pooled = jnp.ones((1, 128))
    params = jax.jit(lambda k: head.init(k, pooled, train=False)["params"])(key)
    assert 0.007 < params["score"]["kernel"].std() < 0.013
    np.testing.assert_array_equal(params["score"]["bias"], 0)


@pytest.mark.parametrize(
    ("config", "side", "message"),
    [
        (dataclasses.replace(TINY, backbone="inception_resnet_v2"), 64, "75"),
        (dataclasses.replace(TINY, attention_grid=7), 64, "8x8 map .* grid=7"),
    ],
)
def test_sizes_that_do_not_fit_are_named(config, side, message):
    with pytest.raises(InputError, match=message):
        shapes_of(config, side=side)


def test_wraps_as_an_nnx_module():
    def build():
        network = nnx.bridge.ToNNX(Teacher(TINY), rngs=nnx.Rngs(0))
        network = nnx.bridge.lazy_init(network, ONE, TWO)
        return network, network(ONE, TWO)

    network, output = nnx.eval_shape(build)
    assert output.z.shape == (2,)
    params = nnx.state(network, nnx.Param)
    assert count(params) == count(shapes_of(TINY)[1]["params"])
