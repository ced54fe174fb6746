"""GFIQA-20k: photographs of faces, without references.

Source: Su et al., "Going the Extra Mile in Face Image Quality Assessment: A Novel
Database and Model", IEEE TMM 2023, arXiv:2207.04904.

`image/<id>.jpg`, and the labels in `mos_rating.csv` or, in the release seen, in
`mos_val_rating.csv`; where a copy has several such tables their rows are joined, and
the name of each says which part it is: train, val or test. The columns of picture and
score are found by their names, whatever their case, and names without an ending are
those of JPEG files.

The label is a mean opinion score from 0 to 1, higher is better. The faces are
photographs, not generated ones.
"""

from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.records import Record, check_records, read_table
from ganiqa_jax.errors import InputError

FACTS = Facts(
    name="gfiqa20k",
    title="GFIQA-20k",
    kind="pictures",
    pictures=20000,
    references=0,
    contents=20000,
    scale="GFIQA-20k MOS",
    low=0.0,
    high=1.0,
    rises=True,
    licence="research, not commercial; see the address",
    address="https://database.mmsp-kn.de/gfiqa-20k-database.html",
    layout=(
        "Unpack GFIQA-20k so that the folder holds image/ and mos_rating.csv (or "
        "mos_val_rating.csv)."
    ),
    citation="""@article{su2023going,
  title={Going the Extra Mile in Face Image Quality Assessment: A Novel Database and
    Model},
  author={Su, Shaolin and Lin, Hanhe and Hosu, Vlad and Wiedemann, Oliver and Sun,
    Jinqiu and Zhu, Yu and Liu, Hantao and Zhang, Yanning and Saupe, Dietmar},
  journal={IEEE Transactions on Multimedia},
  year={2023}
}""",
)

_NAME_COLUMNS = ("imgname", "imagename", "image", "img", "filename", "file", "name")
_PARTS = {"train": "train", "val": "validation", "test": "test"}
_MOS_COLUMNS = ("mos", "meanopinionscore", "score")


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the labels; opens no picture.

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per row, in file order, scores rescaled to [0, 1]; each picture is a
      content of its own.

    Raises:
      InputError: if labels or pictures are missing or damaged.
    """
    top = Folder(root)
    images = top.folder("image", "images")
    tables = [top.file("mos_rating.csv")]
    if not top.has("mos_rating.csv"):
        tables = top.files(beginning="mos_", ending="_rating.csv") or tables
    records = []
    for table in tables:
        # The only table of a release holds all parts, whatever it is called.
        named = table.name.lower().split("_")[1] if len(tables) > 1 else ""
        rows = read_table(table, (), advice=FACTS.layout)
        picture, mos = _columns(table, list(rows[0]) if rows else [])
        for row in rows:
            name = row[picture].strip()
            name = name if "." in name else f"{name}.jpg"
            records.append(
                Record(
                    name=name,
                    distorted=images.file(name),
                    reference=None,
                    mos=FACTS.score(row[mos], name=name, table=table),
                    content=name.rpartition(".")[0],
                    part=_PARTS.get(named, ""),
                )
            )
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )


def _columns(table: Path, names: list[str]) -> tuple[str, str]:
    """The columns of picture and score; for a table without rows, any."""
    plain = {"".join(filter(str.isalnum, name.lower())): name for name in names}
    picture = next((plain[name] for name in _NAME_COLUMNS if name in plain), None)
    mos = next((plain[name] for name in _MOS_COLUMNS if name in plain), None)
    if names and (picture is None or mos is None):
        raise InputError(
            f"{table} has no columns of picture and MOS; it has {', '.join(names)}. "
            f"{FACTS.layout}"
        )
    return picture or "", mos or ""
