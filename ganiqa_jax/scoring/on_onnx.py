"""Backend `onnx`: a network in an ONNX file, run by onnxruntime.

All that scoring needs is in the file: neither JAX nor the network's code is loaded.
A batch is cut into pieces of one shape that run side by side, each on one core:
nothing waits for another core inside a network, and a score is that of its crop
whatever else is in the batch.
"""

import hashlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ganiqa_jax.card import ModelCard, card_from
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.rundir import read_json
from ganiqa_jax.scoring.batching import Run, whole_batch

CARD_KEY = "ganiqa_card"
"""Where an exported file keeps its card."""

ABOUT_EXPORT = ("model_sha", "parity", "made_with")
"""What the card of an exported file says beyond that of its model."""

PIECE = 110_000
"""Pixels of the crops of a run, of one crop at least: what a core keeps at hand. On
the student (320 pixels, two cores) one crop a run is 8 % faster than four, and 25 %
than sixteen; at 224 pixels two to eight are as fast."""

INSTALL = 'pip install "ganiqa-jax[onnx]"'


class OnnxCompute:
    """Computes crops by onnxruntime on the CPU.

    Attributes:
      backend: its name.
      card: of the model.
      model_sha: of the weights that were exported.
      batch_size: crops of a batch.
    """

    backend = "onnx"

    def __init__(
        self, path: Path, *, batch_size: int = 32, threads: int | None = None
    ) -> None:
        """Opens a file that `ganiqa export` wrote.

        Args:
          path: of the file; if its record lies beside it, it must be as written.
          batch_size: crops of a batch, rounded up to whole pieces.
          threads: cores to use; None all that this process may.

        Raises:
          InputError: if onnxruntime is missing, or it is no such file.
          IntegrityError: if the file is damaged.
        """
        threads = threads or cores()
        self._session = _open(path)
        self.card, about = read_onnx_card(self._session, path)
        self.model_sha: str = about["model_sha"]
        self._piece = max(1, PIECE // self.card.preprocessing.crop**2)
        self.batch_size = whole_batch(batch_size, self._piece)
        self._names = [item.name for item in self._session.get_inputs()]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ganiqa-onnx")

    def ready(self) -> Run:
        """What starts the computation of a batch."""
        return self._start

    def _start(self, inputs: tuple[np.ndarray, ...], filled: int) -> "_Awaited":
        # Whole pieces, the last one with rows that nobody reads; empty ones not.
        size = self._piece
        starts = range(0, filled, size)
        pieces = [tuple(x[at : at + size] for x in inputs) for at in starts]
        return _Awaited([self._pool.submit(self._run, piece) for piece in pieces])

    def _run(self, piece: tuple[np.ndarray, ...]) -> np.ndarray:
        feed = dict(zip(self._names, piece, strict=True))
        return self._session.run(None, feed)[0]


class _Awaited:
    """An array that is waited for when it is read."""

    def __init__(self, pieces: "list[Future[np.ndarray]]") -> None:
        self._pieces = pieces

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.concatenate([piece.result() for piece in self._pieces])


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def record_beside(path: Path) -> Path:
    """Where the record of an exported file lies: its card and sha256."""
    return path.with_name(path.name + ".json")


def read_onnx_card(session: Any, path: Path) -> tuple[ModelCard, dict[str, Any]]:
    """The card inside an exported file, and what it says of the export.

    Raises:
      InputError: if the file was not made by `ganiqa export`.
      IntegrityError: if the card is damaged or of another version.
    """
    facts = session.get_modelmeta().custom_metadata_map
    if CARD_KEY not in facts:
        raise InputError(f"{path} was not made by `ganiqa export`: it has no card.")
    try:
        values = json.loads(facts[CARD_KEY])
    except ValueError as error:
        raise IntegrityError(f"{path} is damaged: {error}; export it again.") from error
    return card_from(values, str(path), ABOUT_EXPORT)


def open_session(data: bytes | str) -> Any:
    """An onnxruntime session on one core of the CPU.

    Args:
      data: the file's bytes, or its path.

    Raises:
      InputError: if onnxruntime is missing.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            f"The onnx backend needs onnxruntime; install it with: {INSTALL}"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        data, options, providers=["CPUExecutionProvider"]
    )


def _open(path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}.") from error
    beside = record_beside(path)
    if beside.exists():
        sha256 = read_json(beside).get("sha256")
        if hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(
                f"{path} is damaged: its sha256 is not the one in {beside.name}. "
                "Export it again."
            )
    session_errors = _session_errors()
    try:
        return open_session(data)
    except session_errors as error:
        raise IntegrityError(
            f"{path} is no whole ONNX file; export it again."
        ) from error


def _session_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises on bytes that are no graph it knows."""
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as state  # pyright: ignore
    except ImportError:
        return ()
    names = ("InvalidProtobuf", "InvalidGraph", "Fail", "InvalidArgument")
    return tuple(getattr(state, name) for name in names)
