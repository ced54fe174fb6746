"""`ganiqa train` and `ganiqa distill`: a configuration file, its overrides, a run."""

import contextlib
import dataclasses
import importlib.util
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro

from ganiqa_jax.config import DistillConfig, TeacherTrainConfig
from ganiqa_jax.errors import InputError

Config = TypeVar("Config", TeacherTrainConfig, DistillConfig)

_EXPLANATION = {
    "train": (
        "Stage 1: train the full-reference teacher on pairs with opinion scores.\n\n"
        "Give a configuration file first; every field below can be overridden:\n\n"
        "  ganiqa train configs/teacher_sr4kiqa.py --workdir runs/teacher\n"
        "  ganiqa train configs/teacher_sr4kiqa.py --workdir runs/teacher --resume"
    ),
    "distill": (
        "Stage 2: distil the teacher into the light no-reference student.\n\n"
        "Give a configuration file first; every field below can be overridden:\n\n"
        "  ganiqa distill configs/distill_agiqa3k.py --workdir runs/student\n"
        "  ganiqa distill configs/distill_agiqa3k.py --workdir runs/control "
        '--teacher ""'
    ),
}


@dataclasses.dataclass(frozen=True)
class RunOptions(Generic[Config]):
    """Where and how to run.

    Attributes:
      config: the fields of the configuration file.
      workdir: run directory; new, or with --resume one that was begun.
      resume: go on from the newest checkpoint that verifies.
      progress: a progress bar on standard error.
      coordinator: host:port of process 0, in a run of several processes. Start each
        with the same command and its own --process-index; all see the data and the
        workdir.
      processes: how many there are.
      process_index: number of this one, from 0.
    """

    config: Annotated[Config, tyro.conf.arg(name="")]
    workdir: Path = tyro.MISSING
    resume: bool = False
    progress: bool = True
    coordinator: str | None = None
    processes: int | None = None
    process_index: int | None = None


def train(arguments: Sequence[str]) -> None:
    """Stage 1: train the full-reference teacher on pairs with opinion scores."""
    options = _parse("train", TeacherTrainConfig, arguments)
    with _started(options) as progress:
        from ganiqa_jax.train import train_teacher

        train_teacher(
            options.config,
            options.workdir,
            resume=options.resume,
            progress=progress,
            command=shlex.join(["ganiqa", "train", *arguments]),
        )


def distill(arguments: Sequence[str]) -> None:
    """Stage 2: distil the teacher into the light no-reference student."""
    options = _parse("distill", DistillConfig, arguments)
    with _started(options) as progress:
        from ganiqa_jax.train import distill as run

        run(
            options.config,
            options.workdir,
            resume=options.resume,
            progress=progress,
            command=shlex.join(["ganiqa", "distill", *arguments]),
        )


def load_config(path: Path, kind: type[Config]) -> Config:
    """The value of `get_config()` in a configuration file. The file is code.

    Raises:
      InputError: if there is no such file, or it gives another kind of value.
    """
    if not path.is_file():
        raise InputError(f"No configuration file {path}; see configs/ for examples.")
    spec = importlib.util.spec_from_file_location("ganiqa_config", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise InputError(f"{path} has no get_config().")
    config = module.get_config()
    if not isinstance(config, kind):
        raise InputError(
            f"{path} gives a {type(config).__name__}; this command needs a "
            f"{kind.__name__}."
        )
    return config


def _parse(
    command: str, kind: type[Config], arguments: Sequence[str]
) -> RunOptions[Config]:
    rest = list(arguments)
    default = None
    if rest and not rest[0].startswith("-"):
        default = RunOptions(load_config(Path(rest.pop(0)), kind))
    elif not set(rest) & {"-h", "--help"}:
        raise InputError(
            f"Give a configuration file first: ganiqa {command} configs/NAME.py "
            f"--workdir DIR. `ganiqa {command} --help` shows every field."
        )
    options: Any = RunOptions[kind]
    return tyro.cli(
        options,
        prog=f"ganiqa {command} CONFIG.py",
        description=_EXPLANATION[command],
        args=rest,
        default=default,
    )


@contextlib.contextmanager
def _started(options: RunOptions) -> Iterator[bool]:
    """Devices and processes are ready; gives whether this one shows a progress bar."""
    from ganiqa_jax import processes
    from ganiqa_jax.mesh import set_cpu_flags

    set_cpu_flags("train")
    processes.join(options.coordinator, options.processes, options.process_index)
    with processes.Together():
        yield options.progress and not options.process_index
