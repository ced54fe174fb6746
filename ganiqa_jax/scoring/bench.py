"""How fast this machine scores, and what it waits for."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ganiqa_jax import home
from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.computing import Backend, Compute, create_compute
from ganiqa_jax.scoring.decode import MAX_PIXELS
from ganiqa_jax.scoring.engine import Scorer
from ganiqa_jax.scoring.loading import LoadRules, load_picture

COMMAND = "import sys; from ganiqa_jax.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Speeds:
    """What was measured.

    Attributes:
      pictures: number of pictures; rates are per second.
      crops: of a picture.
      decode: pictures read, decoded and cut, nothing else; `decode_threads` did it.
      compute: pictures whose crops went through the network, nothing else.
      whole: pictures scored from files.
      limit: of `whole`, if decoding and computing share the cores and never wait.
      first_cold: seconds from starting the program to the first score, with empty
        caches; `first_warm` the second time.
      peak_memory: of the process that scored all pictures, in MiB.
    """

    pictures: int
    crops: int
    decode: float
    decode_threads: int
    compute: float
    whole: float
    limit: float
    first_cold: float
    first_warm: float
    peak_memory: float


def measure(
    model: str,
    pictures: Sequence[Path],
    *,
    backend: Backend = "jax",
    batch_size: int = 32,
    workers: int = 2,
    say: Callable[[str], None] = lambda line: None,
) -> Speeds:
    """Measures scoring on these pictures.

    Args:
      model: as for `create_scorer`; a student.
      pictures: that can be scored.
      backend: as for `create_scorer`; so `batch_size` and `workers`.
      say: is told what is measured next.

    Raises:
      InputError: if the model is no student, or a picture cannot be scored.
    """
    compute = create_compute(model, backend, batch_size)
    if compute.card.role != "student":
        raise InputError(f"{compute.card.name} is a teacher; this measures students.")
    scorer = Scorer(compute, workers=workers)
    say("compiling")
    first = scorer.score(pictures[0])
    if first.status != "ok":
        raise InputError(f"{first.path}: {first.error}")
    say("decoding alone")
    decode = decoding_rate(scorer, pictures, workers)
    say("computing alone")
    compute_rate = computing_rate(compute, first.crops)
    say("scoring")
    whole = rate(lambda: len([*scorer.score_iter(pictures)]))
    say("starting anew")
    cold, warm, memory = first_scores(model, backend, batch_size, workers, pictures)
    return Speeds(
        pictures=len(pictures),
        crops=first.crops,
        decode=decode,
        decode_threads=workers,
        compute=compute_rate,
        whole=whole,
        limit=1 / (1 / decode + 1 / compute_rate),
        first_cold=cold,
        first_warm=warm,
        peak_memory=memory,
    )


def decoding_rate(scorer: Scorer, pictures: Iterable[Path], workers: int) -> float:
    """Pictures per second that threads read, decode and cut."""
    rules = LoadRules(scorer.card.preprocessing, MAX_PIXELS)

    def load(path: Path) -> None:
        load_picture(path, str(path), rules)

    with ThreadPoolExecutor(workers) as pool:
        return rate(lambda: sum(1 for _ in pool.map(load, pictures)))


def computing_rate(compute: Compute, crops: int, seconds: float = 3.0) -> float:
    """Pictures per second whose crops are computed, two batches under way."""
    size, side = compute.batch_size, compute.card.preprocessing.crop
    batch = np.random.default_rng(0).integers(0, 256, (size, side, side, 3), np.uint8)
    inputs = (batch,) * len(compute.card.inputs)
    run = compute.ready()
    np.asarray(run(inputs, size))
    done, began = 0, time.perf_counter()
    waiting = run(inputs, size)
    while time.perf_counter() - began < seconds:
        following = run(inputs, size)
        np.asarray(waiting)
        waiting = following
        done += size
    np.asarray(waiting)
    return (done + size) / crops / (time.perf_counter() - began)


def rate(work: Callable[[], int]) -> float:
    """What was done, per second."""
    began = time.perf_counter()
    count = work()
    return count / (time.perf_counter() - began)


def first_scores(
    model: str,
    backend: Backend,
    batch_size: int,
    workers: int,
    pictures: Sequence[Path],
) -> tuple[float, float, float]:
    """Seconds to the first score without and with caches, and MiB to score all."""
    flags = ["--model", model, "--backend", backend, "--workers", str(workers)]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **_caches_in(Path(folder))}

        def start(arguments: list[str]) -> float:
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", COMMAND, "score", *arguments],
                env=environment,
                capture_output=True,
                text=True,
            )
            if done.returncode not in (0, 3):
                raise InputError(f"ganiqa score failed: {done.stderr.strip()}")
            return time.perf_counter() - began

        cold, warm = (start([str(pictures[0]), *flags]) for _ in range(2))
        listed = Path(folder, "list.txt")
        listed.write_bytes(b"\0".join(os.fsencode(path) for path in pictures))
        rows = Path(folder, "rows.jsonl")
        batch = ["--batch-size", str(batch_size), "--out", str(rows)]
        start([f"@{listed}", *flags, *batch])
    # Of the children of this process, that which scored all is the largest.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return cold, warm, peak


def _caches_in(folder: Path) -> dict[str, str]:
    """Variables that put caches there, and leave released models where they are."""
    if home.VARIABLE not in os.environ:
        return {"XDG_CACHE_HOME": str(folder / "cache")}
    (folder / "models").symlink_to(home.models_folder())
    return {home.VARIABLE: str(folder)}


def draw_pictures(folder: Path, count: int, side: int) -> list[Path]:
    """JPEG files of soft shapes and some noise, of about the bytes of photographs."""
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = random.integers(0, 256, (12, 12, 3), np.uint8)
        soft = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        noise = random.normal(0, 12, (side, side, 1))
        pixels = np.clip(np.asarray(soft) + noise, 0, 255).astype(np.uint8)
        path = folder / f"{number:05}.jpg"
        Image.fromarray(pixels).save(path, quality=90)
        paths.append(path)
    return paths
