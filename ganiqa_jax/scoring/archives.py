"""Pictures in tar and zip archives, read one by one and never extracted.

`.tar`, `.tar.gz` (`.tgz`) and `.zip`. A member is called `ARCHIVE::NAME` in its row. As
in a folder, names with a picture's suffix count and hidden ones do not; archives in an
archive, and all else, are passed over. Of two members of one name the last counts, as
it would after extraction.

What cannot be scored gets a row: links, devices, sparse and encrypted members, absolute
names and such with `..`, members of more bytes than allowed; and, under the name of the
archive itself, an archive that is damaged or has too many members, after the members
that could be found. Nothing is read because an archive claims a size: what is read is
bounded before.
"""

import gzip
import os
import re
import stat
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ganiqa_jax.errors import InputError
from ganiqa_jax.scoring.decode import MAX_BYTES, SUFFIXES, DecodeError, FailedStatus

MARK = "::"
MAX_MEMBERS = 2_000_000
MAX_STREAMED_BYTES = 64 * 2**20
"""Of a member of a .tar.gz: it is held from its place in the stream to its decoding."""

_MAX_TAR_HEADERS = 2**20  # of one member; long names and PAX records are some kilobytes
_MAX_ZIP_DIRECTORY = 512 * 2**20
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_BLOCK = 512
_LOCAL_HEADER = struct.Struct("<4s22xHH")

# What the parsers of tarfile, zipfile, gzip and zlib raise on damaged data.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
    RecursionError,
    NotImplementedError,
)

Stamp = tuple[int, int] | None


@dataclass(frozen=True, slots=True, eq=False)
class Archive:
    """A file of members.

    Attributes:
      path: of the file.
      stamp: size and modification time when it was listed.
      stream: the decompressed .tar.gz, which is read in order; None for others.
    """

    path: Path
    stamp: Stamp
    stream: "_Stream | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A picture in an archive, or what stands for one that cannot be read.

    Attributes:
      archive: that it is in.
      name: as stored; empty for the archive itself.
      offset: where its data begin: in the tar, or of the local header in the zip.
      stored: bytes in the file.
      size: bytes after decompression.
      checksum: CRC-32 of these; None in a tar.
      deflated: compressed in the zip.
      problem: why it is not read, if so, and the status of its row.
    """

    archive: Archive
    name: str
    offset: int = 0
    stored: int = 0
    size: int = 0
    checksum: int | None = None
    deflated: bool = False
    problem: tuple[str, FailedStatus] | None = None

    @property
    def path(self) -> str:
        """What its row calls it."""
        archive = os.fspath(self.archive.path)
        return f"{archive}{MARK}{self.name}" if self.name else archive

    def read_bytes(self) -> bytes:
        """The bytes of the picture's file.

        Raises:
          DecodeError: if it is refused, or the archive is damaged there.
        """
        if self.problem:
            raise DecodeError(*self.problem)
        try:
            data = _read(self)
        except _DAMAGE as error:
            raise DecodeError(f"{self.path} cannot be read: {error}.") from error
        if not data:
            raise DecodeError(f"{self.path} is empty (0 bytes).")
        return data


@dataclass(frozen=True, slots=True)
class Held:
    """A member whose bytes were read already, or could not be."""

    path: str
    data: bytes | DecodeError

    def read_bytes(self) -> bytes:
        """The bytes.

        Raises:
          DecodeError: as `Member.read_bytes`.
        """
        if isinstance(self.data, DecodeError):
            raise self.data
        return self.data


def in_turn(source: Any) -> Any:
    """What a thread may read when it likes: a member of a stream is read now.

    Call it for the pictures in their order, from one thread.
    """
    if not isinstance(source, Member) or source.archive.stream is None:
        return source
    try:
        return Held(source.path, source.read_bytes())
    except DecodeError as error:
        return Held(source.path, error)


def open_archives(paths: Iterable[Path]) -> Iterator[Path | Member]:
    """Puts the pictures in archives in the place of the archives.

    Args:
      paths: of pictures and archives; regular files with the suffix of an archive are
        taken for one.

    Yields:
      Paths and members; those of an archive in its order.

    Raises:
      InputError: if an archive that is not damaged holds no picture.
    """
    for path in paths:
        name = path.name.lower()
        if not name.endswith((*_TAR_SUFFIXES, ".zip")) or not _is_regular(path):
            yield path
            continue
        members = list_members(path)
        if not members:
            raise InputError(f"No pictures in {path}.")
        yield from members


def list_members(path: Path) -> list[Member]:
    """The pictures in one archive; see the head of this module."""
    status = os.stat(path)
    compressed = path.name.lower().endswith((".gz", ".tgz"))
    archive = Archive(
        path,
        (status.st_size, status.st_mtime_ns),
        _Stream(path) if compressed else None,
    )
    entries = _zip_entries if path.name.lower().endswith(".zip") else _tar_entries
    members: dict[str, Member] = {}
    try:
        for count, member in enumerate(entries(archive)):
            if count >= MAX_MEMBERS:
                raise ValueError(f"it has more than {MAX_MEMBERS} members")
            if member is not None and _is_picture(member.name):
                members.pop(member.name, None)
                members[member.name] = member
    except _DAMAGE as error:
        why = f"{path} is damaged or not read to its end: {error}."
        members[""] = Member(archive, "", problem=(why, "decode_error"))
    return list(members.values())


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _is_picture(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    if any(part.startswith(".") and part not in (".", "..") for part in parts):
        return False
    return os.path.splitext(parts[-1])[1].lower() in SUFFIXES


def _name_problem(name: str) -> str | None:
    plain = name.replace("\\", "/")
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain):
        return "has an absolute name"
    return "has a name that leads out of it" if ".." in plain.split("/") else None


def _problem(
    archive: Archive, name: str, size: int, reasons: Iterable[str | None]
) -> tuple[str, FailedStatus] | None:
    """The first reason to refuse a member, for its row."""
    most = MAX_BYTES if archive.stream is None else MAX_STREAMED_BYTES
    for reason in (_name_problem(name), *reasons):
        if reason:
            return f"Refused: a member of {archive.path} that {reason}.", "decode_error"
    if size > most:
        return f"{name} has {size} bytes, more than {most}.", "too_large"
    return None


# --- tar


class _Headers:
    """The file under `tarfile`, which reads no more than headers through it.

    A header says how long its own extensions are, and they would be read at once.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.left = _MAX_TAR_HEADERS
        self.tell = file.tell
        self.seek = file.seek

    def read(self, size: int) -> bytes:
        self.left -= size
        if size < 0 or self.left < 0:
            raise tarfile.ReadError("a header is longer than any name needs")
        return self._file.read(size)


