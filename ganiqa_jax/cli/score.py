"""`ganiqa score` and `ganiqa compare`: pictures in, rows out."""

from pathlib import Path
from typing import Annotated

import tyro

from ganiqa_jax.cli.scoring import (
    Backend,
    Cluster,
    Crops,
    Engine,
    OnError,
    Output,
    SizeMismatch,
    score_all,
)
from ganiqa_jax.errors import InputError


def score(
    pictures: tyro.conf.Positional[
        Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")]
    ],
    /,
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])] = "student-s",
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
    backend: Backend = "jax",
    on_error: OnError = "skip",
    resume: bool = True,
    shard: str | None = None,
    recursive: bool = True,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = 80_000_000,
    fsync_every: int = 200,
    maps: Path | None = None,
    crops: Crops | None = None,
    engine: Cluster = "local",
    ray_address: str | None = None,
    progress: bool = True,
) -> None:
    """Score pictures without a reference; in [0, 1], higher is better.

    Every picture gets a row, in order: a score and its spread, or why it has none.
    Exit status 3: finished, but some pictures have no score. 130: interrupted; the
    rows so far are kept, and the same command goes on from there.

      ganiqa score photo.png
      ganiqa score pictures/ --model runs/student --out scores.jsonl
      ganiqa score photos.zip more.tar -m runs/student --out scores.parquet
      ganiqa score 'shots/**/*.png' @list.txt -m runs/student --out scores.csv
      find . -name '*.jpg' | ganiqa score - -m runs/student --json

    Args:
        pictures: files, folders, quoted patterns, tar and zip archives, @FILE of
            names, - for names on standard input.
        model: run directory, released folder or released name of a student (student-s
            comes with the package); with the
            onnx backend also a file of `ganiqa export`.
        out: .jsonl, .csv or .parquet file; without it, scores are printed.
        json_output: print JSON lines.
        backend: jax, or onnx: the same scores by onnxruntime, faster on a CPU; exports
            the model once, proven equal, into the user's cache folder.
        on_error: skip a picture that cannot be scored, or end there.
        resume: go on from what an earlier run left, and keep rows of files that have
            not changed; else start over.
        shard: i/n, for job arrays: the i-th of n shares, whose file gets it into its
            name; `ganiqa merge` puts them together.
        recursive: also search folders in folders.
        batch_size: crops per device call.
        workers: threads that decode.
        max_pixels: larger pictures are refused undecoded.
        fsync_every: rows that a loss of power may cost.
        maps: folder for pictures of where the student sees good and bad quality; a
            file is named by the picture's sha256, as `ganiqa report --maps` reads them.
        crops: of each picture, in place of the model's own number; 1, the middle
            alone, is the fastest. student-s looks at whole pictures and has none.
        engine: ray spreads the work over a cluster of Ray (extra `ray`): decoding on
            all processors, a scorer per accelerator.
        ray_address: of a cluster to join (auto, HOST:PORT); else one starts here.
        progress: a progress bar on standard error, if that is a terminal.
    """
    plain = engine == "local" and backend == "jax"
    if maps is not None and (out is None or not plain):
        raise InputError(
            "--maps goes with --out, the jax backend and the local engine."
        )
    if engine == "ray" and backend != "jax":
        raise InputError("--engine ray goes with the jax backend.")
    from ganiqa_jax.scoring.archives import open_archives

    output = Output(out, json_output, on_error, resume, fsync_every, progress, maps)
    score_all(
        lambda find: find.Paths(
            open_archives(find.find_pictures(pictures, recursive=recursive))
        ),
        output,
        shard,
        Engine(
            model,
            backend,
            batch_size,
            workers,
            max_pixels,
            crops=crops,
            engine=engine,
            ray_address=ray_address,
        ),
    )


def compare(
    ref: Path,
    dist: Path,
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])],
    pair: str = "name",
    on_size_mismatch: SizeMismatch = "error",
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
    backend: Backend = "jax",
    on_error: OnError = "skip",
    resume: bool = True,
    shard: str | None = None,
    recursive: bool = True,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = 80_000_000,
    fsync_every: int = 200,
    crops: Crops | None = None,
    progress: bool = True,
) -> None:
    """Score pictures against their references; in [0, 1], higher is better.

    Rows are those of `ganiqa score`, with the reference's path at the end.

      ganiqa compare --ref clean/ --dist jpeg/ --model runs/teacher --out rows.jsonl
      ganiqa compare --ref clean.png --dist versions/ -m runs/teacher
      ganiqa compare --ref . --dist . --pair pairs.csv -m runs/teacher

    Args:
        ref: folder of references, or one file that is the reference of all.
        dist: folder of distorted pictures, or a file.
        model: run directory, released folder or released name of a teacher; with the
            onnx backend also a file of `ganiqa export`.
        pair: name, stem (any suffix) or a .csv file with columns reference, distorted.
        on_size_mismatch: no score, resize the reference, or cut both to the centre.
        out: .jsonl, .csv or .parquet file; without it, scores are printed.
        json_output: print JSON lines.
        backend: jax, or onnx: the same scores by onnxruntime, faster on a CPU; exports
            the model once, proven equal, into the user's cache folder.
        on_error: skip a pair that cannot be scored, or end there.
        resume: go on from what an earlier run left, and keep rows of files that have
            not changed; else start over.
        shard: i/n, for job arrays: the i-th of n shares, whose file gets it into its
            name; `ganiqa merge` puts them together.
        recursive: also search folders in folders.
        batch_size: crops per device call.
        workers: threads that decode.
        max_pixels: larger pictures are refused undecoded.
        fsync_every: rows that a loss of power may cost.
        crops: of each picture, in place of the model's own number.
        progress: a progress bar on standard error, if that is a terminal.
    """
    output = Output(out, json_output, on_error, resume, fsync_every, progress)
    score_all(
        lambda find: find.find_pairs(ref, dist, match=pair, recursive=recursive),
        output,
        shard,
        Engine(
            model,
            backend,
            batch_size,
            workers,
            max_pixels,
            True,
            on_size_mismatch,
            crops,
        ),
    )
