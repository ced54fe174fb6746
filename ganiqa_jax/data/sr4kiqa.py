"""SR4KIQA: super-resolved 4K pictures with their references.

Source: "Blind Visual Quality Assessment for Super-Resolution Images: Database and
Model", SSRN Electronic Journal 2022. No licence is stated: research use only, and do
not pass pictures on.

Scores are mean opinions from 1 to 5, higher is better, of the whole picture. The
layout read here is `mos.csv` (content, file, mos), `<content>/<file>` and
`reference/<content>_GT.jpg`; windows cut from both at the same place will do, and so
will a part of the contents.
"""

import re
from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.records import (
    Record,
    check_records,
    read_table,
    score_in,
)
from ganiqa_jax.errors import InputError

COLUMNS = ("content", "file", "mos")

FACTS = Facts(
    name="sr4kiqa",
    title="SR4KIQA",
    kind="pairs",
    pictures=380,
    references=20,
    contents=20,
    scale="SR4KIQA MOS",
    low=1.0,
    high=5.0,
    rises=True,
    licence="none stated; research only, do not pass pictures on",
    address="",
    layout=(
        "Unpack SR4KIQA so that the folder holds mos.csv (content, file, mos), "
        "<content>/<file> and reference/<content>_GT.jpg."
    ),
    citation="""@article{sr4kiqa2022,
  title={Blind Visual Quality Assessment for Super-Resolution Images: Database and
    Model},
  journal={SSRN Electronic Journal},
  year={2022}
}""",
)

_UPSCALER = re.compile(r"_([A-Za-z]+)_x(\d+)\.[A-Za-z]+$")


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the annotations; opens no picture.

    The content is the scene, the kind the upscaler and the level its factor, both
    from the end of the file name (`Animal1_Bicubic_x2.jpg`).

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per row, in file order, scores rescaled to [0, 1].

    Raises:
      InputError: if `mos.csv`, pictures or references are missing; says what to
        unpack where.
    """
    table = root / "mos.csv"
    records = [
        _record(row, root, table)
        for row in read_table(table, COLUMNS, advice=FACTS.layout)
    ]
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )


def _record(row: dict[str, str], root: Path, table: Path) -> Record:
    content, file = row["content"], row["file"]
    upscaler = _UPSCALER.search(file)
    if upscaler is None:
        raise InputError(
            f"{table}: {file!r} does not end in upscaler and factor, "
            "such as _Bicubic_x2.jpg."
        )
    return Record(
        name=f"{content}/{file}",
        distorted=root / content / file,
        reference=root / "reference" / f"{content}_GT.jpg",
        mos=score_in(row, "mos", FACTS.bounds, name=file, table=table),
        content=content,
        kind=upscaler[1],
        level=int(upscaler[2]),
    )
