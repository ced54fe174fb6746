"""Scores of many pictures: decoded ahead in threads, scored in batches of one shape.

Crops of successive pictures are packed together into batches of `batch_size`; the
tail is filled with zeros that nobody reads. So a model compiles once, and a picture's
score does not depend on its neighbours. Rows come in the order of the pictures, and
memory does not grow with their number.
"""

import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, UInt8

from ganiqa_jax import release, steps
from ganiqa_jax.mesh import data_mesh, replicate, shard_batch
from ganiqa_jax.scoring.decode import MAX_PIXELS
from ganiqa_jax.scoring.find import find_pictures
from ganiqa_jax.scoring.loading import (
    Loaded,
    LoadRules,
    SizeMismatch,
    Source,
    check_pixels,
    load_pair,
    load_picture,
    name_of,
)
from ganiqa_jax.scoring.rows import RowsHeader, ScoreRow
from ganiqa_jax.types import InputError, Params

__all__ = ["Scorer", "create_scorer", "find_pictures"]

IN_FLIGHT = 2
"""Batches on the device at a time: one computes while the next is packed."""

Run = Callable[[tuple[np.ndarray, ...]], Array]


def create_scorer(
    model: str | Path,
    *,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
) -> "Scorer":
    """A scorer of a run directory or a released folder.

    Args:
      model: the folder.
      batch_size: crops per device call; rounded up to a multiple of the devices.
      workers: threads that decode.
      max_pixels: pictures that claim more are refused undecoded.

    Raises:
      InputError: if the folder holds no model.
      IntegrityError: if the model is damaged.
    """
    network, variables, card = release.load_model(Path(model))
    return Scorer(
        network,
        variables,
        card,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
    )


