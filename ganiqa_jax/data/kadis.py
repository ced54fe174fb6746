"""KADIS-700k, or any folder of distorted pictures and references without scores.

Source: Lin, Hosu, Saupe, "DeepFL-IQA: Weak Supervision for Deep IQA Feature Learning",
arXiv:2001.08113. The archive has 140,000 pristine pictures in `ref_imgs/` and code that
writes five levels of one distortion each to `dist_imgs/`, as
`<reference>_<type>_<level>.bmp` with the types of KADID-10k. Folders called `ref/` and
`dist/` with names of that form, such as one's own, are read alike.

Nobody scored these pictures, so their records have no score. They are for the part of
training that learns from the teacher alone.
"""

from pathlib import Path

from ganiqa_jax.data import kadid10k
from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder, unlabelled_pairs
from ganiqa_jax.data.records import Record, check_records

FACTS = Facts(
    name="kadis",
    title="KADIS-700k",
    kind="pairs",
    pictures=700000,
    references=140000,
    contents=140000,
    scale="none (no labels)",
    low=0.0,
    high=1.0,
    rises=True,
    licence="free for research; see the address",
    address="https://database.mmsp-kn.de/kadid-10k-database.html",
    layout=(
        "Unpack KADIS-700k and run its code, so that the folder holds ref_imgs/ and "
        "dist_imgs/ (or ref/ and dist/)."
    ),
    citation="""@misc{lin2020deepfl,
  title={DeepFL-IQA: Weak Supervision for Deep IQA Feature Learning},
  author={Lin, Hanhe and Hosu, Vlad and Saupe, Dietmar},
  eprint={2001.08113},
  archivePrefix={arXiv},
  year={2020}
}""",
)


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Pairs without a score, in the order of their names; opens no picture.

    Args:
      root: a folder as in the head of this module.
      allow_missing: leave out pictures whose reference is not there.

    Raises:
      InputError: if pictures or references are missing.
    """
    top = Folder(root)
    records = unlabelled_pairs(
        top.folder("dist_imgs", "dist"),
        top.folder("ref_imgs", "ref"),
        kinds=kadid10k.KINDS,
        dataset=FACTS.title,
        advice=FACTS.layout,
    )
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )
