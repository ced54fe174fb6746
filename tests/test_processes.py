"""Runs of several processes: joined, in step, and ended together."""

import time

import jax
import numpy as np
import pytest
from test_pipeline import make_pairs, make_pictures
from two_processes import run_two

from ganiqa_jax import processes
from ganiqa_jax.data.pipeline import Mixture, SourceData, batches
from ganiqa_jax.errors import InputError


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


FEED = """
    import numpy as np
    import test_processes as tests
    from pathlib import Path
    from ganiqa_jax import mesh
    from ganiqa_jax.data.pipeline import Share, batches
    mixture = tests.mixture(Path(folder))
    both = mesh.data_mesh()
    share = Share(mesh.own_rows(8, both), mesh.own_rows(4, both))
    gather = jax.jit(lambda x: x, out_shardings=jax.sharding.NamedSharding(
        both, jax.sharding.PartitionSpec()))
    for step, batch in enumerate(batches(mixture, steps=3, share=share)):
        assert len(batch.distorted) == 4 and len(batch.reference) == 2
        whole = jax.tree.map(lambda x: np.asarray(gather(x)),
                             mesh.shard_batch(batch, both))
        if index == 0:
            np.savez(f"{folder}/{step}.npz", **whole._asdict())
"""


def mixture(folder):
    return Mixture(
        sources=(
            SourceData(make_pictures(folder / "pictures", count=10), "pictures", 4),
            SourceData(make_pairs(folder / "pairs", count=5), "labelled_pairs", 4),
        ),
        crop=32,
        seed=3,
    )


def test_batches_of_two_processes_are_those_of_one(tmp_path):
    expected = list(batches(mixture(tmp_path), steps=3))
    for ended in run_two(FEED, folder=str(tmp_path)):
        assert ended.status == 0, ended.err
    for step, batch in enumerate(expected):
        found = np.load(tmp_path / f"{step}.npz")
        for name, array in batch._asdict().items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
            assert found[name].dtype == array.dtype


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


@pytest.mark.parametrize(("failing", "device"), [(0, True), (1, True), (1, False)])
def test_a_failure_ends_all_processes_with_one_line(failing, device):
    began = time.monotonic()
    ended = run_two(FAILS, failing=failing, device=device)
    assert time.monotonic() - began < 40
    assert [process.status for process in ended] == [2, 2], ended
    lines = [line for line in ended[1 - failing].err.splitlines() if "ganiqa:" in line]
    assert lines == [f"ganiqa: Process {failing} ended the run: This picture is broken"]


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
