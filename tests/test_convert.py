"""Weights of other frameworks: names, layouts, and what is wrong with a file."""

import functools
import itertools
import zipfile
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jaxtyping import Array

from ganiqa_jax.convert import insert_backbone, load_backbone, place
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.models.backbones.inception_resnet_v2 import InceptionResNetV2
from ganiqa_jax.models.backbones.inception_v3 import InceptionV3
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1

REAL_WEIGHTS = Path(__file__).parents[2] / "shared" / "data" / "weights"
PICTURE = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)

# The units of the PyTorch port, in its own order: name, [out, in, height, width].
MIXED_5B = [
    ("branch0", (96, 192, 1, 1)),
    ("branch1.0", (48, 192, 1, 1)),
    ("branch1.1", (64, 48, 5, 5)),
    ("branch2.0", (64, 192, 1, 1)),
    ("branch2.1", (96, 64, 3, 3)),
    ("branch2.2", (96, 96, 3, 3)),
    ("branch3.1", (64, 192, 1, 1)),
]
BLOCK_35 = [
    ("branch0", (32, 320, 1, 1)),
    ("branch1.0", (32, 320, 1, 1)),
    ("branch1.1", (32, 32, 3, 3)),
    ("branch2.0", (32, 320, 1, 1)),
    ("branch2.1", (48, 32, 3, 3)),
    ("branch2.2", (64, 48, 3, 3)),
]
MIXED_6A = [
    ("branch0", (384, 320, 3, 3)),
    ("branch1.0", (256, 320, 1, 1)),
    ("branch1.1", (256, 256, 3, 3)),
    ("branch1.2", (384, 256, 3, 3)),
]
BLOCK_17 = [
    ("branch0", (192, 1088, 1, 1)),
    ("branch1.0", (128, 1088, 1, 1)),
    ("branch1.1", (160, 128, 1, 7)),
    ("branch1.2", (192, 160, 7, 1)),
]
MIXED_7A = [
    ("branch0.0", (256, 1088, 1, 1)),
    ("branch0.1", (384, 256, 3, 3)),
    ("branch1.0", (256, 1088, 1, 1)),
    ("branch1.1", (288, 256, 3, 3)),
    ("branch2.0", (256, 1088, 1, 1)),
    ("branch2.1", (288, 256, 3, 3)),
    ("branch2.2", (320, 288, 3, 3)),
]
BLOCK_8 = [
    ("branch0", (192, 2080, 1, 1)),
    ("branch1.0", (192, 2080, 1, 1)),
    ("branch1.1", (224, 192, 1, 3)),
    ("branch1.2", (256, 224, 3, 1)),
]
STEM = [
    ("conv2d_1a", (32, 3, 3, 3)),
    ("conv2d_2a", (32, 32, 3, 3)),
    ("conv2d_2b", (64, 32, 3, 3)),
    ("conv2d_3b", (80, 64, 1, 1)),
    ("conv2d_4a", (192, 80, 3, 3)),
]


def _block(name, units, project=None):
    yield from ((f"{name}.{unit}", shape) for unit, shape in units)
    if project is not None:
        yield f"{name}.conv2d", project


def torch_units(deep):
    """Every convolution of the port; those named `conv2d` have a bias and no norm."""
    yield from STEM
    yield from _block("mixed_5b", MIXED_5B)
    for i in range(10):
        yield from _block(f"repeat.{i}", BLOCK_35, (320, 128, 1, 1))
    if not deep:
        return
    yield from _block("mixed_6a", MIXED_6A)
    for i in range(20):
        yield from _block(f"repeat_1.{i}", BLOCK_17, (1088, 384, 1, 1))
    yield from _block("mixed_7a", MIXED_7A)
    for i in range(9):
        yield from _block(f"repeat_2.{i}", BLOCK_8, (2080, 448, 1, 1))
    yield from _block("block8", BLOCK_8, (2080, 448, 1, 1))
    yield "conv2d_7b", (1536, 2080, 1, 1)


