"""Times the input pipeline against torch's DataLoader and grain, interleaved.

    python scripts/benchmark_data.py --agiqa3k data/agiqa3k --sr4kiqa data/sr4kiqa

All decode, resize, crop and stack the same boxes of the same pictures to batches of
float32 in [0, 1]; before anything is timed, every batch of a pass is compared to the
bit. The others are written as their users would: Pillow in two worker processes of
torch, Pillow in two threads of grain. Each lives in a process of its own and keeps no
decoded picture; the parent asks them in turn, one pass at a time, in an order that
changes from round to round, so that drift of the machine falls on all alike. A pass is
timed from one batch in its midst to another, with as much work under way at both.

Printed: the median of pictures per second; ours as a multiple of it, the median over
the rounds and its range; and the most memory that the process and its children held in
a pass that was not timed. Memory is known on Linux alone.

The others are the extra `bench` (of torch, the build for CPUs is enough). One that is
not installed has a row that says so.

How long training waits for its pictures is in the metrics of a run, such as

    ganiqa distill configs/distill_agiqa3k.py --workdir runs/waits --steps 40 \\
        --loop.log-every 5 --data.cache off
    python scripts/benchmark_data.py --waits runs/waits
"""

import hashlib
import importlib.util
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Annotated, NamedTuple

import numpy as np
import tyro
from benchmark import ask, end_child, say, start_child
from data_contenders import (
    AHEAD,
    Batches,
    Drawn,
    mixture_of,
    of_grain,
    of_ours,
    of_torch,
)

from ganiqa_jax.errors import GanIqaError, InputError

OURS = "ganiqa_jax"
CONTENDERS = {OURS: "tensorflow", "torch": "torch", "grain": "grain"}
"""What is timed, and the library without which it is left out."""

SAMPLED_EVERY = 0.1  # seconds between two looks at the memory


@dataclass(frozen=True)
class Options:
    """What is timed.

    Attributes:
      agiqa3k: folder of AGIQA-3K; its pictures are resized to 320 pixels.
      sr4kiqa: folder of SR4KIQA; its pairs are cut as they are.
      rounds: timed passes of each.
      steps: batches of a pass that are timed, a multiple of `workers`.
      rows: pictures of AGIQA-3K in a batch.
      pairs: pairs of SR4KIQA in a batch.
      crop: side of a crop, pixels.
      workers: processes of torch, threads of grain and of ours.
      waits: a run directory, of which is told how long it waited for pictures;
        nothing is timed then.
      child: used by the parent: the contender and the data of one process.
    """

    agiqa3k: Path = Path("data/agiqa3k")
    sr4kiqa: Path = Path("data/sr4kiqa")
    rounds: int = 7
    steps: int = 16
    rows: int = 24
    pairs: int = 4
    crop: int = 224
    workers: int = 2
    waits: Path | None = None
    child: Annotated[str, tyro.conf.arg(help="used by the parent process")] = ""

    @property
    def untimed(self) -> int:
        """Batches before those that are timed, and after them."""
        return AHEAD * self.workers

    def drawn(self, data: str) -> Drawn:
        """What the batches of a pass over a data set are."""
        root, short_side, rows = {
            "agiqa3k": (self.agiqa3k, 320, self.rows),
            "sr4kiqa": (self.sr4kiqa, 0, self.pairs),
        }[data]
        batches = self.steps + 2 * self.untimed
        return Drawn(data, root, short_side, rows, self.crop, batches, self.workers)


START = {OURS: of_ours, "torch": of_torch, "grain": of_grain}


def serve(options: Options) -> None:
    """Child: a pass for each line: `time`, `digests`, or `keep NUMBER FILE`."""
    name, data = options.child.split(":")
    start = START[name](options.drawn(data))
    for line in sys.stdin:
        purpose, *rest = line.rstrip("\n").split(" ", 2)
        if purpose == "time":
            say({"rate": rate(start(), options)})
        elif purpose == "digests":
            say({"digests": [digest(*batch) for batch in start()]})
        else:
            number, file = rest
            kept = [b for n, b in enumerate(start()) if n == int(number)]
            np.save(file, np.concatenate(kept[0]))
            say({})


def rate(batches: Batches, options: Options) -> float:
    """Pictures per second from one batch of a pass to another, both in its midst.

    What is made ahead is not counted as work of no time: when the first is given out
    as much is under way as when the last one is.
    """
    first, last = options.untimed - 1, options.untimed + options.steps - 1
    times, pictures = {}, 0
    for number, (distorted, reference) in enumerate(batches):
        times[number] = time.perf_counter()
        if first < number <= last:
            pictures += len(distorted) + len(reference)
    return pictures / (times[last] - times[first])


def digest(distorted: np.ndarray, reference: np.ndarray) -> str:
    """Differs for batches that differ in a bit, a shape or a type."""
    known = hashlib.sha256()
    for array in (distorted, reference):
        known.update(f"{array.dtype} {array.shape}".encode())
        known.update(np.ascontiguousarray(array).data)
    return known.hexdigest()


def memory(process: int) -> float:
    """MiB that a process and its children hold; pages that they share count once.

    0 for a process that has ended, and where there is no /proc as Linux has it.
    """
    folder = Path(f"/proc/{process}")
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
        children = [
            int(child)
            for thread in folder.glob("task/*/children")
            for child in thread.read_text().split()
        ]
    except OSError:
        return 0.0
    own = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return own / 1024 + sum(memory(child) for child in children)


