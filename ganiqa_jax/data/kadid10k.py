"""KADID-10k: 25 distortions of 81 photographs at 5 levels, with their references.

Source: Lin, Hosu, Saupe, "KADID-10k: A Large-scale Artificially Distorted IQA
Database", QoMEX 2019.

`images/` holds references (`I01.png`) and distorted pictures (`I01_01_01.png`:
reference, distortion, level); `dmos.csv` has dist_img, ref_img, dmos and var. The
column `dmos` is, in spite of its name, a mean opinion score from 1 to 5 where 5 is
imperceptible: higher is better. `var` is the variance of the ratings.
"""

import math
import re
from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.records import Record, check_records, read_table
from ganiqa_jax.errors import InputError

COLUMNS = ("dist_img", "ref_img", "dmos")

_NAMES = (
    "gaussian_blur",
    "lens_blur",
    "motion_blur",
    "color_diffusion",
    "color_shift",
    "color_quantization",
    "saturation_hsv",
    "saturation_lab",
    "jpeg2000",
    "jpeg",
    "white_noise",
    "color_noise",
    "impulse_noise",
    "multiplicative_noise",
    "denoise",
    "brighten",
    "darken",
    "mean_shift",
    "jitter",
    "patch_shift",
    "pixelate",
    "quantization",
    "color_block",
    "sharpen",
    "contrast_change",
)
KINDS = {f"{number:02d}": name for number, name in enumerate(_NAMES, start=1)}
"""Number in a file name to distortion, in the order of the paper."""

FACTS = Facts(
    name="kadid10k",
    title="KADID-10k",
    kind="pairs",
    pictures=10125,
    references=81,
    contents=81,
    scale="KADID-10k MOS",
    low=1.0,
    high=5.0,
    rises=True,
    licence="free for research; see the address",
    address="https://database.mmsp-kn.de/kadid-10k-database.html",
    layout="Unpack kadid10k.zip so that the folder holds dmos.csv and images/.",
    citation="""@inproceedings{lin2019kadid,
  title={KADID-10k: A Large-scale Artificially Distorted IQA Database},
  author={Lin, Hanhe and Hosu, Vlad and Saupe, Dietmar},
  booktitle={Eleventh International Conference on Quality of Multimedia Experience},
  pages={1--3},
  year={2019}
}""",
)

_PARTS = re.compile(r"_(\d\d)_(\d\d)\.")


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the labels; opens no picture.

    Args:
      root: the unpacked archive, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per row, in file order, scores rescaled to [0, 1].

    Raises:
      InputError: if labels, pictures or references are missing or damaged.
    """
    top = Folder(root)
    table = top.file("dmos.csv")
    images = top.folder("images")
    records = [
        _record(row, images, table)
        for row in read_table(table, COLUMNS, advice=FACTS.layout)
    ]
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )


def _record(row: dict[str, str], images: Folder, table: Path) -> Record:
    name = row["dist_img"]
    parts = _PARTS.search(name)
    if parts is None or not row["ref_img"]:
        raise InputError(
            f"{table}: {name!r} is not named as I01_01_01.png is, or has no ref_img; "
            "check the file."
        )
    return Record(
        name=name,
        distorted=images.file(name),
        reference=images.file(row["ref_img"]),
        mos=FACTS.score(row["dmos"], name=name, table=table),
        content=row["ref_img"].rpartition(".")[0],
        std=_deviation(row["var"], name, table) if "var" in row else None,
        kind=KINDS.get(parts[1], parts[1]),
        level=int(parts[2]),
    )


def _deviation(variance: str, name: str, table: Path) -> float:
    try:
        root = math.sqrt(float(variance))
    except ValueError as error:
        raise InputError(
            f"{table}: the variance of {name!r} is {variance!r}, not a number from 0; "
            "check the file."
        ) from error
    return FACTS.deviation(root, name=name, table=table)
