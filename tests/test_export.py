"""Exported files: the same numbers, proven before anything is written."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from fake_models import fake_model
from random_weights import random_weights

from ganiqa_jax import cli, release
from ganiqa_jax.card import ModelCard, Scale
from ganiqa_jax.config import JndConfig, Preprocessing, StudentConfig, TeacherConfig
from ganiqa_jax.errors import CheckError, InputError
from ganiqa_jax.export import exporters, parity
from ganiqa_jax.export.exporters import export_model, onnx_bytes
from ganiqa_jax.release import LoadedModel, build_network
from ganiqa_jax.scoring import cropping
from ganiqa_jax.scoring.engine import Scorer, create_scorer
from ganiqa_jax.scoring.on_jax import JaxCompute

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

NARROW = dict(width=8, heads=2, attention_key_dim=4, attention_kernels=(3, 3))
OF_PARTS = StudentConfig(
    trunk="efficientnet_lite0",
    jnd=JndConfig(strength=0.0),
    neck_level=2,
    parts=True,
    **NARROW,
)
CONFIGS = {
    "student": StudentConfig(
        trunk="mobilenet_v1", jnd=JndConfig(strength=0.0), **NARROW
    ),
    "teacher": TeacherConfig(backbone="mobilenet_v1", channels=True, **NARROW),
    "student of parts": OF_PARTS,
    "student with detail": dataclasses.replace(OF_PARTS, detail=True),
}


def tiny_model(role):
    config = CONFIGS[role]
    detail = getattr(config, "detail", False)
    view = Preprocessing(
        crop=64, points=1, whole=detail, detail_side=96 if detail else 0
    )
    scale = Scale("ten", 1.0, 10.0, 0.5, 0.25)
    card = ModelCard(
        role.split()[0], "tiny", config, view, scale, "test", ("x",), {"srcc": 0.5}
    )
    variables = random_weights(release.network_shapes(config, 64))
    return LoadedModel(build_network(config), variables, card)


@pytest.mark.parametrize("role", ["student", "teacher", "student of parts"])
def test_real_networks_keep_their_numbers_as_onnx(role):
    model = tiny_model(role)
    data, proof = onnx_bytes(model)
    assert proof.difference < parity.TOLERANCE
    assert {1, 3} < set(proof.batches)
    assert len(data) > 1_000_000


@pytest.mark.parametrize("role", ["student", "teacher"])
@pytest.mark.parametrize("to", ["onnx", "stablehlo"])
def test_file_has_a_record_of_its_card_and_bytes_beside_it(role, to, tmp_path):
    model = fake_model(role)
    done = export_model(model, to, tmp_path)
    assert done.path == tmp_path / f"fake.{to}"
    record = json.loads((tmp_path / f"fake.{to}.json").read_text())
    assert record["sha256"] == done.sha256
    assert record["model_sha"] == release.model_sha(model.variables)
    assert record["preprocessing"]["crop"] == 16
    assert record["scale"]["std"] == 0.25
    assert record["parity"]["difference"] == done.parity.difference < 1e-5


def test_detail_is_an_input_of_the_file(tmp_path):
    model = tiny_model("student with detail")
    path, proof, _ = export_model(model, "onnx", tmp_path)
    assert proof.difference < parity.TOLERANCE
    pixels = np.random.default_rng(0).integers(0, 256, (3, 120, 90, 3), np.uint8)
    pixels[1:] = pixels[0]
    pixels[2, ::2] = 0
    scores = [
        create_scorer(path, backend="onnx").score_batch(pixels),
        Scorer(JaxCompute(*model)).score_batch(pixels),
    ]
    np.testing.assert_allclose(*scores, atol=1e-5)
    assert scores[0][0] == scores[0][1] != scores[0][2]
    views = cropping.views(pixels[0], model.card.preprocessing)
    network = jax.jit(model.network.apply)
    z = network(model.variables, *(np.float32(x) / 255 for x in views)).z
    wanted = model.card.scale.to_score(np.asarray(z))
    np.testing.assert_allclose(wanted, scores[0][:1], atol=1e-5)


def test_a_model_of_whole_pictures_says_so_in_its_file(tmp_path):
    model = fake_model(whole=True)
    path = export_model(model, "onnx", tmp_path).path
    assert create_scorer(path, backend="onnx", crops=1).card == model.card
    assert b"whole pictures, stretched" in path.read_bytes()
    with pytest.raises(InputError, match="no crops to choose"):
        create_scorer(path, backend="onnx", crops=9)


def test_stablehlo_runs_any_batch_on_three_platforms(tmp_path):
    model = fake_model()
    path = export_model(model, "stablehlo", tmp_path / "a.stablehlo").path
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    assert program.platforms == exporters.PLATFORMS
    crops = np.zeros((5, 16, 16, 3), np.uint8)
    for quarters, crop in enumerate(crops):
        crop[: 4 * quarters, :, 0] = 255
    np.testing.assert_allclose(program.call(crops), np.arange(5) / 4, atol=1e-6)


def test_released_folder_loads_as_the_same_model(tmp_path):
    model = tiny_model("student")
    done = export_model(model, "safetensors", tmp_path / "new" / "model")
    again = release.load_model(done.path)
    assert release.model_sha(again.variables) == release.model_sha(model.variables)
    assert again.card == model.card
    assert not list((tmp_path / "new").glob(".export*"))


def test_half_the_bytes_give_nearly_the_same_model(tmp_path):
    model = tiny_model("student")
    whole = export_model(model, "safetensors", tmp_path / "whole").path
    done = export_model(model, "safetensors", tmp_path / "half", half=True)
    assert 0 < done.parity.difference < done.parity.tolerance == 0.01
    sizes = [
        (path / "weights.safetensors").stat().st_size for path in (done.path, whole)
    ]
    assert sizes[0] < 0.6 * sizes[1]
    again = release.load_model(done.path)
    assert {leaf.dtype for leaf in jax.tree.leaves(again.variables)} == {
        np.dtype("float32")
    }
    assert release.verify_released(done.path)["name"] == model.card.name


def test_values_too_large_for_half_are_refused(tmp_path):
    model = tiny_model("student")
    huge = jax.tree.map(lambda leaf: leaf + 7e4, model.variables)
    with pytest.raises(CheckError, match="too large for float16"):
        export_model(model._replace(variables=huge), "safetensors", tmp_path, half=True)
    with pytest.raises(InputError, match="safetensors"):
        export_model(model, "onnx", tmp_path, half=True)


@pytest.mark.parametrize("to", ["onnx", "stablehlo"])
def test_nothing_is_written_when_the_numbers_differ(to, tmp_path, monkeypatch):
    def slightly_wrong(model):
        def compute(crops):
            pixels = crops[0].astype(np.float32) / 255
            z = pixels[..., 0].mean((1, 2)) - pixels[..., 1].mean((1, 2))
            return z.astype(np.float32) + 2e-4

        return compute

    monkeypatch.setattr(exporters, "reference_compute", slightly_wrong)
    monkeypatch.setattr(parity, "_drawn", lambda side: [np.full((20, 20, 3), 9, "u1")])
    with pytest.raises(CheckError, match="differs from it by 2.00e-04"):
        export_model(fake_model(), to, tmp_path / f"a.{to}")
    assert not list(tmp_path.iterdir())


def test_values_that_are_not_finite_prove_nothing():
    card = fake_model().card
    wrong = lambda crops: np.full(len(crops[0]), np.nan, np.float32)  # noqa: E731
    right = lambda crops: np.zeros(len(crops[0]), np.float32)  # noqa: E731
    with pytest.raises(CheckError):
        parity.prove(right, wrong, card)
    with pytest.raises(CheckError):
        parity.prove(wrong, right, card)


def test_export_command_writes_a_file_that_scores_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(release, "load_model", lambda path: fake_model())
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "any", "--to", "onnx", "-o", "m.onnx", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["difference"] < 1e-5
    pixels = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    scores = [
        create_scorer(model, backend=backend).score(pixels).score
        for model, backend in (("m.onnx", "onnx"), ("any", "jax"))
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert cli.main(["export", "any", "--to", "onnx", "-o", "m.txt"]) == 2
    assert "should end in .onnx" in capfd.readouterr().err


def test_missing_library_is_named_with_how_to_install_it(monkeypatch, tmp_path):
    for library in ("onnx", "onnxruntime"):
        monkeypatch.setitem(__import__("sys").modules, library, None)
        with pytest.raises(InputError, match=r'pip install "ganiqa-jax\[onnx\]"'):
            export_model(fake_model(), "onnx", tmp_path / "a.onnx")
        monkeypatch.undo()


def test_file_says_what_made_it():
    assert exporters.made_with()["jax"] == jax.__version__