def torch_state(deep, make):
    """A state dict under the port's names, with what we have no use for as well."""
    state = {}
    for name, shape in torch_units(deep):
        if name.endswith(".conv2d"):
            state[f"{name}.weight"] = make(shape)
            state[f"{name}.bias"] = make(shape[:1])
            continue
        state[f"{name}.conv.weight"] = make(shape)
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.bn.{leaf}"] = make(shape[:1])
        state[f"{name}.bn.num_batches_tracked"] = np.array(7)
    state["classif.weight"] = make((2, 1536))
    state["last_linear.bias"] = make((2,))
    return state


@functools.cache
def shapes(network):
    return jax.eval_shape(network.init, jax.random.key(0), PICTURE)


def flat(variables):
    return {k: v for tree in variables.values() for k, v in _flat(tree).items()}


def _flat(tree):
    return flatten_dict(tree, sep="/")


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory):
    """A file for a network that ends at block35: small enough to be random."""
    random = np.random.default_rng(0)
    state = torch_state(False, lambda shape: random.normal(size=shape))
    path = tmp_path_factory.mktemp("weights") / "torch.npz"
    np.savez(path, **state)
    return path, state


def test_torch_names_cover_inception_resnet_v2(tmp_path):
    path = tmp_path / "zeros.npz"
    state = torch_state(True, lambda shape: np.zeros(shape, np.float16))
    np.savez_compressed(path, **state)
    loaded = load_backbone(path, "inception_resnet_v2")
    expected = {
        name: leaf.shape for name, leaf in flat(shapes(InceptionResNetV2())).items()
    }
    assert {name: values.shape for name, values in loaded.items()} == expected
    assert {values.dtype for values in loaded.values()} == {np.dtype(np.float32)}


def test_torch_arrays_arrive_where_they_belong(torch_file):
    path, state = torch_file
    variables = shapes(InceptionResNetV2(taps="single"))
    placed = place(load_backbone(path, "inception_resnet_v2"), variables)["frozen"]
    unit = placed["repeat_3"]["branch2_1"]
    torch = "repeat.3.branch2.1"
    kernel = state[f"{torch}.conv.weight"].astype(np.float32)
    assert unit["conv"]["kernel"][2, 0, 5, 7] == kernel[7, 5, 2, 0]
    for ours, theirs in (
        ("scale", "weight"),
        ("bias", "bias"),
        ("mean", "running_mean"),
        ("var", "running_var"),
    ):
        values = state[f"{torch}.bn.{theirs}"].astype(np.float32)
        np.testing.assert_array_equal(unit["norm"][ours], values)
    project = placed["repeat_9"]["conv2d"]
    values = state["repeat.9.conv2d.bias"].astype(np.float32)
    np.testing.assert_array_equal(project["bias"], values)


def test_one_by_seven_and_seven_by_one_are_not_confused(tmp_path):
    path = tmp_path / "kernel.npz"
    np.savez(path, **{"repeat_1.0.branch1.1.conv.weight": np.zeros((160, 128, 1, 7))})
    (name,), (kernel,) = zip(
        *load_backbone(path, "inception_resnet_v2").items(), strict=True
    )
    assert name == "repeat_1_0/branch1_1/conv/kernel"
    assert kernel.shape == (1, 7, 128, 160)


class Owner(nn.Module):
    """A network with a pretrained part and one of its own."""

    name_of_part: str
    part: nn.Module

    @nn.compact
    def __call__(self, x: Array) -> Array:
        maps = self.part.clone(name=self.name_of_part, parent=self)(x)
        return nn.Dense(2, name="head")(maps[0])


@pytest.mark.parametrize("owner", ["backbone", "trunk"])
def test_only_the_pretrained_part_is_replaced(owner, torch_file):
    network = Owner(owner, InceptionResNetV2(taps="single", parent=None))
    variables = shapes(network)
    new = insert_backbone(variables, torch_file[0], "inception_resnet_v2")
    assert new["params"]["head"] == variables["params"]["head"]
    assert set(new["frozen"]) == {owner}
    before, after = _flat(variables["frozen"]), _flat(new["frozen"])
    assert set(before) == set(after)
    assert all(isinstance(values, np.ndarray) for values in after.values())


