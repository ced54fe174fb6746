"""Scores of many pictures: decoded ahead in threads, scored in batches of one shape.

Crops of successive pictures are packed together into batches of `batch_size`; the
tail is filled with zeros that nobody reads. So a model compiles once, and a picture's
score does not depend on its neighbours. Rows come in the order of the pictures, and
memory does not grow with their number.
"""

import contextlib
import functools
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from ganiqa_jax.card import ModelCard
from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.archives import in_turn
from ganiqa_jax.scoring.batching import Batches, Job, load_ahead
from ganiqa_jax.scoring.computing import (
    Backend,
    Compute,
    Crops,
    LocalCompute,
    create_compute,
    crops_of,
)
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
    load_with_crops,
    name_of,
)
from ganiqa_jax.scoring.maps import QualityMap, map_of_picture
from ganiqa_jax.scoring.rows import RowsHeader, ScoreRow

__all__ = ["Scorer", "create_scorer", "find_pictures"]


def create_scorer(
    model: str | Path = "student-s",
    *,
    backend: Backend = "jax",
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
    pictures: int = 0,
    crops: Crops | None = None,
) -> "Scorer":
    """A scorer of a run directory, a released model or an exported .onnx file.

    Args:
      model: the folder or file, or the name of a released model; student-s comes
        with the package.
      backend: `onnx` runs the network by onnxruntime, which is faster on a CPU; a
        folder's network is exported once and kept in the user's cache folder.
      batch_size: crops per device call; rounded up to a multiple of the devices.
      workers: threads that decode.
      max_pixels: pictures that claim more are refused undecoded.
      pictures: how many there will be, if that is known: few make smaller batches.
      crops: of a picture, in place of the model's own number: fewer are faster and
        say less. Rows have another preprocessing identity. A model that looks at
        whole pictures takes 1 alone.

    Raises:
      InputError: if the folder holds no model, or the backend is not installed.
      IntegrityError: if the model is damaged.
    """
    compute = create_compute(model, backend, batch_size, pictures, crops)
    return Scorer(compute, workers=workers, max_pixels=max_pixels)


