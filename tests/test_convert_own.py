"""Models of ours as state dicts of PyTorch, and back, by the command."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from random_weights import random_weights

from ganiqa_jax import release
from ganiqa_jax.cli import main
from ganiqa_jax.config import (
    JndConfig,
    Preprocessing,
    StudentConfig,
    TeacherConfig,
)
from ganiqa_jax.convert import own
from ganiqa_jax.convert.files import read_weights, write_weights

NARROW = dict(
    width=8,
    heads=2,
    attention_key_dim=4,
    attention_kernels=(3, 3),
    jnd=JndConfig(strength=0.0),
)
STUDENT = release.ModelCard(
    role="student",
    name="tiny",
    config=StudentConfig(trunk="mobilenet_v1", frozen_blocks=2, **NARROW),
    preprocessing=Preprocessing(crop=64, points=1),
    scale=release.Scale("ten", low=0.0, high=10.0, mean=0.5, std=0.2),
    made_by="a test",
    data=(),
    results={},
)
TEACHER = dataclasses.replace(
    STUDENT,
    role="teacher",
    config=TeacherConfig(backbone="mobilenet_v1", **NARROW),
)


@pytest.fixture(scope="module", params=[STUDENT, TEACHER], ids=["student", "teacher"])
def converted(request, tmp_path_factory):
    """A folder with a model, its state dict, and the model made of that."""
    folder, card = tmp_path_factory.mktemp("own"), request.param
    variables = random_weights(release.network_shapes(card.config, 64))
    release.save_model(folder / "model", card, variables)
    paths = [str(folder / name) for name in ("model", "state.safetensors", "again")]
    assert main(["convert", *paths[:2], "--report", str(folder / "report.json")]) == 0
    assert main(["convert", *paths[1:]]) == 0
    return folder


def test_a_model_comes_back_with_every_bit_and_its_card(converted):
    first = release.load_model(converted / "model")
    again = release.load_model(converted / "again")
    assert again.card == first.card
    assert release.model_sha(again.variables) == release.model_sha(first.variables)


def test_names_and_layouts_are_those_of_pytorch(converted):
    state = read_weights(converted / "state.safetensors").arrays
    ours = own.flat(release.load_model(converted / "model").variables)
    block = "transformer/encoder_0"
    dense = np.asarray(ours[f"{block}/feed_forward_1/expand/kernel"])
    weight = state["transformer.encoder_0.feed_forward_1.expand.weight"]
    assert weight.shape == dense.shape[::-1]
    assert weight[3, 1] == dense[1, 3]
    conv = np.asarray(ours[f"{block}/convolution/depthwise/kernel"])
    weight = state["transformer.encoder_0.convolution.depthwise.weight"]
    assert weight.shape == (8, 1, 7, 7)
    assert weight[5, 0, 2, 3] == conv[2, 3, 0, 5]
    norm = "convolution/batch_norm"
    for leaf, theirs in (
        ("scale", "weight"),
        ("bias", "bias"),
        ("mean", "running_mean"),
        ("var", "running_var"),
    ):
        name = f"transformer.encoder_0.{norm}.{theirs}".replace("/", ".")
        np.testing.assert_array_equal(state[name], ours[f"{block}/{norm}/{leaf}"])
    assert state["transformer.embedding"].shape[-1] == 8
    assert len(state) == len(ours)


def test_modules_of_pytorch_take_the_arrays_as_they_are(converted):
    torch = pytest.importorskip("torch")
    state = read_weights(converted / "state.safetensors").arrays
    network, variables, _ = release.load_model(converted / "model")
    hidden = variables["params"]["head"]["hidden"]
    layer = torch.nn.Linear(*hidden["kernel"].shape)
    layer.load_state_dict(
        {k: torch.from_numpy(state[f"head.hidden.{k}"]) for k in ("weight", "bias")}
    )
    x = np.linspace(-1, 1, hidden["kernel"].shape[0], dtype=np.float32)
    wanted = x @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"])
    found = layer(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_report_accounts_for_every_array(converted):
    report = json.loads((converted / "report.json").read_text())
    ours = own.flat(release.load_model(converted / "model").variables)
    assert report["complete"] and report["arch"] == "own"
    assert {link["ours"] for link in report["links"]} == set(ours)
    assert report["arrays"] == len(ours)
    assert report["values"] == sum(leaf.size for leaf in jax.tree.leaves(ours))
    assert report["unknown"] == report["missing"] == report["wrong_shape"] == []


def changed(converted, path, metadata=True, **changes):
    stored = read_weights(converted / "state.safetensors")
    arrays = {k: v for k, v in (stored.arrays | changes).items() if v is not None}
    write_weights(path, arrays, stored.metadata if metadata else None)
    return str(path)


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"head.score.bias": None}, "lacks arrays: head.score.bias"),
        ({"head.stray": np.zeros(1, np.float32)}, "not account for: head.stray"),
        ({"head.score.bias": np.zeros(2, np.float32)}, r"other shapes: head.score"),
    ],
)
def test_state_dicts_that_do_not_fit_are_refused_and_reported(
    changes, says, converted, tmp_path, capsys
):
    path = changed(converted, tmp_path / "state.safetensors", **changes)
    report = tmp_path / "report.json"
    command = ["convert", path, str(tmp_path / "out"), "--report", str(report)]
    assert main(command) == 2
    assert says in capsys.readouterr().err
    assert not json.loads(report.read_text())["complete"]
    assert not (tmp_path / "out").exists()


def test_counters_of_pytorch_are_left_out(converted, tmp_path):
    name = "transformer.encoder_0.convolution.batch_norm.num_batches_tracked"
    path = tmp_path / "state.safetensors"
    path = changed(converted, path, **{name: np.array(3, np.int64)})
    assert main(["convert", path, str(tmp_path / "out")]) == 0
    first = release.load_model(converted / "model")
    found = release.load_model(tmp_path / "out")
    assert release.model_sha(found.variables) == release.model_sha(first.variables)


def test_a_state_dict_without_a_card_needs_one(converted, tmp_path, capsys):
    path = changed(converted, tmp_path / "state.safetensors", metadata=False)
    out = str(tmp_path / "out")
    assert main(["convert", path, out, "--arch", "own"]) == 2
    assert "--card" in capsys.readouterr().err
    assert main(["convert", path, out, "--card", str(converted / "model")]) == 0


def test_a_damaged_card_is_a_damaged_file(converted, tmp_path, capsys):
    stored = read_weights(converted / "state.safetensors")
    path = tmp_path / "state.safetensors"
    write_weights(path, stored.arrays, {"ganiqa_card": '{"role": "teacher"}'})
    assert main(["convert", str(path), str(tmp_path / "out")]) == 5
    assert "card" in capsys.readouterr().err


def test_sources_and_architectures_that_there_are_not_are_refused(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["convert", str(tmp_path / "none.pth"), out]) == 2
    assert "There is no" in capsys.readouterr().err
    write_weights(tmp_path / "a.npz", {"x": np.zeros(1, np.float32)})
    assert main(["convert", str(tmp_path / "a.npz"), out, "--arch", "vgg"]) == 2
    assert "none of auto, own, inception_resnet_v2" in capsys.readouterr().err
