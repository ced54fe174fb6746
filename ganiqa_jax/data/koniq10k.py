"""KonIQ-10k: photographs as people take them, without references.

Source: Hosu, Lin, Sziranyi, Saupe, "KonIQ-10k: An Ecologically Valid Database for Deep
Learning of Blind Image Quality Assessment", IEEE TIP 2020, arXiv:1910.06180.

Pictures in `1024x768/`, shrunken ones of the same names in `512x384/`, and
`koniq10k_distributions_sets.csv` with image_name, the counts c1 to c5 of the ratings 1
to 5, c_total, MOS, SD and set (training, validation or test).

The MOS of this table runs from 0 to 100, higher is better, but SD is in units of the
ratings from 1 to 5. An older table, `koniq10k_scores_and_distributions.csv`, has no
set, and its MOS is on the ratings' scale, with that of 0 to 100 in MOS_zscore. The
two MOS differ by more than their scale, because the latter corrects for raters; where
both are there the one from 0 to 100 is read.
"""

from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.records import Record, check_records, read_table, score_in
from ganiqa_jax.errors import InputError

RATINGS = (1.0, 5.0)
"""The scale of ratings, of SD, and of MOS in tables without the other one."""

FACTS = Facts(
    name="koniq10k",
    title="KonIQ-10k",
    kind="pictures",
    pictures=10073,
    references=0,
    contents=10073,
    scale="KonIQ-10k MOS",
    low=0.0,
    high=100.0,
    rises=True,
    licence="free for research; pictures from YFCC100M under Creative Commons",
    address="https://database.mmsp-kn.de/koniq-10k-database.html",
    layout=(
        "Unpack KonIQ-10k so that the folder holds 1024x768/ (or 512x384/) and "
        "koniq10k_distributions_sets.csv."
    ),
    citation="""@article{hosu2020koniq,
  title={KonIQ-10k: An Ecologically Valid Database for Deep Learning of Blind Image
    Quality Assessment},
  author={Hosu, Vlad and Lin, Hanhe and Sziranyi, Tamas and Saupe, Dietmar},
  journal={IEEE Transactions on Image Processing},
  volume={29},
  pages={4041--4056},
  year={2020}
}""",
)

_PARTS = {"training": "train", "validation": "validation", "test": "test"}


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the labels; opens no picture. The larger pictures are preferred.

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per row, in file order, scores rescaled to [0, 1]; each picture is a
      content of its own, in the authors' part if the table says it.

    Raises:
      InputError: if labels or pictures are missing or damaged.
    """
    top = Folder(root)
    table, rows = _rows(top)
    folder = top.folder("1024x768", "512x384", "images")
    column, bounds = _mos_column(rows)
    records = []
    for row in rows:
        name = row["image_name"]
        std = (
            score_in(row, "SD", (0.0, RATINGS[1] - RATINGS[0]), name=name, table=table)
            if "SD" in row
            else None
        )
        records.append(
            Record(
                name=name,
                distorted=folder.file(name),
                reference=None,
                mos=score_in(row, column, bounds, name=name, table=table),
                content=name.rpartition(".")[0],
                std=std,
                part=_part(row, table),
            )
        )
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )


def _part(row: dict[str, str], table: Path) -> str:
    """The authors' part of a picture; empty in the table that has none."""
    if "set" not in row:
        return ""
    if row["set"] not in _PARTS:
        raise InputError(
            f"{table}: set of {row['image_name']!r} is {row['set']!r}, not one of "
            f"{', '.join(_PARTS)}; check the file."
        )
    return _PARTS[row["set"]]


def _rows(top: Folder) -> tuple[Path, list[dict[str, str]]]:
    table = top.file(
        "koniq10k_distributions_sets.csv", "koniq10k_scores_and_distributions.csv"
    )
    rows = read_table(table, ("MOS",), advice=FACTS.layout)
    for row in rows:
        if "image name" in row:
            row["image_name"] = row.pop("image name")
    if rows and "image_name" not in rows[0]:
        raise InputError(f"{table} has no column image_name. {FACTS.layout}")
    return table, rows


def _mos_column(rows: list[dict[str, str]]) -> tuple[str, tuple[float, float]]:
    """Column of the score and its scale."""
    if rows and "MOS_zscore" in rows[0]:
        return "MOS_zscore", FACTS.bounds
    try:
        raw = max(float(row["MOS"]) for row in rows) <= RATINGS[1]
    except ValueError:  # no rows or no number: refused later, with its place
        raw = False
    return "MOS", RATINGS if raw else FACTS.bounds
