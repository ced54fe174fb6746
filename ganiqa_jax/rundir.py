"""The run directory: what was run, with what, and the metrics it logged.

`config.json` holds the configuration and its hash, `manifest.json` what made the
run (versions, devices, seed, splits, every start), `metrics.jsonl` one row per
logged step.
"""

import datetime
import errno
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ganiqa_jax.config import DistillConfig, TeacherTrainConfig
from ganiqa_jax.config_json import config_hash, from_json, to_json
from ganiqa_jax.errors import GanIqaError, InputError, IntegrityError

CONFIG = "config.json"
MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
"""Libraries whose version can move a result."""

FREE_FIELDS = ("loop.", "data.cache")
"""Fields that may change between the starts of one run: how often it logs, saves
and evaluates, how many checkpoints it keeps, and where pictures are kept (names that
begin so). None of them moves a weight; `steps` does, through the schedule."""


def start(
    workdir: Path,
    config: TeacherTrainConfig | DistillConfig,
    *,
    command: str,
    seed: int,
    split_hashes: Mapping[str, str],
    resume: bool,
) -> None:
    """Begins a run directory, or makes sure that a begun one is of the same run.

    Args:
      workdir: is made if it is not there.
      config: everything that decides the result.
      command: what the user ran.
      seed: root seed of the run.
      split_hashes: data set name to the hash of its split.
      resume: the directory may hold an earlier start of this run.

    Raises:
      InputError: if the directory is not empty and `resume` is off, or holds a run
        of another configuration or of other splits; names the fields that differ.
      IntegrityError: if its `config.json` or `manifest.json` is damaged.
    """
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"{workdir} is a file; give another --workdir.")
    used = workdir.is_dir() and any(workdir.iterdir())
    if used and not resume:
        raise InputError(
            f"{workdir} is not empty; add --resume to go on with the run in it, or "
            "give another --workdir."
        )
    if (workdir / CONFIG).exists():
        _check_same_run(workdir, config, split_hashes)
    elif used and {path.name for path in workdir.iterdir()} != {MANIFEST}:
        raise InputError(
            f"{workdir} has no {CONFIG}, so there is no run to resume; give another "
            "--workdir."
        )
    workdir.mkdir(parents=True, exist_ok=True)
    _write_manifest(workdir, command, seed, split_hashes)
    write_json(
        workdir / CONFIG,
        {
            "kind": type(config).__name__,
            "hash": config_hash(config),
            "config": to_json(config),
        },
    )


def package_version() -> str:
    """Version of this package, or `unknown` of a bare source tree."""
    return _version("ganiqa-jax") or "unknown"


class MetricsLog:
    """Appends rows to `metrics.jsonl`, as a context manager.

    Rows of steps after `from_step` are dropped first, and so is a last line that a
    kill cut short: the file is then that of a run that was never interrupted.
    """

    def __init__(
        self, workdir: Path, *, from_step: int = 0, tensorboard: bool = False
    ) -> None:
        """Opens the file.

        Args:
          workdir: run directory.
          from_step: the step that training goes on from; 0 starts the file anew.
          tensorboard: also write event files, with the library tensorboardX.

        Raises:
          InputError: if `tensorboard` is asked for and tensorboardX is missing.
          IntegrityError: if a row is damaged.
        """
        self._events = _event_writer(workdir) if tensorboard else None
        path = workdir / METRICS
        kept = [row for row in _rows(path) if row["step"] <= from_step]
        _replace_text(path, "".join(_line(row) for row in kept))
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, step: int, metrics: Mapping[str, float], **extra: float) -> None:
        """Adds the row of one step; it is on its way to the disk on return.

        Args:
          step: steps done.
          metrics: name to value. A value that is not finite is written as a string
            ("nan", "inf", "-inf"), since JSON has no such number.
          extra: more of the same, such as the speed.
        """
        values = {name: float(value) for name, value in {**metrics, **extra}.items()}
        self._file.write(_line({"step": step, **values}))
        self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, step)
            self._events.flush()

    def close(self) -> None:
        """Closes the files; closing twice does no harm."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl` in order; values are floats, `step` an int.

    A last line that a kill cut short is left out.

    Raises:
      InputError: if there is no such file.
      IntegrityError: if another line is damaged.
    """
    path = workdir / METRICS
    if not path.exists():
        raise InputError(f"No {path}; {workdir} is no run directory that has trained.")
    return list(_rows(path))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file so that a reader sees the old one or the whole new one.

    Raises:
      GanIqaError: if the disk is full; an earlier file stays.
    """
    _replace_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      IntegrityError: if the file is missing, or is not one whole JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError as error:
        raise IntegrityError(f"{path} is missing.") from error
    except ValueError as error:
        raise IntegrityError(f"{path} is damaged: {error}.") from error
    if not isinstance(value, dict):
        raise IntegrityError(f"{path} is damaged: it holds no JSON object.")
    return value


def disk_full(error: OSError, path: Path) -> GanIqaError:
    """The error to raise for an OSError that a write to `path` met.

    Anything but a full disk, quota or size limit comes back as one line as well.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return GanIqaError(f"No room to write {path}: {error.strerror}. Free some.")
    return GanIqaError(f"Cannot write {path}: {error.strerror or error}.")


