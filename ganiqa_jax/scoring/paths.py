"""Paths of which there may be millions, in a few bytes each."""

import os
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar, overload

import numpy as np

T = TypeVar("T")

_OTHER = 0
"""Number that stands for no folder: the item is kept as it is."""


class Paths(Sequence[Path | T], Generic[T]):
    """Paths, and perhaps other things, in the order given.

    Folders are kept once, and of a path its name as bytes, which takes a twentieth of
    the memory of a `Path`. It is made anew when asked for. A slice is a view.

    Args:
      items: paths are kept compactly, anything else as it is.
    """

    def __init__(self, items: Iterable[Path | T]) -> None:
        numbers: dict[str, int] = {}
        self._names = bytearray()
        self._ends = array("Q")
        self._folder = array("I")
        self._others: dict[int, T] = {}
        for item in items:
            if isinstance(item, Path):
                text = str(item)
                start = text.rfind(os.sep) + 1
                self._names += os.fsencode(text[start:])
                number = numbers.setdefault(text[:start], len(numbers) + 1)
            else:
                number = _OTHER
                self._others[len(self._ends)] = item
            self._ends.append(len(self._names))
            self._folder.append(number)
        self._folders = ["", *numbers]
        self._places: Sequence[int] | np.ndarray = range(len(self._ends))

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Path | T: ...
    @overload
    def __getitem__(self, index: slice) -> "Paths[T]": ...
    def __getitem__(self, index: int | slice) -> "Path | T | Paths[T]":
        if isinstance(index, slice):
            return self._only(self._places[index])
        place = int(self._places[index])
        if self._folder[place] == _OTHER:
            return self._others[place]
        return Path(self._text(place))

    def once(self) -> "Paths[T]":
        """Each path the first time it comes; other things are left out."""
        places = np.asarray(self._places, np.int64)
        places = places[np.asarray(self._folder)[places] != _OTHER]
        hashes = np.fromiter((hash(self._text(p)) for p in places), np.int64)
        ordered = np.sort(hashes)
        # Those of one hash are few, and not all of them equal.
        repeated = np.isin(hashes, ordered[1:][ordered[1:] == ordered[:-1]])
        seen: set[str] = set()
        keep = ~repeated
        for number in np.flatnonzero(repeated):
            text = self._text(places[number])
            keep[number] = text not in seen
            seen.add(text)
        return self._only(places[keep])

    def _text(self, place: int | np.integer) -> str:
        start = self._ends[place - 1] if place else 0
        name = os.fsdecode(bytes(self._names[start : self._ends[place]]))
        return self._folders[self._folder[place]] + name

    def _only(self, places: Sequence[int] | np.ndarray) -> "Paths[T]":
        view = Paths[T](())
        view.__dict__ |= self.__dict__ | {"_places": places}
        return view