class Scorer:
    """Scores pictures (student) or pairs (teacher) with one model.

    A score is the mean over a picture's crops of z, times the deviation plus the
    mean of the training scores, clipped to [0, 1]; higher is better. `mos` is that
    clipped score on the card's scale; `sigma` is of the crops, before clipping.

    Attributes:
      card: role, preprocessing and scale of the model.
      batch_size: crops per device call.
    """

    def __init__(
        self,
        network: nn.Module,
        variables: Mapping[str, Params],
        card: release.ModelCard,
        *,
        batch_size: int = 32,
        workers: int = 2,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        for name, value in (
            ("batch_size", batch_size),
            ("workers", workers),
            ("max_pixels", max_pixels),
        ):
            if value < 1:
                raise InputError(f"{name}={value} must be at least 1.")
        self.card = card
        self._mesh = data_mesh(jax.local_devices())
        self.batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
        self._workers = workers
        self._max_pixels = max_pixels
        self._variables = replicate(variables, self._mesh)
        self._forward = jax.jit(_forward(network, card.role))

    @functools.cached_property
    def model_sha(self) -> str:
        """Twelve hex digits over the names and values of all arrays."""
        return release.model_sha(self._variables)

    def header(self) -> RowsHeader:
        """What a file of this scorer's rows says of all of them."""
        scale = self.card.scale
        return RowsHeader(
            model=self.card.name,
            model_sha=self.model_sha,
            prep_sha=self.card.preprocessing.sha,
            scale=scale.name,
            mos_low=float(scale.low),
            mos_high=float(scale.high),
            pairs=self.card.role == "teacher",
        )

    def score(self, picture: Source) -> ScoreRow:
        """Scores one picture; see `score_iter`."""
        return next(self.score_iter([picture]))

    def score_iter(self, pictures: Iterable[Source]) -> Iterator[ScoreRow]:
        """Scores pictures without a reference.

        Args:
          pictures: paths, or arrays [H, W, 3] of uint8 or floating in [0, 1] (which
            are rounded to 8 bits). Drawn as needed: may be endless.

        Yields:
          One row a picture, in order. A picture that cannot be scored is told by
          its `status`; it never raises.

        Raises:
          InputError: at once, if the model needs references.
        """
        self._need("student")
        rules = LoadRules(self.card.preprocessing, self._max_pixels)
        loads = (
            functools.partial(load_picture, picture, name_of(picture, index), rules)
            for index, picture in enumerate(pictures)
        )
        return self._rows(self._jobs(loads))

    def compare_iter(
        self,
        pairs: Iterable[tuple[Source, Source]],
        *,
        on_size_mismatch: SizeMismatch = "error",
    ) -> Iterator[ScoreRow]:
        """Scores distorted pictures against their references.

        Args:
          pairs: (reference, distorted), each as in `score_iter`.
          on_size_mismatch: a pair of unequal sizes gets no score, or has its
            reference resized, or both cut to the common centre; the row tells.

        Yields:
          One row a pair, in order; `path` and the facts of the file are those of
          the distorted picture.

        Raises:
          InputError: at once, if the model takes no references.
        """
        return self._rows(self._pair_jobs(pairs, on_size_mismatch))

    def crop_z_pairs(
        self, pairs: Iterable[tuple[Source, Source]]
    ) -> Iterator[Float[np.ndarray, " N"]]:
        """z of every crop of every pair, in order.

        Raises:
          InputError: if a pair cannot be scored; names it.
        """
        for job in self._pair_jobs(pairs, "error"):
            loaded = job.loaded
            if loaded.status != "ok":
                raise InputError(f"{loaded.path}: {loaded.error}")
            yield job.z

    def score_batch(self, images: np.ndarray) -> Float64[np.ndarray, " N"]:
        """Scores of pictures that are in memory, by the same path as files.

        Args:
          images: [N, H, W, 3], uint8 or floating in [0, 1] (rounded to 8 bits).

        Returns:
          Scores in [0, 1]; NaN where the network's value is not finite.

        Raises:
          InputError: if the images are anything else, or too small.
        """
        images = np.asarray(images)
        if images.ndim != 4:
            raise InputError(f"Images are [N, H, W, 3]; these are {images.shape}.")
        rows = list(self.score_iter(check_pixels(images)))
        failed = [row for row in rows if row.status not in ("ok", "nonfinite")]
        if failed:
            raise InputError(f"{failed[0].path}: {failed[0].error}")
        return np.array([np.nan if r.score is None else r.score for r in rows], float)

    def _need(self, role: str) -> None:
        if self.card.role != role:
            hint = (
                "takes no references: use score"
                if role == "teacher"
                else "needs a reference for each picture: use compare"
            )
            raise InputError(f"{self.card.name} is a {self.card.role}; it {hint}.")

    def _pair_jobs(
        self, pairs: Iterable[tuple[Source, Source]], on_size_mismatch: SizeMismatch
    ) -> Generator["_Job", None, None]:
        self._need("teacher")
        rules = LoadRules(self.card.preprocessing, self._max_pixels, on_size_mismatch)
        loads = (
            functools.partial(
                load_pair, pair, (name_of(pair[0], i), name_of(pair[1], i)), rules
            )
            for i, pair in enumerate(pairs)
        )
        return self._jobs(loads)

    def _jobs(
        self, loads: Iterable[Callable[[], Loaded]]
    ) -> Generator["_Job", None, None]:
        preprocessing = self.card.preprocessing
        crops = preprocessing.points * (2 if preprocessing.mirror else 1)
        pictures = -(-self.batch_size // crops)
        inputs = 2 if self.card.role == "teacher" else 1
        batches = _Batches(self._run, self.batch_size, preprocessing.crop, inputs)
        waiting: deque[_Job] = deque()
        # Enough is decoded ahead to fill the next batch while one is computed.
        for loaded in _load_ahead(loads, self._workers, self._workers + 2 * pictures):
            job = _Job(loaded)
            waiting.append(job)
            batches.add(job)
            # Pictures that fail fill no batch; rows must not pile up behind them.
            if len(waiting) > 8 * (pictures + self._workers):
                batches.finish()
            while waiting and not waiting[0].missing:
                yield waiting.popleft()
        batches.finish()
        yield from waiting

    def _run(self, inputs: tuple[np.ndarray, ...]) -> Array:
        return self._forward(self._variables, *shard_batch(inputs, self._mesh))

    def _rows(self, jobs: Generator["_Job", None, None]) -> Iterator[ScoreRow]:
        with contextlib.closing(jobs):
            for job in jobs:
                yield self._row(job)

    def _row(self, job: "_Job") -> ScoreRow:
        loaded, scale = job.loaded, self.card.scale
        status, error = loaded.status, loaded.error
        score = sigma = mos = None
        if status == "ok":
            z = job.z.astype(np.float64)
            if np.isfinite(z).all():
                score = float(scale.to_score(z.mean()))
                sigma = float(z.std() * scale.std) if len(z) > 1 else None
                mos = float(scale.to_mos(score))
            else:
                status = "nonfinite"
                error = "The network's value is not a finite number."
        return ScoreRow(
            path=loaded.path,
            sha256=loaded.sha256,
            width=loaded.width,
            height=loaded.height,
            mode=loaded.mode,
            status=status,
            score=score,
            sigma=sigma,
            mos=mos,
            model=self.card.name,
            model_sha=self.model_sha,
            prep_sha=self.card.preprocessing.sha,
            crops=0 if score is None else len(job.z),
            time_ms=round(1000 * (loaded.seconds + job.seconds), 3),
            error=error,
            reference=loaded.reference,
        )


@dataclass
class _Job:
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

    z: Array
    segments: list[tuple[_Job, int, int]]
    rows: int
    at: float


class _Batches:
    """Packs the crops of successive pictures into batches of one shape.

    Args:
      run: starts the computation of a batch; does not wait for it.
      size: crops of a batch.
      side: of a crop, pixels.
      inputs: arrays the network takes.
    """

    def __init__(self, run: Run, size: int, side: int, inputs: int) -> None:
        self._run = run
        self._shape = (size, side, side, 3)
        self._inputs = inputs
        self._sent: deque[_Sent] = deque()
        self._last_ready = 0.0
        self._start_batch()

    def add(self, job: _Job) -> None:
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
        self._segments: list[tuple[_Job, int, int]] = []
        self._filled = 0

    def _send(self) -> None:
        at = time.perf_counter()
        z = self._run(self._buffers)
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


def _load_ahead(
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


def _forward(network: nn.Module, role: str) -> Callable[..., Float[Array, " B"]]:
    def of_pictures(
        variables: Mapping[str, Params], distorted: UInt8[Array, "B S S 3"]
    ) -> Any:
        return steps.predict(variables, _to_float(distorted), student=network)

    def of_pairs(
        variables: Mapping[str, Params],
        reference: UInt8[Array, "B S S 3"],
        distorted: UInt8[Array, "B S S 3"],
    ) -> Any:
        pair = _to_float(reference), _to_float(distorted)
        return steps.predict_pairs(variables, *pair, teacher=network)

    return of_pairs if role == "teacher" else of_pictures


def _to_float(pixels: UInt8[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    return pixels.astype(jnp.float32) / 255.0
