"""Runs of several processes: joined, in step, and ended together."""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixtures import make_agiqa3k, make_sr4kiqa
from two_processes import run_two

from ganiqa_jax import checkpoint, mesh, processes, rundir
from ganiqa_jax.config import LoopConfig
from ganiqa_jax.data import catalog
from ganiqa_jax.data.mixture import Mixture, Share, SourceData
from ganiqa_jax.data.pipeline import batches
from ganiqa_jax.errors import InputError
from ganiqa_jax.loop import Run, run_loop
from ganiqa_jax.steps import TrainState


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (("host:1", None, 0), "missing: processes"),
        ((None, 2, None), "missing: coordinator, index"),
        (("host:1", 2, 2), "index=2 must be 0 to 1"),
        (("host", 2, 1), "'host' must be host:port"),
    ],
)
def test_half_given_process_settings_are_refused(settings, match):
    with pytest.raises(InputError, match=match):
        processes.join(*settings)


def test_one_process_waits_for_nobody():
    processes.join(None, None, None)
    assert jax.process_count() == 1 and processes.is_first()
    with processes.Together():
        processes.wait("nothing")
        assert processes.share("word", "own") == "own"
        processes.agree("word", "any")


def test_processes_agree_share_and_place_rows():
    code = """
        import numpy as np
        from ganiqa_jax import mesh
        from ganiqa_jax.errors import InputError
        both = mesh.data_mesh()
        assert processes.is_first() == (index == 0)
        assert processes.share("word", f"of {index}") == "of 0"
        processes.agree("word", "same")
        try:
            processes.agree("split", f"abc{index}")
        except InputError as error:
            print(error)
        processes.wait("here")
        own = mesh.own_rows(4, both)
        x = mesh.shard_batch(np.arange(4.0)[list(own)], both)
        none = mesh.shard_batch(np.zeros((0, 2)), both)
        w = mesh.replicate(np.ones(()), both)
        assert x.shape == (4,) and none.shape == (0, 2)
        print(own, float(jax.jit(lambda x, w: (x * w).sum())(x, w)))
        try:
            mesh.own_rows(3, both)
        except InputError as error:
            print(error)
    """
    first, second = run_two(code)
    assert (first.status, second.status) == (0, 0), first.err + second.err
    refused = "3 rows cannot be shared evenly by 2 devices"
    said = [line for line in first.out.splitlines() if "Gloo" not in line]
    assert said[0] == "(0, 1) 6.0" and refused in said[1]
    said = [line for line in second.out.splitlines() if "Gloo" not in line]
    disagreed, summed, _ = said
    assert "Process 1 has another split than process 0: abc1, not abc0" in disagreed
    assert summed == "(2, 3) 6.0"


BOTH = """
    import numpy as np
    import test_processes as tests
    from pathlib import Path
    from ganiqa_jax import mesh
    from ganiqa_jax.data.pipeline import Share, batches
    mixture = tests.mixture(Path(data))
    both = mesh.data_mesh()
    share = Share(mesh.own_rows(8, both), mesh.own_rows(4, both))
    gather = jax.jit(lambda x: x, out_shardings=jax.sharding.NamedSharding(
        both, jax.sharding.PartitionSpec()))
    for step, batch in enumerate(batches(mixture, steps=3, share=share)):
        assert len(batch.distorted) == 4 and len(batch.reference) == 2
        whole = jax.tree.map(lambda x: np.asarray(gather(x)),
                             mesh.shard_batch(batch, both))
        if index == 0:
            np.savez(f"{out}/{step}.npz", **whole._asdict())
    tests.count(Path(data), Path(out) / "two")
"""


@pytest.fixture(scope="module")
def out(folder, tmp_path_factory) -> Path:
    """What two processes wrote: batches, and the directory of a run."""
    out = tmp_path_factory.mktemp("out")
    for ended in run_two(BOTH, data=str(folder), out=str(out)):
        assert ended.status == 0, ended.err
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_sr4kiqa(root / "sr4kiqa")
    make_agiqa3k(root / "agiqa3k")
    return root


def mixture(folder: Path) -> Mixture:
    """Half pairs: the second of two processes has no row with a reference."""
    pictures = tuple(catalog.read("agiqa3k", folder / "agiqa3k"))
    pairs = tuple(catalog.read("sr4kiqa", folder / "sr4kiqa"))
    sources = (
        SourceData(pictures, "pictures", 4),
        SourceData(pairs, "labelled_pairs", 4),
    )
    return Mixture(sources, crop=32, seed=3)


