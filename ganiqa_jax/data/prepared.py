"""Data sets that `data.tfds_builder` wrote, read without TensorFlow.

A prepared data set is the folder `ganiqa/NAME/VERSION` of a TFDS data directory. Its
ArrayRecord files hold a `tf.train.Example` for each picture (split `pictures`) and for
each reference (split `references`, once, however many pictures share it), with the
bytes of the files as they were. Beside them is `labels.csv`, so that labels are known
without reading pictures: a line for each picture, in the order of the archive.

Formats: `dataset_info.json` is that of TFDS 4.9; an Example is the protocol buffer of
`tensorflow/core/example/example.proto`, of which only the image is looked at here.
"""

import csv
import errno
import functools
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError, IntegrityError

DATASET = "ganiqa"
"""What TFDS calls the builder; a data set of the catalog is one of its configs."""
VERSION = "1.0.0"
"""Version of what is written; another one is not read."""
PICTURES, REFERENCES = "pictures", "references"
INFO, LABELS = "dataset_info.json", "labels.csv"
COLUMNS = (
    "name",
    "file",
    "reference",
    "reference_file",
    "mos",
    "std",
    "content",
    "kind",
    "level",
    "part",
)

if TYPE_CHECKING:
    _ConcretePath = Path
else:
    _ConcretePath = type(Path())  # only from Python 3.12 on can Path be subclassed


class StoredPath(_ConcretePath):
    """A picture of a prepared data set, as FOLDER/SPLIT/NUMBER/NAME.

    It is compared, kept as a key, pickled and shown as any path; but the file system
    knows no such file: `read_bytes` gets what was the file from the ArrayRecords.
    """

    def read_bytes(self) -> bytes:
        """The bytes of the picture's file.

        Raises:
          OSError: if the data set is not there any more, or damaged.
        """
        # Not a Path of this class: nothing else in that folder is stored.
        folder, split = Path(self.parents[2]).absolute(), self.parents[1].name
        written = (folder / INFO).stat().st_mtime_ns
        try:
            example = _source(folder, split, written)[int(self.parent.name)]
            return _image_of(example)
        except (IntegrityError, RuntimeError, ValueError) as error:
            raise OSError(errno.EIO, f"damaged prepared data set: {error}") from error


def find(root: Path, name: str) -> Path | None:
    """The folder of a prepared data set, or None where `root` holds none.

    Args:
      root: the folder itself, or the TFDS data directory that it is in.
      name: key of the catalog.
    """
    for folder in (root, root / DATASET / name / VERSION):
        if os.path.isfile(folder / INFO):  # not raised: what may not be looked into
            return folder
    return None


def read_records(folder: Path, name: str) -> list[Record]:
    """Reads the labels of a prepared data set; opens no picture.

    Args:
      folder: as `find` gives it.
      name: key of the catalog.

    Returns:
      The records that the archive's reader gave, in its order, with a `StoredPath` in
      place of each path, and with the part of the set's own split where it has one.

    Raises:
      InputError: if another data set is prepared there, or in another version.
      IntegrityError: if it is not complete or damaged.
    """
    info = _read_info(folder)
    found = f"{info.get('name')}/{info.get('configName')}:{info.get('version')}"
    wanted = f"{DATASET}/{name}:{VERSION}"
    if found != wanted:
        raise InputError(
            f"{folder} holds {found}, not {wanted}; name another folder, or prepare "
            f"it: ganiqa data prepare {name}."
        )
    import_array_records()
    lengths = _lengths(folder, info)
    for split in lengths:
        for shard, _ in _shards(folder, info, split):
            if not shard.is_file():
                raise IntegrityError(_damaged(folder, f"{shard.name} is missing"))
    rows = _read_rows(folder)
    pictures = sum(lengths.get(PICTURES, []))
    if len(rows) != pictures:
        why = f"{LABELS} has {len(rows)} pictures of {pictures}"
        raise IntegrityError(_damaged(folder, why))
    try:
        return [_record(folder, number, row) for number, row in enumerate(rows)]
    except (TypeError, ValueError) as error:
        raise IntegrityError(_damaged(folder, f"{LABELS}: {error}")) from error


def import_array_records() -> Any:
    """The module that reads ArrayRecord files.

    Raises:
      InputError: if it is not installed.
    """
    try:
        from array_record.python import array_record_data_source
    except ImportError as error:
        raise InputError(
            "Prepared data sets need the package array-record, which this system does "
            "not have; use the unpacked archive."
        ) from error
    return array_record_data_source


def reference_records(records: Sequence[Record]) -> list[Record]:
    """Every reference once, in the order of first use, as an unlabelled record."""
    first: dict[Path, Record] = {}
    for record in records:
        if record.reference is not None:
            first.setdefault(record.reference, record)
    return [
        Record(path.name, path, None, None, record.content)
        for path, record in first.items()
    ]


