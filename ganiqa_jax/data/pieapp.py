"""PieAPP: 75 kinds of distortion, compared in pairs, with their references.

Source: Prashnani, Cai, Mostofi, Sen, "PieAPP: Perceptual Image-Error Assessment through
Pairwise Preference", CVPR 2018, arXiv:1806.02067.

`reference_images/{train,val,test}/ref_<n>.png`, `distorted_images/<part>/ref_<n>/`,
and in `labels/<part>/` a table `ref_<n>_pairwise_labels.csv` for each reference that
`<part>_reference_list.txt` lists: reference, A, B, the share of raters who found A
closer to the reference and, in train and val, the same as a model of all votes
estimates it; where nobody rated a pair, the first of the two is empty. A can be the
reference itself. The columns of pairs are known by their places, as the authors
describe them.

The test part has `ref_<n>_per_image_score.csv` as well, with the error of each
picture: lower is better, the reference is 0, and there are no bounds. Header names of
these tables begin with a blank. Errors are differences of log-odds, so a picture
that is worse by 4 is preferred by 2 of 100 raters; the bounds taken here are far
wider than what raters can tell apart, and are checked.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.labels import read_lines
from ganiqa_jax.data.records import Record, check_records, read_table, rescale
from ganiqa_jax.errors import InputError

Part = Literal["train", "val", "test"]

COLUMNS = ("distorted image", "score for distorted image")

FACTS = Facts(
    name="pieapp",
    title="PieAPP",
    kind="pairs",
    pictures=600,
    references=40,
    contents=40,
    scale="PieAPP error",
    low=-5.0,
    high=15.0,
    rises=False,
    licence="education and research, not commercial",
    address="https://github.com/prashnani/PerceptualImageError",
    layout=(
        "Unpack PieAPP so that the folder holds reference_images/, distorted_images/, "
        "labels/ and test_reference_list.txt."
    ),
    citation="""@inproceedings{prashnani2018pieapp,
  title={PieAPP: Perceptual Image-Error Assessment through Pairwise Preference},
  author={Prashnani, Ekta and Cai, Hong and Mostofi, Yasamin and Sen, Pradeep},
  booktitle={IEEE Conference on Computer Vision and Pattern Recognition},
  year={2018}
}""",
)

_KIND = re.compile(r"distort_[^_]+_(.+)_(?:inter|intra)", re.IGNORECASE)


@dataclass(frozen=True)
class Preference:
    """Two versions of a picture that raters chose between.

    Attributes:
      reference: the pristine picture.
      a: one version, or the reference itself.
      b: the other.
      share: of raters who found `a` closer to the reference, in [0, 1].
      content: the reference.
      estimated: nobody rated this pair; the share is what a model of all votes says.
    """

    reference: Path
    a: Path
    b: Path
    share: float
    content: str
    estimated: bool = False


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the scored pictures, which are those of the test part; opens no picture.

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per scored picture, in the order of the list of references, errors
      negated and rescaled to [0, 1].

    Raises:
      InputError: if labels, pictures or references are missing or damaged.
    """
    top = Folder(root)
    labels = top.folder("labels").folder("test")
    records = []
    for scene, reference, distorted in _scenes(top, "test"):
        table = labels.file(f"{scene}_per_image_score.csv")
        rows = read_table(table, COLUMNS, advice=FACTS.layout)
        if not rows:
            raise InputError(f"{table} lists no pictures. {FACTS.layout}")
        for row in rows:
            file = row[COLUMNS[0]].strip()
            kind = _KIND.match(file)
            records.append(
                Record(
                    name=f"{scene}/{file}",
                    distorted=distorted.file(file),
                    reference=reference,
                    mos=FACTS.score(row[COLUMNS[1]], name=file, table=table),
                    content=scene,
                    kind=kind[1] if kind else "",
                    part="test",
                )
            )
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )


def read_preferences(
    root: Path, *, part: Part = "train", allow_missing: bool = False
) -> list[Preference]:
    """Reads the choices of one part; opens no picture.

    Args:
      root: the unpacked set, as in the head of this module.
      part: `train`, `val` or `test`.
      allow_missing: leave out choices whose pictures are not there.

    Returns:
      One preference per row, in the order of the list of references. The share is
      that of the votes where there are any.

    Raises:
      InputError: if labels, pictures or references are missing or damaged.
    """
    top = Folder(root)
    labels = top.folder("labels").folder(part)
    found: list[Preference] = []
    for scene, reference, distorted in _scenes(top, part):
        table = labels.file(f"{scene}_pairwise_labels.csv")
        for row in _pairs(table):
            own = row[1].lower() == reference.name.lower()
            a = reference if own else distorted.file(row[1])
            shares = [text for text in row[3:5] if text]
            found.append(
                Preference(
                    reference=reference,
                    a=a,
                    b=distorted.file(row[2]),
                    share=_share(shares, row, table),
                    content=scene,
                    estimated=not row[3],
                )
            )
    # Two records for each choice, so that one check serves all data sets.
    records = [
        Record(f"{number}/{side}", path, one.reference, None, one.content)
        for number, one in enumerate(found)
        for side, path in (("a", one.a), ("b", one.b))
    ]
    kept = check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )
    names = {record.name for record in kept}
    return [one for n, one in enumerate(found) if {f"{n}/a", f"{n}/b"} <= names]


def _scenes(top: Folder, part: Part) -> list[tuple[str, Path, Folder]]:
    """Name, picture and folder of distorted pictures of each reference of a part."""
    listed = read_lines(top.file(f"{part}_reference_list.txt"), advice=FACTS.layout)
    references = top.folder("reference_images").folder(part)
    distorted = top.folder("distorted_images").folder(part)
    scenes = []
    for file in listed:
        scene = file.rpartition(".")[0] or file
        scenes.append((scene, references.file(file), distorted.folder(scene)))
    return scenes


def _pairs(table: Path) -> list[list[str]]:
    """Rows of a table of pairs, without its header and the blanks around cells."""
    lines = read_lines(table, advice=FACTS.layout)
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines[1:])]
    for row in rows:
        if len(row) < 4:
            raise InputError(
                f"{table}: {','.join(row)!r} is not reference, A, B and share; check "
                "the file."
            )
    return rows


def _share(shares: list[str], row: list[str], table: Path) -> float:
    try:
        return rescale(float(shares[0]), (0.0, 1.0))
    except (IndexError, ValueError) as error:
        raise InputError(
            f"{table}: the share of {row[1]!r} over {row[2]!r} is no number from 0 to "
            "1; check the file."
        ) from error
