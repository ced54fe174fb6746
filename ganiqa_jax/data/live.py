"""LIVE, release 2: five distortions of 29 photographs, with their references.

Source: Sheikh, Sabir, Bovik, "A Statistical Evaluation of Recent Full Reference Image
Quality Assessment Algorithms", IEEE TIP 2006.

`refimgs/`, and `img1.bmp`, `img2.bmp`, ... in `jp2k/`, `jpeg/`, `wn/`, `gblur/` and
`fastfading/`. The labels are one row of 982 numbers over these five folders in this
order, in `dmos_realigned.mat` (`dmos_new`, with `dmos_std`) or, without the
realignment of sessions, in `dmos.mat` (`dmos`); the reference of each is in
`refnames_all.mat`. `orgs` marks undistorted copies, which are not read: 779 are left.

The label is a difference of opinion scores, so lower is better in the files. It runs
from 0 to 100, and realignment moves some labels a few points below and above that;
the bounds taken here hold them.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.labels import names_of, numbers_of, read_matlab
from ganiqa_jax.data.records import Record, check_records
from ganiqa_jax.errors import InputError

PICTURES = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
"""Pictures of each folder, undistorted copies included, in the order of the labels."""

FACTS = Facts(
    name="live",
    title="LIVE",
    kind="pairs",
    pictures=779,
    references=29,
    contents=29,
    scale="LIVE DMOS",
    low=-5.0,
    high=115.0,
    rises=False,
    licence="free with its copyright notice and citation; a form gives the password",
    address="https://live.ece.utexas.edu/research/quality/subjective.htm",
    layout=(
        "Unpack LIVE release 2 so that the folder holds refimgs/, jp2k/, jpeg/, wn/, "
        "gblur/, fastfading/, refnames_all.mat and dmos_realigned.mat (or dmos.mat)."
    ),
    citation="""@article{sheikh2006statistical,
  title={A Statistical Evaluation of Recent Full Reference Image Quality Assessment
    Algorithms},
  author={Sheikh, Hamid R and Sabir, Muhammad F and Bovik, Alan C},
  journal={IEEE Transactions on Image Processing},
  volume={15},
  number={11},
  pages={3440--3451},
  year={2006}
}""",
)


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the labels; opens no picture. Realigned labels are preferred.

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per distorted picture, in the order of the labels, scores turned
      round and rescaled to [0, 1].

    Raises:
      InputError: if labels, pictures or references are missing or damaged.
    """
    top = Folder(root)
    realigned = top.has("dmos_realigned.mat")
    table = top.file("dmos_realigned.mat" if realigned else "dmos.mat")
    arrays = read_matlab(table, advice=FACTS.layout)
    labels = _row(arrays, "dmos_new" if realigned else "dmos", table)
    copies = _row(arrays, "orgs", table)
    deviations = _row(arrays, "dmos_std", table) if "dmos_std" in arrays else None
    scenes = _scenes(top.file("refnames_all.mat"))

    folders = {kind: top.folder(kind) for kind in PICTURES}
    places = [(kind, n + 1) for kind, count in PICTURES.items() for n in range(count)]
    references = top.folder("refimgs")
    records, skipped = [], []
    for number, (kind, place) in enumerate(places):
        picture = folders[kind].file(f"img{place}.bmp")
        if copies[number]:
            skipped.append(picture)
            continue
        name = f"{kind}/img{place}.bmp"
        records.append(
            Record(
                name=name,
                distorted=picture,
                reference=references.file(scenes[number]),
                mos=FACTS.score(labels[number], name=name, table=table),
                content=scenes[number].rpartition(".")[0],
                std=None
                if deviations is None
                else FACTS.deviation(deviations[number], name=name, table=table),
                kind=kind,
            )
        )
    return check_records(
        records,
        dataset=FACTS.title,
        advice=FACTS.layout,
        allow_missing=allow_missing,
        skipped=skipped,
    )


def _row(arrays: Mapping[str, np.ndarray], key: str, table: Path) -> list[float]:
    row = numbers_of(arrays, key, path=table, advice=FACTS.layout)
    _check_length(len(row), key, table)
    return row


def _scenes(table: Path) -> list[str]:
    arrays = read_matlab(table, advice=FACTS.layout)
    names = names_of(arrays, "refnames_all", path=table, advice=FACTS.layout)
    _check_length(len(names), "refnames_all", table)
    return names


def _check_length(length: int, key: str, table: Path) -> None:
    total = sum(PICTURES.values())
    if length != total:
        raise InputError(
            f"{table}: {key} has {length} entries, not the {total} of release 2. "
            f"{FACTS.layout}"
        )
