"""Folders as archives leave them: listed once, names found whatever their case.

Archives of the same data set differ in the case of names (`I01.BMP`, `i01.bmp`), in
what folders are called, and in whether they are split or merged. A label file names
one spelling; the disk may have another.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ganiqa_jax.data.records import SUFFIXES, Record
from ganiqa_jax.errors import InputError


class Folder:
    """One listed folder. A folder that is not there is empty."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, Path] = {}
        self._folders: dict[str, Path] = {}
        try:
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    kind = self._folders if entry.is_dir() else self._files
                    kind.setdefault(entry.name.lower(), path / entry.name)
        except OSError:
            pass  # nothing is in it, as the check of the records will say

    def file(self, *names: str) -> Path:
        """The first of these files that is there, or the place of the first name."""
        return _first(self._files, names) or self.path / names[0]

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return name.lower() in self._files

    def folder(self, *names: str) -> "Folder":
        """The first of these folders that is there, or the place of the first name."""
        return Folder(_first(self._folders, names) or self.path / names[0])

    def folders(self, beginning: str = "", *, ending: str = "") -> list["Folder"]:
        """Folders whose names begin and end so, in the order of their names."""
        return [
            Folder(path)
            for name, path in sorted(self._folders.items())
            if name.startswith(beginning.lower()) and name.endswith(ending.lower())
        ]

    def files(self, *, beginning: str = "", ending: str = "") -> list[Path]:
        """Files whose names begin and end so, in the order of lower-case names."""
        return [
            path
            for name, path in sorted(self._files.items())
            if name.startswith(beginning.lower()) and name.endswith(ending.lower())
        ]

    def pictures(self) -> list[Path]:
        """Picture files in it, in the order of lower-case names."""
        return [path for path in self.files() if path.suffix.lower() in SUFFIXES]


def merge(folders: Iterable[Folder]) -> dict[str, Path]:
    """Lower-case name to picture, over several folders; the first one wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in folder.pictures():
            found.setdefault(path.name.lower(), path)
    return found


def unlabelled_pairs(
    distorted: Folder,
    references: Folder,
    *,
    kinds: Mapping[str, str],
    dataset: str,
    advice: str,
) -> list[Record]:
    """Pairs nobody scored, `<reference>_<type>_<level>.<suffix>`, by their names.

    The suffix of the reference may be another. A picture without one gets a reference
    that is not there, for `check_records` to find.

    Args:
      distorted: the folder of distorted pictures.
      references: the folder of pristine ones.
      kinds: number of the type as the name has it, such as `01`, to kind.
      dataset: its title, for messages.
      advice: what to unpack where.

    Raises:
      InputError: if there are no distorted pictures, or one has another name.
    """
    pristine = {path.stem.lower(): path for path in references.pictures()}
    pictures = distorted.pictures()
    if not pictures:
        raise InputError(f"{dataset}: no pictures in {distorted.path}. {advice}")
    records = []
    for path in pictures:
        scene, *parts = path.stem.rsplit("_", 2)
        if len(parts) < 2 or not parts[1].isdecimal():
            raise InputError(
                f"{dataset}: {path} is not named <reference>_<type>_<level>, such as "
                f"I01_01_05.bmp. {advice}"
            )
        missing = references.path / f"{scene}{path.suffix}"
        reference = pristine.get(scene.lower(), missing)
        records.append(
            Record(
                name=f"{distorted.path.name}/{path.name}",
                distorted=path,
                reference=reference,
                mos=None,
                content=reference.stem,
                kind=kinds.get(parts[0], parts[0]),
                level=int(parts[1]),
            )
        )
    return records


def _first(found: Mapping[str, Path], names: Iterable[str]) -> Path | None:
    there = (found.get(name.lower()) for name in names)
    return next((path for path in there if path is not None), None)
