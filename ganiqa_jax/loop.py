"""The loop of both trainings: data, step, log, save; nothing else."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from ganiqa_jax import checkpoint, processes, rundir
from ganiqa_jax.config import LoopConfig
from ganiqa_jax.data.mixture import Mixture, Share, plan
from ganiqa_jax.errors import NonFiniteError
from ganiqa_jax.progress import track
from ganiqa_jax.steps import TrainState
from ganiqa_jax.types import Batch

logger = logging.getLogger("ganiqa_jax")

Step = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]


class Run(NamedTuple):
    """What the loop needs besides the state; `share` is what this process reads."""

    workdir: Path
    step: Step
    mixture: Mixture
    share: Share
    total: int
    loop: LoopConfig
    learning_rate: Callable[[int], float]
    max_nonfinite: int


def run_loop(run: Run, state: TrainState, *, start: int, progress: bool) -> None:
    """Takes the steps that are left of a run, and saves the last.

    An interruption saves the step it falls after; a non-finite loss that stays
    raises `NonFiniteError` and leaves the checkpoints as they are.
    """
    from ganiqa_jax.data.pipeline import batches

    if start >= run.total:
        logger.info("Nothing to do: %s is at step %d.", run.workdir, start)
        return
    steps = run.total - start
    feed = _Feed(batches(run.mixture, start_step=start, steps=steps, share=run.share))
    began, logged = time.monotonic(), start
    previous: dict[str, Any] = {}
    loop, numbers = run.loop, range(start, run.total)
    tracked = track(zip(numbers, feed, strict=True), steps, "train", progress)
    with _log(run, start) as log, _Rescue(run) as rescue:
        for number, batch in tracked:
            state, metrics = run.step(state, batch)
            rescue.state = state
            # Looking at the step before keeps the device busy meanwhile.
            _stop_if_nonfinite(run, previous, number - 1)
            previous = metrics
            done = number + 1
            if log and (done % loop.log_every == 0 or done == run.total):
                now = time.monotonic()
                row = {name: float(value) for name, value in metrics.items()}
                row["learning_rate"] = run.learning_rate(number)
                log.write(
                    done,
                    row,
                    steps_per_second=(done - logged) / (now - began),
                    data_wait=feed.waited / (now - began),
                )
                began, logged, feed.waited = now, done, 0.0
            if done % loop.save_every == 0 or done == run.total:
                _stop_if_nonfinite(run, metrics, number)
                checkpoint.save(run.workdir, done, state, keep=loop.keep)
    processes.wait("the last checkpoint is saved")


class _Feed(Iterator[Batch]):
    """Batches, and the seconds that were spent waiting for them."""

    def __init__(self, feed: Iterator[Batch]) -> None:
        self._feed = feed
        self.waited = 0.0

    def __next__(self) -> Batch:
        began = time.monotonic()
        try:
            return next(self._feed)
        finally:
            self.waited += time.monotonic() - began


def _log(
    run: Run, start: int
) -> contextlib.AbstractContextManager[rundir.MetricsLog | None]:
    """The metrics file, of which process 0 alone writes rows."""
    if not processes.is_first():
        return contextlib.nullcontext()
    return rundir.MetricsLog(
        run.workdir, from_step=start, tensorboard=run.loop.tensorboard
    )


class _Rescue:
    """Saves the state when the run is interrupted, and lets the interruption go on.

    Not in a run of several processes: the last step of one may need another that was
    interrupted before it, and would never end.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.state: TrainState | None = None

    def __enter__(self) -> "_Rescue":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if not isinstance(error, KeyboardInterrupt) or self.state is None:
            return
        if jax.process_count() > 1:
            return
        # A state given to a step that was cut short is gone; then the last checkpoint
        # is the newest there is.
        if any(leaf.is_deleted() for leaf in jax.tree.leaves(self.state)):
            return
        step = int(self.state.step)
        if step not in checkpoint.verified_steps(self.run.workdir):
            keep = self.run.loop.keep
            checkpoint.save(self.run.workdir, step, self.state, keep=keep)
        error.add_note(
            f"Step {step} is saved in {self.run.workdir}; go on with --resume."
        )


def _stop_if_nonfinite(run: Run, metrics: Mapping[str, Any], number: int) -> None:
    if not metrics or int(metrics["nonfinite"]) <= run.max_nonfinite:
        return
    names = [row.record.name for row in plan(run.mixture, number)]
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    steps_kept = checkpoint.verified_steps(run.workdir)
    kept = f"checkpoint {steps_kept[-1]}" if steps_kept else "no checkpoint yet"
    raise NonFiniteError(
        f"Loss or gradient was not finite {int(metrics['nonfinite'])} steps in a row, "
        f"last at step {number + 1}, batch of {shown}. {kept} of {run.workdir} is "
        "good. Lower optim.peak_lr, or look at those pictures."
    )
