"""Whole runs on tiny data: they end, resume bit for bit, and refuse bad input."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from test_convert import keras_state

from ganiqa_jax import checkpoint, release, rundir
from ganiqa_jax.config import (
    DataConfig,
    DistillConfig,
    FitConfig,
    JndConfig,
    LoopConfig,
    OptimConfig,
    Preprocessing,
    ProbeConfig,
    SourceConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTrainConfig,
)
from ganiqa_jax.data.pipeline import batches
from ganiqa_jax.data.sources import load_sources
from ganiqa_jax.data.synthetic import write_pairs
from ganiqa_jax.errors import InputError, IntegrityError, NonFiniteError
from ganiqa_jax.models.comparison import LIKENESS_MEAN, LIKENESS_STD
from ganiqa_jax.train import _mixture, distill, train_teacher

NARROW = dict(width=8, heads=2, expansion=1, attention="none")  # quick to compile
LOOP = LoopConfig(log_every=5, save_every=10)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "synthetic"
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:80, :80]
    scenes = {
        f"scene{n}": (
            128
            + 60 * np.sin(rows / (2 + n))[..., None]
            + 40 * np.cos(columns / (3 + n))[..., None]
            + random.normal(0, 8, (80, 80, 3))
        )
        .clip(0, 255)
        .astype(np.uint8)
        for n in range(6)
    }
    write_pairs(scenes, folder, seed=0, per_picture=3)
    return folder


def teacher_config(pairs: Path, **changes) -> TeacherTrainConfig:
    config = TeacherTrainConfig(
        data=DataConfig(
            sources=(SourceConfig("synthetic", str(pairs), "labelled_pairs", rows=2),),
            scale="synthetic",
            crop=64,
            fractions=(0.5, 0.17, 0.33),
        ),
        steps=20,
        teacher=TeacherConfig(
            backbone="mobilenet_v1",
            attention_grid=8,
            jnd=JndConfig(strength=0.0),
            **NARROW,
        ),
        optim=OptimConfig(peak_lr=1e-3, ema_decay=0.9),
        preprocessing=Preprocessing(crop=64, points=1),
        loop=LOOP,
    )
    return dataclasses.replace(config, **changes)


def distill_config(pairs: Path, teacher: Path | str, **changes) -> DistillConfig:
    base = teacher_config(pairs)
    source = dataclasses.replace(base.data.sources[0], role="unlabelled_pairs")
    config = DistillConfig(
        data=dataclasses.replace(base.data, sources=(source,)),
        steps=20,
        teacher=str(teacher),
        student=StudentConfig(
            trunk="mobilenet_v1",
            frozen_blocks=11,
            jnd=JndConfig(strength=0.0),
            **NARROW,
        ),
        probe=ProbeConfig(steps=5, crops=1),
        optim=base.optim,
        preprocessing=base.preprocessing,
        loop=LOOP,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def trunk_file(tmp_path_factory) -> Path:
    """Random weights in the layout of the ImageNet ones."""
    path = tmp_path_factory.mktemp("weights") / "trunk.npz"
    np.savez(path, **{name: np.abs(value) for name, value in keras_state().items()})
    return path


@pytest.fixture(scope="module")
def teacher_run(pairs, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "teacher"
    train_teacher(teacher_config(pairs), workdir, progress=False)
    return workdir


def final_weights(workdir: Path) -> dict[str, bytes]:
    step, ema = checkpoint.restore_ema(workdir)
    assert step == 20
    import jax

    return {
        jax.tree_util.keystr(path): np.asarray(leaf).tobytes()
        for path, leaf in jax.tree_util.tree_leaves_with_path(ema)
    }


def losses(workdir: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in rundir.read_metrics(workdir)]


def test_a_run_directory_is_enough_to_score(teacher_run, pairs):
    from ganiqa_jax.scoring.engine import create_scorer

    for name in ("config.json", "manifest.json", "card.json", "metrics.jsonl"):
        assert (teacher_run / name).exists(), name
    assert (teacher_run / "splits" / "synthetic.txt").exists()
    card = release.read_card(teacher_run)
    assert (card.role, card.scale.name) == ("teacher", "synthetic grade")
    files = sorted(pairs.rglob("*.png"))[:1]
    (row,) = create_scorer(teacher_run).compare_iter([(files[0], files[0])])
    assert row.status == "ok" and 0 <= row.score <= 1


BEGIN = """
    import sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    import test_train
    config = test_train.teacher_config(Path({pairs!r}))
    test_train.train_teacher(config, Path({workdir!r}), progress=False)
