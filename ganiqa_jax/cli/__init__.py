"""`ganiqa`: the command line. One module a group of commands, assembled here.

Exit status: 0 done, 1 an error of ours (with its traceback), 2 a setting, path or
data that cannot be used, 3 finished but some inputs failed, 4 a check that does not
hold, 5 damaged data or checkpoint, 130 interrupted, with what was done so far kept.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from ganiqa_jax import __version__
from ganiqa_jax.cli import (
    bench,
    convert,
    data,
    demo,
    evaluate,
    export,
    merge,
    models,
    parity,
    rank,
    report,
    score,
    synthesize,
    train,
)
from ganiqa_jax.cli.commands import run_command
from ganiqa_jax.errors import GanIqaError

_DESCRIPTION = (
    "Image quality of generated pictures; scores are in [0, 1], higher is better.\n\n"
    "  ganiqa score pictures/ --model runs/student --out scores.jsonl\n"
    "  ganiqa COMMAND --help"
)

COMMANDS: dict[str, Callable[..., None]] = {
    "score": score.score,
    "compare": score.compare,
    "merge": merge.merge,
    "report": report.report,
    "rank": rank.rank,
    "eval": evaluate.evaluate,
    "bench": bench.bench,
    "export": export.export,
    "models": models.models,
    "convert": convert.convert,
    "parity": parity.parity,
    "data": data.data,
    "demo": demo.demo,
    "synthesize": synthesize.synthesize,
    "train": train.train,
    "distill": train.distill,
}

# These have commands of their own, or read a configuration file before they know
# their flags, and parse themselves.
SELF_PARSING: dict[str, Callable[[Sequence[str]], None]] = {
    "train": train.train,
    "distill": train.distill,
    "data": data.data,
    "models": models.models,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: without the program's name; None takes those of the process.

    Returns:
      The exit status.

    Raises:
      SystemExit: from the parser: 0 after `--help`, 2 for wrong usage.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        _run(arguments)
        sys.stdout.flush()
    except GanIqaError as error:
        _complain(str(error), error)
        return error.exit_status
    except KeyboardInterrupt as error:
        _complain("Interrupted.", error)
        return 130
    except BrokenPipeError:
        # Who read our output has left; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 130
    return 0


def _run(arguments: list[str]) -> None:
    name, *rest = arguments or ["--help"]
    if name == "--version":
        print(f"ganiqa {__version__}")
    elif name in SELF_PARSING:
        SELF_PARSING[name](rest)
    else:
        run_command("ganiqa", COMMANDS, _DESCRIPTION, arguments)


def _complain(message: str, error: BaseException) -> None:
    lines = [message, *getattr(error, "__notes__", ())]
    print("ganiqa:", " ".join(" ".join(lines).split()), file=sys.stderr)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
