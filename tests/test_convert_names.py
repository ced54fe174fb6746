"""Names and layouts of timm's backbones, written down from its public definitions."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganiqa_jax.cli import main
from ganiqa_jax.convert import load_backbone, place
from ganiqa_jax.convert.backbones import links_of, whole_shapes
from ganiqa_jax.convert.files import read_weights, write_weights
from ganiqa_jax.convert.folding import fold_norms, unfold_norms
from ganiqa_jax.convert.links import their_shapes
from ganiqa_jax.models.backbones.inception_v3 import InceptionV3
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1
from ganiqa_jax.models.backbones.pooling import average_pool

NORM = ("weight", "bias", "running_mean", "running_var")


def unit(name, shape, conv="conv", norm="bn"):
    """A convolution without bias and its batch norm."""
    yield f"{name}{conv}.weight", shape
    yield from ((f"{name}{norm}.{leaf}", shape[:1]) for leaf in NORM)


def mobilenet():
    yield from unit("", (32, 3, 3, 3), "conv_stem", "bn1")
    stages = [[64], [128] * 2, [256] * 2, [512] * 6, [1024] * 2]
    before = 32
    for stage, widths in enumerate(stages):
        for number, width in enumerate(widths):
            place = f"blocks.{stage}.{number}."
            yield from unit(place, (before, 1, 3, 3), "conv_dw", "bn1")
            yield from unit(place, (width, before, 1, 1), "conv_pw", "bn2")
            before = width


def inception_v3_units():
    yield from (
        ("Conv2d_1a_3x3", (32, 3, 3, 3)),
        ("Conv2d_2a_3x3", (32, 32, 3, 3)),
        ("Conv2d_2b_3x3", (64, 32, 3, 3)),
        ("Conv2d_3b_1x1", (80, 64, 1, 1)),
        ("Conv2d_4a_3x3", (192, 80, 3, 3)),
    )
    for name, inputs, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        yield from block(name, inputs, ("1x1", (64, 1, 1)), ("_pool", (pooled, 1, 1)))
        yield from chain(name, "5x5", inputs, (48, 1, 1), (64, 5, 5))
        yield from chain(name, "3x3dbl", inputs, (64, 1, 1), (96, 3, 3), (96, 3, 3))
    yield from block("6a", 288, ("3x3", (384, 3, 3)))
    yield from chain("6a", "3x3dbl", 288, (64, 1, 1), (96, 3, 3), (96, 3, 3))
    for name, inner in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        yield from block(name, 768, ("1x1", (192, 1, 1)), ("_pool", (192, 1, 1)))
        low, wide, tall = (inner, 1, 1), (inner, 1, 7), (inner, 7, 1)
        yield from chain(name, "7x7", 768, low, wide, (192, 7, 1))
        yield from chain(name, "7x7dbl", 768, low, tall, wide, tall, (192, 1, 7))
    yield from chain("7a", "3x3", 768, (192, 1, 1), (320, 3, 3))
    seven = ((192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3))
    yield from chain("7a", "7x7x3", 768, *seven)


def block(name, inputs, *branches):
    for branch, (width, *kernel) in branches:
        yield f"Mixed_{name}.branch{branch}", (width, inputs, *kernel)


def chain(name, branch, inputs, *units):
    for number, (width, *kernel) in enumerate(units, start=1):
        yield f"Mixed_{name}.branch{branch}_{number}", (width, inputs, *kernel)
        inputs = width


def inception_v3():
    for name, shape in inception_v3_units():
        yield from unit(f"{name}.", shape)


def efficientvit():
    widths, depths, sides = (64, 128, 192), (1, 2, 3), (7, 7, 4)
    for number, (before, after) in enumerate(
        ((3, 8), (8, 16), (16, 32), (32, 64)), start=1
    ):
        yield from unit(f"patch_embed.conv{number}.", (after, before, 3, 3))
    for stage, (width, depth, side) in enumerate(
        zip(widths, depths, sides, strict=True)
    ):
        if stage:
            yield from downsample(f"stages.{stage}.downsample.", widths[stage - 1 :])
        for number in range(depth):
            yield from vit_block(f"stages.{stage}.blocks.{number}.", width, side)


def vit_block(name, width, side):
    for part in "01":
        yield from unit(f"{name}dw{part}.m.", (width, 1, 3, 3))
        yield from feed_forward(f"{name}ffn{part}.m.", width)
    for head in range(4):
        qkv = (32 + width // 4, width // 4, 1, 1)
        yield from unit(f"{name}mixer.m.attn.qkvs.{head}.", qkv)
        yield from unit(f"{name}mixer.m.attn.dws.{head}.", (16, 1, 5, 5))
    yield from unit(f"{name}mixer.m.attn.proj.1.", (width, width, 1, 1))
    yield f"{name}mixer.m.attn.attention_biases", (4, side * side)


def feed_forward(name, width):
    yield from unit(f"{name}pw1.", (2 * width, width, 1, 1))
    yield from unit(f"{name}pw2.", (width, 2 * width, 1, 1))


def downsample(name, widths):
    before, after = widths[:2]
    hidden = 4 * before
    yield from unit(f"{name}res1.0.m.", (before, 1, 3, 3))
    yield from feed_forward(f"{name}res1.1.m.", before)
    yield from unit(f"{name}patchmerge.conv1.", (hidden, before, 1, 1))
    yield from unit(f"{name}patchmerge.conv2.", (hidden, 1, 3, 3))
    yield from unit(f"{name}patchmerge.conv3.", (after, hidden, 1, 1))
    for layer, (outputs, inputs) in (
        ("fc1", (before, hidden)),
        ("fc2", (hidden, before)),
    ):
        yield f"{name}patchmerge.se.{layer}.weight", (outputs, inputs, 1, 1)
        yield f"{name}patchmerge.se.{layer}.bias", (outputs,)
    yield from unit(f"{name}res2.0.m.", (after, 1, 3, 3))
    yield from feed_forward(f"{name}res2.1.m.", after)


def random_state(names):
    random = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith("running_var"):
            return random.uniform(0.5, 1.5, shape).astype(np.float32)
        return random.normal(0, 0.1, shape).astype(np.float32)

    return {name: draw(name, shape) for name, shape in names}


@pytest.mark.parametrize(
    "arch,names",
    [
        ("mobilenet_v1_100", mobilenet),
        ("efficientvit_m0", efficientvit),
    ],
)
def test_names_and_shapes_are_those_of_timm(arch, names):
    wanted = their_shapes(links_of(arch, "torch"), whole_shapes(arch))
    assert wanted == dict(names())


def test_authors_names_of_efficientvit_are_those_of_their_modules():
    timm = [link.theirs for link in links_of("efficientvit_m0", "torch")]
    theirs = [link.theirs for link in links_of("efficientvit_m0", "msra")]
    assert len(set(theirs)) == len(theirs)
    by_timm = dict(zip(timm, theirs, strict=True))
    for name, wanted in (
        ("patch_embed.conv3.bn.bias", "patch_embed.4.bn.bias"),
        ("stages.0.blocks.0.dw0.m.conv.weight", "blocks1.0.dw0.m.c.weight"),
        ("stages.1.downsample.res1.0.m.conv.weight", "blocks2.0.0.m.c.weight"),
        ("stages.1.downsample.res2.1.m.pw2.bn.bias", "blocks2.2.1.m.pw2.bn.bias"),
        (
            "stages.2.downsample.patchmerge.conv2.conv.weight",
            "blocks3.1.conv2.c.weight",
        ),
        ("stages.2.downsample.patchmerge.se.fc1.bias", "blocks3.1.se.fc1.bias"),
        (
            "stages.2.blocks.2.mixer.m.attn.qkvs.3.conv.weight",
            "blocks3.5.mixer.m.attn.qkvs.3.c.weight",
        ),
    ):
        assert by_timm[name] == wanted


def test_names_and_shapes_of_inception_v3_are_those_of_timm():
    arch = "inception_v3_timm"
    wanted = their_shapes(links_of(arch, "torch"), whole_shapes(arch))
    folded = fold_norms(random_state(inception_v3()))
    assert wanted == {name: values.shape for name, values in folded.items()}


def test_folding_keeps_what_a_unit_computes():
    random = np.random.default_rng(1)
    state = random_state(unit("Mixed_5b.branch1x1.", (5, 7, 1, 1)))
    x = random.normal(size=7)
    scale, bias, mean, var = (state[f"Mixed_5b.branch1x1.bn.{leaf}"] for leaf in NORM)
    wanted = state["Mixed_5b.branch1x1.conv.weight"][:, :, 0, 0] @ x
    wanted = (wanted - mean) / np.sqrt(var + 1e-3) * scale + bias
    folded = fold_norms(state)
    found = folded["Mixed_5b.branch1x1.weight"][:, :, 0, 0] @ x
    found = found + folded["Mixed_5b.branch1x1.bias"]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_first_convolution_takes_pictures_as_ours_are_scaled():
    state = random_state(unit("Conv2d_1a_3x3.", (4, 3, 3, 3)))
    state["Conv2d_1a_3x3.bn.running_mean"] *= 0
    state["Conv2d_1a_3x3.bn.running_var"] = np.full(4, 1 - 1e-3, np.float32)
    picture = np.random.default_rng(2).random((3, 3, 3))
    weight = state["Conv2d_1a_3x3.conv.weight"]
    wanted = (weight * (2 * picture - 1)).sum((1, 2, 3))
    wanted = wanted * state["Conv2d_1a_3x3.bn.weight"] + state["Conv2d_1a_3x3.bn.bias"]
    folded = fold_norms(state)
    ours = (255 * picture - 128) / 128
    found = (folded["Conv2d_1a_3x3.weight"] * ours).sum((1, 2, 3))
    found = found + folded["Conv2d_1a_3x3.bias"]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_unfolding_and_folding_again_changes_nothing():
    folded = fold_norms(random_state(inception_v3()))
    again = fold_norms(unfold_norms(folded))
    assert set(again) == set(folded)
    for name, values in folded.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-5, atol=1e-6)


def test_average_pool_counts_padding_where_pytorch_does():
    x = jnp.ones((1, 4, 5, 2))
    pooled = average_pool(x, count_padding=True)
    assert pooled[0, 0, 0, 0] == pytest.approx(4 / 9)
    assert pooled[0, 0, 2, 0] == pytest.approx(6 / 9)
    assert pooled[0, 1, 2, 0] == pytest.approx(1)
    np.testing.assert_allclose(average_pool(x), x, rtol=1e-6)


@pytest.mark.parametrize(
    "arch,names,extra",
    [
        (
            "mobilenet_v1_100",
            mobilenet,
            ("classifier.weight", "bn1.num_batches_tracked"),
        ),
        ("efficientvit_m0", efficientvit, ("head.linear.bias", "head.bn.weight")),
        ("inception_v3_timm", inception_v3, ("fc.weight", "AuxLogits.fc.bias")),
    ],
)
def test_files_of_timm_go_to_ours_and_back(arch, names, extra, tmp_path, capsys):
    state = random_state(names())
    beside = {name: np.zeros(3, np.float32) for name in extra}
    write_weights(tmp_path / "timm.safetensors", {**state, **beside})
    files = [str(tmp_path / f) for f in ("timm.safetensors", "ours.npz", "back.npz")]
    report = tmp_path / "report.json"
    assert main(["convert", *files[:2], "--report", str(report)]) == 0
    said = json.loads(report.read_text())
    assert (said["arch"], said["from"]) == (arch, "torch")
    assert sorted(said["left_out"]) == sorted(extra)
    assert main(["convert", *files[1:], "--to", "torch", "--arch", arch]) == 0
    back = read_weights(tmp_path / "back.npz").arrays
    assert set(back) == set(state)
    if arch != "inception_v3_timm":  # whose norms are folded: see above
        for name, values in state.items():
            np.testing.assert_array_equal(back[name], values)
    direct = load_backbone(files[0], arch)
    for name, values in load_backbone(files[1], arch).items():
        np.testing.assert_array_equal(direct[name], values)


def test_files_of_another_network_are_refused_by_name(tmp_path, capsys):
    state = random_state(mobilenet())
    del state["blocks.3.5.bn2.bias"]
    write_weights(tmp_path / "a.npz", {**state, "head.fc": np.zeros(2, np.float32)})
    command = ["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]
    assert main(command) == 2
    assert "does not account for: head.fc" in capsys.readouterr().err
    write_weights(tmp_path / "a.npz", state)
    assert main(command) == 2
    assert "lacks arrays: blocks.3.5.bn2.bias" in capsys.readouterr().err
    assert not (tmp_path / "b.npz").exists()


def test_names_that_tell_nothing_are_asked_about(tmp_path, capsys):
    write_weights(tmp_path / "a.npz", {"x": np.zeros(2, np.float32)})
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]) == 2
    assert "--arch" in capsys.readouterr().err


def test_networks_of_pytorch_only_go_to_pytorch(tmp_path, capsys):
    ours = {n: np.zeros(s, np.float32) for n, s in whole_shapes("mobilenet_v1").items()}
    write_weights(tmp_path / "a.npz", ours)
    command = ["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]
    assert main([*command, "--arch", "mobilenet_v1", "--to", "torch"]) == 2
    assert "no network of PyTorch" in capsys.readouterr().err


@pytest.mark.parametrize(
    "network,arch",
    [
        (MobileNetV1.timm(frozen=True, taps="single"), "mobilenet_v1_100"),
        (InceptionV3(taps="single", pool_counts_padding=True), "inception_v3_timm"),
    ],
)
def test_configurations_take_files_of_timm_as_they_are(network, arch, tmp_path):
    names = {"mobilenet_v1_100": mobilenet, "inception_v3_timm": inception_v3}[arch]
    write_weights(tmp_path / "timm.npz", random_state(names()))
    picture = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    wanted = jax.eval_shape(network.init, jax.random.key(0), picture)
    placed = place(load_backbone(tmp_path / "timm.npz", arch), wanted)
    assert jax.tree.structure(placed) == jax.tree.structure(dict(wanted))
