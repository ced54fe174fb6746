"""Pseudo-labels: what the teacher says of pairs that nobody scored.

Source: Conde et al. 2022 (arXiv:2204.12819), blind noisy students; the confidence
weight is ours.
"""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ganiqa_jax import processes, release
from ganiqa_jax.config import DistillConfig
from ganiqa_jax.data.sources import Source
from ganiqa_jax.progress import track

PseudoLabels = Mapping[str, tuple[float, float]]
"""Record name to (z, confidence in [0, 1])."""


def pseudo_labels(
    config: DistillConfig,
    workdir: Path,
    sources: Sequence[Source],
    teacher: release.LoadedModel | None,
    progress: bool,
) -> dict[str, PseudoLabels]:
    """The teacher's score and confidence for each unlabelled training pair.

    Confidence is exp(-variance over crops / 0.1) in z units; the least confident
    share `pseudo_drop` gets 0. Kept in `pseudo_labels/` of the run directory.
    Process 0 makes them on its own devices; the others wait. Pairs that are made while
    training have none: the teacher scores them in the step. One that looks at whole
    pictures sees crops of its size here, of no smaller a picture.
    """
    labels: dict[str, PseudoLabels] = {}
    for source in sources:
        if source.config.labelled or source.config.distort or teacher is None:
            continue
        path = workdir / "pseudo_labels" / f"{source.config.dataset}.csv"
        if processes.is_first() and not path.exists():
            rows = _infer_pseudo_labels(config, source, teacher, progress)
            _write_pseudo_labels(path, rows)
        processes.wait("pseudo-labels are made")
        labels[source.config.dataset] = _read_pseudo_labels(path)
    return labels


def _infer_pseudo_labels(
    config: DistillConfig,
    source: Source,
    teacher: release.LoadedModel,
    progress: bool,
) -> list[tuple[str, float, float]]:
    from ganiqa_jax.scoring.engine import Scorer
    from ganiqa_jax.scoring.on_jax import JaxCompute

    own = teacher.card.preprocessing
    view = dataclasses.replace(
        own,
        whole=False,
        short_side=own.crop if own.whole else source.config.short_side,
        points=config.pseudo_crops,
        mirror=False,
    )
    card = dataclasses.replace(teacher.card, preprocessing=view)
    scorer = Scorer(JaxCompute(teacher.network, teacher.variables, card))
    pairs = [(r.reference, r.distorted) for r in source.split.train if r.reference]
    z_of_crops = list(
        track(scorer.crop_z_pairs(pairs), len(pairs), "pseudo-labels", progress)
    )
    mean = np.array([float(np.mean(z)) for z in z_of_crops])
    confidence = np.exp(-np.array([float(np.var(z)) for z in z_of_crops]) / 0.1)
    dropped = np.argsort(confidence)[: int(config.pseudo_drop * len(confidence))]
    confidence[dropped] = 0.0
    names = [record.name for record in source.split.train]
    return list(zip(names, mean.tolist(), confidence.tolist(), strict=True))


def _write_pseudo_labels(path: Path, rows: list[tuple[str, float, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "z", "confidence"])
        writer.writerows(rows)
    partial.replace(path)


def _read_pseudo_labels(path: Path) -> PseudoLabels:
    with path.open(newline="") as file:
        return {
            row["name"]: (float(row["z"]), float(row["confidence"]))
            for row in csv.DictReader(file)
        }
