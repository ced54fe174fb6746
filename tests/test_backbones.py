"""The feature extractors: shapes, sizes, freezing, and what they compute."""

import functools
from pathlib import Path

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image
from random_arrays import normal, uniform

from ganiqa_jax.config import StudentConfig
from ganiqa_jax.convert import insert_backbone, load_backbone, place
from ganiqa_jax.convert.own import flat
from ganiqa_jax.errors import InputError
from ganiqa_jax.models.backbones.efficientvit import EfficientViT, LocalMixing
from ganiqa_jax.models.backbones.inception_resnet_v2 import (
    BLOCK_35,
    InceptionResNetV2,
    ResidualBlock,
)
from ganiqa_jax.models.backbones.inception_v3 import InceptionV3
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1, same_padding
from ganiqa_jax.models.backbones.pooling import average_pool, max_pool
from ganiqa_jax.models.features import coarsest
from ganiqa_jax.models.student import Student
from ganiqa_jax.release import load_model
from ganiqa_jax.released import find_model

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"

KERAS_INCEPTION_V3 = ((0.76101, 0.29243), (0.11193, 0.052388), (0.34191, 0.19391))
KERAS_INCEPTION_RESNET_V2 = (
    (0.54671, 0.29161),
    (0.80697, 0.42809),
    (1.14021, 0.56373),
)


def shapes(network, side, **settings):
    """Shapes of the maps and of the variables, without computing anything."""
    picture = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)

    def init(key, x):
        return network.init_with_output(key, x, **settings)

    maps, variables = jax.eval_shape(init, jax.random.key(0), picture)
    return [m.shape[1:] for m in maps], variables


def filled(variables, seed=0):
    """Seeded numbers for every array of a tree of shapes; variances positive."""
    random = np.random.default_rng(seed)

    def fill(path, leaf):
        values = random.normal(scale=0.2, size=leaf.shape).astype(np.float32)
        return np.abs(values) + 0.5 if path[-1].key in ("var", "scale") else values

    return jax.tree_util.tree_map_with_path(fill, variables)


def seeded(variables):
    """Random weights under which activations neither vanish nor explode."""
    random = np.random.default_rng(0)

    def fill(name, shape):
        values = random.normal(size=shape).astype(np.float32)
        if name.endswith("kernel"):
            return values * np.float32(np.sqrt(2 / np.prod(shape[:-1])))
        if name.endswith("scale"):
            return np.ones(shape, np.float32)
        return 0.5 + np.abs(values) if name.endswith("var") else 0.1 * values

    flat = flatten_dict(variables, sep="/")
    return unflatten_dict(
        {name: fill(name, flat[name].shape) for name in sorted(flat)}, sep="/"
    )


def summaries(maps):
    """Of each map: its mean, and one that depends on the order of the channels."""
    means = [np.asarray(m, np.float64).mean(axis=(0, 1, 2)) for m in maps]
    return [(m.mean(), (m * np.linspace(0, 1, len(m))).mean()) for m in means]


def learned(variables):
    """Numbers in kernels, biases and scales: all but running statistics."""
    return sum(
        leaf.size
        for tree in variables.values()
        for path, leaf in flatten_dict(tree).items()
        if path[-1] not in ("mean", "var")
    )


def real_file(path):
    if not (REAL_DATA / path).is_file():
        pytest.skip(f"{path} is not in the shared data folder")
    return REAL_DATA / path


def kodak(number, side):
    """The central square of a Kodak picture, resized."""
    picture = Image.open(real_file(f"pristine/kodak/kodim{number:02d}.png"))
    width, height = picture.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    square = picture.crop((left, top, left + short, top + short))
    pixels = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC))
    return jnp.asarray(pixels[None], jnp.float32) / 255


@pytest.mark.parametrize(
    "side,grids",
    [
        (75, (7, 3, 1)),
        (192, (21, 10, 4)),
        (224, (25, 12, 5)),
        (256, (29, 14, 6)),
        (288, (33, 16, 7)),
        (299, (35, 17, 8)),
    ],
)
def test_inception_grids(side, grids):
    for network, channels in (
        (InceptionV3(), (832, 768, 1280)),
        (InceptionResNetV2(taps="single"), (1920,)),
    ):
        maps, _ = shapes(network, side)
        assert maps == [
            (n, n, c) for n, c in zip(grids[: len(channels)], channels, strict=True)
        ]


