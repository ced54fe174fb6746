"""AIGCIQA2023: generated pictures of 100 prompts, without references.

Source: Wang et al., "AIGCIQA2023: A Large-scale Image Quality Assessment Database for
AI Generated Images: from the Perspectives of Quality, Authenticity and
Correspondence", CICAI 2023, arXiv:2307.00211.

`Image/allimg/0.png` to `2399.png`, and `DATA/MOS/mosz1.mat` (quality), `mosz2.mat`
(authenticity) and `mosz3.mat` (correspondence with the prompt), each with a column
`MOSz` of 2400 numbers. Quality is read. Pictures are ordered by six models, within a
model by prompt, with four pictures of each prompt. Taking one of the four for testing,
as some public splits do, shows the prompt in training: the content here is the prompt.

The label is a mean of z-scores, mapped so that three deviations below and above the
mean are 0 and 100; means of raters stay inside that. Higher is better.
"""

from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.labels import numbers_of, read_matlab
from ganiqa_jax.data.records import Record, check_records
from ganiqa_jax.errors import InputError

MODELS, PROMPTS, REPEATS = 6, 100, 4
"""How the 2400 pictures are ordered: models, prompts of each, pictures of each."""

FACTS = Facts(
    name="aigciqa2023",
    title="AIGCIQA2023",
    kind="pictures",
    pictures=MODELS * PROMPTS * REPEATS,
    references=0,
    contents=PROMPTS,
    scale="AIGCIQA2023 quality MOSz",
    low=0.0,
    high=100.0,
    rises=True,
    licence="none stated; cite the paper",
    address="https://github.com/wangjiarui153/AIGCIQA2023",
    layout=(
        "Unpack AIGCIQA2023 so that the folder holds Image/allimg/0.png to 2399.png "
        "and DATA/MOS/mosz1.mat."
    ),
    citation="""@misc{wang2023aigciqa2023,
  title={AIGCIQA2023: A Large-scale Image Quality Assessment Database for AI Generated
    Images: from the Perspectives of Quality, Authenticity and Correspondence},
  author={Wang, Jiarui and Duan, Huiyu and Liu, Jing and Chen, Shi and Min, Xiongkuo
    and Zhai, Guangtao},
  eprint={2307.00211},
  archivePrefix={arXiv},
  year={2023}
}""",
)


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the quality labels; opens no picture.

    The content is the number of the prompt, from `000`; the kind is that of the
    model, from `model0`.

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per label, in file order, scores rescaled to [0, 1].

    Raises:
      InputError: if labels or pictures are missing or damaged.
    """
    top = Folder(root)
    images = top.folder("Image").folder("allimg")
    table = top.folder("DATA").folder("MOS").file("mosz1.mat")
    arrays = read_matlab(table, advice=FACTS.layout)
    scores = numbers_of(arrays, "MOSz", path=table, advice=FACTS.layout)
    if len(scores) != FACTS.pictures:
        raise InputError(
            f"{table} has {len(scores)} scores, not {FACTS.pictures}. {FACTS.layout}"
        )
    records = [
        Record(
            name=f"{number}.png",
            distorted=images.file(f"{number}.png"),
            reference=None,
            mos=FACTS.score(score, name=f"{number}.png", table=table),
            content=f"{number // REPEATS % PROMPTS:03d}",
            kind=f"model{number // (REPEATS * PROMPTS)}",
        )
        for number, score in enumerate(scores)
    ]
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )
