"""Forced choices: the model's, people's, and how they agree."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from fake_models import fake_model
from layouts_pairs import make_bapps
from PIL import Image

from ganiqa_jax import choices
from ganiqa_jax import evaluate as module
from ganiqa_jax.cli import main
from ganiqa_jax.data.bapps import read_triplets
from ganiqa_jax.errors import InputError
from ganiqa_jax.evaluate import evaluate_choices
from ganiqa_jax.scoring.engine import Scorer
from ganiqa_jax.scoring.on_jax import JaxCompute


@pytest.fixture
def root(tmp_path, monkeypatch):
    def create(model, **_):
        return Scorer(JaxCompute(*fake_model(str(model)), batch_size=8))

    monkeypatch.setattr(module, "create_scorer", create)
    return make_bapps(tmp_path / "bapps")


def flat(path, red):
    Image.new("RGB", (64, 64), (red, 0, 0)).save(path)


def measure(root, model="teacher", **options):
    settings = {"bootstrap": 50, "progress": False, **options}
    return evaluate_choices(Path(model), root, **settings)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_it_is_the_share_of_raters_who_chose_alike(root, role):
    triplets, wanted = read_triplets(root), []
    for number, triplet in enumerate(triplets):
        # Both fakes like red; p1 has more of it in every third, p0 in the others.
        redder = number % 3 == 0
        flat(triplet.reference, 90)
        flat(triplet.p0, 90 + 20 * (not redder))
        flat(triplet.p1, 90 + 20 * redder)
        wanted.append(triplet.share if redder else 1 - triplet.share)
    result = measure(root, role)
    assert (result.n, result.failed) == (8, 0)
    found = result.estimates
    assert found["2afc"].value == pytest.approx(np.mean(wanted))
    assert found["2afc"].low <= found["2afc"].value <= found["2afc"].high
    # Four raters of five, or all, chose alike.
    assert found["raters"].value == pytest.approx((0.8**2 + 0.2**2 + 1) / 2)
    for kind in ("cnn", "superres"):
        of_kind = [w for w, t in zip(wanted, triplets, strict=True) if t.kind == kind]
        assert found[f"2afc_{kind}"].value == pytest.approx(np.mean(of_kind))


def test_parts_are_those_of_the_set(root):
    assert measure(root, part="train").n == len(read_triplets(root, part="train"))
    assert measure(root, part="all").n == 8 + measure(root).n
    with pytest.raises(InputError, match=r"train and validation \(--part\)"):
        measure(root, part="test")


def test_a_broken_version_is_no_choice_and_is_told(root, tmp_path):
    broken = read_triplets(root)[2]
    broken.p1.write_bytes(b"no picture")
    result = measure(root, out=tmp_path / "out")
    assert (result.n, result.failed) == (7, 1)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == choices.COLUMNS and len(rows) == 8
    (failed,) = [row for row in rows if row["status"] != "ok"]
    assert failed["name"] == broken.content and failed["agreement"] == ""
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    mean = np.mean([float(row["agreement"]) for row in rows if row["agreement"]])
    assert written["estimates"]["2afc"][0] == pytest.approx(mean)


def test_nothing_that_can_be_scored_is_an_error(root):
    for triplet in read_triplets(root):
        triplet.p0.write_bytes(b"no picture")
    with pytest.raises(InputError, match="No choice could be made; first error: "):
        measure(root)


def test_the_difference_to_another_model_is_paired(root, tmp_path):
    first = measure(root, "student", out=tmp_path / "out")
    against = tmp_path / "out" / "predictions.csv"
    assert measure(root, "student", against=against).difference == (0.0, 0.0, 0.0)
    other = measure(root, "teacher", against=against)
    gap = other.estimates["2afc"].value - first.estimates["2afc"].value
    assert other.difference.value == pytest.approx(gap)


def test_by_the_command_line(root, tmp_path, capfd):
    asked = ["eval", "-m", "student", "--data", "bapps", "--root", str(root)]
    quick = ["--bootstrap", "20", "--no-progress"]
    assert main([*asked, *quick, "--part", "validation", "--markdown"]) == 0
    shown = capfd.readouterr().out
    assert "2AFC" in shown and "2AFC_CNN" in shown and "RATERS" in shown
    assert main([*asked, *quick]) == 2
    assert "has no part 'test'" in capfd.readouterr().err