def labels_table(records: Sequence[Record]) -> bytes:
    """`labels.csv` of records that still have the paths of their archive."""
    numbers = {r.distorted: n for n, r in enumerate(reference_records(records))}
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        reference = record.reference
        writer.writerow(
            (
                record.name,
                record.distorted.name,
                -1 if reference is None else numbers[reference],
                "" if reference is None else reference.name,
                "" if record.mos is None else repr(float(record.mos)),
                "" if record.std is None else repr(float(record.std)),
                record.content,
                record.kind,
                record.level,
                record.part,
            )
        )
    return text.getvalue().encode(errors="surrogateescape")


def _record(folder: Path, number: int, row: dict[str, str]) -> Record:
    reference = int(row["reference"])
    return Record(
        name=row["name"],
        distorted=StoredPath(folder, PICTURES, str(number), row["file"]),
        reference=None
        if reference < 0
        else StoredPath(folder, REFERENCES, str(reference), row["reference_file"]),
        mos=_number(row["mos"]),
        content=row["content"],
        std=_number(row["std"]),
        kind=row["kind"],
        level=int(row["level"]),
        part=row["part"],
    )


def _number(text: str) -> float | None:
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is no number")
    return value


def _read_rows(folder: Path) -> list[dict[str, str]]:
    try:
        text = (folder / LABELS).read_bytes().decode(errors="surrogateescape")
        # Not split into lines here: a prompt can hold a line's end.
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(reader)
    except (OSError, csv.Error) as error:
        raise IntegrityError(_damaged(folder, f"{LABELS}: {error}")) from error
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise IntegrityError(_damaged(folder, f"{LABELS} has other columns"))
    return rows


def _read_info(folder: Path) -> dict[str, Any]:
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IntegrityError(_damaged(folder, f"{INFO}: {error}")) from error
    if not isinstance(info, dict):
        raise IntegrityError(_damaged(folder, f"{INFO} is no JSON object"))
    return info


def _lengths(folder: Path, info: dict[str, Any]) -> dict[str, list[int]]:
    """Split to the number of examples in each of its files."""
    try:
        return {
            split["name"]: [int(length) for length in split["shardLengths"]]
            for split in info["splits"]
        }
    except (KeyError, TypeError, ValueError) as error:
        why = f"{INFO} has no lengths of splits"
        raise IntegrityError(_damaged(folder, why)) from error


def _shards(folder: Path, info: dict[str, Any], split: str) -> list[tuple[Path, int]]:
    """The files of a split, each with the number of its examples.

    Raises:
      IntegrityError: if there is no such split, or it has files of another format.
    """
    counts = _lengths(folder, info).get(split, [])
    if not counts or info.get("fileFormat") != "array_record":
        why = f"{split} is not there as array_record files"
        raise IntegrityError(_damaged(folder, why))
    end = f"of-{len(counts):05d}"
    return [
        (folder / f"{DATASET}-{split}.array_record-{number:05d}-{end}", count)
        for number, count in enumerate(counts)
    ]


@functools.lru_cache(maxsize=64)
def _source(folder: Path, split: str, written: int) -> Any:
    """The examples of a split, as bytes; its open files are shared by all threads.

    Args:
      folder: absolute.
      split: `pictures` or `references`.
      written: when; a data set that was prepared anew is opened anew.
    """
    array_records = import_array_records()
    shards = _shards(folder, _read_info(folder), split)
    # With its range in the name, a file is not opened before it is read.
    paths = [f"{shard}[0:{count}]" for shard, count in shards]
    return array_records.ArrayRecordDataSource(paths)


def _image_of(example: bytes) -> bytes:
    """The feature `image` of a serialized Example.

    Raises:
      ValueError: if it has none.
    """
    for _, features in _fields(memoryview(example)):
        for _, entry in _fields(features):
            key, feature = (value for _, value in _fields(entry))
            if key == b"image":
                ((_, values),) = _fields(feature)
                ((_, image),) = _fields(values)
                return bytes(image)
    raise ValueError("an example has no image")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field of a message whose fields all have a length.

    On the way from an Example to its image there are no others.
    """
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        length, place = _varint(message, place)
        if tag & 7 != 2 or place + length > len(message):
            raise ValueError("an example is cut off or of another format")
        yield tag >> 3, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """An integer, seven bits a byte with the lowest first, and the place after it."""
    value, shift = 0, 0
    while place < len(message):
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("an example is cut off")


def _damaged(folder: Path, why: str) -> str:
    return (
        f"The prepared data set {folder} cannot be used: {why}. Remove that folder and "
        "prepare it anew."
    )