"""


def test_killed_run_resumes_bit_for_bit(pairs, teacher_run, tmp_path):
    workdir = tmp_path / "killed"
    code = textwrap.dedent(BEGIN).format(
        tests=str(Path(__file__).parent), pairs=str(pairs), workdir=str(workdir)
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ))
    deadline = time.monotonic() + 120
    while not checkpoint.verified_steps(workdir) and time.monotonic() < deadline:
        assert child.poll() in (None, 0)
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()

    train_teacher(teacher_config(pairs), workdir, resume=True, progress=False)
    assert final_weights(workdir) == final_weights(teacher_run)
    assert losses(workdir) == losses(teacher_run)


@pytest.mark.slow
def test_interrupted_distillation_resumes_bit_for_bit(
    pairs, teacher_run, trunk_file, tmp_path, monkeypatch
):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    config = distill_config(pairs, teacher_run)
    student = dataclasses.replace(config.student, trunk_weights=str(trunk_file))
    config = dataclasses.replace(config, student=student)
    in_one_and_in_halves(distill, config, whole, halves, monkeypatch)
    assert (whole / "pseudo_labels" / "synthetic.csv").exists()


def in_one_and_in_halves(train, config, whole, halves, monkeypatch):
    """The same run twice, the second interrupted, to the same end."""
    train(config, whole, progress=False)

    write = rundir.MetricsLog.write

    def write_then_interrupt(log, step, metrics, **extra):
        write(log, step, metrics, **extra)
        if step == 10:
            raise KeyboardInterrupt

    rare = dataclasses.replace(LOOP, save_every=20)
    with monkeypatch.context() as patched:
        patched.setattr(rundir.MetricsLog, "write", write_then_interrupt)
        with pytest.raises(KeyboardInterrupt) as caught:
            train(dataclasses.replace(config, loop=rare), halves, progress=False)
    assert any("Step 10 is saved" in note for note in caught.value.__notes__)
    assert checkpoint.verified_steps(halves) == [10]
    train(config, halves, resume=True, progress=False)
    assert final_weights(halves) == final_weights(whole)
    assert losses(halves) == losses(whole)


@pytest.mark.slow
def test_interrupted_teacher_of_channels_resumes_bit_for_bit(
    pairs, trunk_file, tmp_path, monkeypatch
):
    config = teacher_config(pairs, probe=FitConfig(steps=5, pairs=12))
    making = SourceConfig(
        "pristine", str(pairs), "unlabelled_pairs", rows=2, distort="all"
    )
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, sources=(making,), scale="pristine"),
        teacher=dataclasses.replace(
            config.teacher, channels=True, backbone_weights=str(trunk_file)
        ),
    )
    whole = tmp_path / "whole"
    in_one_and_in_halves(train_teacher, config, whole, tmp_path / "halves", monkeypatch)
    scale = release.read_card(whole).scale
    assert (scale.mean, scale.std) == (LIKENESS_MEAN, LIKENESS_STD)


def test_nonfinite_loss_stops_and_names_the_batch(pairs, tmp_path):
    # By a backbone without a deviation: the program is the one of the other runs.
    values = {
        name: -np.abs(value) if name.endswith("variance") else value
        for name, value in keras_state().items()
    }
    weights = str(tmp_path / "weights.npz")
    np.savez(weights, **values)
    config = teacher_config(pairs)
    teacher = dataclasses.replace(config.teacher, backbone_weights=weights)
    config = dataclasses.replace(config, teacher=teacher)
    with pytest.raises(NonFiniteError, match=r"batch of .*scene"):
        train_teacher(config, tmp_path / "run", progress=False)


def test_missing_root_is_named(pairs, tmp_path):
    config = teacher_config(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere"):
        train_teacher(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_another_configuration_is_refused(pairs, teacher_run):
    config = teacher_config(pairs, optim=OptimConfig(peak_lr=5e-4))
    with pytest.raises(InputError, match="peak_lr"):
        train_teacher(config, teacher_run, resume=True, progress=False)


def test_teacher_that_saw_held_out_contents_is_refused(pairs, teacher_run, tmp_path):
    config = distill_config(pairs, teacher_run)
    data = dataclasses.replace(config.data, split_seed=5)
    with pytest.raises(InputError, match="holds out"):
        distill(
            dataclasses.replace(config, data=data), tmp_path / "run", progress=False
        )


def test_a_student_is_no_teacher(pairs, teacher_run, tmp_path):
    card = json.loads((teacher_run / "card.json").read_text())
    assert card["role"] == "teacher"
    with pytest.raises((InputError, IntegrityError), match="nothing"):
        distill(
            distill_config(pairs, tmp_path / "nothing"),
            tmp_path / "run",
            progress=False,
        )


def test_shares_and_cache_of_the_settings_reach_the_batches(pairs, tmp_path):
    data = teacher_config(pairs).data
    weighted = dataclasses.replace(data.sources[0], rows=0, weight=2.0)
    data = dataclasses.replace(
        data,
        sources=(weighted,),
        shared_pair_rows=3,
        cache="disk",
        cache_dir=str(tmp_path / "cache"),
        cache_gib=0.5,
    )
    config = teacher_config(pairs, data=data)
    sources = load_sources(data, tmp_path)
    mixture = _mixture(config, sources, None)
    assert mixture.batch_size == data.batch_size == mixture.pair_rows == 3
    assert mixture.cache_bytes == 2**29
    (batch,) = batches(mixture, steps=1)
    assert len(batch.reference) == 3 and list((tmp_path / "cache").glob("*.pixels"))


def test_pictures_held_out_move_no_weight(pairs, teacher_run, tmp_path):
    copy = Path(shutil.copytree(pairs, tmp_path / "pairs"))
    (source,) = load_sources(teacher_config(copy).data, tmp_path / "run")
    for record in source.split.validation + source.split.test:
        record.distorted.write_bytes(b"opening it would end the run")
    train_teacher(teacher_config(copy), tmp_path / "run", progress=False)
    assert final_weights(tmp_path / "run") == final_weights(teacher_run)
