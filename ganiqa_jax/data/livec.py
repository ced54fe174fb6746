"""LIVE In the Wild Image Quality Challenge: photographs without references.

Source: Ghadiyaram, Bovik, "Massive Online Crowdsourced Study of Subjective and
Objective Picture Quality", IEEE TIP 2016.

`Images/`, and in `Data/` the names `AllImages_release.mat`, the scores
`AllMOS_release.mat` and their deviations `AllStdDev_release.mat`, all in one order.
The first seven entries are pictures that trained the raters, kept in
`Images/trainingImages/`; they are not read, which leaves 1162.

The label is a mean opinion score from 0 to 100, higher is better.
"""

from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.labels import names_of, numbers_of, read_matlab
from ganiqa_jax.data.records import Record, check_records
from ganiqa_jax.errors import InputError

TRAINING_PICTURES = 7
"""Entries at the head of the label files that are not part of the test."""

FACTS = Facts(
    name="livec",
    title="LIVE Challenge",
    kind="pictures",
    pictures=1162,
    references=0,
    contents=1162,
    scale="LIVE Challenge MOS",
    low=0.0,
    high=100.0,
    rises=True,
    licence="free with its copyright notice and citation; a form gives the password",
    address="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
    layout=(
        "Unpack ChallengeDB_release so that the folder holds Images/ and Data/ with "
        "AllImages_release.mat and AllMOS_release.mat."
    ),
    citation="""@article{ghadiyaram2016massive,
  title={Massive Online Crowdsourced Study of Subjective and Objective Picture Quality},
  author={Ghadiyaram, Deepti and Bovik, Alan C},
  journal={IEEE Transactions on Image Processing},
  volume={25},
  number={1},
  pages={372--387},
  year={2016}
}""",
)


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the labels; opens no picture.

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per label, in file order, scores rescaled to [0, 1]; each picture is
      a content of its own. Without `AllStdDev_release.mat` there are no deviations.

    Raises:
      InputError: if labels or pictures are missing or damaged.
    """
    top = Folder(root)
    data, images = top.folder("Data"), top.folder("Images")
    table = data.file("AllMOS_release.mat")
    scores = _numbers(table, "AllMOS_release")
    names = _names(data.file("AllImages_release.mat"))
    with_deviations = data.has("AllStdDev_release.mat")
    deviations = (
        _numbers(data.file("AllStdDev_release.mat"), "AllStdDev_release")
        if with_deviations
        else scores
    )
    if not len(names) == len(scores) == len(deviations):
        raise InputError(
            f"{data.path}: {len(names)} names, {len(scores)} scores and "
            f"{len(deviations)} deviations do not belong together. {FACTS.layout}"
        )
    every = list(zip(names, scores, deviations, strict=True))
    records = [
        Record(
            name=name,
            distorted=images.file(name),
            reference=None,
            mos=FACTS.score(score, name=name, table=table),
            content=name.rpartition(".")[0],
            std=FACTS.deviation(deviation, name=name, table=table)
            if with_deviations
            else None,
        )
        for name, score, deviation in every[TRAINING_PICTURES:]
    ]
    return check_records(
        records,
        dataset=FACTS.title,
        advice=FACTS.layout,
        allow_missing=allow_missing,
        skipped=[images.file(name) for name in names[:TRAINING_PICTURES]],
    )


def _numbers(path: Path, key: str) -> list[float]:
    arrays = read_matlab(path, advice=FACTS.layout)
    return numbers_of(arrays, key, path=path, advice=FACTS.layout)


def _names(path: Path) -> list[str]:
    arrays = read_matlab(path, advice=FACTS.layout)
    return names_of(arrays, "AllImages_release", path=path, advice=FACTS.layout)
