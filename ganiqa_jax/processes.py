"""Several processes of one run: how they join, wait for each other and end together.

Each process has devices of its own and computes its share of every batch. Process 0
writes the run directory, which all must see; the others read it. What they tell each
other beside the numbers of the network goes through the key-value store that
`jax.distributed` keeps in process 0. In a run of one process nothing here waits.
"""

import atexit
import contextlib
import itertools
import os
import sys
import threading
import time
from types import TracebackType
from typing import Any

import jax
from jax._src import distributed  # the only way to the key-value store

from ganiqa_jax.errors import GanIqaError, InputError

PATIENCE = 7 * 24 * 3600
"""Longest wait for another process, seconds. A process that fails ends the wait
earlier; one that works, on pseudo-labels say, may take days."""

JOINING = 300
"""Longest wait for the others at the start, seconds."""

_POLL = 0.5
_FAREWELL = 5.0
_ENDED, _LEFT = "ganiqa/ended/", "ganiqa/left/"

_calls = itertools.count()


def join(coordinator: str | None, processes: int | None, index: int | None) -> None:
    """Joins the processes of one run; does nothing when all three are None.

    To be called before the first array is made.

    Args:
      coordinator: `host:port` of process 0, the same for all.
      processes: how many there are.
      index: number of this one, from 0.

    Raises:
      InputError: if only some are given, one cannot be, or not all processes come.
    """
    settings = {"coordinator": coordinator, "processes": processes, "index": index}
    missing = [name for name, value in settings.items() if value is None]
    if len(missing) == len(settings):
        return
    if coordinator is None or processes is None or index is None:
        raise InputError(
            "A run of several processes needs coordinator, processes and index; "
            f"missing: {', '.join(missing)}."
        )
    if not 0 <= index < processes:
        raise InputError(f"index={index} must be 0 to {processes - 1}.")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"coordinator={coordinator!r} must be host:port.")
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes=processes,
            process_id=index,
            initialization_timeout=JOINING,
        )
    except jax.errors.JaxRuntimeError as error:
        raise InputError(
            f"The {processes} processes did not meet at {coordinator} within "
            f"{JOINING} s: {_first_line(error)}. Start all of them, with one address."
        ) from error


def is_first() -> bool:
    """Whether this is process 0, which writes; True in a run of one process."""
    return jax.process_index() == 0


def wait(what: str) -> None:
    """Waits until every process is here; all call it in the same order.

    Args:
      what: has been done, in words; it is in the message if one never comes.
    """
    client = _client()
    if client is not None:
        client.wait_at_barrier(f"ganiqa/{next(_calls)}/{what}", PATIENCE * 1000)


def share(what: str, value: str) -> str:
    """The value that process 0 gives, in every process; all call it in one order."""
    client = _client()
    if client is None:
        return value
    key = f"ganiqa/{next(_calls)}/{what}"
    if is_first():
        client.key_value_set(key, value)
        return value
    return client.blocking_key_value_get(key, PATIENCE * 1000)


def agree(what: str, value: str) -> None:
    """Makes sure that every process has the same value; all call it in one order.

    Raises:
      InputError: in a process whose value is not that of process 0.
    """
    first = share(what, value)
    if first != value:
        raise InputError(
            f"Process {jax.process_index()} has another {what} than process 0: "
            f"{value}, not {first}. All processes need one configuration and one copy "
            "of the data."
        )


class Together:
    """A context in which the processes of a run end together when one fails.

    What fails here is told to the others, whose main threads may be waiting in a
    computation that can never end; each of them says so in one line and exits with
    the same status. A process that is killed tells nothing; the others then meet the
    error of the broken connection, or end when its heartbeat is missed.
    """

    def __init__(self) -> None:
        self._client = _client()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Together":
        if self._client is not None:
            self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is None:
            return
        self._over.set()
        self._watcher.join()
        if error is None:
            return
        lost = _is_of_a_connection(error)
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        status = getattr(error, "exit_status", status)
        told = None
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            told = self._told() if lost else None
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            line = f"{status} {_first_line(error) or type(error).__name__}"
            self._client.key_value_set(f"{_ENDED}{jax.process_index()}", line)
        # Registered after jax's own hook, so it runs before: that one would wait for
        # processes that are not coming.
        atexit.register(self._leave, told[0] if told else status)
        if told:
            raise _Lost(*told) from error
        if lost:
            raise GanIqaError(
                f"Process {jax.process_index()} cannot go on: {_first_line(error)}. "
                "If another process was lost, start all again with --resume."
            ) from error

    def _watch(self) -> None:
        failures = 0
        while not self._over.wait(_POLL):
            try:
                told, failures = self._told(), 0
            except jax.errors.JaxRuntimeError:
                told, failures = None, failures + 1
            if failures == 3:
                told = 1, "Process 0 was lost; start all again with --resume."
            if told is None or self._over.is_set():
                continue
            print("ganiqa:", told[1], file=sys.stderr, flush=True)
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                self._say_goodbye()
            os._exit(told[0])  # the main thread may be waiting for the one that failed

    def _told(self) -> tuple[int, str] | None:
        """Status and message of the first process that failed, if one has."""
        ended = self._client.key_value_dir_get(_ENDED)
        own = f"{_ENDED}{jax.process_index()}"
        for key, line in sorted(ended):
            if key != own:
                status, _, reason = line.partition(" ")
                index = key.removeprefix(_ENDED)
                return int(status), f"Process {index} ended the run: {reason}."
        return None

    def _say_goodbye(self) -> None:
        self._client.key_value_set(f"{_LEFT}{jax.process_index()}", "")

    def _leave(self, status: int) -> None:
        """Ends this process; process 0 last, as the others ask it what happened."""
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self._say_goodbye()
            until = time.monotonic() + _FAREWELL
            while is_first() and time.monotonic() < until:
                if len(self._client.key_value_dir_get(_LEFT)) == jax.process_count():
                    break
                time.sleep(0.1)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class _Lost(GanIqaError):
    """Another process failed; ends with its status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.exit_status = status


def _is_of_a_connection(error: BaseException) -> bool:
    """Whether a computation over all devices failed, as it does when one is gone."""
    # Gloo, which joins CPUs, has its errors come out as plain ones.
    of_gloo = type(error) is ValueError and "Gloo" in str(error)
    return of_gloo or isinstance(error, jax.errors.JaxRuntimeError)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _client() -> Any:
    """The client of the key-value store, or None in a run of one process."""
    return distributed.global_state.client