def keras_state():
    """Small numbers under the Keras names of MobileNetV1 0.75."""
    random = np.random.default_rng(0)
    state = {"conv_preds/kernel": random.normal(size=(1, 1, 768, 3))}
    state["conv_preds/bias"] = random.normal(size=3)
    widths = [24, 48, 96, 96, 192, 192, *[384] * 6, 768, 768]

    def unit(name, leaf, shape, channels):
        state[f"{name}/{leaf}"] = random.normal(size=shape).astype(np.float32)
        for leaf in ("gamma", "beta", "moving_mean", "moving_variance"):
            values = random.normal(size=channels).astype(np.float32)
            state[f"{name}_bn/{leaf}"] = values

    unit("conv1", "kernel", (3, 3, 3, 24), 24)
    for i, (before, after) in enumerate(itertools.pairwise(widths), start=1):
        unit(f"conv_dw_{i}", "depthwise_kernel", (3, 3, before, 1), before)
        unit(f"conv_pw_{i}", "kernel", (1, 1, before, after), after)
    return state


@pytest.fixture(scope="module")
def keras_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "keras.npz"
    state = keras_state()
    np.savez(path, **state)
    return path, state


@pytest.mark.parametrize(
    "network,home_of_statistics",
    [
        (MobileNetV1(frozen=True), "frozen"),
        (MobileNetV1(frozen_blocks=3), "frozen"),
        (MobileNetV1(frozen_blocks=3, fixed_statistics=False), "batch_stats"),
    ],
)
def test_keras_arrays_go_to_whichever_collection_the_network_has(
    network, home_of_statistics, keras_file
):
    path, state = keras_file
    variables = {k: {"trunk": tree} for k, tree in shapes(network).items()}
    placed = insert_backbone(variables, path, "mobilenet_v1")
    home = "frozen" if network.frozen else "params"
    unit = placed[home]["trunk"]["conv_dw_4"]
    np.testing.assert_array_equal(
        unit["conv"]["kernel"][:, :, 0, :], state["conv_dw_4/depthwise_kernel"][..., 0]
    )
    np.testing.assert_array_equal(unit["norm"]["scale"], state["conv_dw_4_bn/gamma"])
    norm = placed[home_of_statistics]["trunk"]["conv_dw_4"]["norm"]
    np.testing.assert_array_equal(norm["var"], state["conv_dw_4_bn/moving_variance"])
    early = placed["frozen"]["trunk"]["conv_pw_1"]["norm"]
    np.testing.assert_array_equal(early["mean"], state["conv_pw_1_bn/moving_mean"])


def test_classifier_is_placed_only_where_there_is_one(keras_file):
    values = load_backbone(keras_file[0], "mobilenet_v1")
    with_head = place(values, shapes(MobileNetV1(classes=3)))
    assert with_head["params"]["conv_preds"]["kernel"].shape == (1, 1, 768, 3)
    assert "conv_preds" not in place(values, shapes(MobileNetV1()))["params"]


def _changed(tmp_path, state, **changes):
    path = tmp_path / "changed.npz"
    kept = {k: v for k, v in (state | changes).items() if v is not None}
    np.savez(path, **kept)
    return path


def _insert(path, network=None):
    network = network or MobileNetV1(frozen=True)
    variables = {k: {"backbone": tree} for k, tree in shapes(network).items()}
    return insert_backbone(variables, path, "mobilenet_v1")


def test_missing_arrays_are_named(tmp_path, keras_file):
    gone = {f"conv_pw_{i}/kernel": None for i in (2, 3, 4, 5)}
    path = _changed(tmp_path, keras_file[1], **gone)
    with pytest.raises(InputError, match=r"lack conv_pw_\d/conv/kernel, .* and 1 more"):
        _insert(path)


