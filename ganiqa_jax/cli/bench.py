"""`ganiqa bench`: how fast this machine scores."""

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from ganiqa_jax.cli.scoring import Backend


def bench(
    pictures: tyro.conf.Positional[
        Annotated[tuple[str, ...], tyro.conf.arg(metavar="[PATH...]")]
    ] = (),
    /,
    *,
    model: Annotated[str, tyro.conf.arg(aliases=["-m"])],
    backend: Backend = "jax",
    count: int = 200,
    side: int = 512,
    batch_size: int = 32,
    workers: int = 2,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Measure how fast a student scores here: decoding, network, both, first score.

    Without pictures it draws JPEG files for itself.

      ganiqa bench --model runs/student
      ganiqa bench photos/ --model runs/student --backend onnx --json

    Args:
        pictures: files, folders, quoted patterns, @FILE of names.
        model: run directory, released folder or released name of a student.
        backend: jax or onnx.
        count: pictures to score, at most.
        side: of drawn pictures, pixels.
        batch_size: crops per device call.
        workers: threads that decode.
        json_output: print JSON.
    """
    from ganiqa_jax.errors import InputError
    from ganiqa_jax.scoring.find import find_pictures

    if count < 1 or side < 64:
        raise InputError("--count must be at least 1 and --side at least 64.")
    found = find_pictures(pictures)[:count] if pictures else []
    if backend == "jax":
        from ganiqa_jax.mesh import set_cpu_flags

        set_cpu_flags("infer")
    from ganiqa_jax.cli.tables import print_table
    from ganiqa_jax.scoring.bench import draw_pictures, measure

    def say(line: str) -> None:
        print(f"{line} ...", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        speeds = measure(
            model,
            found or draw_pictures(Path(folder), count, side),
            backend=backend,
            batch_size=batch_size,
            workers=workers,
            say=say,
        )
    if json_output:
        print(json.dumps(asdict(speeds)))
        return
    threads = f"{speeds.decode_threads} threads"
    rows = [
        ("pictures", f"{speeds.pictures}, {speeds.crops} crops each"),
        (f"decoding alone, {threads}", f"{speeds.decode:.1f} pictures/s"),
        ("network alone", f"{speeds.compute:.1f} pictures/s"),
        ("from file to score", f"{speeds.whole:.1f} pictures/s"),
        ("limit, if both share the cores", f"{speeds.limit:.1f} pictures/s"),
        ("first score, empty caches", f"{speeds.first_cold:.2f} s"),
        ("first score, second start", f"{speeds.first_warm:.2f} s"),
        ("peak memory", f"{speeds.peak_memory:.0f} MiB"),
    ]
    print_table((), rows)
