"""The run directory: same run or refused, and a metrics file without seams."""

import dataclasses
import json
import os
import re
import sys
import types

import pytest

from ganiqa_jax import rundir
from ganiqa_jax.config import (
    DataConfig,
    DistillConfig,
    LoopConfig,
    OptimConfig,
    SourceConfig,
    TeacherTrainConfig,
)
from ganiqa_jax.config_json import from_json
from ganiqa_jax.errors import GanIqaError, InputError, IntegrityError

SOURCE = SourceConfig("synthetic", "pairs", "labelled_pairs", rows=2)
CONFIG = TeacherTrainConfig(
    data=DataConfig(sources=(SOURCE,), scale="synthetic"), steps=20
)
SPLITS = {"synthetic": "abc"}


def start(workdir, config=CONFIG, *, resume=False, splits=SPLITS):
    rundir.start(
        workdir, config, command="c", seed=3, split_hashes=splits, resume=resume
    )


def test_writes_what_the_run_is_made_of(tmp_path):
    start(tmp_path / "deep" / "run")
    written = json.loads((tmp_path / "deep" / "run" / "config.json").read_text())
    manifest = json.loads((tmp_path / "deep" / "run" / "manifest.json").read_text())
    assert from_json(TeacherTrainConfig, written["config"]) == CONFIG
    assert (manifest["seed"], manifest["splits"]) == (3, SPLITS)
    (first,) = manifest["starts"]
    assert set(first["versions"]) >= {"jax", "flax", "optax", "orbax-checkpoint"}
    assert first["devices"] and first["python"] and first["command"] == "c"
    assert str(tmp_path) not in json.dumps(manifest)


def test_a_resumed_run_remembers_every_start(tmp_path):
    start(tmp_path)
    start(tmp_path, resume=True)
    assert len(json.loads((tmp_path / "manifest.json").read_text())["starts"]) == 2


def test_a_run_begun_before_a_field_was_added_goes_on(tmp_path):
    start(tmp_path)
    path = tmp_path / "config.json"
    written = json.loads(path.read_text())
    del written["config"]["data"]["sources"][0]["split"]
    path.write_text(json.dumps(written))
    start(tmp_path, resume=True)
    del written["config"]["optim"]["peak_lr"]
    path.write_text(json.dumps(written))
    other = dataclasses.replace(CONFIG, optim=OptimConfig(peak_lr=9.0))
    with pytest.raises(InputError, match="peak_lr was"):
        start(tmp_path, other, resume=True)


def test_a_used_directory_is_refused_without_resume(tmp_path):
    (tmp_path / "photo.png").touch()
    with pytest.raises(InputError, match="--resume .* another --workdir"):
        start(tmp_path)
    with pytest.raises(InputError, match=r"no config\.json"):
        start(tmp_path, resume=True)


def test_resuming_a_run_that_never_began_begins_it(tmp_path):
    start(tmp_path / "new", resume=True)
    (tmp_path / "new" / "config.json").unlink()  # as a kill leaves it
    start(tmp_path / "new", resume=True)
    assert (tmp_path / "new" / "config.json").exists()


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(InputError, match="is a file"):
        start(tmp_path / "run")


def test_names_every_field_that_differs(tmp_path):
    start(tmp_path)
    other = dataclasses.replace(
        CONFIG,
        optim=OptimConfig(peak_lr=1e-3),
        data=dataclasses.replace(
            CONFIG.data, sources=(dataclasses.replace(SOURCE, rows=4),)
        ),
    )
    with pytest.raises(InputError) as caught:
        start(tmp_path, other, resume=True)
    assert "optim.peak_lr was 0.0002, now 0.001" in str(caught.value)
    assert "data.sources.0.rows was 2, now 4" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "allowed"),
    [({"loop": LoopConfig(save_every=5)}, True), ({"steps": 40}, False)],
)
def test_only_the_loop_may_change(tmp_path, change, allowed):
    start(tmp_path)
    other = dataclasses.replace(CONFIG, **change)
    if not allowed:
        with pytest.raises(InputError, match="steps was 20, now 40"):
            start(tmp_path, other, resume=True)
        return
    start(tmp_path, other, resume=True)
    written = json.loads((tmp_path / "config.json").read_text())
    assert from_json(TeacherTrainConfig, written["config"]) == other


