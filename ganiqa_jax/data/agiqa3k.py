"""AGIQA-3K: generated pictures of 300 prompts, without references.

Source: Li et al., "AGIQA-3K: An Open Database for AI-Generated Image Quality
Assessment", IEEE TCSVT 2023, arXiv:2306.04717. Pictures and `data.csv` are linked from
https://github.com/lcysyzxdc/AGIQA-3k-Database (repository under MIT; pictures for
academic use).

The full set has 2982 JPEG pictures of six generators; a part of it, with the rows of
`data.csv` that it has pictures for, is as good. `mos_quality` runs from 0 to 5 and
higher is better. `mos_align` rates the match with the prompt and is not read.
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

COLUMNS = ("name", "mos_quality", "std_quality")

FACTS = Facts(
    name="agiqa3k",
    title="AGIQA-3K",
    kind="pictures",
    pictures=2982,
    references=0,
    contents=300,
    scale="AGIQA-3K mos_quality",
    low=0.0,
    high=5.0,
    rises=True,
    licence="MIT (repository); pictures for academic use",
    address="https://github.com/lcysyzxdc/AGIQA-3k-Database",
    layout=(
        "Unpack AGIQA-3K so that the folder holds data.csv and the pictures, "
        "beside it or in images/."
    ),
    citation="""@article{li2023agiqa,
  title={AGIQA-3K: An Open Database for AI-Generated Image Quality Assessment},
  author={Li, Chunyi and Zhang, Zicheng and Wu, Haoning and Sun, Wei and Min, Xiongkuo
    and Liu, Xiaohong and Zhai, Guangtao and Lin, Weisi},
  journal={IEEE Transactions on Circuits and Systems for Video Technology},
  year={2023}
}""",
)

_PROMPT = re.compile(r"_(\d+)\.[A-Za-z]+$")


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the annotations; opens no picture.

    The content is the prompt's number, which ends the file name: the pictures that
    six generators, and their variants, made of one prompt stay together. The kind is
    the generator, which begins the name.

    Args:
      root: the unpacked set: `data.csv`, and the pictures in `images/` or beside it.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per row, in file order, scores rescaled to [0, 1].

    Raises:
      InputError: if `data.csv` or pictures are missing; says what to unpack where.
    """
    table = root / "data.csv"
    folder = root / "images" if (root / "images").is_dir() else root
    records = [
        _record(row, folder, table)
        for row in read_table(table, COLUMNS, advice=FACTS.layout)
    ]
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )


def _record(row: dict[str, str], folder: Path, table: Path) -> Record:
    name = row["name"]
    prompt = _PROMPT.search(name)
    if prompt is None:
        raise InputError(
            f"{table}: {name!r} does not end in a prompt number such as _001.jpg."
        )
    width = FACTS.high - FACTS.low
    return Record(
        name=name,
        distorted=folder / name,
        reference=None,
        mos=score_in(row, "mos_quality", FACTS.bounds, name=name, table=table),
        content=prompt[1],
        std=score_in(row, "std_quality", (0.0, width), name=name, table=table),
        kind=name.partition("_")[0],
    )
