"""Which pictures, and which pairs, the paths on a command line mean."""

import contextlib
import csv
import glob
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.decode import SUFFIXES
from ganiqa_jax.scoring.paths import Paths

Bytes = BinaryIO | io.BufferedIOBase
Pair = tuple[Path, Path]

BLOCK = 1 << 16
"""Bytes of a list that are read at a time; longer than any path."""


def find_pictures(
    paths: Sequence[str | Path], *, recursive: bool = True
) -> Paths[Path]:
    """The pictures that files, folders, patterns and lists stand for.

    Args:
      paths: of each, in this order: `-` reads names from standard input, one a line
        (or ended by NUL); `@list.txt` from a file, taken relative to the working
        directory; a folder is searched for names with a picture's suffix, sorted,
        hidden ones left out, links to folders not followed; a file is taken
        whatever its name; anything else is a pattern such as `shots/**/*.png`.
      recursive: also search folders in folders.

    Returns:
      Each path once. Listed and linked files that do not exist are kept: they get a
      row that says so.

    Raises:
      InputError: if one of the paths stands for no picture.
    """

    def every() -> Iterator[Path]:
        for path in paths:
            empty = True
            for picture in _expand(os.fspath(path), recursive):
                empty = False
                yield picture
            if empty:
                raise InputError(f"No pictures in {path}.")

    found = Paths[Path](every()).once()
    if not found:
        raise InputError("No pictures: give files, folders, patterns, @list or -.")
    return found


def find_pairs(
    reference: Path, distorted: Path, *, match: str = "name", recursive: bool = True
) -> list[Pair]:
    """Pairs of pictures in two folders.

    Args:
      reference: a folder; or a file, the reference of all distorted pictures.
      distorted: a folder or a file.
      match: `name` for the same path below the folders, `stem` for the same but for
        the suffix, or a CSV file with the columns `reference` and `distorted`, paths
        below the folders.
      recursive: also search folders in folders.

    Returns:
      (reference, distorted), in the order of the distorted pictures. A reference
      that does not exist is kept, so that its pair gets a row that says so.

    Raises:
      InputError: if no pair is found, or two references have one stem.
    """
    if match.endswith(".csv"):
        return _listed_pairs(Path(match), reference, distorted)
    if match not in ("name", "stem"):
        raise InputError(f"--pair {match!r} is not name, stem or a .csv file.")
    pictures = find_pictures([distorted], recursive=recursive)
    if not reference.is_dir():
        return [(reference, picture) for picture in pictures]
    root = distorted if distorted.is_dir() else distorted.parent
    names = [picture.relative_to(root) for picture in pictures]
    if match == "name":
        references = [reference / name for name in names]
    else:
        stems = _by_stem(reference, recursive)
        references = [stems.get(n.with_suffix(""), reference / n) for n in names]
    if not any(path.exists() for path in references):
        raise InputError(
            f"No picture of {distorted} has a reference of the same {match} in "
            f"{reference}; such as {references[0]}. See --pair."
        )
    return list(zip(references, pictures, strict=True))


def _expand(path: str, recursive: bool) -> Iterator[Path]:
    if path == "-":
        yield from _names(sys.stdin.buffer, recursive)
    elif path.startswith("@") and not os.path.lexists(path):
        with _list(Path(path[1:])) as file:
            yield from _names(file, recursive)
    elif os.path.isdir(path):
        yield from _search(Path(path), recursive)
    elif os.path.lexists(path):
        yield Path(path)
    elif glob.has_magic(path):
        for match in sorted(glob.glob(path, recursive=recursive)):
            if os.path.isdir(match):
                continue
            yield Path(match)
    else:
        raise InputError(f"No file or folder {path}.")


def _names(file: Bytes, recursive: bool) -> Iterator[Path]:
    for line in _lines(file):
        name = os.fsdecode(line)
        if name and os.path.isdir(name):
            yield from _search(Path(name), recursive)
        elif name:
            yield Path(name)


def _lines(file: Bytes) -> Iterator[bytes]:
    """Parts between NULs, if the start of the file has one, else lines."""
    end, rest = b"", b""
    while block := file.read(BLOCK):
        end = end or (b"\0" if b"\0" in block else b"\n")
        *lines, rest = (rest + block).split(end)
        for line in lines:
            yield line.removesuffix(b"\r") if end == b"\n" else line
    yield rest.removesuffix(b"\r") if end == b"\n" else rest


@contextlib.contextmanager
def _list(path: Path) -> Iterator[Bytes]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"Cannot read the list {path}: {error.strerror}.") from error


def _search(folder: Path, recursive: bool) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, onerror=_refuse(folder)):
        folders[:] = sorted(f for f in folders if recursive and not f.startswith("."))
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in SUFFIXES and name[0] != ".":
                yield Path(root, name)


def _refuse(folder: Path) -> Callable[[OSError], None]:
    def on_error(error: OSError) -> None:
        raise InputError(f"Cannot search {folder}: {error}.") from error

    return on_error


def _by_stem(folder: Path, recursive: bool) -> dict[Path, Path]:
    stems: dict[Path, Path] = {}
    for path in _search(folder, recursive):
        stem = path.relative_to(folder).with_suffix("")
        if stem in stems:
            raise InputError(
                f"{stems[stem]} and {path} have one stem; use --pair name."
            )
        stems[stem] = path
    return stems


def _listed_pairs(table: Path, reference: Path, distorted: Path) -> list[Pair]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = {"reference", "distorted"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{table} has no column {' and '.join(missing)}.")
            rows = [(row["reference"], row["distorted"]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read the pairs {table}: {error}.") from error
    if not rows:
        raise InputError(f"{table} lists no pairs.")
    if not all(left and right for left, right in rows):
        raise InputError(f"{table} has a row without reference or distorted.")
    return [(reference / left, distorted / right) for left, right in rows]
