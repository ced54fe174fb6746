"""A run of two real processes: the numbers and the directory of a run of one."""

import csv
import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import two_processes
from test_train import distill_config, pairs, teacher_config
from two_processes import free_port, run_all

from ganiqa_jax import checkpoint, rundir
from ganiqa_jax.arrays import by_name
from ganiqa_jax.config import LoopConfig, OptimConfig

__all__ = ["pairs"]

pytestmark = pytest.mark.slow


def small(pairs: str, teacher: str = ""):
    """Four rows, so that a process has two; the runs of test_train otherwise."""
    changes = {
        "steps": 6,
        "optim": OptimConfig(ema_decay=0.5),
        "loop": LoopConfig(log_every=2, save_every=3),
    }
    if teacher:
        config = distill_config(Path(pairs), teacher, **changes)
    else:
        config = teacher_config(Path(pairs), **changes)
    (source,) = config.data.sources
    sources = (dataclasses.replace(source, rows=4),)
    data = dataclasses.replace(config.data, sources=sources)
    return dataclasses.replace(config, data=data)


CONFIG = """
import sys
sys.path.insert(0, {tests!r})
import test_train_processes

def get_config():
    return test_train_processes.small({pairs!r}, {teacher!r})
"""
MAIN = "import sys; from ganiqa_jax.cli import main; sys.exit(main())"


def command(pairs: Path, workdir: Path, *options: str, teacher: str = "") -> list[str]:
    config = workdir.parent / f"{workdir.name}.py"
    tests = str(Path(__file__).parent)
    config.write_text(CONFIG.format(tests=tests, pairs=str(pairs), teacher=teacher))
    stage = "distill" if teacher else "train"
    place = ["--workdir", str(workdir), "--no-progress"]
    return [sys.executable, "-c", MAIN, stage, str(config), *place, *options]


def run_two(pairs: Path, workdir: Path, *options: str, teacher: str = ""):
    together = ["--coordinator", f"localhost:{free_port()}", "--processes", "2"]
    indices = (["--process-index", str(index)] for index in range(2))
    commands = [
        command(pairs, workdir, *options, *together, *index, teacher=teacher)
        for index in indices
    ]
    return run_all(commands, timeout=300)


@pytest.fixture(scope="module")
def runs(pairs, tmp_path_factory) -> tuple[Path, Path]:
    """A run of one process, and the same run of two."""
    folder = tmp_path_factory.mktemp("runs")
    (alone,) = run_all([command(pairs, folder / "one")], timeout=300)
    assert alone.status == 0, alone.err
    for ended in run_two(pairs, folder / "two"):
        assert ended.status == 0, ended.err
    return folder / "one", folder / "two"


# The loss does not depend on these (a normalisation or a softmax follows), so their
# gradients are rounding errors, which Adam makes into steps of full size.
WITHOUT_GRADIENT = ("depthwise/bias", "key/bias", "convolution/batch_norm/mean")
# Nearly so: how much a normalisation before a depthwise convolution scales a channel,
# the batch norm after it takes out again, and its variance follows.
NEARLY = ("dsc/norm/scale", "dsc/batch_norm/var")


def test_two_processes_learn_what_one_learns(runs):
    one, two = (by_name(checkpoint.restore_ema(run)[1]) for run in runs)
    assert one.keys() == two.keys()
    for name, array in one.items():
        close = 1e-4 if name.endswith(NEARLY) else 1e-5
        if not name.endswith(WITHOUT_GRADIENT):
            np.testing.assert_allclose(two[name], array, atol=close, err_msg=name)
    for left, right in zip(*map(rundir.read_metrics, runs), strict=True):
        for row in (left, right):
            del row["steps_per_second"], row["data_wait"]
        assert right == pytest.approx(left, rel=1e-5)


def test_two_processes_leave_the_directory_of_one_and_it_scores(runs, pairs, tmp_path):
    from ganiqa_jax.evaluate import evaluate

    one, two = ({str(f.relative_to(r)) for f in r.glob("*")} for r in runs)
    assert one == two
    assert checkpoint.verified_steps(runs[1]) == [3, 6]
    manifest = rundir.read_json(runs[1] / "manifest.json")
    (start,) = manifest["starts"]
    assert len(start["devices"]) == 2
    options = {"part": "all", "bootstrap": 10, "progress": False}
    scores = []
    for run in runs:
        evaluate(run, "synthetic", pairs, out=tmp_path / run.name, **options)
        with (tmp_path / run.name / "predictions.csv").open(newline="") as file:
            scores.append([float(row["score"]) for row in csv.DictReader(file)])
    assert len(scores[0]) == 18
    # Not their order: after six steps they lie within 1e-3, some of them within 1e-6.
    assert scores[1] == pytest.approx(scores[0], abs=1e-6)


def test_two_processes_resume_bit_for_bit(runs, pairs, tmp_path):
    workdir = Path(shutil.copytree(runs[1], tmp_path / "two"))
    shutil.rmtree(workdir / "checkpoints" / "6")
    for ended in run_two(pairs, workdir, "--resume"):
        assert ended.status == 0, ended.err
    expected, found = (
        by_name(checkpoint.restore_ema(r)[1]) for r in (runs[1], workdir)
    )
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_process_that_compiles_longer_than_the_other_is_waited_for():
    code = """
        import time
        import numpy as np
        from ganiqa_jax import mesh
        both = mesh.data_mesh()
        time.sleep(4 * index)
        mesh.connect(both)
        time.sleep(40 * index)
        total = jax.jit(lambda x: (x * x).sum())
        print(float(total(mesh.shard_batch(np.full(1, 2.0), both))))
    """
    for ended in two_processes.run_two(code):
        assert (ended.status, ended.out.splitlines()[-1]) == (0, "8.0"), ended.err


def test_a_used_directory_ends_both_with_one_line(runs, pairs):
    first, second = run_two(pairs, runs[1])
    assert (first.status, second.status) == (2, 2)
    assert "is not empty; add --resume" in first.err
    assert "Process 0 ended the run:" in second.err
    assert "Traceback" not in first.err + second.err


def test_a_picture_that_one_process_cannot_read_ends_both(pairs, tmp_path):
    copy = Path(shutil.copytree(pairs, tmp_path / "pairs"))
    for path in (copy / "distorted").iterdir():
        path.write_bytes(b"no picture")
    ended = run_two(copy, tmp_path / "run")
    assert [one.status for one in ended] == [2, 2]
    for one in ended:
        assert "cannot be read" in one.err and "Traceback" not in one.err


def test_pseudo_labels_are_made_once_and_read_by_both(runs, pairs, tmp_path):
    for ended in run_two(pairs, tmp_path / "run", teacher=str(runs[0])):
        assert ended.status == 0, ended.err
    assert (tmp_path / "run" / "pseudo_labels" / "synthetic.csv").exists()
    assert checkpoint.verified_steps(tmp_path / "run") == [3, 6]