def header_of(card: ModelCard, model_sha: str, backend: str = "jax") -> RowsHeader:
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
        backend=backend,
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
        compute: Compute,
        *,
        workers: int = 2,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        for name, value in (("workers", workers), ("max_pixels", max_pixels)):
            if value < 1:
                raise InputError(f"{name}={value} must be at least 1.")
        self.card = compute.card
        self.batch_size = compute.batch_size
        self._compute = compute
        self._inputs = len(compute.card.inputs)
        self._workers = workers
        self._max_pixels = max_pixels

    @property
    def model_sha(self) -> str:
        """Twelve hex digits over the names and values of all arrays."""
        return self._compute.model_sha

    def header(self) -> RowsHeader:
        """What a file of this scorer's rows says of all of them."""
        return header_of(self.card, self.model_sha, self._compute.backend)

    def score(self, picture: Source) -> ScoreRow:
        """Scores one picture; see `score_iter`.

        It takes the time of a whole batch: for one picture at a time make the scorer
        with `pictures=1`.
        """
        return next(self.score_iter([picture]))

    def score_iter(
        self, pictures: Iterable[Source], *, numbers: Iterable[int] | None = None
    ) -> Iterator[ScoreRow]:
        """Scores pictures without a reference.

        Args:
          pictures: paths, members of archives (`archives.open_archives`), or arrays
            [H, W, 3] of uint8 or floating in [0, 1] (which are rounded to 8 bits).
            Drawn as needed: may be endless.
          numbers: of the pictures in a whole of which these are a part, rising: with
            them a score is to the last bit that of scoring the whole. 0, 1, 2, ... if
            not given.

        Yields:
          One row a picture, in order. A picture that cannot be scored is told by
          its `status`; it never raises.

        Raises:
          InputError: at once, if the model needs references.
        """
        self._need("student")
        rules = LoadRules(self.card.preprocessing, self._max_pixels)
        loads = (
            functools.partial(
                load_picture, in_turn(picture), name_of(picture, index), rules
            )
            for index, picture in enumerate(pictures)
        )
        return self._rows(self._jobs(loads, numbers))

    def score_loaded(self, pictures: Iterable[Loaded]) -> Iterator[ScoreRow]:
        """Scores pictures that were loaded elsewhere, by this model's rules."""
        return self._rows(self._jobs(functools.partial(_same, p) for p in pictures))

    def compare_iter(
        self,
        pairs: Iterable[tuple[Source, Source]],
        *,
        on_size_mismatch: SizeMismatch = "error",
        numbers: Iterable[int] | None = None,
    ) -> Iterator[ScoreRow]:
        """Scores distorted pictures against their references.

        Args:
          pairs: (reference, distorted), each as in `score_iter`.
          on_size_mismatch: a pair of unequal sizes gets no score, or has its
            reference resized, or both cut to the common centre; the row tells.
          numbers: as in `score_iter`.

        Yields:
          One row a pair, in order; `path` and the facts of the file are those of
          the distorted picture.

        Raises:
          InputError: at once, if the model takes no references.
        """
        return self._rows(self._pair_jobs(pairs, on_size_mismatch, numbers))

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

    def quality_map(self, picture: Source) -> QualityMap:
        """Where a picture is good and bad in the eyes of a student.

        Args:
          picture: as in `score_iter`.

        Returns:
          The picture as it is seen, and a score in [0, 1] for each of its pixels.

        Raises:
          InputError: if the model is no student on the jax backend.
          DecodeError: if the picture cannot be read.
        """
        self._need("student")
        if not isinstance(self._compute, LocalCompute):
            raise InputError("Quality maps need the jax backend.")
        preprocessing = self.card.preprocessing
        rules = LoadRules(preprocessing, self._max_pixels)
        pixels, crops = load_with_crops(picture, rules)
        z = self._compute.cells(crops)
        scores = self.card.scale.to_score(z)
        return QualityMap(
            pixels, map_of_picture(scores, pixels.shape[:2], preprocessing)
        )

    def _need(self, role: str) -> None:
        if self.card.role != role:
            hint = (
                "takes no references: use score"
                if role == "teacher"
                else "needs a reference for each picture: use compare"
            )
            raise InputError(f"{self.card.name} is a {self.card.role}; it {hint}.")

    def _pair_jobs(
        self,
        pairs: Iterable[tuple[Source, Source]],
        on_size_mismatch: SizeMismatch,
        numbers: Iterable[int] | None = None,
    ) -> Generator[Job, None, None]:
        self._need("teacher")
        rules = LoadRules(self.card.preprocessing, self._max_pixels, on_size_mismatch)
        loads = (
            functools.partial(
                load_pair, pair, (name_of(pair[0], i), name_of(pair[1], i)), rules
            )
            for i, pair in enumerate(pairs)
        )
        return self._jobs(loads, numbers)

    def _jobs(
        self,
        loads: Iterable[Callable[[], Loaded]],
        numbers: Iterable[int] | None = None,
    ) -> Generator[Job, None, None]:
        pictures = -(-self.batch_size // crops_of(self.card))
        batches = Batches(
            self._compute.ready,
            self.batch_size,
            self.card.preprocessing.crop,
            self._inputs,
        )
        waiting: deque[Job] = deque()
        # Enough is decoded ahead to fill the next batch while one is computed.
        ready = load_ahead(loads, self._workers, self._workers + 2 * pictures)
        for loaded, number in zip(ready, numbers or itertools.count(), strict=False):
            job = Job(loaded)
            waiting.append(job)
            batches.add(job, int(number) * crops_of(self.card))
            # Pictures that fail fill no batch; rows must not pile up behind them.
            if len(waiting) > 8 * (pictures + self._workers):
                batches.finish()
            while waiting and not waiting[0].missing:
                yield waiting.popleft()
        batches.finish()
        yield from waiting

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
