"""Evaluation: exact counts, splits that are kept, paired differences."""

import csv
import json

import numpy as np
import pytest
from fake_models import fake_model
from fixtures import make_agiqa3k, make_sr4kiqa

from ganiqa_jax import evaluate as module
from ganiqa_jax.data import catalog
from ganiqa_jax.data.records import split_by_content, split_hash, write_split
from ganiqa_jax.data.sources import split_path
from ganiqa_jax.errors import InputError
from ganiqa_jax.evaluate import evaluate
from ganiqa_jax.metrics import srcc
from ganiqa_jax.scoring.engine import Scorer


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run directory with a split of a small AGIQA-3K, and its root."""
    root, workdir = make_agiqa3k(tmp_path / "agiqa3k"), tmp_path / "run"
    records = catalog.read("agiqa3k", root)
    split = split_by_content(records, fractions=(0.5, 0.2, 0.3), seed=0)
    manifest = split_path(workdir, "agiqa3k")
    manifest.parent.mkdir(parents=True)
    write_split(manifest, split)
    monkeypatch.setattr(module, "create_scorer", lambda model, **_: _scorer("student"))
    return workdir, root, split


def _scorer(role):
    network, variables, card = fake_model(role)[:3]
    return Scorer(network, variables, card, batch_size=8)


def measure(run, **options):
    workdir, root, _ = run
    settings = {"bootstrap": 20, "progress": False, **options}
    return evaluate(workdir, "agiqa3k", root, **settings)


def test_counts_each_picture_of_the_part_once(run, tmp_path):
    _, _, split = run
    result = measure(run, part="test", out=tmp_path / "eval")
    assert (result.n, result.failed) == (len(split.test), 0)
    assert result.contents == len({record.content for record in split.test})
    assert result.split == split_hash(split)

    with (tmp_path / "eval" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [record.name for record in split.test]
    score = np.array([float(row["score"]) for row in rows])
    mos = np.array([record.mos for record in split.test])
    assert result.estimates["srcc"].value == pytest.approx(srcc(score, mos))
    written = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert written["estimates"]["srcc"][0] == result.estimates["srcc"].value


def test_a_broken_picture_is_counted_as_failed(run):
    _, _, split = run
    split.test[0].distorted.write_bytes(b"no picture")
    result = measure(run, part="test")
    assert (result.n, result.failed) == (len(split.test) - 1, 1)


def test_difference_to_itself_is_zero(run, tmp_path):
    measure(run, out=tmp_path / "eval")
    result = measure(run, against=tmp_path / "eval" / "predictions.csv")
    assert tuple(result.difference) == (0.0, 0.0, 0.0)


def test_other_pictures_cannot_be_compared_with(run, tmp_path):
    measure(run, part="train", out=tmp_path / "eval")
    with pytest.raises(InputError, match="same part of the same data set"):
        measure(run, part="test", against=tmp_path / "eval" / "predictions.csv")


def test_a_part_needs_the_split_of_the_run(run, tmp_path):
    workdir, root, _ = run
    split_path(workdir, "agiqa3k").unlink()
    with pytest.raises(InputError, match="evaluate on part 'all'"):
        measure(run)
    assert measure(run, part="all").n == len(catalog.read("agiqa3k", root))


def test_teacher_evaluates_pairs(tmp_path, monkeypatch):
    root = make_sr4kiqa(tmp_path / "sr4kiqa")
    monkeypatch.setattr(module, "create_scorer", lambda model, **_: _scorer("teacher"))
    result = evaluate(
        tmp_path, "sr4kiqa", root, part="all", bootstrap=20, progress=False
    )
    assert result.n == len(catalog.read("sr4kiqa", root))
    assert result.estimates["srcc"].value > 0


def test_teacher_cannot_evaluate_pictures_without_reference(run, monkeypatch):
    monkeypatch.setattr(module, "create_scorer", lambda model, **_: _scorer("teacher"))
    with pytest.raises(InputError, match="no references"):
        measure(run)
