"""Scores of many pictures: decoded ahead in threads, scored in batches of one shape.

Crops of successive pictures are packed together into batches of `batch_size`; the
tail is filled with zeros that nobody reads. So a model compiles once, and a picture's
score does not depend on its neighbours. Rows come in the order of the pictures, and
memory does not grow with their number.
"""

import contextlib
import functools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Float64, UInt8

from ganiqa_jax import release, steps
from ganiqa_jax.errors import InputError
from ganiqa_jax.mesh import AXIS, data_mesh, replicate, shard_batch
from ganiqa_jax.scoring.batching import Batches, Job, Run, load_ahead
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
from ganiqa_jax.types import Params

__all__ = ["Scorer", "create_scorer", "find_pictures"]


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


def header_of(card: release.ModelCard, model_sha: str) -> RowsHeader:
    """What a file of rows says of the model that its rows are from."""
    scale = card.scale
    return RowsHeader(
        model=card.name,
        model_sha=model_sha,
        prep_sha=card.preprocessing.sha,
        scale=scale.name,
        mos_low=float(scale.low),
        mos_high=float(scale.high),
        pairs=card.role == "teacher",
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
        self._inputs = 2 if card.role == "teacher" else 1
        self._workers = workers
        self._max_pixels = max_pixels
        self._variables = replicate(variables, self._mesh)
        self._network = network

    @functools.cached_property
    def model_sha(self) -> str:
        """Twelve hex digits over the names and values of all arrays."""
        return release.model_sha(self._variables)

    def header(self) -> RowsHeader:
        """What a file of this scorer's rows says of all of them."""
        return header_of(self.card, self.model_sha)

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

    def score_loaded(self, pictures: Iterable[Loaded]) -> Iterator[ScoreRow]:
        """Scores pictures that were loaded elsewhere, by this model's rules."""
        return self._rows(self._jobs(functools.partial(_same, p) for p in pictures))

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
    ) -> Generator[Job, None, None]:
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
    ) -> Generator[Job, None, None]:
        preprocessing = self.card.preprocessing
        crops = preprocessing.points * (2 if preprocessing.mirror else 1)
        pictures = -(-self.batch_size // crops)
        batches = Batches(
            self._ready, self.batch_size, preprocessing.crop, self._inputs
        )
        waiting: deque[Job] = deque()
        # Enough is decoded ahead to fill the next batch while one is computed.
        for loaded in load_ahead(loads, self._workers, self._workers + 2 * pictures):
            job = Job(loaded)
            waiting.append(job)
            batches.add(job)
            # Pictures that fail fill no batch; rows must not pile up behind them.
            if len(waiting) > 8 * (pictures + self._workers):
                batches.finish()
            while waiting and not waiting[0].missing:
                yield waiting.popleft()
        batches.finish()
        yield from waiting

    def _ready(self) -> Run:
        """The computation of a batch; compiles when first asked for."""
        compiled = self._compiled
        return lambda inputs: compiled(
            self._variables, *shard_batch(inputs, self._mesh)
        )

    @functools.cached_property
    def _compiled(self) -> Callable[..., Array]:
        side = self.card.preprocessing.crop
        rows = NamedSharding(self._mesh, PartitionSpec(AXIS))
        shape = (self.batch_size, side, side, 3)
        crops = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=rows)
        forward = jax.jit(_forward(self._network, self.card.role))
        inputs = [crops] * self._inputs
        return forward.lower(self._variables, *inputs).compile()

    def _rows(self, jobs: Generator[Job, None, None]) -> Iterator[ScoreRow]:
        with contextlib.closing(jobs):
            for job in jobs:
                yield self._row(job)

    def _row(self, job: Job) -> ScoreRow:
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


def _same(loaded: Loaded) -> Loaded:
    return loaded


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