def watched(process: int, call: Callable[[], dict]) -> tuple[dict, float]:
    """What a call gives, and the most memory of a process meanwhile, MiB."""
    seen, done = [memory(process)], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLED_EVERY):
            seen.append(memory(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answer = call()
        return answer, max(*seen, memory(process))
    finally:
        done.set()
        watcher.join()


class Row(NamedTuple):
    """A line of the table: medians over the rounds, the least and the largest ratio."""

    rate: float
    ratio: float
    least: float
    largest: float


def summary(rates: Mapping[str, Sequence[float]]) -> dict[str, Row]:
    """Of each contender's rates, a number for each round; ratios are ours to it."""
    rows = {}
    for name, own in rates.items():
        ratios = [ours / other for ours, other in zip(rates[OURS], own, strict=True)]
        middle = statistics.median(ratios)
        rows[name] = Row(statistics.median(own), middle, min(ratios), max(ratios))
    return rows


def difference(children: Mapping[str, Popen], digests: Mapping[str, list[str]]) -> str:
    """How the batches of the contenders compare with ours."""
    said = []
    for name, own in digests.items():
        pairs = zip(own, digests[OURS], strict=True)
        numbers = [n for n, (one, other) in enumerate(pairs) if one != other]
        if not numbers:
            continue
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{number}.npy" for number in range(2)]
            for child, file in zip((OURS, name), files, strict=True):
                ask(children[child], f"keep {numbers[0]} {file}")
            left, right = (np.load(file) for file in files)
        how = f"shapes {left.shape} and {right.shape}"
        if left.shape == right.shape:
            how = f"by up to {np.abs(left - right).max():.3g} in batch {numbers[0]}"
        said.append(f"{name} differs in {len(numbers)} of {len(own)} batches, {how}")
    equal = f"all {len(digests[OURS])} batches of a pass are equal to the bit"
    return "; ".join(said) or equal


def run(options: Options, data: str) -> None:
    """Parent: compares the batches of all, asks them in turn, prints the table."""
    shared = [f"--agiqa3k={options.agiqa3k}", f"--sr4kiqa={options.sr4kiqa}"]
    for field in ("steps", "rows", "pairs", "crop", "workers"):
        shared += [f"--{field}", str(getattr(options, field))]
    children = {
        name: start_child([__file__, *shared, "--child", f"{name}:{data}"], os.environ)
        for name, library in CONTENDERS.items()
        if importlib.util.find_spec(library)
    }
    digests, most = {}, {}
    for name, child in children.items():
        answer, most[name] = watched(child.pid, lambda c=child: ask(c, "digests"))
        digests[name] = answer["digests"]
    print(f"\n{data}: {difference(children, digests)}")
    rates: dict[str, list[float]] = {name: [] for name in children}
    for turn in range(options.rounds):
        for name in random.Random(turn).sample(list(children), len(children)):
            rates[name].append(ask(children[name], "time")["rate"])
    for child in children.values():
        end_child(child)
    print(*table(rates, most), sep="\n")


def table(
    rates: Mapping[str, Sequence[float]], most: Mapping[str, float]
) -> Iterator[str]:
    """Lines that say how fast each was, of those that are installed."""
    yield f"{'':12s} {'pictures/s':>10s} {'ours is':>8s} {'range':>14s} {'MiB':>7s}"
    rows = summary(rates)
    for name in CONTENDERS:
        if name not in rows:
            yield f"{name:12s} not installed: pip install 'ganiqa-jax[bench]'"
            continue
        row = rows[name]
        span = f"{row.least:.2f} to {row.largest:.2f}"
        held = f"{most[name]:.0f}" if most[name] else "?"
        yield f"{name:12s} {row.rate:10.1f} {row.ratio:8.2f} {span:>14s} {held:>7s}"


def waits(workdir: Path) -> str:
    """The share of its time that a run waited for pictures; the first row compiles.

    Raises:
      InputError: if its metrics are not there, or do not say.
    """
    from ganiqa_jax.rundir import read_metrics

    rows = read_metrics(workdir)
    spans = list(zip(rows[1:], rows, strict=False))
    if not spans or any("data_wait" not in row for row, _ in spans):
        raise InputError(
            f"{workdir} does not say how long it waited: it has fewer than two rows of "
            "metrics or was trained by an earlier version. Train 40 steps anew."
        )
    steps = [row["step"] - before["step"] for row, before in spans]
    seconds = [
        n / row["steps_per_second"] for n, (row, _) in zip(steps, spans, strict=True)
    ]
    waited = [s * row["data_wait"] for s, (row, _) in zip(seconds, spans, strict=True)]
    return (
        f"{workdir}: waits for pictures {sum(waited) / sum(seconds):.1%} of "
        f"{sum(steps)} steps, {1000 * sum(waited) / sum(steps):.1f} of "
        f"{1000 * sum(seconds) / sum(steps):.1f} ms a step"
    )


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.child:
        serve(options)
        return
    try:
        if options.waits is not None:
            print(waits(options.waits))
            return
        if options.steps < 1 or options.steps % options.workers:
            raise InputError(f"{options.steps=} must be a multiple of --workers.")
        for data in ("agiqa3k", "sr4kiqa"):
            mixture_of(options.drawn(data))  # so that what is missing is said at once
    except GanIqaError as error:
        sys.exit(f"benchmark_data: {error}")
    rows = f"{options.rows} pictures or {options.pairs} pairs in a batch"
    print(f"{os.cpu_count()} cores, {options.workers} workers, {rows}")
    for data in ("agiqa3k", "sr4kiqa"):
        run(options, data)


if __name__ == "__main__":
    main()
