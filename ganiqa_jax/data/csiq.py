"""CSIQ: six distortions of 30 photographs, with their references.

Source: Larson, Chandler, "Most apparent distortion: full-reference image quality
assessment and the role of strategy", Journal of Electronic Imaging 2010.

`src_imgs/<name>.png` and `dst_imgs/<name>.<TYPE>.<level>.png`; the folder is called
`dst_imgs_all/` in some copies, and the original archive has a folder for each type in
it. Labels are in `csiq_label.txt`, a line `1600.AWGN.1.png 0.062` for each picture, or
in the sheet `all_by_image` of `csiq.DMOS.xlsx`, which spells types otherwise (`noise`,
`jpeg 2000`) and has the deviations too. The text file is preferred: it needs no
further library.

The label is a difference of opinion scores from 0 to 1, so lower is better in the
files.
"""

from pathlib import Path
from typing import NamedTuple

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder, merge
from ganiqa_jax.data.labels import read_lines, read_sheet
from ganiqa_jax.data.records import Record, check_records
from ganiqa_jax.errors import InputError

COLUMNS = ("image", "dst_type", "dst_lev", "dmos_std", "dmos")
SHEET = "all_by_image"

FACTS = Facts(
    name="csiq",
    title="CSIQ",
    kind="pairs",
    pictures=866,
    references=30,
    contents=30,
    scale="CSIQ DMOS",
    low=0.0,
    high=1.0,
    rises=False,
    licence="none stated; cite the paper",
    address="https://s2.smu.edu/~eclarson/csiq.html",
    layout=(
        "Unpack CSIQ so that the folder holds src_imgs/, dst_imgs/ and csiq_label.txt "
        "(or csiq.DMOS.xlsx)."
    ),
    citation="""@article{larson2010most,
  title={Most apparent distortion: full-reference image quality assessment and the role
    of strategy},
  author={Larson, Eric C and Chandler, Damon M},
  journal={Journal of Electronic Imaging},
  volume={19},
  number={1},
  pages={011006},
  year={2010}
}""",
)


class _Label(NamedTuple):
    scene: str
    kind: str
    level: str
    dmos: str
    std: str | None


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the labels; opens no picture.

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per label, in file order, scores turned round and rescaled to
      [0, 1]. Deviations are there if the labels are a spreadsheet's.

    Raises:
      InputError: if labels, pictures or references are missing or damaged.
    """
    top = Folder(root)
    references = top.folder("src_imgs")
    distorted = top.folder("dst_imgs", "dst_imgs_all")
    found = merge([distorted, *distorted.folders()])
    pictures = {_plain(name): path for name, path in found.items()}
    text = top.file("csiq_label.txt")
    sheet = top.file("csiq.DMOS.xlsx", "csiq.beta.xlsx")
    from_sheet = sheet.exists() and not text.exists()
    table = sheet if from_sheet else text
    labels = _from_sheet(table) if from_sheet else _from_text(table)
    records = []
    for label in labels:
        name = f"{label.scene}.{label.kind}.{label.level}.png"
        if not label.level.isdecimal():
            raise InputError(f"{table}: {name!r} has no level such as 1; check it.")
        records.append(
            Record(
                name=name,
                distorted=pictures.get(_plain(name), distorted.path / name),
                reference=references.file(f"{label.scene}.png"),
                mos=FACTS.score(label.dmos, name=name, table=table),
                content=label.scene,
                std=None
                if label.std is None
                else FACTS.deviation(label.std, name=name, table=table),
                kind=label.kind,
                level=int(label.level),
            )
        )
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )


def _from_text(table: Path) -> list[_Label]:
    labels = []
    for line in read_lines(table, advice=FACTS.layout):
        name, *rest = line.replace(",", " ").split()
        parts = name.split(".")
        if len(rest) != 1 or len(parts) != 4:
            raise InputError(
                f"{table}: {line!r} is not a line such as '1600.AWGN.1.png 0.062'; "
                "check the file."
            )
        labels.append(_Label(parts[0], _kind(parts[1]), parts[2], rest[0], None))
    return labels


def _from_sheet(table: Path) -> list[_Label]:
    rows = read_sheet(table, SHEET, COLUMNS, advice=FACTS.layout)
    return [
        _Label(
            _whole(row["image"]),
            _kind(row["dst_type"]),
            _whole(row["dst_lev"]),
            row["dmos"],
            row["dmos_std"],
        )
        for row in rows
    ]


def _kind(text: str) -> str:
    """One spelling of a type: text file, spreadsheet and file names have three."""
    kind = "".join(text.lower().split())
    return {"noise": "awgn", "jpg": "jpeg", "jp2k": "jpeg2000"}.get(kind, kind)


def _plain(name: str) -> str:
    """A file name with its type in that spelling."""
    scene, _, rest = name.lower().partition(".")
    kind, _, rest = rest.partition(".")
    return f"{scene}.{_kind(kind)}.{rest}"


def _whole(text: str) -> str:
    """A spreadsheet's 1600.0 as 1600."""
    return text.removesuffix(".0")
