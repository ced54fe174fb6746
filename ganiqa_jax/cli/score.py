"""`ganiqa score` and `ganiqa compare`: pictures in, rows out."""

import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import tyro

from ganiqa_jax.errors import GanIqaError

if TYPE_CHECKING:
    from ganiqa_jax.scoring.engine import Scorer
    from ganiqa_jax.scoring.rows import ScoreRow

OnError = Literal["skip", "fail"]
Backend = Literal["jax", "onnx"]


class SomeFailed(GanIqaError):
    """Some inputs have no score; the rows say which and why."""

    exit_status = 3


class _Writer(Protocol):
    def write(self, row: "ScoreRow") -> None: ...


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
    recursive: bool = True,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = 80_000_000,
    progress: bool = True,
) -> None:
    """Score pictures without a reference; in [0, 1], higher is better.

    Every picture gets a row, in order: a score and its spread, or why it has none.
    Exit status 3: finished, but some pictures have no score.

      ganiqa score photo.png --model runs/student
      ganiqa score pictures/ --model runs/student --out scores.jsonl
      ganiqa score 'shots/**/*.png' @list.txt -m runs/student --out scores.csv
      find . -name '*.jpg' | ganiqa score - -m runs/student --json

    Args:
        pictures: files, folders, quoted patterns, @FILE of names, - for standard input.
        model: run directory, released folder or released name of a student; with the
            onnx backend also a file of `ganiqa export`.
        out: .jsonl or .csv file; without it, scores are printed.
        json_output: print JSON lines.
        backend: jax, or onnx: the same scores by onnxruntime, faster on a CPU; exports
            the model once, proven equal, into the user's cache folder.
        on_error: skip a picture that cannot be scored, or end there.
        recursive: also search folders in folders.
        batch_size: crops per device call.
        workers: threads that decode.
        max_pixels: larger pictures are refused undecoded.
        progress: a progress bar on standard error, if that is a terminal.
    """
    scorer, paths = _prepare(
        lambda find: find.find_pictures(pictures, recursive=recursive),
        model,
        backend,
        out,
        batch_size,
        workers,
        max_pixels,
    )
    rows = scorer.score_iter(paths)
    _write(scorer, rows, len(paths), out, json_output, on_error, progress)


def compare(
    ref: Path,
    dist: Path,
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])],
    pair: str = "name",
    on_size_mismatch: Literal["error", "resize-ref", "center-crop"] = "error",
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
    backend: Backend = "jax",
    on_error: OnError = "skip",
    recursive: bool = True,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = 80_000_000,
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
        out: .jsonl or .csv file; without it, scores are printed.
        json_output: print JSON lines.
        backend: jax, or onnx: the same scores by onnxruntime, faster on a CPU; exports
            the model once, proven equal, into the user's cache folder.
        on_error: skip a pair that cannot be scored, or end there.
        recursive: also search folders in folders.
        batch_size: crops per device call.
        workers: threads that decode.
        max_pixels: larger pictures are refused undecoded.
        progress: a progress bar on standard error, if that is a terminal.
    """
    scorer, pairs = _prepare(
        lambda find: find.find_pairs(ref, dist, match=pair, recursive=recursive),
        model,
        backend,
        out,
        batch_size,
        workers,
        max_pixels,
    )
    rows = scorer.compare_iter(pairs, on_size_mismatch=on_size_mismatch)
    _write(scorer, rows, len(pairs), out, json_output, on_error, progress)


def _prepare(
    look: Callable,
    model: str,
    backend: Backend,
    out: Path | None,
    batch_size: int,
    workers: int,
    max_pixels: int,
) -> "tuple[Scorer, list]":
    """Looks at paths first, because that fails fast, and then loads the model."""
    # Pillow's remarks name its own source lines; what matters is in the rows.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    from ganiqa_jax.scoring import find, rows

    if out is not None:
        rows.kind_of(out)
    inputs = look(find)
    if backend == "jax":  # the other one needs no JAX
        from ganiqa_jax.compile_cache import use_compile_cache
        from ganiqa_jax.mesh import set_cpu_flags

        set_cpu_flags("infer")
        use_compile_cache()
    from ganiqa_jax.scoring.engine import create_scorer

    scorer = create_scorer(
        model,
        backend=backend,
        batch_size=batch_size,
        workers=workers,
        max_pixels=max_pixels,
        # Rows in a file must not depend on how many there are; a look may.
        pictures=0 if out else len(inputs),
    )
    return scorer, inputs


def _write(
    scorer: "Scorer",
    rows: "Iterator[ScoreRow]",
    total: int,
    out: Path | None,
    json_output: bool,
    on_error: OnError,
    progress: bool,
) -> None:
    from ganiqa_jax.progress import track
    from ganiqa_jax.scoring.rows import open_rows

    began = time.perf_counter()
    statuses: Counter[str] = Counter()
    # A bar would get in the way of rows on standard output.
    show = progress and out is not None and sys.stderr.isatty()
    writer: AbstractContextManager[_Writer] = (
        open_rows(out, scorer.header()) if out or json_output else nullcontext(_Lines())
    )
    with writer as lines:
        for row in track(rows, total, "scoring", show):
            lines.write(row)
            statuses[row.status] += 1
            if on_error == "fail" and row.status != "ok":
                raise SomeFailed(f"{row.path}: {row.error}")
    _summarise(scorer, statuses, time.perf_counter() - began, out)
    failed = total - statuses["ok"]
    if failed:
        where = f"see {out}" if out else "see above"
        raise SomeFailed(f"{failed} of {total} inputs have no score; {where}.")


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