@pytest.mark.parametrize(
    "name", ["stray", "conv_pw_14/kernel", "conv1_bn/count", "a/b/c"]
)
def test_arrays_of_no_layer_are_refused(name, tmp_path, keras_file):
    path = _changed(tmp_path, keras_file[1], **{name: np.zeros((2, 2, 2, 2))})
    with pytest.raises(InputError, match="unknown to mobilenet_v1"):
        _insert(path)


def test_deeper_layers_may_be_left_by_a_shorter_network(tmp_path, keras_file):
    path, state = keras_file
    single = MobileNetV1(frozen=True, taps="single")
    assert "conv_pw_6" not in _insert(path, single)["frozen"]["backbone"]
    path = _changed(tmp_path, state, stray=np.zeros(2))
    with pytest.raises(InputError, match="stray"):
        _insert(path, single)


def test_another_width_is_refused(tmp_path, keras_file):
    path = _changed(
        tmp_path, keras_file[1], **{"conv1/kernel": np.zeros((3, 3, 3, 32))}
    )
    with pytest.raises(InputError, match=r"conv1/conv/kernel .*\(3, 3, 3, 32\)"):
        _insert(path)


def test_path_of_nothing_says_what_to_give(tmp_path):
    for backbone, kind in (
        ("inception_resnet_v2", "PyTorch"),
        ("inception_v3", "TensorFlow"),
        ("mobilenet_v1", "Keras"),
    ):
        with pytest.raises(InputError, match=f"No weights file .*{kind}"):
            load_backbone(tmp_path / "none.npz", backbone)
    with pytest.raises(InputError, match="No weights file"):
        load_backbone(tmp_path, "mobilenet_v1")


def test_backbones_without_weights_are_named(tmp_path):
    with pytest.raises(InputError, match="'efficientvit', only for inception"):
        load_backbone(tmp_path / "any.npz", "efficientvit")


def test_network_without_a_pretrained_part_is_refused(keras_file):
    with pytest.raises(InputError, match="no part"):
        insert_backbone({"params": {"head": {}}}, keras_file[0], "mobilenet_v1")


def _pickled(path):
    np.savez(path, layer=np.array([{}], dtype=object))


def _text(path):
    path.write_bytes(b"<html>not found</html>")


def _empty(path):
    path.write_bytes(b"")


def _lone_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _foreign_member(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "words")


def _not_finite(path):
    np.savez(path, layer=np.array([1.0, np.nan]))


@pytest.mark.parametrize(
    "write", [_pickled, _text, _empty, _lone_array, _foreign_member, _not_finite]
)
def test_files_of_another_kind_are_refused(write, tmp_path):
    path = tmp_path / "weights.npz"
    write(path)
    with pytest.raises(IntegrityError, match="weights.npz"):
        load_backbone(path, "mobilenet_v1")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_file_is_damaged(save, share, tmp_path):
    path = tmp_path / "weights.npz"
    save(path, **{"conv1/kernel": np.random.default_rng(0).normal(size=(3, 3, 3, 24))})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(IntegrityError):
        load_backbone(path, "mobilenet_v1")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_flipped_bytes_are_damaged(save, tmp_path):
    path = tmp_path / "weights.npz"
    save(path, **{"conv1/kernel": np.random.default_rng(0).normal(size=(3, 3, 3, 24))})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(255 - b for b in content[middle : middle + 8])
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        load_backbone(path, "mobilenet_v1")


@pytest.mark.parametrize(
    "file,backbone,network",
    [
        (
            "inception_v3_imagenet_folded_fp16.npz",
            "inception_v3",
            InceptionV3(),
        ),
        ("mobilenet_v1_075_imagenet.npz", "mobilenet_v1", MobileNetV1(frozen=True)),
    ],
)
def test_published_weights_fit(file, backbone, network):
    if not (REAL_WEIGHTS / file).is_file():
        pytest.skip(f"{file} is not in the shared data folder")
    variables = {k: {"backbone": tree} for k, tree in shapes(network).items()}
    placed = insert_backbone(variables, REAL_WEIGHTS / file, backbone)
    assert all(v.dtype == np.float32 for v in jax.tree.leaves(placed))
