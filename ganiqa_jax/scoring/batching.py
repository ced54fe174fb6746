"""Crops of successive pictures, packed into device batches of one shape.

Decoding runs ahead in threads, a bounded number of pictures; the device computes one
batch while the next is packed.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.loading import Loaded

IN_FLIGHT = 2
"""Batches on the device at a time: one computes while the next is packed."""

Run = Callable[[tuple[np.ndarray, ...], int], Any]
"""Starts a batch, of which so many rows are filled, and does not wait for it; what
comes back is an array once `numpy.asarray` has waited."""


def whole_batch(batch_size: int, multiple: int) -> int:
    """The next multiple that a backend can compute.

    Raises:
      InputError: if the size is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} must be at least 1.")
    return -(-batch_size // multiple) * multiple


@dataclass
class Job:
    """A picture on its way: what was loaded, and z of each crop as it comes."""

    loaded: Loaded
    z: np.ndarray = field(init=False)
    missing: int = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.missing = len(self.loaded.crops[0]) if self.loaded.crops else 0
        self.z = np.full(self.missing, np.nan, np.float32)


@dataclass
class _Sent:
    """A batch on the device: whose crops are in it, and when it went."""

    z: Any
    segments: list[tuple[Job, int, int]]
    rows: int
    at: float


class Batches:
    """Packs the crops of successive pictures into batches of one shape.

    Args:
      ready: gives what starts the computation of a batch and does not wait for it.
      size: crops of a batch.
      side: of a crop, pixels.
      inputs: arrays the network takes.
    """

    def __init__(
        self, ready: Callable[[], Run], size: int, side: int, inputs: int
    ) -> None:
        self._ready = ready
        self._shape = (size, side, side, 3)
        self._inputs = inputs
        self._sent: deque[_Sent] = deque()
        self._last_ready = 0.0
        self._start_batch()

    def add(self, job: Job) -> None:
        """Takes over a picture's crops; its `z` fills as batches come back."""
        crops, job.loaded.crops = job.loaded.crops, ()
        start = 0
        while start < len(job.z):
            room = self._shape[0] - self._filled
            take = min(room, len(job.z) - start)
            for buffer, source in zip(self._buffers, crops, strict=True):
                buffer[self._filled : self._filled + take] = source[start:][:take]
            self._segments.append((job, start, take))
            self._filled += take
            start += take
            if take == room:
                self._send()

    def finish(self) -> None:
        """Sends what is packed, and waits until every crop has its z."""
        if self._filled:
            self._send()
        while self._sent:
            self._collect()

    def _start_batch(self) -> None:
        # New memory for each: a device may still read that of the last one.
        self._buffers = tuple(
            np.zeros(self._shape, np.uint8) for _ in range(self._inputs)
        )
        self._segments: list[tuple[Job, int, int]] = []
        self._filled = 0

    def _send(self) -> None:
        run = self._ready()  # compiling is no picture's time
        at = time.perf_counter()
        z = run(self._buffers, self._filled)
        self._sent.append(_Sent(z, self._segments, self._filled, at))
        self._start_batch()
        if len(self._sent) >= IN_FLIGHT:
            self._collect()

    def _collect(self) -> None:
        sent = self._sent.popleft()
        z = np.asarray(sent.z)
        now = time.perf_counter()
        share = (now - max(sent.at, self._last_ready)) / sent.rows
        self._last_ready = now
        row = 0
        for job, start, take in sent.segments:
            job.z[start : start + take] = z[row : row + take]
            job.missing -= take
            job.seconds += take * share
            row += take


def load_ahead(
    loads: Iterable[Callable[[], Loaded]], workers: int, ahead: int
) -> Iterator[Loaded]:
    """Results in order, with at most `ahead` of them begun before they are asked."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="ganiqa-decode")
    pending = deque()
    try:
        for load in loads:
            pending.append(pool.submit(load))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
