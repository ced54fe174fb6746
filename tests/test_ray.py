"""Scoring on a real local cluster of Ray gives what one machine gives, whoever dies."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_release import CARDS, make_variables

from ganiqa_jax import release
from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.engine import create_scorer
from ganiqa_jax.scoring.rows import read_header, read_rows

pytest.importorskip("ray.data", reason="needs the extra `ray`")

from ganiqa_jax.integrations.ray import Layout, RayScorer

PICTURES = 240

# Two scorers and two other processors: four worker processes at least.
SCORE = """
import sys
from pathlib import Path
import ray
from ganiqa_jax.integrations.ray import Layout, RayScorer
from ganiqa_jax.scoring.rows import open_rows

ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
model, pictures, out = map(Path, sys.argv[1:])
scorer = RayScorer(model, Layout(batch_size=2, scorers=2))
with open_rows(out, scorer.header()) as rows:
    for row in scorer.score_iter(sorted(pictures.iterdir())):
        rows.write(row)
        print("row", flush=True)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("released") / "student"
    release.save_model(folder, CARDS["student"], make_variables(CARDS["student"]))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(PICTURES - 2):
        pixels = random.integers(0, 256, (80, 64 + number % 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    # A name of Linux that is no UTF-8.
    name = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(pixels).save(folder / name)
    return folder


def workers(process: subprocess.Popen) -> list[tuple[int, str]]:
    """Processes of the cluster that a process started, by what they call themselves."""
    import psutil

    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            found.append((child.pid, " ".join(child.cmdline())))
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.slow
def test_killed_workers_leave_every_picture_scored_once(model, pictures, tmp_path):
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, "-c", SCORE, str(model), str(pictures), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline()
        scorers = [pid for pid, name in workers(process) if "_Score" in name]
        assert len(scorers) == 2
        os.kill(scorers[0], signal.SIGKILL)
        time.sleep(0.2)
        decoders = [pid for pid, name in workers(process) if "_decode" in name]
        for pid in decoders[:1]:
            os.kill(pid, signal.SIGKILL)
        process.stdout.read()
    assert process.returncode == 0
    paths = sorted(pictures.iterdir())
    expected = list(create_scorer(model, batch_size=2).score_iter(paths))
    rows = read_rows(out)
    assert [row.path for row in rows] == [str(path) for path in paths]
    for row, other in zip(rows, expected, strict=True):
        assert row.score == pytest.approx(other.score, abs=1e-5)
        left, right = (
            dataclasses.replace(r, score=None, sigma=None, mos=None, time_ms=None)
            for r in (row, other)
        )
        assert left == right
    assert read_header(out) == create_scorer(model).header()


@pytest.mark.slow
def test_a_cluster_run_that_was_killed_is_gone_on_with(model, pictures, tmp_path):
    out = tmp_path / "rows.parquet"
    main = "import sys; from ganiqa_jax.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "score", str(pictures), "-m", str(model)]
    command += ["--engine", "ray", "--out", str(out)]
    part = Path(f"{out}.part")
    with subprocess.Popen(command) as process:
        deadline = time.monotonic() + 120
        while not (part.exists() and len(part.read_bytes().splitlines()) > 5):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.kill()
    kept = len(part.read_bytes().splitlines()) - 1
    assert 0 < kept < PICTURES and not out.exists()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    paths = sorted(pictures.iterdir())
    expected = list(create_scorer(model).score_iter(paths))
    rows = read_rows(out)
    assert [row.path for row in rows] == [str(path) for path in paths]
    for row, other in zip(rows, expected, strict=True):
        assert row.status == other.status
        assert row.score == pytest.approx(other.score, abs=1e-5)


def test_stages_of_the_cluster_give_the_rows_of_one_machine(
    model, pictures, monkeypatch
):
    """The functions that run in other processes, called here one after the other."""
    import pyarrow as pa
    import ray

    from ganiqa_jax.integrations import ray as ours

    paths = sorted(pictures.iterdir())
    table = pa.table({"path": [os.fsencode(p) for p in paths], "tag": range(PICTURES)})
    loaded = release.load_model(model)
    decoded = ours._decode(
        table,
        path="path",
        keep=True,
        preprocessing=loaded.card.preprocessing,
        max_pixels=7_000,
    )
    monkeypatch.setattr(ray, "get", lambda ref: ref)
    score = ours._Score((loaded.card, loaded.variables), batch_size=4)
    found = ours._spread(score(decoded))
    scorer = create_scorer(model, batch_size=4, max_pixels=7_000)
    expected = list(scorer.score_iter(paths))
    assert found.column("tag").to_pylist() == list(range(PICTURES))
    assert found.column("status").to_pylist() == [row.status for row in expected]
    assert set(found.column("status").to_pylist()) == {
        "ok",
        "decode_error",
        "too_large",
    }
    np.testing.assert_allclose(
        np.array(found.column("score").to_pylist(), float),
        np.array([row.score for row in expected], float),
        atol=1e-5,
    )
    names = found.column("path").to_pylist()
    assert names[paths.index(pictures / os.fsdecode(b"caf\xe9.png"))].endswith(
        "caf\\udce9.png"
    )


def test_a_layout_that_cannot_be_is_told():
    with pytest.raises(InputError, match="batch_size=0"):
        Layout(batch_size=0)


def test_a_teacher_is_refused_before_ray_starts(tmp_path):
    import ray

    release.save_model(tmp_path, CARDS["teacher"], make_variables(CARDS["teacher"]))
    with pytest.raises(InputError, match="is a teacher"):
        RayScorer(tmp_path)
    assert not ray.is_initialized()
