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
"""Starts a batch, of which the first so many rows count, and does not wait for it; what
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


@dataclass(slots=True)
class _Segment:
    """Crops of a job in a batch: from `start` of the job, from `row` of the batch."""

    job: Job
    start: int
    row: int
    count: int


@dataclass
class _Sent:
    """A batch on the device: whose crops are in it, and when it went."""

    z: Any
    segments: list[_Segment]
    at: float


class Batches:
    """Packs the crops of successive pictures into batches of one shape.

    The place of a crop is its number in the whole input, modulo the size, whatever
    else is in the batch: a network computes each row of a batch in its own way, to the
    last bit, and a row must not depend on which pictures were scored before.

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
        self._number = 0
        self._start_batch()

    def add(self, job: Job, first: int) -> None:
        """Takes over a picture's crops; its `z` fills as batches come back.

        Args:
          job: of the picture.
          first: number of its first crop in the whole input; larger each time.
        """
        crops, job.loaded.crops = job.loaded.crops, ()
        start = 0
        while start < len(job.z):
            number, row = divmod(first + start, self._shape[0])
            if number != self._number and self._segments:
                self._send()
            self._number = number
            take = min(self._shape[0] - row, len(job.z) - start)
            for buffer, source in zip(self._buffers, crops, strict=True):
                buffer[row : row + take] = source[start:][:take]
            self._segments.append(_Segment(job, start, row, take))
            start += take
            if row + take == self._shape[0]:
                self._send()

    def finish(self) -> None:
        """Sends what is packed, and waits until every crop has its z."""
        if self._segments:
            self._send()
        while self._sent:
            self._collect()

    def _start_batch(self) -> None:
        # New memory for each: a device may still read that of the last one.
        self._buffers = tuple(
            np.zeros(self._shape, np.uint8) for _ in range(self._inputs)
        )
        self._segments: list[_Segment] = []

    def _send(self) -> None:
        run = self._ready()  # compiling is no picture's time
        at = time.perf_counter()
        last = self._segments[-1]
        z = run(self._buffers, last.row + last.count)
        self._sent.append(_Sent(z, self._segments, at))
        self._start_batch()
        if len(self._sent) >= IN_FLIGHT:
            self._collect()

    def _collect(self) -> None:
        sent = self._sent.popleft()
        z = np.asarray(sent.z)
        now = time.perf_counter()
        crops = sum(segment.count for segment in sent.segments)
        share = (now - max(sent.at, self._last_ready)) / crops
        self._last_ready = now
        for part in sent.segments:
            part.job.z[part.start :][: part.count] = z[part.row :][: part.count]
            part.job.missing -= part.count
            part.job.seconds += part.count * share


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
