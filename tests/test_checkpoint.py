"""Checkpoints: bit for bit, or a step back and a word about it."""

import functools
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ganiqa_jax import arrays, checkpoint
from ganiqa_jax.errors import GanIqaError, InputError, IntegrityError


class State(NamedTuple):
    step: Any
    params: Any
    opt_state: Any
    ema: Any


@functools.cache
def structure(width: int) -> State:
    """The kinds of leaves of a real state: optimiser tuples, bfloat16, scalars."""
    network = {
        "dense": {"kernel": jnp.zeros((4, width)), "bias": jnp.zeros(width)},
        "head": {"kernel": jnp.zeros((4, 3), jnp.bfloat16)},
        "odd": {"tiny": jnp.zeros(3)},
        "none": jnp.zeros((0, 3)),
    }
    params = {"network": network, "adapters": {"0": jnp.ones((2, 2))}}
    optimizer = optax.apply_if_finite(
        optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)), 3
    )
    average = {"params": network, "batch_stats": {"norm": {"mean": jnp.ones(3)}}}
    step = jnp.zeros((), jnp.int32)
    return State(step, params, optimizer.init(params), average)


def make_state(step: int = 0, width: int = 6) -> State:
    """A state whose every value depends on the step, with awkward floats in it."""
    random = np.random.default_rng(step)

    def fill(leaf: jax.Array) -> np.ndarray:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return np.asarray(step, leaf.dtype)
        values = np.asarray(random.normal(size=leaf.shape)).astype(leaf.dtype)
        values.reshape(-1)[:3] = np.array([np.nan, -0.0, 1e-45])[: values.size]
        return values

    return jax.tree.map(fill, structure(width))


def bits(tree: Any) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    named = {name: np.asarray(leaf) for name, leaf in arrays.by_name(tree).items()}
    return {n: (str(a.dtype), a.shape, a.tobytes()) for n, a in named.items()}


