"""BAPPS, two-alternative forced choice: which of two patches is closer to a third?

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric", CVPR 2018, arXiv:1801.03924.

`2afc/{train,val}/<kind>/{ref,p0,p1}/000000.png` and `judge/000000.npy`, an array with
one number: the share of raters who found p1 closer to the reference. The kinds are
traditional, cnn and mix in train, and traditional, cnn, superres, deblur, color and
frameinterp in val; train has two votes for each triplet, val five.

There is no score of a single picture, so these are no records but triplets. Patches
are 64x64, smaller than some backbones take: enlarge them before scoring, and say so,
or mirror them outwards, as `Preprocessing.reflect` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.records import Record, check_records, rescale
from ganiqa_jax.errors import InputError

FACTS = Facts(
    name="bapps",
    title="BAPPS 2AFC",
    kind="triplets",
    pictures=187700,
    references=187700,
    contents=187700,
    scale="share of raters for p1",
    low=0.0,
    high=1.0,
    rises=True,
    licence="BSD-2-Clause (repository)",
    address="https://github.com/richzhang/PerceptualSimilarity",
    layout=(
        "Unpack BAPPS so that the folder holds 2afc/train/ and 2afc/val/, with "
        "<kind>/ref, p0, p1 and judge in each."
    ),
    citation="""@inproceedings{zhang2018unreasonable,
  title={The Unreasonable Effectiveness of Deep Features as a Perceptual Metric},
  author={Zhang, Richard and Isola, Phillip and Efros, Alexei A and Shechtman, Eli and
    Wang, Oliver},
  booktitle={IEEE Conference on Computer Vision and Pattern Recognition},
  year={2018}
}""",
)

Part = Literal["train", "val"]
PARTS: tuple[Part, ...] = ("train", "val")


@dataclass(frozen=True)
class Triplet:
    """A reference and two distorted versions of it that raters chose between.

    Attributes:
      reference: the pristine patch.
      p0: one version.
      p1: the other.
      share: of raters who found p1 closer to the reference, in [0, 1].
      content: unique within the data set: part, kind and number.
      kind: how the versions were made.
    """

    reference: Path
    p0: Path
    p1: Path
    share: float
    content: str
    kind: str


def read_triplets(
    root: Path,
    *,
    part: Part = "val",
    kinds: Sequence[str] = (),
    allow_missing: bool = False,
) -> list[Triplet]:
    """Reads the choices of one part; opens no picture.

    Args:
      root: the unpacked set: the folder that holds `2afc/`, alone or in `dataset/`.
      part: `train` or `val`.
      kinds: which of its folders; all of them if none is named.
      allow_missing: leave out triplets whose pictures are not there.

    Returns:
      Triplets in the order of kind and number.

    Raises:
      InputError: if choices or pictures are missing or damaged.
    """
    place = _place(root, part)
    there = {folder.path.name.lower(): folder for folder in place.folders()}
    absent = [kind for kind in kinds or ("traditional",) if kind not in there]
    if absent and (kinds or not there):
        raise InputError(
            f"{FACTS.title}: no folder {absent[0]} in {place.path}; it has "
            f"{', '.join(there) or 'none'}. {FACTS.layout}"
        )
    triplets = [
        triplet
        for kind in kinds or there
        for triplet in _of_kind(there[kind], part=part, kind=kind)
    ]
    kept = check_records(
        _versions(triplets),
        dataset=FACTS.title,
        advice=FACTS.layout,
        allow_missing=allow_missing,
    )
    names = {record.name for record in kept}
    return [t for t in triplets if {f"{t.content}/p0", f"{t.content}/p1"} <= names]


def read_versions(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Both versions of each triplet, of the parts that are there, as unscored pairs.

    Arguments and errors as in `read_triplets`.
    """
    there: list[Part] = [part for part in PARTS if _place(root, part).folders()]
    return [
        version
        for part in there or list(PARTS[-1:])
        for version in _versions(
            read_triplets(root, part=part, allow_missing=allow_missing)
        )
    ]


def agreement(
    d0: Float[np.ndarray, " N"],
    d1: Float[np.ndarray, " N"],
    share: Float[np.ndarray, " N"],
) -> Float[np.ndarray, " N"]:
    """Share of raters who chose as the distances do; its mean is the 2AFC score.

    A tie of the distances counts one half, whatever the raters chose.

    Args:
      d0: distance of p0 to its reference, lower is closer; of a network that scores
        quality, the negated score.
      d1: that of p1.
      share: of raters who found p1 closer.
    """
    return np.select([d0 < d1, d1 < d0], [1.0 - share, share], 0.5)


def _place(root: Path, part: Part) -> Folder:
    top = Folder(root)
    if top.folders("dataset"):
        top = top.folder("dataset")
    return top.folder("2afc").folder(part)


def _versions(triplets: Sequence[Triplet]) -> list[Record]:
    return [
        Record(
            f"{triplet.content}/{side}",
            path,
            triplet.reference,
            mos=None,
            content=triplet.content,
            kind=triplet.kind,
        )
        for triplet in triplets
        for side, path in (("p0", triplet.p0), ("p1", triplet.p1))
    ]


def _of_kind(folder: Folder, *, part: str, kind: str) -> list[Triplet]:
    sides = {side: folder.folder(side) for side in ("ref", "p0", "p1")}
    triplets = []
    for judge in folder.folder("judge").files(ending=".npy"):
        file = f"{judge.stem}.png"
        triplets.append(
            Triplet(
                reference=sides["ref"].file(file),
                p0=sides["p0"].file(file),
                p1=sides["p1"].file(file),
                share=_share(judge),
                content=f"{part}/{kind}/{judge.stem}",
                kind=kind,
            )
        )
    return triplets


def _share(path: Path) -> float:
    try:
        return rescale(float(np.load(path, allow_pickle=False).item()), FACTS.bounds)
    except (EOFError, OSError, TypeError, ValueError) as error:
        # All four are what a file that is cut, no array, or of another length gives.
        raise InputError(
            f"{path} does not hold one share from 0 to 1; unpack it again."
        ) from error
