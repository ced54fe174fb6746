"""The data sets of one training run: labels read, split by content, counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganiqa_jax.config import DataConfig, SourceConfig
from ganiqa_jax.data import catalog
from ganiqa_jax.data.records import (
    Split,
    read_contents,
    read_split,
    split_by_content,
    split_hash,
    write_split,
)
from ganiqa_jax.errors import InputError


class Source(NamedTuple):
    """One data set of a run: its setting, its split, its label statistics."""

    config: SourceConfig
    split: Split
    mean: float
    std: float


def load_sources(data: DataConfig, workdir: Path) -> list[Source]:
    """Reads the labels of every data set and splits it by content.

    A split that the run directory already holds is used again.

    Raises:
      InputError: if a data set is missing, or a pair role has no references.
    """
    sources = []
    for config in data.sources:
        records = catalog.read(config.dataset, Path(config.root))
        if config.role != "pictures" and any(r.reference is None for r in records):
            raise InputError(
                f"{config.dataset} has no references; its role must be 'pictures'."
            )
        manifest = split_path(workdir, config.dataset)
        if manifest.exists():
            split = read_split(manifest, records)
        else:
            split = split_by_content(
                records, fractions=data.fractions, seed=data.split_seed
            )
        scores = [r.mos for r in split.train if r.mos is not None]
        mean, std = (
            (float(np.mean(scores)), float(np.std(scores))) if scores else (0.0, 1.0)
        )
        sources.append(Source(config, split, mean, std or 1.0))
    return sources


def split_path(workdir: Path, dataset: str) -> Path:
    """Where a run directory keeps the split of a data set."""
    return workdir / "splits" / f"{dataset}.txt"


def write_splits(sources: Sequence[Source], workdir: Path) -> None:
    """Keeps each split beside the run, unless it is there already."""
    for source in sources:
        path = split_path(workdir, source.config.dataset)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_split(path, source.split)


def split_hashes(sources: Sequence[Source]) -> dict[str, str]:
    """The hash of each data set's split."""
    return {s.config.dataset: split_hash(s.split) for s in sources}


def check_unseen(teacher: Path, source: Source) -> None:
    """What the student is tested on must not have trained the teacher."""
    manifest = split_path(teacher, source.config.dataset)
    if not manifest.exists():
        return
    seen = read_contents(manifest, "train")
    held_out = {r.content for part in source.split[1:] for r in part}
    if seen & held_out:
        raise InputError(
            f"The teacher in {teacher} was trained on {len(seen & held_out)} contents "
            f"of {source.config.dataset} that this split holds out, such as "
            f"{min(seen & held_out)!r}. Use its fractions and split_seed."
        )
