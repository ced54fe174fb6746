"""The data sets of one training run: labels read, split by content, counted."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganiqa_jax.config import DataConfig, SourceConfig
from ganiqa_jax.data import catalog, protocols
from ganiqa_jax.data.mixture import Mixture, SourceData, planned_row
from ganiqa_jax.data.online import KINDS, pristine_of
from ganiqa_jax.data.reading import open_picture, read_row
from ganiqa_jax.data.records import (
    Record,
    Split,
    read_contents,
    split_by_content,
    split_hash,
    write_split,
)
from ganiqa_jax.errors import InputError

GRADED_PAIRS = 256
"""Pairs that are made to learn how the grades of an on-line source are spread."""


class Source(NamedTuple):
    """One data set of a run.

    Attributes:
      config: its setting.
      split: what is trained on, what may decide, what is tested on.
      mean: of the training scores in [0, 1].
      std: their deviation; 1 where there is none. Both are those of a sample of
        `GRADED_PAIRS` where the pairs are made as they are read.
      protocol: name of the split; empty for one by fractions.
    """

    config: SourceConfig
    split: Split
    mean: float
    std: float
    protocol: str = ""


def load_sources(data: DataConfig, workdir: Path) -> list[Source]:
    """Reads the labels of every data set and splits it by content.

    A split that the run directory already holds is used again.

    Raises:
      InputError: if a data set is missing, a pair role has no references, or a split
        does not fit the data or leaves nothing to train on.
      IntegrityError: if a stored split is damaged, or pictures came or went since.
    """
    sources = []
    for config in data.sources:
        records = read_records(config)
        split, protocol = _split(data, config, records, workdir)
        if not split.train:
            raise InputError(
                f"{protocol or 'The split'} leaves no picture of {config.dataset} to "
                "train on; choose another split."
            )
        if config.distort and config.labelled:
            scores = _sampled_grades(data, config, split.train)
        else:
            scores = [r.mos for r in split.train if r.mos is not None]
        mean, std = (
            (float(np.mean(scores)), float(np.std(scores))) if scores else (0.0, 1.0)
        )
        sources.append(Source(config, split, mean, std or 1.0, protocol))
    return sources


def source_data(
    source: Source, pseudo: Mapping[str, tuple[float, float]] | None = None
) -> SourceData:
    """The training part of a source, ready to be mixed."""
    return _source_data(
        source.config, source.split.train, source.mean, source.std, pseudo
    )


def _source_data(
    config: SourceConfig,
    records: Sequence[Record],
    mean: float = 0.0,
    std: float = 1.0,
    pseudo: Mapping[str, tuple[float, float]] | None = None,
) -> SourceData:
    return SourceData(
        records=tuple(records),
        role=config.role,
        rows=config.rows,
        short_side=config.short_side,
        mean=mean,
        std=std,
        pseudo=pseudo,
        weight=config.weight,
        kinds=KINDS[config.distort] if config.distort else (),
    )


def read_records(config: SourceConfig) -> list[Record]:
    """What a source may draw from, before it is split."""
    records = catalog.read(config.dataset, Path(config.root))
    if config.role != "pictures" and any(r.reference is None for r in records):
        raise InputError(
            f"{config.dataset} has no references; its role must be 'pictures'."
        )
    if config.distort:
        return list(pristine_of(records))
    if all(r.reference == r.distorted for r in records):
        raise InputError(
            f"{config.dataset} has undamaged pictures alone; set `distort`, so that "
            "pairs are made of them."
        )
    return records


def _sampled_grades(
    data: DataConfig, config: SourceConfig, records: Sequence[Record]
) -> list[float]:
    """Grades of the first pairs that a run with this seed of the split would make."""
    source = dataclasses.replace(_source_data(config, records), rows=1, weight=0.0)
    mixture = Mixture((source,), crop=data.crop, seed=data.split_seed, cache="off")
    rows = [planned_row(mixture, number, 0) for number in range(GRADED_PAIRS)]
    read = functools.partial(
        read_row, source=source, crop=data.crop, opener=open_picture
    )
    with ThreadPoolExecutor(2) as pool:
        return [found.grade for found in pool.map(read, rows)]


def _split(
    data: DataConfig, config: SourceConfig, records: Sequence[Record], workdir: Path
) -> tuple[Split, str]:
    """The split of a source, and the name of its protocol if it has one."""
    manifest = split_path(workdir, config.dataset)
    if manifest.exists():
        return protocols.read_stored(manifest, records)
    if config.split:
        return protocols.choose(config.split, records)
    split = split_by_content(records, fractions=data.fractions, seed=data.split_seed)
    return split, ""


def split_path(workdir: Path, dataset: str) -> Path:
    """Where a run directory keeps the split of a data set."""
    return workdir / "splits" / f"{dataset}.txt"


def write_splits(sources: Sequence[Source], workdir: Path) -> None:
    """Keeps each split beside the run, unless it is there already."""
    for source in sources:
        path = split_path(workdir, source.config.dataset)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_split(path, source.split, protocol=source.protocol)


def split_hashes(sources: Sequence[Source]) -> dict[str, str]:
    """The hash of each data set's split."""
    return {s.config.dataset: split_hash(s.split) for s in sources}


def check_unseen(model: Path, source: Source, what: str = "teacher") -> None:
    """What a student is tested on must not have trained what it learns from.

    Args:
      model: run directory, which says what it was trained on.
      source: of the new run.
      what: the model is to it.

    Raises:
      InputError: if contents that the source holds out were among that.
    """
    manifest = split_path(model, source.config.dataset)
    if not manifest.exists():
        return
    seen = read_contents(manifest, "train")
    held_out = {r.content for part in source.split[1:] for r in part}
    if seen & held_out:
        raise InputError(
            f"The {what} in {model} was trained on {len(seen & held_out)} contents "
            f"of {source.config.dataset} that this split holds out, such as "
            f"{min(seen & held_out)!r}. Use its fractions and split_seed."
        )
