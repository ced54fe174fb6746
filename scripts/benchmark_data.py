"""Times the input pipeline against torch's DataLoader and grain, interleaved.

    python scripts/benchmark_data.py --agiqa3k data/agiqa3k --sr4kiqa data/sr4kiqa

All decode, resize, crop and stack the same boxes of the same pictures to batches of
float32 in [0, 1]; the first batches are compared to the bit before anything is timed.
The others are written as their users would: Pillow in two worker processes of torch,
Pillow in two threads of grain. Each lives in a process of its own and keeps no decoded
picture; the parent asks them in turn, one pass at a time, in changing order, so that
drift of the machine falls on all alike. Printed: the median of pictures per second,
the median ratio of ours to it with its range over the rounds, and the memory that the
process and its children hold at the end of a pass.

The others are not dependencies: `pip install grain torch` (the CPU build of torch is
enough). One that is missing is left out, and said to be. Memory needs Linux.
"""

import hashlib
import importlib
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

OURS = "ganiqa_jax"
CONTENDERS = {OURS: "tensorflow", "torch": "torch", "grain": "grain"}
CHECKED = 2  # batches of a pass that are compared to the bit


@dataclass(frozen=True)
class Options:
    """What is timed.

    Attributes:
      agiqa3k: folder of AGIQA-3K; its pictures are resized to 320 pixels.
      sr4kiqa: folder of SR4KIQA; its pairs are cut as they are.
      rounds: passes of each.
      steps: batches in a pass.
      rows: pictures, or pairs, in a batch.
      crop: side of a crop, pixels.
      workers: processes of torch, threads of grain and of ours.
      child: used by the parent: the contender and the data of one process.
    """

    agiqa3k: Path = Path("data/agiqa3k")
    sr4kiqa: Path = Path("data/sr4kiqa")
    rounds: int = 7
    steps: int = 20
    rows: int = 24
    crop: int = 224
    workers: int = 2
    child: Annotated[str, tyro.conf.arg(help="used by the parent process")] = ""


@dataclass(frozen=True)
class Box:
    """A crop: one picture or a pair, the shorter side after resizing, the place."""

    files: tuple[Path, ...]
    short_side: int
    across: float
    down: float
    crop: int


Batches = Iterator[tuple[np.ndarray, np.ndarray]]
Pass = Callable[[], Batches]
"""Starts a pass of batches: [B, S, S, 3] pictures, and as many references or none."""


def boxes(options: Options, data: str) -> list[list[Box]]:
    """The rows of every batch of a pass, as training would draw them."""
    mixture = mixture_of(options, data)
    source = mixture.sources[0]

    def box(row) -> Box:
        pair = (row.record.distorted, row.record.reference)
        files = pair if source.has_references else pair[:1]
        return Box(files, source.short_side, row.across, row.down, options.crop)

    from ganiqa_jax.data.mixture import plan

    return [[box(row) for row in plan(mixture, step)] for step in range(options.steps)]


def mixture_of(options: Options, data: str):
    """One source of all records of a data set."""
    from ganiqa_jax.data.catalog import READERS
    from ganiqa_jax.data.mixture import Mixture, SourceData

    if data == "agiqa3k":
        records = tuple(READERS[data](options.agiqa3k))
        source = SourceData(records, "pictures", options.rows, short_side=320)
    else:
        records = tuple(READERS[data](options.sr4kiqa))
        source = SourceData(records, "labelled_pairs", options.rows)
    return Mixture((source,), crop=options.crop, seed=0, cache="off")


def ours(options: Options, data: str) -> Pass:
    """Passes of `ganiqa_jax.data.pipeline`."""
    from ganiqa_jax.data.pipeline import batches

    mixture = mixture_of(options, data)

    def start() -> Batches:
        feed = batches(mixture, steps=options.steps, threads=options.workers)
        for batch in feed:
            yield np.asarray(batch.distorted), np.asarray(batch.reference)

    return start


def cut(box: Box) -> np.ndarray:
    """What a user's own data set class does: Pillow to a float32 array."""
    crops = []
    for file in box.files:
        image = Image.open(file).convert("RGB")
        short = min(image.size)
        if box.short_side not in (0, short):
            width, height = (
                max(box.short_side, round(side * box.short_side / short))
                for side in image.size
            )
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        left = int(box.across * (image.width - box.crop + 1))
        top = int(box.down * (image.height - box.crop + 1))
        image = image.crop((left, top, left + box.crop, top + box.crop))
        crops.append(np.asarray(image))
    return np.divide(np.stack(crops), np.float32(255), dtype=np.float32)


