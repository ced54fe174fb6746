"""`ganiqa demo`: the main job on embedded photographs, in minutes."""

import sys
from pathlib import Path


def demo(out: Path = Path("demo"), seed: int = 0, progress: bool = True) -> None:
    """Train, distil, evaluate and score on photographs that are embedded.

    Writes report.html, scores.jsonl, and the run directories teacher and student.
    Nothing is downloaded. About five minutes on two cores; a call that was stopped
    goes on where it was.

      ganiqa demo --out demo

    Args:
        out: folder for everything that is made.
        seed: decides distortions, split, weights and order.
        progress: progress bars on standard error.
    """
    from ganiqa_jax.mesh import set_cpu_flags

    set_cpu_flags("train")
    from ganiqa_jax.demo import run_demo

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    result = run_demo(out, seed=seed, progress=progress, say=say)
    for name in ("teacher", "student"):
        measured = getattr(result, name)
        srcc, plcc = (measured.estimates[key] for key in ("srcc", "plcc"))
        print(
            f"{name}: SRCC {srcc.value:.3f} [{srcc.low:.3f}, {srcc.high:.3f}], "
            f"PLCC {plcc.value:.3f} [{plcc.low:.3f}, {plcc.high:.3f}], "
            f"n={measured.n} pictures of {measured.contents} unseen scenes"
        )
    print(f"{result.page} shows them, after {result.seconds:.0f} s")
