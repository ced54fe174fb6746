"""Two real processes of one run, on the loopback."""

import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent


class Ended(NamedTuple):
    """How a process ended, and what it said."""

    status: int
    out: str
    err: str


def run_two(code: str, *, timeout: float = 120, **values: object) -> list[Ended]:
    """Runs `code` in two processes that have joined; `index` is the number of each.

    Args:
      code: is dedented; runs after `ganiqa_jax.processes.join`.
      timeout: of each, seconds; a process that takes longer is killed and fails.
      values: names that the code can use; must have a `repr` that is code.
    """
    head = [
        "import sys",
        f"sys.path.insert(0, {str(TESTS)!r})",
        *(f"{name} = {value!r}" for name, value in values.items()),
        "index = int(sys.argv[1])",
        "import jax",
        "from ganiqa_jax import processes",
        f"processes.join('localhost:{free_port()}', 2, index)",
    ]
    program = "\n".join([*head, textwrap.dedent(code)])
    commands = [[sys.executable, "-c", program, str(index)] for index in range(2)]
    return run_all(commands, timeout)


def run_all(commands: list[list[str]], timeout: float) -> list[Ended]:
    """Runs commands at the same time; none outlives the call."""
    environment = {k: v for k, v in os.environ.items() if "XLA_FLAGS" not in k}
    environment["JAX_PLATFORMS"] = "cpu"
    started = [
        subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    try:
        said = [process.communicate(timeout=timeout) for process in started]
    finally:
        for process in started:
            process.kill()
    return [
        Ended(process.returncode, *texts)
        for process, texts in zip(started, said, strict=True)
    ]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]
