"""The published predecessors: their weights in our teacher give their scores.

The goldens are outputs of PyTorch modules of both networks; see
`scripts/torch_reference/comparison_predecessors.py`; `dump_goldens.py` wrote them.
"""

import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ganiqa_jax import release
from ganiqa_jax.config import StudentConfig, TeacherConfig
from ganiqa_jax.convert import own
from ganiqa_jax.convert.backbones import links_of, whole_shapes
from ganiqa_jax.convert.conversion import prepare
from ganiqa_jax.convert.files import read_weights, write_weights
from ganiqa_jax.convert.links import shapes, their_shapes
from ganiqa_jax.convert.predecessors import PREDECESSORS, crop_of, grid_of
from ganiqa_jax.errors import InputError
from ganiqa_jax.image.boxes import test_boxes as boxes_of

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from torch_reference.seeded import seeded_pictures, seeded_state  # noqa: E402

GOLDENS = ROOT / "tests" / "goldens"
SIDE = 96
CONFIGS = {
    "iqa_conformer": TeacherConfig.iqa_conformer(width=16, embedding_grid=9),
    "iqt": TeacherConfig.iqt(
        width=16, embedding_grid=9, layers=2, expansion=2, head_width=24
    ),
}
PUBLISHED = {
    "iqa_conformer": TeacherConfig.iqa_conformer(),
    "iqt": TeacherConfig.iqt(),
}


@functools.cache
def theirs(arch, published=False):
    """Names and shapes of a state dict, as the converter wants them."""
    config = (PUBLISHED if published else CONFIGS)[arch]
    ours = shapes(own.flat(release.network_shapes(config, SIDE)))
    wanted = their_shapes(PREDECESSORS[arch].links(ours, config), ours)
    return {k: v for k, v in wanted.items() if not k.startswith("backbone/")}


@functools.cache
def trunk():
    """A state dict of Inception-ResNet-v2 under Cadene's names."""
    name = "inception_resnet_v2"
    wanted = their_shapes(links_of(name, "torch"), whole_shapes(name))
    first = {k: v for k, v in wanted.items() if k.split(".")[0] in FIRST_LAYERS}
    state = seeded_state({f"trunk.{k}": v for k, v in first.items()})
    return {name.removeprefix("trunk."): values for name, values in state.items()}


FIRST_LAYERS = (
    "conv2d_1a",
    "conv2d_2a",
    "conv2d_2b",
    "conv2d_3b",
    "conv2d_4a",
    "mixed_5b",
    "repeat",
)


def stored(folder, arch, **changes):
    """Files of a state dict, and of the backbone where it is published apart."""
    state = {**seeded_state(theirs(arch)), **changes}
    kept = {name: values for name, values in state.items() if values is not None}
    write_weights(folder / "published.safetensors", kept)
    if arch == "iqa_conformer":
        return folder / "published.safetensors", None
    write_weights(folder / "backbone.npz", trunk())
    return folder / "published.safetensors", folder / "backbone.npz"


@pytest.fixture(scope="module", params=list(CONFIGS))
def released(request, tmp_path_factory):
    """The architecture, and the folder that its weights were converted to."""
    folder = tmp_path_factory.mktemp(request.param)
    file, backbone = stored(folder, request.param)
    prepare(file, backbone_weights=backbone).finish(folder / "released")
    return request.param, folder


def test_every_map_and_score_is_that_of_the_published_network(released):
    arch, folder = released
    network, variables, card = release.load_model(folder / "released")
    assert card.config == CONFIGS[arch]
    pair = [seeded_pictures(n, (2, SIDE, SIDE, 3)) for n in ("reference", "distorted")]
    out = jax.jit(network.apply)(variables, *pair)
    with np.load(GOLDENS / f"{arch}.npz") as golden:
        for name in ("difference", "reference", "encoded", "decoded"):
            found = np.asarray(out.features[name])[:, ::4, ::4]
            error = np.abs(found - golden[name]).max() / np.abs(golden[name]).max()
            assert error < 1e-4, name
        np.testing.assert_allclose(out.z, golden["z"], rtol=1e-4)


def test_weights_come_back_as_they_were(released):
    arch, folder = released
    prepare(folder / "released", arch=arch, to="torch").finish(
        folder / "back.safetensors"
    )
    back = read_weights(folder / "back.safetensors").arrays
    state = seeded_state(theirs(arch))
    assert set(back) == set(state)
    for name, values in state.items():
        np.testing.assert_array_equal(back[name], values, err_msg=name)


