"""`ganiqa score` and `ganiqa compare`: pictures in, rows out."""

import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import tyro

from ganiqa_jax.cli.stopping import Stop
from ganiqa_jax.errors import GanIqaError, InputError, Interrupted

if TYPE_CHECKING:
    from ganiqa_jax.scoring.engine import Scorer
    from ganiqa_jax.scoring.parts import Input
    from ganiqa_jax.scoring.rows import ScoreRow

OnError = Literal["skip", "fail"]
Backend = Literal["jax", "onnx"]
SizeMismatch = Literal["error", "resize-ref", "center-crop"]


class SomeFailed(GanIqaError):
    """Some inputs have no score; the rows say which and why."""

    exit_status = 3


class _Writer(Protocol):
    def write(self, row: "ScoreRow") -> None: ...


@dataclass(frozen=True)
class _Output:
    """Where rows go, and how a run is gone on with; as the flags."""

    out: Path | None
    json_output: bool
    on_error: OnError
    resume: bool
    fsync_every: int
    progress: bool
    maps: Path | None = None


@dataclass(frozen=True)
class _Engine:
    """What scores; as the flags."""

    model: str
    backend: Backend
    batch_size: int
    workers: int
    max_pixels: int
    pairs: bool = False
    on_size_mismatch: SizeMismatch = "error"

    def start(self, pictures: int) -> "Scorer":
        if self.backend == "jax":  # the other one needs no JAX
            from ganiqa_jax.compile_cache import use_compile_cache
            from ganiqa_jax.mesh import set_cpu_flags

            set_cpu_flags("infer")
            use_compile_cache()
        from ganiqa_jax.scoring.engine import create_scorer

        return create_scorer(
            self.model,
            backend=self.backend,
            batch_size=self.batch_size,
            workers=self.workers,
            max_pixels=self.max_pixels,
            pictures=pictures,
        )

    def settings(self, scorer: "Scorer") -> dict[str, int | str]:
        """What decides rows beside the model."""
        return {
            "batch_size": scorer.batch_size,
            "max_pixels": self.max_pixels,
            "on_size_mismatch": self.on_size_mismatch,
        }