def _tar_entries(archive: Archive) -> Iterator[Member | None]:
    stream = archive.stream
    with archive.path.open("rb") if stream is None else stream.reopen() as file:
        headers: Any = _Headers(file)
        tar = tarfile.open(
            fileobj=headers, mode="r:", encoding="utf-8", errors="surrogateescape"
        )
        last = -1
        while (info := tar.next()) is not None:
            tar.members.clear()  # pyright: ignore  # or it would keep them all
            if tar.offset <= last:  # a negative size would lead around for ever
                raise tarfile.ReadError("its headers lead in a circle")
            last = tar.offset
            headers.left = _MAX_TAR_HEADERS
            yield None if info.isdir() else _tar_member(archive, info)
        file.seek(tar.offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError("it has no end: cut short, or a broken header")


def _tar_member(archive: Archive, info: tarfile.TarInfo) -> Member:
    reasons = (
        "is a link" if info.issym() or info.islnk() else None,
        None if info.isreg() or info.issym() or info.islnk() else "is no regular file",
    )
    problem = _problem(archive, info.name, info.size, reasons)
    if problem is None and info.issparse():
        problem = _problem(archive, info.name, 0, ["is sparse"])
    return Member(
        archive,
        info.name,
        offset=info.offset_data,
        stored=info.size,
        size=info.size,
        problem=problem,
    )


@dataclass(slots=True, eq=False)
class _Stream:
    """The bytes of a .gz file, best read in their order: going back starts over."""

    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    file: gzip.GzipFile | None = None

    def reopen(self) -> gzip.GzipFile:
        return gzip.open(self.path, "rb")

    def read(self, offset: int, size: int) -> bytes:
        with self.lock:
            if self.file is None:
                self.file = self.reopen()
            self.file.seek(offset)
            return self.file.read(size)

    def __del__(self) -> None:
        if self.file is not None:
            self.file.close()


# --- zip


class _Directory:
    """The file under `zipfile`, which reads the directory at its end at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell = file.tell
        self.seek = file.seek
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_ZIP_DIRECTORY:
            raise zipfile.BadZipFile(f"its directory has {size} bytes")
        return self._file.read(size)


def _zip_entries(archive: Archive) -> Iterator[Member | None]:
    with archive.path.open("rb") as file:
        directory: Any = _Directory(file)
        with zipfile.ZipFile(directory) as opened:
            for info in opened.infolist():
                yield None if info.is_dir() else _zip_member(archive, info)


def _zip_member(archive: Archive, info: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    reasons = (
        "is encrypted" if info.flag_bits & 1 else None,
        "is a link" if stat.S_ISLNK(kind) else None,
        "is no regular file" if kind not in (0, stat.S_IFREG, stat.S_IFLNK) else None,
        f"is compressed by method {info.compress_type}, which is not read"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        else None,
    )
    largest = max(info.file_size, info.compress_size)
    return Member(
        archive,
        info.filename,
        offset=info.header_offset,
        stored=info.compress_size,
        size=info.file_size,
        checksum=info.CRC,
        deflated=info.compress_type == zipfile.ZIP_DEFLATED,
        problem=_problem(archive, info.filename, largest, reasons),
    )


# --- data


def _read(member: Member) -> bytes:
    archive = member.archive
    if archive.stream is not None:
        data = archive.stream.read(member.offset, member.size)
    else:
        with archive.path.open("rb") as file:
            if member.offset + member.stored > os.fstat(file.fileno()).st_size:
                raise EOFError("the archive ends before it does")
            file.seek(member.offset)
            if member.checksum is not None:
                file.seek(_zip_data_offset(file, member))
            data = file.read(member.stored)
    if len(data) != member.stored:
        raise EOFError("the archive ends before it does")
    if member.deflated:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
    if len(data) != member.size:
        raise zipfile.BadZipFile("its size is not the one that the archive gives")
    if member.checksum is not None and zlib.crc32(data) != member.checksum:
        raise zipfile.BadZipFile("its checksum is another one")
    return data


def _zip_data_offset(file: IO[bytes], member: Member) -> int:
    magic, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if magic != b"PK\x03\x04":
        raise zipfile.BadZipFile("its header is not where the directory says")
    return member.offset + _LOCAL_HEADER.size + name + extra