def test_inception_resnet_v2_has_the_published_size():
    maps, variables = shapes(InceptionResNetV2(), 299)
    assert maps == [(35, 35, 1920), (17, 17, 1088), (8, 8, 1536)]
    assert learned(variables) == 54_306_464
    assert set(variables) == {"frozen"}


def test_inception_resnet_v2_scales_its_residuals_as_published():
    seen = {}

    def record(call, args, kwargs, context):
        if isinstance(context.module, ResidualBlock):
            seen[context.module.name] = context.module.scale, context.module.activated
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        shapes(InceptionResNetV2(), 75)
    expected = {f"repeat_{i}": (0.17, True) for i in range(10)}
    expected |= {f"repeat_1_{i}": (0.10, True) for i in range(20)}
    expected |= {f"repeat_2_{i}": (0.20, True) for i in range(9)}
    assert seen == expected | {"block8": (1.0, False)}


@pytest.mark.slow
def test_inception_resnet_v2_computes_what_keras_does():
    # From keras.applications.InceptionResNetV2 (Keras 3.15) with these weights.
    network = InceptionResNetV2()
    _, variables = shapes(network, 75)
    picture = jnp.asarray(np.random.default_rng(1).uniform(size=(1, 83, 75, 3)))
    maps = jax.jit(network.apply)(seeded(variables), picture.astype(jnp.float32))
    np.testing.assert_allclose(summaries(maps), KERAS_INCEPTION_RESNET_V2, rtol=2e-3)


def test_first_tap_joins_mixed_5b_and_every_second_block():
    network = InceptionResNetV2(taps="single")
    _, variables = shapes(network, 75)
    picture = uniform(1, 75, 75, 3)

    @jax.jit
    def run(variables, picture):
        return network.apply(variables, picture, capture_intermediates=True)

    (tap,), captured = run(seeded(variables), picture)
    outputs = captured["intermediates"]
    order = ["mixed_5b", *(f"repeat_{i}" for i in (1, 3, 5, 7, 9))]
    joined = [outputs[name]["__call__"][0] for name in order]
    np.testing.assert_array_equal(tap, jnp.concatenate(joined, axis=-1))


def test_single_tap_builds_no_deeper_layer():
    for network, size in (
        (InceptionResNetV2(taps="single"), 1_672_672),
        (InceptionV3(taps="single"), None),
        (MobileNetV1(frozen=True, taps="single"), None),
    ):
        maps, variables = shapes(network, 96)
        assert len(maps) == 1
        names = set(variables["frozen"])
        assert not names & {"mixed_6a", "conv2d_7b", "mixed_3_conv", "conv_pw_6"}
        assert size is None or learned(variables) == size


@pytest.mark.parametrize(
    "network", [InceptionResNetV2(), InceptionV3(), MobileNetV1(), EfficientViT()]
)
def test_too_small_a_picture_is_refused(network):
    with pytest.raises(InputError, match="pixels a side"):
        shapes(network, 31 if isinstance(network, MobileNetV1 | EfficientViT) else 74)


def test_residual_block_adds_its_scaled_branches(key):
    x = normal(1, 3, 3, 16)
    block = ResidualBlock(BLOCK_35, 1.0, activated=False)
    variables = filled(jax.eval_shape(block.init, key, x))

    @jax.jit
    def run(variables, x):
        cases = ((1.0, False), (0.5, False), (0.5, True))
        return [ResidualBlock(BLOCK_35, *case).apply(variables, x) for case in cases]

    whole, half, activated = run(variables, x)
    assert np.abs(whole - x).max() > 0.1
    np.testing.assert_allclose(half, x + 0.5 * (whole - x), atol=1e-5)
    np.testing.assert_allclose(activated, jnp.maximum(half, 0), atol=1e-5)


