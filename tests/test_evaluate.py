"""Evaluation: exact counts, splits that are kept, paired differences."""

import csv
import json

import numpy as np
import pytest
from fake_models import fake_model
from fixtures import make_agiqa3k, make_sr4kiqa

from ganiqa_jax import evaluate as module
from ganiqa_jax.cli.evaluate import _table
from ganiqa_jax.config import DataConfig, SourceConfig
from ganiqa_jax.data import catalog, protocols
from ganiqa_jax.data.records import split_by_content, split_hash, write_split
from ganiqa_jax.data.sources import load_sources, split_path, write_splits
from ganiqa_jax.errors import InputError
from ganiqa_jax.evaluate import evaluate
from ganiqa_jax.metrics import srcc
from ganiqa_jax.scoring.engine import Scorer
from ganiqa_jax.scoring.on_jax import JaxCompute


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
    return Scorer(JaxCompute(*fake_model(role), batch_size=8))


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


def test_a_data_set_that_was_never_trained_on_is_evaluated_by_a_named_split(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "create_scorer", lambda model, **_: _scorer("student"))
    root = make_agiqa3k(tmp_path / "agiqa3k", prompts=range(10, 20), side=16)
    run = tmp_path / "run", root, None
    result = measure(run, split="content-80-20/1")
    assert (result.protocol, result.n, result.contents) == ("content-80-20/1", 8, 2)
    records = catalog.read("agiqa3k", root)
    path = tmp_path / "split.txt"
    protocols.store(path, records, protocols.parse("content-80-20/1"))
    assert measure(run, split=str(path)) == result
    everything = measure(run, split="cross-test")
    assert everything.n == len(records)
    assert "cross-test" in dict(_table(everything))["data"]
    with pytest.raises(InputError, match="The test part of cross-train is empty"):
        measure(run, split="cross-train")


def test_the_parts_of_a_named_split_are_those_that_were_trained_with(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "create_scorer", lambda model, **_: _scorer("student"))
    root = make_agiqa3k(tmp_path / "agiqa3k", prompts=range(10, 30), side=16)
    workdir, name = tmp_path / "run", "leave-out/AttnGAN/2"
    source = SourceConfig("agiqa3k", str(root), "pictures", rows=2, split=name)
    sources = load_sources(DataConfig((source,), scale="agiqa3k"), workdir)
    write_splits(sources, workdir)
    result = measure((workdir, root, None))
    assert (result.protocol, result.n) == (name, len(sources[0].split.test))
    assert result.split == split_hash(sources[0].split)
    assert f"{result.split} ({name})" in dict(_table(result))["data"]


def test_what_was_trained_on_cannot_be_tested_by_another_split(run):
    with pytest.raises(InputError, match="trained on .* contents of that part"):
        measure(run, split="cross-test")