def test_batches_of_two_processes_are_those_of_one(folder, out):
    for step, batch in enumerate(batches(mixture(folder), steps=3)):
        found = np.load(out / f"{step}.npz")
        for name, array in batch._asdict().items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
            assert found[name].dtype == array.dtype


def count(folder: Path, workdir: Path) -> None:
    """A run of the loop whose state sums up what it saw."""
    devices = mesh.data_mesh()
    drawn = mixture(folder)
    share = Share(mesh.own_rows(8, devices), mesh.own_rows(4, devices))
    sums = {"network": {"rows": jnp.zeros(()), "references": jnp.zeros(())}}
    ema = jax.tree.map(jnp.array, {"params": sums["network"]})
    state = TrainState(jnp.zeros((), jnp.int32), sums, {}, (), ema)

    @jax.jit
    def step(state, batch):
        seen = {"rows": batch.index.sum(), "references": batch.reference.sum()}
        ema = jax.tree.map(jnp.add, state.ema, {"params": seen})
        metrics = {"loss": batch.mos.mean(), "nonfinite": jnp.zeros((), jnp.int32)}
        return state._replace(step=state.step + 1, ema=ema), metrics

    run = Run(
        workdir=workdir,
        step=lambda state, batch: step(state, mesh.shard_batch(batch, devices)),
        mixture=drawn,
        share=share,
        total=4,
        loop=LoopConfig(log_every=2, save_every=2),
        learning_rate=lambda number: 0.0,
        max_nonfinite=3,
    )
    workdir.mkdir(exist_ok=True)
    run_loop(run, mesh.replicate(state, devices), start=0, progress=False)


def test_loop_of_two_processes_writes_the_directory_of_one(folder, out):
    count(folder, out / "one")
    one, two = (checkpoint.restore_ema(out / name) for name in ("one", "two"))
    assert one[0] == two[0] == 4 and one[1]["params"]["rows"] == sum(range(32))
    for name, value in one[1]["params"].items():
        assert two[1]["params"][name] == pytest.approx(value, rel=1e-6)
    assert checkpoint.verified_steps(out / "two") == [2, 4]
    logs = [rundir.read_metrics(out / name) for name in ("one", "two")]
    for left, right in zip(*logs, strict=True):
        assert right["step"] == left["step"]
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-6)


FAILS = """
    import numpy as np
    from ganiqa_jax import mesh
    from ganiqa_jax.errors import GanIqaError, InputError
    try:
        with processes.Together():
            both = mesh.data_mesh()
            if index == failing:
                raise InputError("This picture is broken.\\nSecond line.")
            if device:
                x = mesh.shard_batch(np.ones(1), both)
                print(float(jax.jit(lambda x: x.sum())(x)))
            else:
                processes.wait("for ever")
    except GanIqaError as error:
        print("ganiqa:", error, file=sys.stderr)
        sys.exit(error.exit_status)
"""


@pytest.mark.parametrize(("failing", "device"), [(0, True), (1, False)])
def test_a_failure_ends_all_processes_with_one_line(failing, device):
    began = time.monotonic()
    ended = run_two(FAILS, failing=failing, device=device)
    assert time.monotonic() - began < 40
    assert [process.status for process in ended] == [2, 2], ended
    lines = [line for line in ended[1 - failing].err.splitlines() if "ganiqa:" in line]
    assert lines == [
        f"ganiqa: Process {failing} ended the run: This picture is broken."
    ]


def test_a_killed_process_does_not_leave_the_other_waiting():
    code = """
        import os, signal
        import numpy as np
        from ganiqa_jax import mesh
        from ganiqa_jax.errors import GanIqaError
        both = mesh.data_mesh()
        total = jax.jit(lambda x: x.sum())
        x = mesh.shard_batch(np.ones(1), both)
        assert float(total(x)) == 2.0
        if index == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            with processes.Together():
                while True:
                    float(total(x))
        except GanIqaError as error:
            print("ganiqa:", error, file=sys.stderr)
            sys.exit(error.exit_status)
    """
    first, second = run_two(code, timeout=60)
    assert second.status == -9 and first.status == 1
    assert "If another process was lost, start all again" in first.err