def test_pools_see_the_cells_of_the_map_only():
    x = np.arange(30.0, dtype=np.float32).reshape(1, 5, 6, 1) - 60.0
    mean = np.empty_like(x)
    for i in range(5):
        for j in range(6):
            window = x[0, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            mean[0, i, j] = window.mean()
    np.testing.assert_allclose(average_pool(jnp.asarray(x)), mean, rtol=1e-6)
    largest = [[x[0, i : i + 3, j : j + 3].max() for j in (0, 2)] for i in (0, 2)]
    np.testing.assert_array_equal(max_pool(jnp.asarray(x))[0, :, :, 0], largest)


@pytest.mark.parametrize("side", [96, 97, 224])
def test_mobilenet_grids_round_up(side):
    maps, variables = shapes(MobileNetV1(frozen=True), side)
    sides = [-(-side // s) for s in (8, 16, 32)]
    assert maps == [(n, n, c) for n, c in zip(sides, (192, 384, 768), strict=True)]
    assert set(variables) == {"frozen"}
    # 1,832,976 of Keras' include_top=False less its 16,416 running statistics.
    assert learned(variables) == 1_832_976 - 16_416


def test_dense_mobilenet_maps_hold_the_three():
    """Same layers, so the same weights: only what is given out differs."""
    few, many = (MobileNetV1(frozen=True, taps=taps) for taps in ("multi", "dense"))
    variables, pictures = seeded(shapes(few, 64)[1]), uniform(1, 64, 64, 3)
    maps, wanted = (jax.jit(net.apply)(variables, pictures) for net in (many, few))
    sides = [(m.shape[1], m.shape[-1]) for m in maps]
    assert sides == [(16, 96), (8, 192), (4, 384), (4, 384), (4, 384), (2, 768)]
    for kept, own in zip(coarsest(maps), wanted, strict=True):
        np.testing.assert_allclose(kept, own, atol=1e-5)


def test_odd_zero_goes_to_the_bottom_and_right():
    assert same_padding((8, 7), 3, 2) == ((0, 1), (1, 1))
    assert same_padding((8, 7), 3, 1) == ((1, 1), (1, 1))


@pytest.mark.parametrize("blocks", [0, 4, 13])
def test_frozen_blocks_are_parted_from_the_trainable(blocks):
    _, variables = shapes(MobileNetV1(frozen_blocks=blocks), 64)
    trained = {f"conv_{kind}_{i}" for kind in ("dw", "pw") for i in range(1, 14)}
    kept = {n for n in trained if int(n.split("_")[-1]) <= blocks}
    if blocks:
        kept.add("conv1")
    else:
        trained.add("conv1")
    assert set(variables.get("params", {})) == trained - kept
    frozen = variables["frozen"]
    assert {n for n in frozen if "conv" in frozen[n]} == kept
    assert "batch_stats" not in variables  # the statistics are the loaded ones


def test_a_picture_gets_its_gradient_through_frozen_layers(key):
    network = MobileNetV1(frozen=True)
    x = uniform(1, 32, 32, 3)
    variables = filled(jax.eval_shape(network.init, key, x))

    def total(x):
        return sum(jnp.sum(m) for m in network.apply(variables, x))

    gradient = jax.jit(jax.grad(total))(x)
    assert np.isfinite(gradient).all()
    assert gradient.any(axis=(1, 2)).all()


def test_efficientvit_has_three_stages_and_its_size():
    maps, variables = shapes(EfficientViT(), 224)
    assert maps == [(28, 28, 64), (14, 14, 128), (7, 7, 192)]
    # 196 in each of 6 blocks are position biases of the 7x7 windows.
    assert learned(variables) == 2_153_552 + 6 * 196
    assert set(variables) == {"params", "batch_stats"}


@pytest.mark.parametrize("attention", ["mhsa", "none"])
def test_efficientvit_ablations_change_attention_alone(attention):
    _, whole = shapes(EfficientViT(), 64)
    maps, variables = shapes(EfficientViT(attention=attention), 64)
    assert maps == [(8, 8, 64), (4, 4, 128), (2, 2, 192)]

    def others(tree):
        return {k for k in flatten_dict(tree, sep="/") if "_attention" not in k}

    assert others(variables["params"]) == others(whole["params"])


def test_stochastic_depth_drops_branches_of_whole_pictures(key):
    mixing = LocalMixing(stochastic_depth=0.5)
    x = normal(8, 3, 3, 4)
    variables = filled(
        jax.eval_shape(functools.partial(mixing.init, train=False), key, x)
    )

    @jax.jit
    def run(seed):
        rngs = {"dropout": jax.random.key(seed)}
        out = mixing.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])
        return jnp.abs(out[0] - x).max(axis=(1, 2, 3))

    moved = np.stack([run(seed) for seed in range(8)])
    np.testing.assert_array_equal(moved[0], run(0))
    untouched = (moved == 0).mean()  # both branches dropped: a quarter of them
    assert 0.1 < untouched < 0.45


def test_trunk_drops_no_branch_outside_training():
    trunk = EfficientViT(attention="none")
    _, variables = shapes(trunk, 32)
    picture = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)

    def run(train, rate):
        apply = trunk.clone(stochastic_depth=rate).apply
        apply = functools.partial(apply, train=train, mutable=["batch_stats"])
        return jax.eval_shape(apply, variables, picture)

    run(False, 0.1)
    run(True, 0.0)
    with pytest.raises(flax.errors.InvalidRngError):
        run(True, 0.1)