@pytest.mark.parametrize("arch", list(PUBLISHED))
def test_names_and_shapes_are_those_that_are_published(arch):
    published = json.loads((GOLDENS / f"{arch}_keys.json").read_text())
    wanted = {
        name: tuple(shape)
        for name, shape in published.items()
        if not name.endswith("num_batches_tracked")
    }
    assert theirs(arch, published=True) == wanted


def test_iqa_conformer_has_the_published_number_of_parameters():
    backbone = ("mixed5b", "block35_")
    statistics = ("running_mean", "running_var")
    sizes = [
        int(np.prod(shape))
        for name, shape in theirs("iqa_conformer", published=True).items()
        if not name.startswith(backbone) and not name.endswith(statistics)
    ]
    assert sum(sizes) == 1_159_169


def test_score_is_on_the_scale_of_the_published_one():
    scale = PREDECESSORS["iqa_conformer"].scale
    for z in (-3.0, 0.0, 1.5):
        mos = scale.to_mos(scale.to_score(z))
        assert mos == pytest.approx(z * 121.5351 + 1448.9595)
    plain = PREDECESSORS["iqt"].scale
    assert plain.to_mos(plain.to_score(0.656336)) == pytest.approx(0.656336)


def test_iqa_conformer_is_scored_on_ten_crops_of_192():
    state = {k: np.empty(v) for k, v in theirs("iqa_conformer", True).items()}
    preprocessing = PREDECESSORS["iqa_conformer"].card(state).preprocessing
    assert (preprocessing.crop, preprocessing.points) == (192, 5)
    assert preprocessing.mirror and preprocessing.short_side == 0
    corners = {(0, 0), (0, 96), (96, 0), (96, 96), (48, 48)}
    assert set(boxes_of(288, 288, 192, 5)) == corners


def test_crop_is_told_by_the_grid():
    assert (crop_of(21), crop_of(29), crop_of(9)) == (192, 256, 96)
    assert all(grid_of(crop_of(grid)) == grid for grid in range(7, 40))


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"head.3.bias": None}, r"lacks arrays: head.3.bias"),
        ({"stray": np.zeros(2, np.float32)}, r"does not account for: stray"),
        (
            {"emb_p.weight": np.zeros((81, 17), np.float32)},
            r"other shapes: emb_p.weight \(has \(81, 17\), needs \(81, 16\)\)",
        ),
    ],
)
def test_incomplete_weights_are_refused_and_nothing_is_written(changes, says, tmp_path):
    conversion = prepare(stored(tmp_path, "iqa_conformer", **changes)[0])
    assert not conversion.report()["complete"]
    with pytest.raises(InputError, match=says):
        conversion.finish(tmp_path / "released")
    assert not (tmp_path / "released").exists()


def test_counters_of_batch_norms_are_left_out(tmp_path):
    name = "decoder.blocks.0.conv_module.layers.4.num_batches_tracked"
    counter = {name: np.array(7, np.int64)}
    conversion = prepare(stored(tmp_path, "iqa_conformer", **counter)[0])
    assert conversion.report()["left_out"] == [name]
    assert conversion.found.complete


def test_backbone_is_asked_for_where_it_is_published_apart(tmp_path):
    file, backbone = stored(tmp_path, "iqt")
    with pytest.raises(InputError, match="--backbone-weights"):
        prepare(file)
    file, _ = stored(tmp_path, "iqa_conformer")
    with pytest.raises(InputError, match="brings its backbone along"):
        prepare(file, backbone_weights=backbone)


def test_weights_of_something_else_are_no_predecessor(tmp_path):
    write_weights(tmp_path / "a.npz", {"x": np.zeros(2, np.float32)})
    with pytest.raises(InputError, match="no weights of iqt"):
        prepare(tmp_path / "a.npz", arch="iqt", backbone_weights=tmp_path / "a.npz")
    known = PREDECESSORS["iqa_conformer"]
    config = TeacherConfig(backbone="mobilenet_v1")
    ours = shapes(own.flat(release.network_shapes(config, SIDE)))
    for other in (config, StudentConfig()):
        with pytest.raises(InputError, match="no iqa_conformer"):
            known.links(ours, other)