def replace_bytes(path: Path, data: bytes) -> None:
    """Writes a file at once or not at all.

    Raises:
      GanIqaError: if it cannot be written; an earlier file stays.
    """
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise disk_full(error, path) from error


def _replace_text(path: Path, text: str) -> None:
    replace_bytes(path, text.encode())


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _line(row: Mapping[str, int | float]) -> str:
    plain = {k: v if math.isfinite(v) else str(v) for k, v in row.items()}
    return json.dumps(plain, allow_nan=False) + "\n"


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line.endswith("\n"):
            return  # cut short by a kill
        try:
            values = dict(json.loads(line))
            step = int(values.pop("step"))
            row = {name: float(value) for name, value in values.items()}
        except (ValueError, TypeError, LookupError) as error:
            raise IntegrityError(
                f"{path} is damaged in line {number}: {error}. Remove that line."
            ) from error
        yield {"step": step, **row}


def _event_writer(workdir: Path) -> Any:
    if importlib.util.find_spec("tensorboardX") is None:
        raise InputError("Event files need tensorboardX: pip install tensorboardX.")
    from tensorboardX import SummaryWriter  # pyright: ignore[reportMissingImports]

    return SummaryWriter(str(workdir / "events"))


def _check_same_run(
    workdir: Path,
    config: TeacherTrainConfig | DistillConfig,
    split_hashes: Mapping[str, str],
) -> None:
    written = read_json(workdir / CONFIG)
    if written.get("kind") != type(config).__name__:
        raise InputError(
            f"{workdir} holds a run of {written.get('kind')}, not of "
            f"{type(config).__name__}; give another --workdir."
        )
    old = _flat(_with_defaults(type(config), written.get("config", {})))
    new = _flat(to_json(config))
    changes = [
        f"{name} was {old.get(name, 'absent')!r}, now {new.get(name, 'absent')!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not name.startswith(FREE_FIELDS)
    ]
    if changes:
        raise InputError(
            f"{workdir} was begun with another configuration: {'; '.join(changes)}. "
            "Give the same one, or another --workdir."
        )
    before = read_json(workdir / MANIFEST).get("splits", {})
    moved = sorted(
        name
        for name in before.keys() | split_hashes.keys()
        if before.get(name) != split_hashes.get(name)
    )
    if moved:
        raise InputError(
            f"{workdir} was begun with another split of {', '.join(moved)}; restore "
            "its splits/ folder and the data, or give another --workdir."
        )


def _with_defaults(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """A written configuration with the defaults of fields that came after it."""
    try:
        return to_json(from_json(kind, values))
    except InputError:  # of a field that is gone: the comparison names it
        return values


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted field name to plain value; entries of lists get their number."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix.rstrip("."): value}
    flat: dict[str, Any] = {}
    for name, item in items:
        flat.update(_flat(item, f"{prefix}{name}."))
    return flat


def _write_manifest(
    workdir: Path, command: str, seed: int, split_hashes: Mapping[str, str]
) -> None:
    """What made the run. A resumed run keeps its first start and adds one."""
    path = workdir / MANIFEST
    starts = read_json(path).get("starts", []) if path.exists() else []
    starts.append(
        {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": command,
            "revision": _revision(),
            "package": package_version(),
            "python": platform.python_version(),
            "versions": {name: _version(name) for name in PACKAGES},
            "devices": _devices(),
        }
    )
    write_json(path, {"seed": seed, "splits": dict(split_hashes), "starts": starts})


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import jax

    return [f"{device.platform} {device.device_kind}" for device in jax.devices()]


def _revision() -> str | None:
    """Git revision of the source tree this package runs from, if it is one."""
    source = Path(__file__).resolve().parent
    if not (source.parent / ".git").exists():
        return None
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--", str(source)])
    try:
        head, changes = (
            subprocess.run(
                ["git", "-C", str(source), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("-dirty" if changes else "")
