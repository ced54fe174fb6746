"""Forced choices: does a model prefer the version that people prefer?

Of two versions of a picture the model chooses the one that it scores higher: a teacher
against their reference, a student by themselves. Nothing is fitted to the choices.

Source: the two-alternative forced choice (2AFC) of Zhang et al., The Unreasonable
Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018, arXiv:1801.03924.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ganiqa_jax import metrics
from ganiqa_jax.data import bapps
from ganiqa_jax.data.bapps import Triplet
from ganiqa_jax.errors import InputError
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.engine import Scorer
from ganiqa_jax.scoring.rows import ScoreRow

COLUMNS = ("name", "kind", "share", "p0", "p1", "agreement", "status")

PARTS: dict[str, tuple[bapps.Part, ...]] = {
    "train": ("train",),
    "validation": ("val",),
    "all": ("train", "val"),
}
"""Parts of BAPPS by the names that other data sets have for them."""


class Choice(NamedTuple):
    """What people chose, and the scores of both versions."""

    triplet: Triplet
    p0: ScoreRow
    p1: ScoreRow

    @property
    def status(self) -> str:
        """`ok`, or what is wrong with the first version that has no score."""
        return next((r.status for r in self[1:] if r.score is None), "ok")

    @property
    def agreement(self) -> float | None:
        """Share of raters who chose as the model; one half where its scores tie, as
        they do where both were clipped. None without both scores."""
        if self.p0.score is None or self.p1.score is None:
            return None
        values = -self.p0.score, -self.p1.score, self.triplet.share
        d0, d1, share = np.reshape(values, (3, 1))
        return float(bapps.agreement(d0, d1, share)[0])

    def cells(self) -> tuple[Any, ...]:
        """A row of `COLUMNS`."""
        known = self.triplet.content, self.triplet.kind, self.triplet.share
        return *known, self.p0.score, self.p1.score, self.agreement, self.status


def read(root: Path, part: str) -> list[Triplet]:
    """The triplets of a part; opens no picture.

    Raises:
      InputError: if there is no such part, or as `bapps.read_triplets`.
    """
    if part not in PARTS:
        raise InputError(
            f"{bapps.FACTS.title} has no part {part!r}; it is split already, into "
            "train and validation (--part)."
        )
    return [each for one in PARTS[part] for each in bapps.read_triplets(root, part=one)]


def choose(scorer: Scorer, triplets: Sequence[Triplet], progress: bool) -> list[Choice]:
    """Scores both versions of every triplet."""
    if scorer.card.role == "teacher":
        rows = scorer.compare_iter(
            (t.reference, version) for t in triplets for version in (t.p0, t.p1)
        )
    else:
        rows = scorer.score_iter(version for t in triplets for version in (t.p0, t.p1))
    rows = iter(track(rows, 2 * len(triplets), bapps.FACTS.title, progress))
    return [Choice(triplet, next(rows), next(rows)) for triplet in triplets]


def estimates(choices: Sequence[Choice], bootstrap: int) -> dict[str, metrics.Estimate]:
    """Agreement with people, with bootstrap intervals over triplets.

    Args:
      choices: that have scores, at least one.
      bootstrap: draws.

    Returns:
      `2afc`, the share of raters who chose as the model, over all triplets and, as
      `2afc_KIND`, of each kind if there are several; and `raters`, the share of other
      raters with whom one agrees, if every two of them chose independently.
    """
    share = np.array([choice.triplet.share for choice in choices])
    agreement = np.array([choice.agreement for choice in choices], np.float64)
    kinds = np.array([choice.triplet.kind for choice in choices])
    found = {"2afc": metrics.mean(agreement, bootstrap=bootstrap)}
    several = sorted(set(kinds))
    for kind in several if len(several) > 1 else ():
        of_kind = agreement[kinds == kind]
        found[f"2afc_{kind}"] = metrics.mean(of_kind, bootstrap=bootstrap)
    raters = np.square(share) + np.square(1 - share)
    return found | {"raters": metrics.mean(raters, bootstrap=bootstrap)}
