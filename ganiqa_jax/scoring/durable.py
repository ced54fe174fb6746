"""Files that are whole or not there, and errors of the system that name the file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ganiqa_jax.errors import InputError


def make_room(path: Path) -> None:
    """Makes the folder of a file to be written.

    Raises:
      InputError: if the path is itself a folder.
      OSError: if the folder cannot be made.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file.")
    path.parent.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the name of a new file, which takes the place of `path` once it is whole.

    After the body the file is on the disk and has its name, or neither.

    Raises:
      InputError: if that fails.
    """
    new = path.with_name(path.name + ".tmp")
    try:
        yield new
        with naming(path):
            sync(new)
            os.replace(new, path)
            sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk.

    Raises:
      OSError: if they cannot be.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append(file: IO[bytes], text: str, path: Path) -> None:
    """Writes all of a text, whose file is called `path` in messages.

    Raises:
      InputError: if the file cannot grow: disk full, for one.
    """
    rest = memoryview(text.encode("utf-8"))
    with naming(path):
        while rest:  # an unbuffered write may take only a part
            rest = rest[file.write(rest) :]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns an error of the system into one that names the file.

    Raises:
      InputError: for any OSError of the body.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"Cannot write {path}: {error.strerror}.") from error