@pytest.fixture(scope="module")
def template_run(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("saved")
    for step in (10, 20):
        checkpoint.save(workdir, step, make_state(step))
    return workdir


@pytest.fixture
def run(template_run, tmp_path) -> Path:
    """A run directory with the steps 10 and 20, to be damaged."""
    return Path(shutil.copytree(template_run, tmp_path / "run"))


def data_file(run: Path, step: int, item: str) -> Path:
    """The largest file of an item: its values."""
    files = (run / "checkpoints" / str(step) / item).rglob("*")
    return max((f for f in files if f.is_file()), key=lambda f: f.stat().st_size)


def flip_bit(path: Path, position: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def test_round_trip_is_bit_for_bit(run):
    restored = checkpoint.restore(run, make_state())
    assert restored is not None
    assert (restored.step, restored.skipped) == (20, [])
    expected = make_state(20)
    assert jax.tree.structure(restored.state) == jax.tree.structure(expected)
    assert bits(restored.state) == bits(expected)


def test_shapes_alone_are_template_enough(run):
    shapes = jax.eval_shape(lambda: structure(6))
    restored = checkpoint.restore(run, shapes)
    assert restored is not None and bits(restored.state) == bits(make_state(20))


def test_leaves_do_not_share_memory(run):
    restored = checkpoint.restore(run, make_state())
    assert restored is not None
    leaves = [leaf for leaf in jax.tree.leaves(restored.state) if leaf.size]
    assert not any(
        np.shares_memory(a, b) for i, a in enumerate(leaves) for b in leaves[:i]
    )


def test_an_older_step_can_be_asked_for(run):
    restored = checkpoint.restore(run, make_state(), step=10)
    assert restored is not None
    assert (restored.step, bits(restored.state)) == (10, bits(make_state(10)))
    with pytest.raises(InputError, match=r"no checkpoint 15; it has \[10, 20\]"):
        checkpoint.restore(run, make_state(), step=15)


def test_no_checkpoint_is_no_error(tmp_path):
    assert checkpoint.restore(tmp_path, make_state()) is None
    assert checkpoint.verified_steps(tmp_path) == []
    with pytest.raises(InputError, match="no checkpoint yet"):
        checkpoint.restore_ema(tmp_path)


def flip_values(run: Path) -> None:
    flip_bit(data_file(run, 20, "state"))


def flip_average(run: Path) -> None:
    flip_bit(data_file(run, 20, "ema"))


def flip_record(run: Path) -> None:
    flip_bit(run / "checkpoints" / "20" / "integrity.json")


def truncate(run: Path) -> None:
    os.truncate(data_file(run, 20, "state"), 7)


def delete_file(run: Path) -> None:
    data_file(run, 20, "state").unlink()


def delete_record(run: Path) -> None:
    (run / "checkpoints" / "20" / "integrity.json").unlink()


def empty_step(run: Path) -> None:
    shutil.rmtree(run / "checkpoints" / "20")
    (run / "checkpoints" / "20").mkdir()


def file_for_step(run: Path) -> None:
    shutil.rmtree(run / "checkpoints" / "20")
    (run / "checkpoints" / "20").touch()


def renamed_step(run: Path) -> None:
    shutil.rmtree(run / "checkpoints" / "20")
    shutil.copytree(run / "checkpoints" / "10", run / "checkpoints" / "20")


DAMAGES = [
    (flip_values, "other bytes than were written"),
    (flip_average, "other bytes than were written"),
    (flip_record, "damaged"),
    (truncate, "has 7 bytes, not"),
    (delete_file, "is missing"),
    (delete_record, r"integrity\.json is missing"),
    (empty_step, "the folder is empty"),
    (file_for_step, "cannot be read"),
    (renamed_step, "the folder holds step 10"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_walks_back_from_a_damaged_step_and_says_so(run, damage, reason, caplog):
    damage(run)
    with caplog.at_level(logging.WARNING, logger="ganiqa_jax"):
        restored = checkpoint.restore(run, make_state())
    assert restored is not None
    assert (restored.step, bits(restored.state)) == (10, bits(make_state(10)))
    (line,) = restored.skipped
    (record,) = [r for r in caplog.records if r.name == "ganiqa_jax"]
    assert line.startswith("checkpoint 20 is damaged: ") and "\n" not in line
    assert line in record.getMessage() and "using 10" in record.getMessage()
    with pytest.raises(IntegrityError, match=reason):
        checkpoint.restore(run, make_state(), step=20)
    assert checkpoint.verified_steps(run) == [10]


def test_no_single_flipped_bit_goes_unseen(run):
    folder = run / "checkpoints" / "20"
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        for position in (0.0, 0.5, 1.0):
            before = path.read_bytes()
            flip_bit(path, position)
            assert checkpoint.verified_steps(run) == [10], (path.name, position)
            path.write_bytes(before)
    assert checkpoint.verified_steps(run) == [10, 20]


def test_values_are_verified_after_reading_too(run, monkeypatch):
    unpack = checkpoint.unpack

    def unpack_and_flip(runs, record):
        named = unpack(runs, record)
        for array in named.values():
            array.reshape(-1).view(np.uint8)[:1] ^= 1
        return named

    monkeypatch.setattr(checkpoint, "unpack", unpack_and_flip)
    with pytest.raises(IntegrityError, match="has other bits than were saved"):
        checkpoint.restore(run, make_state())


def test_names_every_step_when_all_are_damaged(run):
    for step in (10, 20):
        flip_bit(data_file(run, step, "ema"))
    for restore in (lambda: checkpoint.restore(run, make_state()), lambda: ema(run)):
        with pytest.raises(IntegrityError, match=r"no good .* 20 is .* 10 is ") as info:
            restore()
        assert "\n" not in str(info.value)


def ema(run: Path) -> tuple[int, dict[str, Any]]:
    return checkpoint.restore_ema(run)


def test_averaged_weights_need_no_template(run):
    step, average = ema(run)
    assert step == 20
    assert bits(average) == bits(make_state(20).ema)


def test_averaged_weights_outlive_a_damaged_optimiser(run):
    flip_values(run)
    assert ema(run)[0] == 20
    flip_average(run)
    assert ema(run)[0] == 10


def test_no_batch_statistics_are_an_empty_collection(tmp_path):
    state = make_state()._replace(ema={"params": {"w": jnp.ones(2)}, "batch_stats": {}})
    checkpoint.save(tmp_path, 1, state)
    assert ema(tmp_path)[1]["batch_stats"] == {}


def test_another_configuration_is_named_by_its_first_array(run):
    with pytest.raises(IntegrityError) as caught:
        checkpoint.restore(run, make_state(width=8))
    message = str(caught.value)
    assert "Checkpoint 20" in message and "another configuration" in message
    assert "params/network/dense/bias is float32[6], expected float32[8]" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": {"network": {}}}, r"params/adapters/0 float32\[2, 2\] is not exp"),
        ({"step": jnp.zeros((), jnp.float32)}, r"step is int32\[\], expected float32"),
        ({"opt_state": {"new": jnp.ones(2)}}, r"opt_state/new float32\[2\] is missing"),
    ],
)
def test_other_trees_and_types_are_refused(run, change, message):
    with pytest.raises(IntegrityError, match=message):
        checkpoint.restore(run, make_state()._replace(**change))


def test_keeps_the_newest_steps(tmp_path):
    for step in (1, 2, 3, 10):
        checkpoint.save(tmp_path, step, make_state(step), keep=2)
    assert checkpoint.verified_steps(tmp_path) == [3, 10]
    with pytest.raises(InputError, match="keep=0"):
        checkpoint.save(tmp_path, 11, make_state(), keep=0)


def test_a_damaged_step_does_not_count_as_kept(run):
    flip_values(run)
    checkpoint.save(run, 30, make_state(30), keep=2)
    assert checkpoint.verified_steps(run) == [10, 30]


def test_a_step_is_replaced_by_one_of_its_number(run):
    flip_values(run)
    checkpoint.save(run, 20, make_state(77), keep=3)
    restored = checkpoint.restore(run, make_state())
    assert restored is not None
    assert (restored.step, bits(restored.state)) == (20, bits(make_state(77)))
    assert sorted(os.listdir(run / "checkpoints")) == ["10", "20"]


def test_what_a_killed_save_left_is_no_step_and_is_swept(run):
    folder = run / "checkpoints"
    shutil.copytree(folder / "20", folder / "30.partial")
    shutil.copytree(folder / "20", folder / "30.partial.orbax-checkpoint-tmp")
    (folder / "20").rename(folder / "20.replaced")  # between the two renames
    assert checkpoint.verified_steps(run) == [10]
    restored = checkpoint.restore(run, make_state())
    assert restored is not None and restored.step == 20
    assert sorted(os.listdir(folder)) == ["10", "20"]


def test_nothing_is_deleted_before_the_new_step_is_complete(run, monkeypatch):
    def refuse(partial, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_put_in_place", refuse)
    with pytest.raises(GanIqaError, match="No room to write"):
        checkpoint.save(run, 30, make_state(30), keep=1)
    assert checkpoint.verified_steps(run) == [10, 20]


def test_orbax_is_silent(run, capfd, caplog):
    with caplog.at_level(logging.INFO):
        checkpoint.save(run, 30, make_state(30))
        checkpoint.restore(run, make_state())
    assert (capfd.readouterr(), caplog.records) == (("", ""), [])


PROGRAM = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from ganiqa_jax import checkpoint
    from ganiqa_jax.errors import GanIqaError
    from test_checkpoint import make_state
    workdir = Path(sys.argv[1])
"""


def child(program: str, workdir: Path) -> subprocess.Popen:
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent)])
    code = textwrap.dedent(PROGRAM) + textwrap.dedent(program)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(workdir)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_full_disk_is_one_line_and_leaves_the_earlier_steps(run):
    # A limit on the size of a file is what a test can set without being root; the
    # write fails in the same place as on a full disk.
    program = """
        state = make_state(30)._replace(params={"w": np.random.rand(99_999)})
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            checkpoint.save(workdir, 30, state)
        except GanIqaError as error:
            print(error)
    """
    output, _ = child(program, run).communicate(timeout=120)
    assert output.count("\n") == 1
    assert output.startswith("No room to write") and "30: File too large" in output
    assert checkpoint.verified_steps(run) == [10, 20]
    assert sorted(os.listdir(run / "checkpoints")) == ["10", "20"]


def test_a_kill_at_any_moment_leaves_a_verified_step(tmp_path):
    # Each child saves until it is killed; restoring is then checked from here.
    program = """
        done = checkpoint.restore(workdir, make_state())
        step = done.step if done else 0
        while True:
            step += 1
            checkpoint.save(workdir, step, make_state(step), keep=2)
    """
    moments = random.Random(0)
    for _ in range(3):
        process = child(program, tmp_path)
        last = max(checkpoint.verified_steps(tmp_path), default=0)
        deadline = time.monotonic() + 60
        while not max(checkpoint._steps(tmp_path / "checkpoints"), default=0) > last:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()

        restored = checkpoint.restore(tmp_path, make_state())
        assert restored is not None and restored.skipped == []
        assert restored.step > last
        assert bits(restored.state) == bits(make_state(restored.step))


def test_frozen_collections_round_trip(tmp_path):
    assert checkpoint.load_frozen(tmp_path) == {}
    tree = {"frozen": {"conv": {"kernel": jnp.ones((3, 3)), "scale": jnp.ones(())}}}
    checkpoint.save_frozen(tmp_path, tree)
    checkpoint.save_frozen(tmp_path, tree)  # as a resumed run does
    assert bits(checkpoint.load_frozen(tmp_path)) == bits(tree)


@pytest.mark.parametrize("name", ["frozen.safetensors", "frozen.json"])
def test_damaged_frozen_collections_are_named(tmp_path, name):
    checkpoint.save_frozen(tmp_path, {"frozen": {"w": jnp.ones(50)}})
    flip_bit(tmp_path / name, 0.7)
    with pytest.raises(IntegrityError, match=r"frozen\.(safetensors|json)"):
        checkpoint.load_frozen(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        checkpoint.load_frozen(tmp_path)


def test_a_record_lists_every_array_by_path(run):
    record = json.loads((run / "checkpoints" / "20" / "integrity.json").read_text())
    names = [name for item in record["arrays"].values() for name in item]
    assert set(names) == set(bits(make_state()))
    assert record["arrays"]["state"]["step"][:2] == ["int32", []]