# Keras' MobileNet (Keras 3.15) gives 0.54579 on the first of these squares.
@pytest.mark.parametrize(
    "number,label,chance,tolerance", [(15, 452, 0.54579, 5e-4), (23, 88, 1.0, 0.02)]
)
def test_mobilenet_names_what_a_photograph_shows(number, label, chance, tolerance):
    weights = real_file("weights/mobilenet_v1_075_imagenet.npz")
    picture = kodak(number, 224)
    network = MobileNetV1(frozen=True, classes=1000)
    shape = jax.eval_shape(network.init, jax.random.key(0), picture)
    variables = place(load_backbone(weights, "mobilenet_v1"), shape)
    logits = jax.jit(network.apply)(variables, picture)[-1]
    chances = jax.nn.softmax(logits)[0]
    assert int(jnp.argmax(chances)) == label
    assert abs(float(chances[label]) - chance) < tolerance


@pytest.fixture(scope="module")
def inception_v3():
    weights = real_file("weights/inception_v3_imagenet_folded_fp16.npz")
    values = load_backbone(weights, "inception_v3")
    network = InceptionV3()
    picture = jax.ShapeDtypeStruct((1, 107, 107, 3), jnp.float32)
    shape = jax.eval_shape(network.init, jax.random.key(0), picture)
    variables = place(values, shape)
    return values, jax.jit(
        lambda x: network.apply(variables, x, capture_intermediates=True)
    )


def test_inception_v3_computes_what_keras_does(inception_v3):
    # From keras.applications.InceptionV3 (Keras 3.15) on these pixels and weights.
    maps = inception_v3[1](kodak(4, 107))[0]
    np.testing.assert_allclose(summaries(maps), KERAS_INCEPTION_V3, rtol=2e-3)


def test_inception_v3_tells_photographs_apart(inception_v3):
    _, run = inception_v3
    maps, others = (run(kodak(number, 107))[0] for number in (4, 13))
    for ours, theirs in zip(maps, others, strict=True):
        assert np.isfinite(ours).all()
        assert ours.min() == 0.0  # the last operation is a ReLU
        assert 0.02 < float((ours > 0).mean()) < 0.98
        dead = float((ours.max(axis=(0, 1, 2)) == 0).mean())
        assert dead < 0.5
        cosine = jnp.vdot(ours, theirs) / jnp.sqrt(
            jnp.vdot(ours, ours) * jnp.vdot(theirs, theirs)
        )
        assert cosine < 0.95


def test_inception_v3_stem_is_two_valid_convolutions(inception_v3):
    values, run = inception_v3
    picture = kodak(4, 107)
    outputs = run(picture)[1]["intermediates"]
    expected = (np.asarray(picture, np.float64)[0] * 255 - 128) / 128
    for name, stride in (("conv", 2), ("conv_1", 1)):
        expected = _convolve(expected, values, name, stride)
        ours = np.asarray(outputs[name]["__call__"][0][0])
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
        expected = np.maximum(expected, 0)


def _convolve(x, values, name, stride):
    """Convolution without padding, written out over windows."""
    kernel, bias = values[f"{name}/kernel"], values[f"{name}/bias"]
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], (0, 1))
    windows = windows[::stride, ::stride]
    return np.einsum("hwcij,ijcd->hwd", windows, kernel.astype(np.float64)) + bias


def test_the_trunk_of_a_model_is_taken_by_its_name():
    values = load_backbone("student-s", "efficientnet_lite0")
    variables = load_model(find_model("student-s")).variables
    theirs = flat({kind: tree.get("trunk", {}) for kind, tree in variables.items()})
    assert values.keys() == theirs.keys()
    for name, array in values.items():
        np.testing.assert_array_equal(array, theirs[name])
    picture = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    config = StudentConfig(
        trunk="efficientnet_lite0", trunk_weights="student-s", width=16
    )
    fresh = jax.eval_shape(Student(config).init, jax.random.key(0), picture)
    inserted = insert_backbone(fresh, "student-s", "efficientnet_lite0")
    kernel = inserted["params"]["trunk"]["block_15_expand"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, theirs["block_15_expand/conv/kernel"])
    with pytest.raises(InputError, match="The weights have .*, unknown to inception"):
        insert_backbone({"params": {"trunk": {}}}, "student-s", "inception_v3")
