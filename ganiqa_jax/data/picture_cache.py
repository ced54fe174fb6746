"""Decoded pictures that are kept, in memory or on disk, until they are asked for again.

What no longer fits is decoded anew each time. Nothing is thrown out: every epoch asks
for each picture once, so the oldest is as likely to be asked for as any.
"""

import contextlib
import hashlib
import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from ganiqa_jax.errors import InputError

logger = logging.getLogger("ganiqa_jax")


class Opened(NamedTuple):
    """A decoded and resized picture, and the size (width, height) in its file."""

    pixels: UInt8[np.ndarray, "H W 3"]
    size: tuple[int, int]

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the pixels."""
        return self.pixels.shape[:2]

    def whole(self) -> UInt8[np.ndarray, "H W 3"]:
        """All pixels."""
        return self.pixels

    def square(self, top: int, left: int, side: int) -> UInt8[np.ndarray, "S S 3"]:
        """A square of the pixels; it lies within them."""
        return self.pixels[top : top + side, left : left + side]


WholeOpener = Callable[[Path, int], Opened]
"""Decodes the picture of a path and resizes it to a shorter side, pixels."""


class MemoryCache:
    """Decoded pictures that stay in memory; shared by the reading threads.

    Args:
      opener: decodes what is not there.
      capacity: bytes of pixels that may stay.
    """

    def __init__(self, opener: WholeOpener, capacity: int):
        self._opener = opener
        self._capacity = capacity
        self._pictures: dict[tuple[Path, int], Opened] = {}
        self._lock = threading.Lock()
        self.bytes = 0

    def open(self, path: Path, short_side: int) -> Opened:
        """As the opener, from memory where it is there."""
        key = (path, short_side)
        with self._lock:
            kept = self._pictures.get(key)
        if kept is not None:
            return kept
        opened = self._opener(path, short_side)
        with self._lock:
            fits = self.bytes + opened.pixels.nbytes <= self._capacity
            if fits and key not in self._pictures:
                self._pictures[key] = opened
                self.bytes += opened.pixels.nbytes
        return opened


_HEAD = struct.Struct("<8sIIIII4x")
"""Mark, height and width of the pixels, width and height in the file, checksum."""

_MARK = b"GANIQA 1"
_ENDING, _PARTIAL = ".pixels", ".part"
_LOCK, _BYTES = "lock", "bytes"


class DiskCache:
    """Decoded pictures in files of one folder, which several processes can share.

    A file is known by path, size and time of change of its picture and by the shorter
    side, so a picture that was changed is decoded anew. It has a checksum, which is
    looked at when a process first reads the file; a damaged one is made again. Pixels
    are mapped, not read, so that they take no memory of the process. Files are
    written one at a time, under a lock of the folder, and renamed when they are whole.

    Args:
      opener: decodes what is not there.
      folder: is made if it is not there; may be deleted whenever no run uses it.
      capacity: bytes that its files may have together.

    Raises:
      InputError: if the folder cannot be made or written.
    """

    def __init__(self, opener: WholeOpener, folder: Path, capacity: int):
        self._opener = opener
        self._folder = folder
        self._capacity = capacity
        self._verified: set[str] = set()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                for left in folder.glob(f"*{_PARTIAL}"):
                    left.unlink()
                self._note(self._count())
        except OSError as error:
            raise InputError(
                f"Pictures cannot be kept in {folder}: {error.strerror}; give another "
                "data.cache_dir, or set data.cache to memory or off."
            ) from error

    def open(self, path: Path, short_side: int) -> Opened:
        """As the opener, from a file where there is one."""
        try:
            there = path.stat()
        except OSError:
            return self._opener(path, short_side)  # which says what is wrong
        key = (path.absolute(), there.st_size, there.st_mtime_ns, short_side)
        data = "\0".join(map(str, key)).encode(errors="surrogateescape")
        name = hashlib.blake2b(data, digest_size=16).hexdigest() + _ENDING
        kept = self._read(name)
        if kept is not None:
            return kept
        opened = self._opener(path, short_side)
        try:
            self._keep(name, opened)
        except OSError as error:  # the run does not need the file
            reason = error.strerror or error
            logger.warning("%s is not kept in %s: %s.", path, self._folder, reason)
        return opened

    def _read(self, name: str) -> Opened | None:
        """A kept picture; None if it is not there or damaged."""
        try:
            data = np.memmap(self._folder / name, np.uint8, "r")
        except FileNotFoundError:
            return None
        except (OSError, ValueError):  # no data at all is a ValueError
            data = np.empty(0, np.uint8)
        if data.size >= _HEAD.size:
            mark, *sides, checksum = _HEAD.unpack(data[: _HEAD.size].tobytes())
            height, width, *size = sides
            whole = mark == _MARK and data.size == _HEAD.size + 3 * height * width
            pixels = data[_HEAD.size :]
            if whole and name not in self._verified:
                whole = checksum == _checksum(sides, pixels)
            if whole:
                self._verified.add(name)
                return Opened(pixels.reshape(height, width, 3), (size[0], size[1]))
        logger.warning("%s was damaged; it is made again.", self._folder / name)
        with contextlib.suppress(OSError), self._locked():
            (self._folder / name).unlink(missing_ok=True)
            self._note(self._count())
        return None

    def _keep(self, name: str, opened: Opened) -> None:
        """Writes a picture, unless it is there or the folder would become too large."""
        pixels = np.ascontiguousarray(opened.pixels)
        sides = [*pixels.shape[:2], *opened.size]
        target = self._folder / name
        partial = target.with_suffix(_PARTIAL)
        size = _HEAD.size + pixels.nbytes
        with self._locked():
            total = self._noted()
            if target.exists() or total + size > self._capacity:
                return
            try:
                with partial.open("wb") as file:
                    file.write(_HEAD.pack(_MARK, *sides, _checksum(sides, pixels)))
                    file.write(pixels.data)
                partial.replace(target)
            finally:
                partial.unlink(missing_ok=True)
            self._note(total + size)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the folder, among threads and processes."""
        import fcntl  # not on Windows, where the other caches work

        with (self._folder / _LOCK).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # closing the file gives it back
            yield

    def _count(self) -> int:
        with os.scandir(self._folder) as entries:
            return sum(e.stat().st_size for e in entries if e.name.endswith(_ENDING))

    def _note(self, total: int) -> None:
        (self._folder / _BYTES).write_text(str(total))

    def _noted(self) -> int:
        try:
            return int((self._folder / _BYTES).read_text())
        except (OSError, ValueError):
            return self._count()


def _checksum(sides: list[int], pixels: np.ndarray) -> int:
    return zlib.crc32(
        np.ascontiguousarray(pixels).data, zlib.crc32(str(sides).encode())
    )
