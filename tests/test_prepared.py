"""Prepared data sets: every layout from the command to the batches of a run."""

import dataclasses
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dataset_cases import CASES, Case
from fixtures import draw_scene, make_agiqa3k, make_sr4kiqa
from layouts_pictures import make_koniq10k

from ganiqa_jax import cli
from ganiqa_jax.config import DataConfig, Preprocessing, SourceConfig
from ganiqa_jax.data import catalog, prepared, protocols
from ganiqa_jax.data.pipeline import Mixture, SourceData, batches
from ganiqa_jax.data.records import Record, Split, split_hash
from ganiqa_jax.data.sources import load_sources, split_hashes
from ganiqa_jax.data.synthetic import write_pairs
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.scoring.decode import DecodeError, decode_picture
from ganiqa_jax.scoring.loading import LoadRules, load_pair, load_picture


def make_synthetic(root: Path) -> Path:
    scenes = {name: draw_scene(n, height=24, width=32) for n, name in enumerate("ab")}
    write_pairs(scenes, root, seed=0, per_picture=2)
    return root


OTHERS = {
    "agiqa3k": Case("agiqa3k", make_agiqa3k, 24, 6, "data.csv", "images/sd1.5_001.jpg"),
    "sr4kiqa": Case("sr4kiqa", make_sr4kiqa, 36, 4, "mos.csv", "", ("reference", 4)),
    "synthetic": Case("synthetic", make_synthetic, 4, 2, "", "", ("references", 2)),
}
ALL = CASES | OTHERS


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs `ganiqa data` in a folder of its own: status, standard output and error."""

    def call(*arguments):
        try:
            status = cli.main(["data", *map(str, arguments)])
        except SystemExit as end:
            status = end.code
        return status, *capfd.readouterr()

    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def kadid10k(run, tmp_path):
    """The folder of a prepared data set, and the records of its archive."""
    root = CASES["kadid10k"].make(tmp_path / "archive")
    assert run("prepare", "kadid10k", "--root", root, "--out", "out")[0] == 0
    return Path("out/ganiqa/kadid10k/1.0.0"), catalog.read("kadid10k", root)


def told(record: Record) -> Record:
    """A record without where its pictures are, but for their names."""
    names = [p and Path(p.name) for p in (record.distorted, record.reference)]
    return dataclasses.replace(record, distorted=names[0], reference=names[1])


@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
def test_prepared_data_set_is_that_of_the_archive(run, tmp_path, case, caplog):
    root = case.make(tmp_path / "archive", **case.settings)
    command = ["prepare", case.name, "--root", root, "--out", "out"]
    status, stdout, stderr = run(*command)
    folder = Path("out") / "ganiqa" / case.name / "1.0.0"
    found = f"{case.count} pictures"
    if case.reference[1]:
        found += f" and {case.reference[1]} references"
    assert (status, stdout) == (0, f"{found} are in {folder}\n"), stderr
    archive = catalog.read(case.name, root)
    shutil.move(root, tmp_path / "away")  # nothing may look there any more
    records = catalog.read(case.name, Path("out"))
    assert [told(r) for r in records] == [told(r) for r in archive]
    assert catalog.read(case.name, folder) == records
    assert len({r.reference for r in records} - {None}) == case.reference[1]
    shutil.move(tmp_path / "away", root)
    paths = {r.distorted: a.distorted for r, a in zip(records, archive, strict=True)}
    paths |= {r.reference: a.reference for r, a in zip(records, archive, strict=True)}
    paths.pop(None, None)
    for stored, path in paths.items():
        assert stored.read_bytes() == path.read_bytes()
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.iterdir())
    assert run(*command)[:2] == (0, f"{found} are there already, in {folder}\n")
    assert sorted((p, p.stat().st_mtime_ns) for p in folder.iterdir()) == before


@pytest.mark.parametrize("name", ["koniq10k", "kadid10k", "agiqa3k"])
def test_partial_archive_is_answered_as_its_reader_does(run, tmp_path, name):
    case = ALL[name]
    root = case.make(tmp_path / "archive")
    picture = case.picture.replace("sd1.5", "sd1.5_normal")
    (root / picture).unlink()
    with pytest.raises(InputError) as error:
        case.read(root)
    command = ["prepare", name, "--root", root, "--out", "out"]
    assert run(*command) == (2, "", f"ganiqa: {error.value}\n")
    assert not Path("out").exists()
    status, stdout, _ = run(*command, "--allow-missing")
    assert status == 0 and stdout.startswith(f"{case.count - 1} pictures")
    assert len(catalog.read(name, Path("out"))) == case.count - 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["koniq", "--root", "archive", "--out", "out"], "No data set 'koniq'"),
        (["bapps", "--root", "archive", "--out", "out"], "read_triplets"),
        (["koniq10k", "--root", "none", "--out", "out"], "Unpack KonIQ-10k so that"),
        (["koniq10k", "--root", "archive", "--out", "file"], "Cannot write file: Not"),
        (["koniq10k", "--root", "empty", "--out", "out"], "1012.jpg is empty"),
        (["koniq10k", "--root", "archive"], "--out"),
    ],
)
def test_what_cannot_be_prepared_ends_with_status_2(run, tmp_path, arguments, says):
    make_koniq10k(tmp_path / "archive")
    make_koniq10k(tmp_path / "empty")
    (tmp_path / "empty" / "1024x768" / "1012.jpg").write_bytes(b"")
    (tmp_path / "file").touch()
    status, stdout, stderr = run("prepare", *arguments)
    assert (status, stdout) == (2, "") and says in stderr
    if stderr.startswith("ganiqa: "):
        assert stderr.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.array_record*"))


def test_other_commands_take_it_for_the_archive(run, kadid10k, tmp_path):
    for command in (
        ["verify", "kadid10k"],
        ["splits", "kadid10k", "--protocol", "cross-test"],
        ["preview", "kadid10k"],
    ):
        told = [run(*command, "--root", root) for root in ("archive", "out")]
        assert told[0][0] == 0 and told[0] == told[1]
    assert "18 pictures, 18 with" in run("info", "kadid10k", "--root", "out")[1]


@pytest.mark.parametrize("name", ["koniq10k", "table"])
def test_split_of_the_set_itself_is_kept(run, tmp_path, name):
    root = ALL[name].make(tmp_path / "archive")
    run("prepare", name, "--root", root, "--out", "out")
    official = protocols.parse("official")
    hashes = {
        split_hash(
            protocols.split_records(
                catalog.read(name, folder),
                dataclasses.replace(official),
            )
        )
        for folder in (root, Path("out"))
    }
    assert len(hashes) == 1


def test_training_batches_are_those_of_the_archive_to_the_last_bit(run, tmp_path):
    sources = {"agiqa3k": "pictures", "sr4kiqa": "labelled_pairs"}
    for name in sources:
        ALL[name].make(tmp_path / name)
        assert run("prepare", name, "--root", name, "--out", "out")[0] == 0

    def start(roots):
        configs = tuple(
            SourceConfig(name, root, role, rows=3)
            for (name, role), root in zip(sources.items(), roots, strict=True)
        )
        data = DataConfig(
            configs, scale="agiqa3k", fractions=(0.5, 0.25, 0.25), split_seed=1
        )
        loaded = load_sources(data, tmp_path / "run")
        parts = [
            SourceData(s.split.train, s.config.role, 3, short_side=40) for s in loaded
        ]
        mixture = Mixture(tuple(parts), crop=32, seed=5)
        return split_hashes(loaded), list(batches(mixture, steps=5, threads=3))

    hashes, archive = start(["agiqa3k", "sr4kiqa"])
    other_hashes, stored = start(["out", "out/ganiqa/sr4kiqa/1.0.0"])
    assert hashes == other_hashes
    assert archive[0].reference.shape == (3, 32, 32, 3)
    for left, right in zip(archive, stored, strict=True):
        for name, a, b in zip(left._fields, left, right, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)
            assert a.dtype == b.dtype


def test_scoring_loads_the_same_crops(kadid10k):
    folder, archive = kadid10k
    rules = LoadRules(Preprocessing(short_side=0, crop=16, points=5), 10**6)
    for old, new in zip(archive[:2], catalog.read("kadid10k", folder), strict=False):
        one, other = (load_picture(r.distorted, "name", rules) for r in (old, new))
        assert (one.status, one.sha256) == (other.status, other.sha256)
        np.testing.assert_array_equal(one.crops, other.crops)
        pairs = [(r.reference, r.distorted) for r in (old, new)]
        one, other = (load_pair(pair, ("r", "d"), rules) for pair in pairs)
        assert one.status == other.status == "ok"
        np.testing.assert_array_equal(one.crops, other.crops)


def test_stored_paths_behave_as_paths(kadid10k):
    folder, archive = kadid10k
    path = catalog.read("kadid10k", folder)[4].distorted
    assert path.name == archive[4].distorted.name
    assert os.fspath(path) == str(folder / "pictures" / "4" / path.name)
    again = pickle.loads(pickle.dumps(path))
    assert again == path and hash(again) == hash(path) and {path: 1}[again] == 1
    assert again.read_bytes() == archive[4].distorted.read_bytes()
    gone = prepared.StoredPath(folder, "pictures", "18", "a.png")
    with pytest.raises(DecodeError, match=r"18/a\.png cannot be read"):
        decode_picture(gone)


def test_reading_does_not_import_tensorflow(kadid10k):
    code = (
        "import sys; from pathlib import Path; from ganiqa_jax.data import catalog\n"
        "from ganiqa_jax.scoring.decode import decode_picture\n"
        f"record = catalog.read('kadid10k', Path({str(kadid10k[0])!r}))[0]\n"
        "print(decode_picture(record.reference).pixels.shape)\n"
        "print({'tensorflow', 'tensorflow_datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "(24, 24, 3)\nset()\n", done.stderr


def test_any_name_and_prompt_come_back(tmp_path):
    from ganiqa_jax.data import tfds_builder

    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes((CASES["koniq10k"].make(tmp_path) / "x").name.encode())
    prompts = ['a "cat", sat\non\r\na mat ', "", "\u732b"]
    records = [
        Record(f"{n}/{path.name}", path, None, 0.1 + n, prompt, 1 / 3, "k", -2)
        for n, prompt in enumerate(prompts)
    ]
    folder = tfds_builder.prepare("table", records, tmp_path / "out")
    again = prepared.read_records(folder, "table")
    assert [told(r) for r in again] == [told(r) for r in records]
    splits = [Split(tuple(known), (), ()) for known in (records, again)]
    assert split_hash(splits[0]) == split_hash(splits[1])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("ganiqa-references.array_record-00000-of-00001", Path.unlink),
        ("labels.csv", Path.unlink),
        ("labels.csv", lambda p: p.write_bytes(p.read_bytes()[:-60])),
        ("labels.csv", lambda p: edit(p, "gaussian_blur,1,", "gaussian_blur,one,")),
        ("labels.csv", lambda p: edit(p, "kind", "kid")),
        ("labels.csv", lambda p: edit(p, ",0.2,", ",nan,")),
        ("dataset_info.json", lambda p: edit(p, '"array_record"', '"tfrecord"')),
        ("dataset_info.json", lambda p: p.write_text("{")),
        ("dataset_info.json", lambda p: p.write_text("[]")),
        ("dataset_info.json", lambda p: edit(p, "shardLengths", "lengths")),
    ],
)
def test_damaged_data_set_is_told_with_status_5(run, kadid10k, file, change):
    change(kadid10k[0] / file)
    status, stdout, stderr = run("info", "kadid10k", "--root", "out")
    assert (status, stdout) == (5, "")
    assert file in stderr or "array_record" in stderr
    assert "prepare it anew" in stderr and stderr.count("\n") == 1


def test_damaged_pictures_are_found_by_verify(run, kadid10k):
    shard = kadid10k[0] / "ganiqa-references.array_record-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[100] ^= 255
    shard.write_bytes(data)
    status, stdout, _ = run("verify", "kadid10k", "--root", "out")
    assert status == 3 and "references/0/I01.png" in stdout
    assert "damaged prepared data set" in stdout


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("configName", "csiq", "holds ganiqa/csiq:1.0.0, not ganiqa/kadid10k:1.0.0"),
        ("version", "0.9.0", "holds ganiqa/kadid10k:0.9.0"),
        ("name", "mnist", "holds mnist/"),
    ],
)
def test_another_data_set_is_refused(kadid10k, key, value, says):
    info = kadid10k[0] / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {key: value}))
    with pytest.raises(InputError, match=says) as error:
        catalog.read("kadid10k", kadid10k[0])
    assert not isinstance(error.value, IntegrityError)


def test_an_archive_is_no_prepared_data_set(tmp_path, caplog):
    root = make_koniq10k(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert prepared.find(root, "koniq10k") is None
    assert prepared.find(root / "koniq10k_distributions_sets.csv", "table") is None