def score(
    pictures: tyro.conf.Positional[
        Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")]
    ],
    /,
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])],
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
    progress: bool = True,
) -> None:
    """Score pictures without a reference; in [0, 1], higher is better.

    Every picture gets a row, in order: a score and its spread, or why it has none.
    Exit status 3: finished, but some pictures have no score. 130: interrupted; the
    rows so far are kept, and the same command goes on from there.

      ganiqa score photo.png --model runs/student
      ganiqa score pictures/ --model runs/student --out scores.jsonl
      ganiqa score photos.zip more.tar -m runs/student --out scores.parquet
      ganiqa score 'shots/**/*.png' @list.txt -m runs/student --out scores.csv
      find . -name '*.jpg' | ganiqa score - -m runs/student --json

    Args:
        pictures: files, folders, quoted patterns, tar and zip archives, @FILE of
            names, - for names on standard input.
        model: run directory, released folder or released name of a student; with the
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
            file is named by the first 16 digits of the picture's sha256.
        progress: a progress bar on standard error, if that is a terminal.
    """
    if maps is not None and (out is None or backend != "jax"):
        raise InputError("--maps goes with --out and the jax backend.")
    from ganiqa_jax.scoring.archives import open_archives

    output = _Output(out, json_output, on_error, resume, fsync_every, progress, maps)
    _score_all(
        lambda find: open_archives(find.find_pictures(pictures, recursive=recursive)),
        output,
        shard,
        _Engine(model, backend, batch_size, workers, max_pixels),
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
        progress: a progress bar on standard error, if that is a terminal.
    """
    output = _Output(out, json_output, on_error, resume, fsync_every, progress)
    _score_all(
        lambda find: find.find_pairs(ref, dist, match=pair, recursive=recursive),
        output,
        shard,
        _Engine(
            model, backend, batch_size, workers, max_pixels, True, on_size_mismatch
        ),
    )


def _score_all(
    look: Callable, output: _Output, shard: str | None, engine: _Engine
) -> None:
    """Looks at paths first, because that fails fast; then loads the model."""
    # Pillow's remarks name its own source lines; what matters is in the rows.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    from ganiqa_jax.scoring import find, rows

    if output.out is not None:
        rows.kind_of(output.out)
    inputs = look(find)
    if shard is not None:
        from ganiqa_jax.scoring.shards import shard_of, shard_path

        if output.out is None:
            raise InputError("--shard goes with --out.")
        inputs = shard_of(inputs, shard)
        output = replace(output, out=shard_path(output.out, shard))
    # Rows in a file must not depend on how many there are; a look may.
    scorer = engine.start(0 if output.out else len(inputs))
    began = time.perf_counter()
    with Stop() as stop:
        if output.out is None:
            statuses = _print_rows(scorer, inputs, output, engine, stop)
        else:
            statuses = _write_rows(scorer, inputs, output, engine, stop)
    _summarise(scorer, statuses, time.perf_counter() - began, output.out)
    failed = len(inputs) - statuses["ok"]
    if failed:
        where = f"see {output.out}" if output.out else "see above"
        raise SomeFailed(f"{failed} of {len(inputs)} inputs have no score; {where}.")


def _print_rows(
    scorer: "Scorer",
    inputs: "Sequence[Input]",
    output: _Output,
    engine: _Engine,
    stop: Stop,
) -> Counter[str]:
    from ganiqa_jax.scoring.rows import open_rows
    from ganiqa_jax.scoring.runs import rows_of

    statuses: Counter[str] = Counter()
    given = (item for item in inputs if not stop())
    writer: AbstractContextManager[_Writer] = (
        open_rows(None, scorer.header())
        if output.json_output
        else nullcontext(_Lines())
    )
    with writer as lines:
        for row in rows_of(scorer, given, engine.pairs, engine.on_size_mismatch):
            lines.write(row)
            _count(statuses, row, output.on_error)
    _check_end(stop, statuses, len(inputs))
    return statuses


def _write_rows(
    scorer: "Scorer",
    inputs: "Sequence[Input]",
    output: _Output,
    engine: _Engine,
    stop: Stop,
) -> Counter[str]:
    from ganiqa_jax.progress import track
    from ganiqa_jax.scoring.parts import open_part
    from ganiqa_jax.scoring.runs import score_inputs

    assert output.out is not None
    statuses: Counter[str] = Counter()
    part = open_part(
        output.out,
        scorer.header(),
        engine.settings(scorer),
        resume=output.resume,
        fsync_every=output.fsync_every,
    )
    with part as part:
        rows = score_inputs(
            scorer,
            inputs,
            part,
            pairs=engine.pairs,
            on_size_mismatch=engine.on_size_mismatch,
            stopped=stop,
            beside=_map_writer(scorer, output.maps),
        )
        show = output.progress and sys.stderr.isatty()
        for row in track(rows, len(inputs), "scoring", show):
            _count(statuses, row, output.on_error)
        statuses += part.earlier
        _check_end(stop, statuses, len(inputs))
        part.finish()
        part.discard()
    return statuses


def _count(statuses: Counter[str], row: "ScoreRow", on_error: OnError) -> None:
    statuses[row.status] += 1
    if on_error == "fail" and row.status != "ok":
        raise SomeFailed(f"{row.path}: {row.error}")


def _check_end(stop: Stop, statuses: Counter[str], total: int) -> None:
    if stop() and statuses.total() < total:
        raise Interrupted(
            f"Interrupted; {statuses.total()} of {total} inputs have their row."
        )


def _map_writer(
    scorer: "Scorer", folder: Path | None
) -> "Callable[[Input, ScoreRow], None] | None":
    if folder is None:
        return None
    from ganiqa_jax.scoring.durable import make_room
    from ganiqa_jax.scoring.maps import map_name

    make_room(folder / "map")

    def write(item: "Input", row: "ScoreRow") -> None:
        if row.status == "ok" and row.sha256 and not isinstance(item, tuple):
            scorer.quality_map(item).save(folder / map_name(row.sha256))

    return write


def _summarise(
    scorer: "Scorer", statuses: Counter[str], seconds: float, out: Path | None
) -> None:
    card, header = scorer.card, scorer.header()
    counts = ", ".join(f"{number} {status}" for status, number in statuses.items())
    print(
        f"{counts} in {seconds:.1f} s. Model {card.name} ({header.model_sha}), "
        f"score in [0, 1], higher is better; mos on {header.scale}, "
        f"{header.mos_low:g} to {header.mos_high:g}."
        + (f" Rows in {out}." if out else ""),
        file=sys.stderr,
    )


class _Lines:
    """Prints a row for people: score, spread, path."""

    def write(self, row: "ScoreRow") -> None:
        if row.score is None:
            text = f"{row.status:>15}  {printable(row.path)}  {row.error}"
        else:
            spread = "" if row.sigma is None else f"±{row.sigma:.4f}"
            text = f"{row.score:.4f} {spread:>8}  {printable(row.path)}"
        print(text, flush=True)


def printable(name: str) -> str:
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)
