"""The training loop, with a clock that stands still but for what is tested."""

from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from ganiqa_jax import loop, rundir
from ganiqa_jax.config import LoopConfig
from ganiqa_jax.data import pipeline
from ganiqa_jax.data.mixture import Mixture, Share, SourceData
from ganiqa_jax.data.records import Record
from ganiqa_jax.steps import TrainState
from ganiqa_jax.types import Batch


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_rows_say_the_share_of_time_that_was_waited_for_pictures(
    tmp_path, monkeypatch, clock
):
    record = Record("a", tmp_path / "a.png", None, 0.5, "a")
    waits = [5.0, 1.0, 0.0, 0.0]

    def batches(mixture, *, steps, **options):
        for wait in waits[:steps]:
            clock.now += wait
            yield Batch(*[jnp.zeros(1)] * len(Batch._fields))

    def step(state, batch):
        clock.now += 3.0
        return state, {"loss": 0.5, "nonfinite": 0}

    monkeypatch.setattr(pipeline, "batches", batches)
    monkeypatch.setattr(loop.checkpoint, "save", lambda *arguments, **options: None)
    run = loop.Run(
        workdir=tmp_path,
        step=step,
        mixture=Mixture((SourceData((record,), "pictures", 1),), crop=32, seed=0),
        share=Share((0,), ()),
        total=4,
        loop=LoopConfig(log_every=2, save_every=4),
        learning_rate=lambda number: 0.1,
        max_nonfinite=3,
    )
    state = TrainState(*[{}] * len(TrainState._fields))
    loop.run_loop(run, state, start=0, progress=False)
    rows = rundir.read_metrics(tmp_path)
    assert [row["data_wait"] for row in rows] == [6 / 12, 0.0]
    assert [row["steps_per_second"] for row in rows] == [2 / 12, 2 / 6]
