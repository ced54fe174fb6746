"""The data sets of one training run: labels read, split by content, counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganiqa_jax.config import DataConfig, SourceConfig
from ganiqa_jax.data import catalog, protocols
from ganiqa_jax.data.records import (
    Record,
    Split,
    read_contents,
    split_by_content,
    split_hash,
    write_split,
)
from ganiqa_jax.errors import InputError


class Source(NamedTuple):
    """One data set of a run.

    Attributes:
      config: its setting.
      split: what is trained on, what may decide, what is tested on.
      mean: of the training scores in [0, 1].
      std: their deviation; 1 where there is none.
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
        records = catalog.read(config.dataset, Path(config.root))
        if config.role != "pictures" and any(r.reference is None for r in records):
            raise InputError(
                f"{config.dataset} has no references; its role must be 'pictures'."
            )
        split, protocol = _split(data, config, records, workdir)
        if not split.train:
            raise InputError(
                f"{protocol or 'The split'} leaves no picture of {config.dataset} to "
                "train on; choose another split."
            )
        scores = [r.mos for r in split.train if r.mos is not None]
        mean, std = (
            (float(np.mean(scores)), float(np.std(scores))) if scores else (0.0, 1.0)
        )
        sources.append(Source(config, split, mean, std or 1.0, protocol))
    return sources


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
