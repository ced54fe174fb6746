"""The data sets of a training run, by every kind of split."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fixtures import make_agiqa3k
from layouts_pictures import make_koniq10k

from ganiqa_jax.config import DataConfig, SourceConfig
from ganiqa_jax.data import protocols
from ganiqa_jax.data.records import Split, split_hash
from ganiqa_jax.data.sources import load_sources, split_path, write_splits
from ganiqa_jax.errors import InputError, IntegrityError


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("agiqa3k")
    return make_agiqa3k(folder, prompts=range(10, 30), side=16)


def data_of(root: Path, split: str, dataset: str = "agiqa3k") -> DataConfig:
    source = SourceConfig(dataset, str(root), "pictures", rows=2, split=split)
    return DataConfig((source,), scale=dataset)


def contents(part) -> set[str]:
    return {record.content for record in part}


@pytest.mark.parametrize(
    "name", ["", "content-80-20/2", "kfold-5/3", "leave-out/AttnGAN/1", "cross-train"]
)
def test_training_uses_the_named_split_and_keeps_it(root, tmp_path, name):
    data = data_of(root, name)
    (source,) = load_sources(data, tmp_path)
    assert source.protocol == name and not list(tmp_path.iterdir())
    train, validation, test = map(contents, source.split)
    assert train and validation
    assert not (train & validation or train & test or validation & test)
    scores = [record.mos for record in source.split.train]
    assert source.mean == pytest.approx(np.mean(scores))

    write_splits([source], tmp_path)
    assert load_sources(data, tmp_path) == [source]
    stored = str(split_path(tmp_path, "agiqa3k"))
    (again,) = load_sources(data_of(root, stored), tmp_path / "other run")
    assert (again.split, again.protocol) == (source.split, name)


def test_the_split_of_the_run_directory_goes_before_another_file(root, tmp_path):
    (source,) = load_sources(data_of(root, "kfold-5/3"), tmp_path)
    write_splits([source], tmp_path)
    (resumed,) = load_sources(data_of(root, "kfold-5/4"), tmp_path)
    assert resumed.split == source.split


def test_a_generator_left_out_is_not_trained_on(root, tmp_path):
    (source,) = load_sources(data_of(root, "leave-out/AttnGAN/1"), tmp_path)
    trained = {r.kind for r in source.split.train + source.split.validation}
    assert trained and "AttnGAN" not in trained
    assert {r.kind for r in source.split.test} == {"AttnGAN"}


def test_official_parts_are_trained_on(tmp_path):
    data = data_of(make_koniq10k(tmp_path / "koniq10k"), "official", "koniq10k")
    (source,) = load_sources(data, tmp_path / "run")
    assert [len(part) for part in source.split] == [4, 1, 1]
    for part, records in source.split._asdict().items():
        assert {r.part for r in records} == {part}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("official", "is in no part of a split of the set's own"),
        ("kfold-5", "'kfold-5' is 5 splits; name one"),
        ("fold-5/1", "No protocol 'fold-5/1'"),
        ("cross-test", "cross-test leaves no picture of agiqa3k to train on"),
        ("nowhere/split.txt", "Cannot read the split nowhere/split.txt"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(root, tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        load_sources(data_of(root, name), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_stored_split_that_was_changed_is_refused(root, tmp_path):
    (source,) = load_sources(data_of(root, "kfold-5/3"), tmp_path)
    write_splits([source], tmp_path)
    path = split_path(tmp_path, "agiqa3k")
    path.write_text(path.read_text().replace("test\t", "train\t", 1))
    with pytest.raises(IntegrityError, match="the file was changed"):
        load_sources(data_of(root, "kfold-5/3"), tmp_path)


def test_one_data_set_has_one_split():
    one = SourceConfig("agiqa3k", "here", "pictures", rows=2, split="official")
    other = dataclasses.replace(one, split="kfold-5/1")
    assert DataConfig((one, one), scale="agiqa3k").batch_size == 4
    with pytest.raises(InputError, match="one root and one split"):
        DataConfig((one, other), scale="agiqa3k")


def test_splits_of_files_and_names_have_one_hash(root, tmp_path):
    (source,) = load_sources(data_of(root, "content-80-20/1"), tmp_path)
    records = [record for part in source.split for record in part]
    split = protocols.split_records(records, protocols.parse("content-80-20/1"))
    assert isinstance(split, Split) and split_hash(split) == split_hash(source.split)
