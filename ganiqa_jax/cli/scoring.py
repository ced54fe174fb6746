"""What `ganiqa score` and `ganiqa compare` share: inputs in, rows out, nothing lost."""

import itertools
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ganiqa_jax.cli.stopping import Stop
from ganiqa_jax.errors import GanIqaError, InputError, Interrupted

if TYPE_CHECKING:
    from ganiqa_jax.integrations.ray import RayScorer
    from ganiqa_jax.scoring.engine import Scorer
    from ganiqa_jax.scoring.parts import Input
    from ganiqa_jax.scoring.rows import ScoreRow
    from ganiqa_jax.scoring.runs import Rows

Cluster = Literal["local", "ray"]
OnError = Literal["skip", "fail"]
Backend = Literal["jax", "onnx"]
Crops = Literal[1, 5, 9]
SizeMismatch = Literal["error", "resize-ref", "center-crop"]


class SomeFailed(GanIqaError):
    """Some inputs have no score; the rows say which and why."""

    exit_status = 3


class _Writer(Protocol):
    def write(self, row: "ScoreRow") -> None: ...


@dataclass(frozen=True)
class Output:
    """Where rows go, and how a run is gone on with; as the flags."""

    out: Path | None
    json_output: bool
    on_error: OnError
    resume: bool
    fsync_every: int
    progress: bool
    maps: Path | None = None


@dataclass(frozen=True)
class Engine:
    """What scores; as the flags."""

    model: str
    backend: Backend
    batch_size: int
    workers: int
    max_pixels: int
    pairs: bool = False
    on_size_mismatch: SizeMismatch = "error"
    crops: Crops | None = None

    engine: Cluster = "local"
    ray_address: str | None = None

    def start(self, pictures: int) -> "Scorer | RayScorer":
        """The scorer; of few pictures in smaller batches."""
        if self.engine == "ray":
            from ganiqa_jax.integrations.ray import Layout, RayScorer, start_ray

            layout = Layout(
                batch_size=self.batch_size,
                max_pixels=self.max_pixels,
                crops=self.crops,
            )
            if self.ray_address:
                start_ray(self.ray_address)
            return RayScorer(self.model, layout)
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
            crops=self.crops,
        )

    def rows_by(self, scorer: "Scorer | RayScorer", stop: Stop) -> "Rows":
        """What scores inputs."""
        if self.engine == "ray":
            return lambda inputs, places: _until(stop, scorer.score_iter(inputs))
        from ganiqa_jax.scoring.runs import rows_by

        return rows_by(scorer, self.pairs, self.on_size_mismatch)  # pyright: ignore[reportArgumentType]

    def settings(self) -> dict[str, int | str]:
        """What decides rows beside the model."""
        return {
            "batch_size": self.batch_size,
            "max_pixels": self.max_pixels,
            "on_size_mismatch": self.on_size_mismatch,
            "engine": self.engine,
        }


def score_all(
    look: Callable, output: Output, shard: str | None, engine: Engine
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
    scorer: "Scorer | RayScorer",
    inputs: "Sequence[Input]",
    output: Output,
    engine: Engine,
    stop: Stop,
) -> Counter[str]:
    from ganiqa_jax.scoring.rows import open_rows

    statuses: Counter[str] = Counter()
    given = (item for item in inputs if not stop())
    writer: AbstractContextManager[_Writer] = (
        open_rows(None, scorer.header())
        if output.json_output
        else nullcontext(_Lines())
    )
    with writer as lines:
        for row in engine.rows_by(scorer, stop)(given, itertools.count()):
            lines.write(row)
            _count(statuses, row, output.on_error)
    _check_end(stop, statuses, len(inputs))
    return statuses


def _write_rows(
    scorer: "Scorer | RayScorer",
    inputs: "Sequence[Input]",
    output: Output,
    engine: Engine,
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
        engine.settings(),
        resume=output.resume,
        fsync_every=output.fsync_every,
    )
    with part as part:
        rows = score_inputs(
            engine.rows_by(scorer, stop),
            inputs,
            part,
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


def _until(stop: Stop, rows: "Iterator[ScoreRow]") -> "Iterator[ScoreRow]":
    """Rows of a cluster, which took all inputs at once, while none asks to stop."""
    for row in rows:
        yield row
        if stop():
            return


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
    scorer: Any, folder: Path | None
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
    scorer: "Scorer | RayScorer",
    statuses: Counter[str],
    seconds: float,
    out: Path | None,
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