def of_torch(options: Options, data: str) -> Pass:
    """Passes of a DataLoader whose worker processes live on from pass to pass."""
    torch = importlib.import_module("torch")  # not a dependency
    rows = [box for batch in boxes(options, data) for box in batch]

    class Crops:
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, number: int):
            return torch.from_numpy(cut(rows[number]))

    loader = torch.utils.data.DataLoader(
        Crops(),
        batch_size=options.rows,
        num_workers=options.workers,
        persistent_workers=True,
    )

    def start() -> Batches:
        for batch in loader:
            yield apart(batch.numpy())

    return start


def of_grain(options: Options, data: str) -> Pass:
    """Passes of a MapDataset that is read by threads."""
    grain = importlib.import_module("grain")
    rows = [box for batch in boxes(options, data) for box in batch]
    dataset = (
        grain.MapDataset.source(rows)
        .map(cut)
        .to_iter_dataset(grain.ReadOptions(num_threads=options.workers))
        .batch(options.rows)
    )

    def start() -> Batches:
        for batch in dataset:
            yield apart(batch)

    return start


def apart(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[B, 1 or 2, S, S, 3] to pictures and references, without a copy."""
    return batch[:, 0], batch[:, 1:].reshape(-1, *batch.shape[2:])


START = {OURS: ours, "torch": of_torch, "grain": of_grain}


def serve(options: Options) -> None:
    """Child: makes a pass for each line of input."""
    name, data = options.child.split(":")
    start = START[name](options, data)
    for _ in sys.stdin:
        begin, pictures, first = time.perf_counter(), 0, []
        for distorted, reference in start():
            pictures += len(distorted) + len(reference)
            if len(first) < CHECKED:
                first.append(distorted.tobytes() + reference.tobytes())
        took = time.perf_counter() - begin
        digest = hashlib.sha256(b"".join(first))
        answer = {
            "rate": pictures / took,
            "digest": digest.hexdigest(),
            "memory": memory(os.getpid()),
        }
        print(json.dumps(answer), flush=True)


def memory(process: int) -> float:
    """MiB that a process and its children hold; shared pages count once in all."""
    folder = Path(f"/proc/{process}")
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
        children = (folder / f"task/{process}/children").read_text().split()
    except OSError:  # not Linux, or the process has just ended
        return float("nan")
    own = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return own / 1024 + sum(memory(int(child)) for child in children)


def ask(child: subprocess.Popen) -> dict:
    """One pass of a child."""
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write("pass\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line:
        raise SystemExit(f"A contender ended: {child.args}")
    return json.loads(line)


def run(options: Options, data: str, names: list[str]) -> None:
    """Parent: asks all in turn and prints the medians."""
    shared = [f"--agiqa3k={options.agiqa3k}", f"--sr4kiqa={options.sr4kiqa}"]
    for name in ("steps", "rows", "crop", "workers"):
        shared += [f"--{name}", str(getattr(options, name))]
    children = {
        name: subprocess.Popen(
            [sys.executable, __file__, *shared, "--child", f"{name}:{data}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    }
    first = {name: ask(child)["digest"] for name, child in children.items()}
    differing = [name for name in names if first[name] != first[OURS]]
    if differing:
        raise SystemExit(f"Pixels of {', '.join(differing)} differ on {data}.")
    seen: dict[str, list[dict]] = {name: [] for name in names}
    for turn in range(options.rounds):
        for name in random.Random(turn).sample(names, len(names)):
            seen[name].append(ask(children[name]))
    print(f"\n{data}: the same pixels from all")
    print(f"{'':12s} {'pictures/s':>10s} {'ours is':>8s} {'range':>14s} {'MiB':>7s}")
    for name in names:
        rates, base = ([one["rate"] for one in seen[n]] for n in (name, OURS))
        ratios = [b / r for b, r in zip(base, rates, strict=True)]
        span = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"{name:12s} {statistics.median(rates):10.1f} "
            f"{statistics.median(ratios):8.2f} {span:>14s} "
            f"{max(one['memory'] for one in seen[name]):7.0f}"
        )
    for child in children.values():
        assert child.stdin is not None
        child.stdin.close()
        child.wait()


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    if options.child:
        serve(options)
        return
    names = [n for n, module in CONTENDERS.items() if importlib.util.find_spec(module)]
    for name in CONTENDERS.keys() - set(names):
        print(f"{name} is not installed and left out: pip install {name}")
    print(f"{os.cpu_count()} cores, {options.workers} workers, {options.rows} rows")
    for data in ("agiqa3k", "sr4kiqa"):
        run(options, data, names)


if __name__ == "__main__":
    main()
