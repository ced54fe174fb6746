"""What scripts/benchmark_data.py compares: three ways to read the same crops."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganiqa_jax.data import catalog
from ganiqa_jax.data.mixture import Mixture, PlannedRow, SourceData, plan

AHEAD = 2
"""Batches that a worker makes ahead: the default of torch, given to grain as well."""


@dataclass(frozen=True)
class Drawn:
    """What the batches of a pass are.

    Attributes:
      data: name of the data set.
      root: its folder.
      short_side: to which pictures are resized, pixels; 0 keeps them.
      rows: pictures, or pairs, in a batch.
      crop: side of a crop, pixels.
      batches: of a pass.
      workers: that make them.
    """

    data: str
    root: Path
    short_side: int
    rows: int
    crop: int
    batches: int
    workers: int


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


def mixture_of(drawn: Drawn) -> Mixture:
    """One source of all records of a data set.

    Raises:
      InputError: if it is not there.
    """
    records = tuple(catalog.read(drawn.data, drawn.root))
    pairs = records[0].reference is not None
    role = "labelled_pairs" if pairs else "pictures"
    source = SourceData(records, role, drawn.rows, short_side=drawn.short_side)
    return Mixture((source,), crop=drawn.crop, seed=0, cache="off")


def boxes(drawn: Drawn) -> list[list[Box]]:
    """The rows of every batch of a pass, as training would draw them."""
    mixture = mixture_of(drawn)
    source = mixture.sources[0]

    def box(row: PlannedRow) -> Box:
        files = [row.record.distorted]
        if source.has_references and row.record.reference is not None:
            files.append(row.record.reference)
        return Box(tuple(files), source.short_side, row.across, row.down, drawn.crop)

    return [[box(row) for row in plan(mixture, n)] for n in range(drawn.batches)]


def of_ours(drawn: Drawn) -> Pass:
    """Passes of `ganiqa_jax.data.pipeline`."""
    from ganiqa_jax.data.pipeline import batches

    mixture = mixture_of(drawn)

    def start() -> Batches:
        for batch in batches(mixture, steps=drawn.batches, threads=drawn.workers):
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


class Crops:
    """The rows of a pass as torch asks for them."""

    def __init__(self, rows: Sequence[Box]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Any:
        return importlib.import_module("torch").from_numpy(cut(self._rows[number]))


def of_torch(drawn: Drawn) -> Pass:
    """Passes of a DataLoader whose worker processes live on from pass to pass."""
    torch = importlib.import_module("torch")  # not a dependency
    loader = torch.utils.data.DataLoader(
        Crops([box for batch in boxes(drawn) for box in batch]),
        batch_size=drawn.rows,
        num_workers=drawn.workers,
        prefetch_factor=AHEAD,
        persistent_workers=True,
    )

    def start() -> Batches:
        for batch in loader:
            yield apart(batch.numpy())

    return start


def of_grain(drawn: Drawn) -> Pass:
    """Passes of a MapDataset that is read by threads."""
    grain = importlib.import_module("grain")  # not a dependency
    rows = [box for batch in boxes(drawn) for box in batch]
    ahead = AHEAD * drawn.workers * drawn.rows  # 500 would hold all of a pass
    reading = grain.ReadOptions(num_threads=drawn.workers, prefetch_buffer_size=ahead)
    cuts = grain.MapDataset.source(rows).map(cut).to_iter_dataset(reading)
    dataset = cuts.batch(drawn.rows)

    def start() -> Batches:
        for batch in dataset:
            yield apart(batch)

    return start


def apart(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[B, 1 or 2, S, S, 3] to pictures and references, without a copy."""
    return batch[:, 0], batch[:, 1:].reshape(-1, *batch.shape[2:])
