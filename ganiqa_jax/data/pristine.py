"""Any folder of undamaged photographs, to make pairs of while training.

KADIS-700k's `ref_imgs/`, DIV2K or one's own pictures do. A record is a picture that is
its own reference; `SourceConfig.distort` says how it is damaged as it is read.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.records import SUFFIXES, Record
from ganiqa_jax.errors import InputError

FACTS = Facts(
    name="pristine",
    title="Undamaged photographs",
    kind="pairs",
    pictures=0,
    references=0,
    contents=0,
    scale="synthetic grade",
    low=0.0,
    high=1.0,
    rises=True,
    licence="that of the photographs",
    address="",
    layout="Give a folder of undamaged photographs; folders in it are read too.",
    citation="",
)


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Each picture under a folder, in the order of its name; opens none.

    Args:
      root: the folder. Links to folders are not followed.
      allow_missing: has no effect: there are no labels that could lack a picture.

    Raises:
      InputError: if there is no picture.
    """
    records = []
    for path in sorted(_pictures(root)):
        name = path.relative_to(root).as_posix()
        records.append(Record(name, path, path, mos=None, content=name))
    if not records:
        raise InputError(f"{root} holds no pictures. {FACTS.layout}")
    return records


def _pictures(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES:
                yield Path(folder, name)