def test_another_stage_is_refused(tmp_path):
    start(tmp_path)
    with pytest.raises(InputError, match="TeacherTrainConfig, not of DistillConfig"):
        start(tmp_path, DistillConfig(data=CONFIG.data, steps=20), resume=True)


def test_another_split_is_refused(tmp_path):
    start(tmp_path)
    with pytest.raises(InputError, match="another split of synthetic"):
        start(tmp_path, resume=True, splits={"synthetic": "xyz"})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": NaN}', "\udcff"])
def test_a_damaged_config_is_named(tmp_path, text):
    start(tmp_path)
    (tmp_path / "config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(IntegrityError, match=r"config\.json is damaged"):
        start(tmp_path, resume=True)


def test_resumed_metrics_are_those_of_an_uninterrupted_run(tmp_path):
    with rundir.MetricsLog(tmp_path) as log:
        for step in (5, 10, 15):
            log.write(step, {"loss": 1 / step})
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    with path.open("a") as file:
        file.write('{"step": 20, "lo')  # as a kill leaves it
    assert [row["step"] for row in rundir.read_metrics(tmp_path)] == [5, 10, 15]

    with rundir.MetricsLog(tmp_path, from_step=10) as log:
        log.write(15, {"loss": 1 / 15})
    assert path.read_bytes() == whole


def test_a_row_can_be_read_while_the_run_goes_on(tmp_path):
    with rundir.MetricsLog(tmp_path) as log:
        log.write(1, {"loss": 0.5}, speed=2.0)
        assert rundir.read_metrics(tmp_path) == [{"step": 1, "loss": 0.5, "speed": 2.0}]


def test_a_new_run_begins_with_no_rows(tmp_path):
    for loss in (1.0, 2.0):
        with rundir.MetricsLog(tmp_path) as log:
            log.write(1, {"loss": loss})
    assert rundir.read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_values_that_are_not_finite_stay_legal_json(tmp_path):
    def refuse(constant):
        raise AssertionError(constant)

    with rundir.MetricsLog(tmp_path) as log:
        log.write(1, {"loss": float("nan"), "grad_norm": float("-inf")})
    json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    with rundir.MetricsLog(tmp_path, from_step=1):
        pass
    (row,) = rundir.read_metrics(tmp_path)
    assert row["loss"] != row["loss"] and row["grad_norm"] == float("-inf")


@pytest.mark.parametrize("line", ["{", "[1]", '{"loss": 1}', '{"step": 1, "a": "b"}'])
def test_a_damaged_row_is_named_by_its_line(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    with pytest.raises(IntegrityError, match=re.escape("damaged in line 2")):
        rundir.read_metrics(tmp_path)


def test_no_metrics_is_no_run(tmp_path):
    with pytest.raises(InputError, match="no run directory"):
        rundir.read_metrics(tmp_path)


def test_events_go_to_tensorboard_when_asked(tmp_path, monkeypatch):
    seen = []

    class SummaryWriter:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, name, value, step):
            seen.append((os.path.basename(self.folder), name, value, step))

        def flush(self):
            seen.append("flushed")

        def close(self):
            seen.append("closed")

    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = SummaryWriter
    module.__spec__ = types.SimpleNamespace(name="tensorboardX")
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    with rundir.MetricsLog(tmp_path, tensorboard=True) as log:
        log.write(5, {"loss": 0.5})
    assert seen == [("events", "loss", 0.5, 5), "flushed", "closed"]


def test_missing_tensorboard_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match="pip install tensorboardX"):
        rundir.MetricsLog(tmp_path, tensorboard=True)


def test_a_file_is_replaced_at_once_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "card.json"
    rundir.write_json(path, {"a": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GanIqaError, match=r"No room to write .*card\.json"):
        rundir.write_json(path, {"a": 2})
    assert rundir.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["card.json"]
