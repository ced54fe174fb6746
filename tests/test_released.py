"""Released models by name, and the commands that show and check them."""

import dataclasses
import json

import numpy as np
import pytest
from fake_models import fake_model

from ganiqa_jax import arrays, cli, release, released
from ganiqa_jax.card import card_values, with_results
from ganiqa_jax.data_config import Preprocessing
from ganiqa_jax.errors import InputError
from ganiqa_jax.released import read_released
from ganiqa_jax.rundir import write_json


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A released student called light, in the user's models folder."""
    monkeypatch.setenv("GANIQA_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(released, "PACKAGED", tmp_path / "packaged")
    monkeypatch.setattr(release, "_check_arrays", lambda *_: None)  # of another net
    folder = tmp_path / "models" / "light"
    model = fake_model()
    folder.mkdir(parents=True)
    tree = {"params": {"weight": np.ones((), np.float32)}}
    sha256 = arrays.write_arrays(folder / "weights.safetensors", tree)
    identity = {"weights_sha256": sha256, "model_sha": release.model_sha(tree)}
    card = dataclasses.replace(model.card, notes=("not for cats",))
    write_json(folder / "card.json", card_values(card, identity))
    return folder


def run(capfd, *arguments):
    status = cli.main(["models", *arguments])
    return status, *capfd.readouterr()


def test_names_lead_to_folders_and_paths_go_first(installed, tmp_path, monkeypatch):
    assert released.find_model("light") == installed
    monkeypatch.chdir(tmp_path)
    (tmp_path / "light").mkdir()
    assert str(released.find_model("light")) == "light"
    assert str(released.find_model("a/light")) == "a/light"


def test_models_of_the_user_hide_those_of_the_package(installed, tmp_path):
    packaged = tmp_path / "packaged" / "light"
    packaged.mkdir(parents=True)
    other = tmp_path / "packaged" / "other"
    other.mkdir()
    for path in installed.iterdir():
        (packaged / path.name).write_bytes(path.read_bytes())
        (other / path.name).write_bytes(path.read_bytes())
    found = {each.name: each.packaged for each in released.released_models()}
    assert found == {"light": False, "other": True}


def test_list_and_info_say_how_a_score_is_read(installed, capfd):
    status, out, _ = run(capfd, "list")
    assert status == 0 and "light" in out and "ten" in out
    status, out, _ = run(capfd, "info", "light")
    assert status == 0
    assert "0 to 1, higher is better" in out and "1 to 10 on ten" in out
    assert "not for cats" in out
    status, out, _ = run(capfd, "info", "light", "--json")
    assert json.loads(out)["preprocessing"]["crop"] == 16
    status, out, _ = run(capfd, "list", "--json")
    assert [each["name"] for each in json.loads(out)] == ["light"]


@pytest.mark.parametrize("mirror", [False, True])
def test_info_says_that_whole_pictures_are_seen(installed, capfd, mirror):
    card = fake_model(whole=True).card
    view = dataclasses.replace(card.preprocessing, mirror=mirror)
    card = dataclasses.replace(card, preprocessing=view)
    write_json(installed / "card.json", card_values(card))
    status, out, _ = run(capfd, "info", "light")
    assert status == 0 and "whole picture at 16x16" in out
    assert ("and its mirror image" in out) == mirror
    status, out, _ = run(capfd, "info", "light", "--json")
    assert json.loads(out)["prep_sha"] == view.sha
    assert json.loads(out)["preprocessing"]["whole"] is True


def test_info_says_how_large_the_windows_of_detail_are(capfd):
    status, out, _ = run(capfd, "info", "student-s", "--json")
    view = json.loads(out)["preprocessing"]
    assert status == 0 and (view["crop"], view["detail_side"]) == (320, 1024)
    status, out, _ = run(capfd, "info", "student-s")
    said = " ".join(out.split())
    assert status == 0 and "320x320, and 4x4 windows of 80x80" in said
    assert "at most 1024); nothing is enlarged" in said


def test_identities_of_preprocessing_stay():
    """Rows name them: a change would part rows that belong together."""
    found = {
        path.name: read_released(path) for path in sorted(released.PACKAGED.iterdir())
    }
    assert found["student-s"]["prep_sha"] == "e3a7ad9a184a"
    assert found["teacher-s"]["prep_sha"] == "4358e11ac324"
    # student-s before it left small pictures as small as they are.
    view = Preprocessing(crop=320, points=1, whole=True, detail_side=512)
    assert view.sha == "e8597b783c59"
    # teacher-s before pictures could be seen whole.
    crops = Preprocessing(short_side=512, crop=160, points=9)
    assert crops.sha == "74777808692a"
    # student-s before it saw detail.
    assert Preprocessing(crop=320, points=1, whole=True).sha == "239102cb4048"


def test_verify_hashes_again_and_fails_with_status_4(installed, capfd):
    status, out, _ = run(capfd, "verify", "light", "--json")
    assert status == 0
    assert json.loads(out)["arrays"] == 1
    path = installed / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    status, _, err = run(capfd, "verify", "light")
    assert status == 4 and "sha256" in err


def test_no_models_and_unknown_names_are_told(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("GANIQA_HOME", str(tmp_path))
    monkeypatch.setattr(released, "PACKAGED", tmp_path / "none")
    status, out, _ = run(capfd, "list")
    assert status == 0 and str(tmp_path / "models") in out.replace("\n", "")
    status, _, err = run(capfd, "info", "light")
    assert status == 2 and "models list" in err


def test_results_of_evaluations_go_into_a_card(tmp_path):
    found = {"model": "fake", "dataset": "a", "part": "test", "n": 7}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({**found, "estimates": {"srcc": [0.5, 0.4, 0.6]}}))
    card = with_results(fake_model().card, [path])
    assert card.results == {"srcc, a test, n=7": 0.5}
    with pytest.raises(InputError, match="is of other, not of fake"):
        path.write_text(json.dumps({**found, "model": "other", "estimates": {}}))
        with_results(fake_model().card, [path])
    with pytest.raises(InputError, match="no metrics.json"):
        with_results(fake_model().card, [tmp_path / "none.json"])
