"""PIPAL: restored pictures, many of them from GANs, with their references.

Source: Gu et al., "PIPAL: a Large-Scale Image Quality Assessment Dataset for
Perceptual Image Restoration", ECCV 2020, arXiv:2007.12142. The challenges that share
it: Gu et al., "NTIRE 2022 Challenge on Perceptual Image Quality Assessment", CVPRW
2022.

`Train_Ref/A0001.bmp`, `Train_Label/A0001.txt` and the distorted pictures, named
`<reference>_<type>_<number>.bmp`, in `Distortion_1/` to `Distortion_4/`; merged copies
have them in `Dist_Imgs/`, `Train_Dis/` or beside the other folders. A label file has a
line `A0001_00_00.bmp,1460.17` for each picture, without a header.

The label is an Elo rating, higher is better. Elo has no bounds of its own: the public
labels have a mean of 1449, a deviation of 121 and lie from about 800 to 1850, well
inside the bounds taken here. The number that ends a name is no strength. Pictures of
the challenges come without labels and as pairs of folders; their types reach further.
"""

import dataclasses
from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder, merge, unlabelled_pairs
from ganiqa_jax.data.labels import read_lines
from ganiqa_jax.data.records import Record, check_records
from ganiqa_jax.errors import InputError

KINDS = {
    "00": "traditional",
    "01": "sr_traditional",
    "02": "sr_psnr",
    "03": "sr_kernel_mismatch",
    "04": "sr_gan",
    "05": "denoising",
    "06": "sr_denoising",
}

FACTS = Facts(
    name="pipal",
    title="PIPAL",
    kind="pairs",
    pictures=23200,
    references=200,
    contents=200,
    scale="PIPAL Elo",
    low=700.0,
    high=2000.0,
    rises=True,
    licence="research, not commercial; see the address",
    address="https://github.com/HaomingCai/PIPAL-dataset",
    layout=(
        "Unpack PIPAL so that the folder holds Train_Ref/, Train_Label/ and "
        "Distortion_1/ to Distortion_4/ (or Dist_Imgs/)."
    ),
    citation="""@inproceedings{gu2020pipal,
  title={PIPAL: a Large-Scale Image Quality Assessment Dataset for Perceptual Image
    Restoration},
  author={Gu, Jinjin and Cai, Haoming and Chen, Haoyu and Ye, Xiaoxing and Ren, Jimmy
    and Dong, Chao},
  booktitle={European Conference on Computer Vision},
  year={2020}
}""",
)

FACTS_NTIRE = dataclasses.replace(
    FACTS,
    name="pipal_ntire",
    title="PIPAL of NTIRE 2022 (unlabelled)",
    pictures=1650,
    references=25,
    contents=25,
    layout=(
        "Unpack the challenge so that the folder holds NTIRE2022_FR_Testing_Dis/ and "
        "NTIRE2022_FR_Testing_Ref/ (any pair of names that end in _Dis and _Ref)."
    ),
)


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the labelled training part; opens no picture.

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per label, by reference, scores rescaled to [0, 1].

    Raises:
      InputError: if labels, pictures or references are missing or damaged.
    """
    top = Folder(root)
    labels = top.folder("Train_Label", "Train_Labels", "Label", "Labels")
    tables = labels.files(ending=".txt")
    if not tables:
        raise InputError(
            f"{FACTS.title}: no label files in {labels.path}. {FACTS.layout}"
        )
    places = [
        *top.folders("distortion"),
        top.folder("Dist_Imgs", "Train_Dis", "Train_Dist"),
        top,
    ]
    pictures = merge(places)
    references = top.folder("Train_Ref", "Reference", "Ref")
    records = []
    for table in tables:
        for line in read_lines(table, advice=FACTS.layout):
            name, comma, elo = (part.strip() for part in line.partition(","))
            scene, kind, _ = _parts(name)
            if not comma or not kind:
                raise InputError(
                    f"{table}: {line!r} is not a line such as "
                    "'A0001_00_00.bmp,1460.17'; check the file."
                )
            records.append(
                Record(
                    name=name,
                    distorted=pictures.get(name.lower(), places[0].path / name),
                    reference=references.file(f"{scene}.bmp", f"{scene}.png"),
                    mos=FACTS.score(elo, name=name, table=table),
                    content=scene,
                    kind=KINDS.get(kind, kind),
                    part="train",
                )
            )
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )


def read_unlabelled(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads pairs of the challenges, which come without labels.

    Args:
      root: a folder that holds pairs of folders, such as `NTIRE2022_FR_Testing_Dis`
        and `NTIRE2022_FR_Testing_Ref`.
      allow_missing: leave out pictures whose reference is not there.

    Returns:
      Records without a score, in the order of their names.

    Raises:
      InputError: if there is no such pair of folders, or it is not complete.
    """
    top = Folder(root)
    records: list[Record] = []
    for distorted in top.folders(ending="_dis"):
        stem = distorted.path.name[: -len("_dis")]
        if stem.lower() == "train":
            continue  # the labelled part, in the spelling of some copies
        pairs = unlabelled_pairs(
            distorted,
            top.folder(f"{stem}_ref"),
            kinds=KINDS,
            dataset=FACTS_NTIRE.title,
            advice=FACTS_NTIRE.layout,
        )
        records += (dataclasses.replace(pair, level=0) for pair in pairs)
    if not records:
        raise InputError(
            f"{FACTS_NTIRE.title}: no folder in {root} ends in _Dis. "
            f"{FACTS_NTIRE.layout}"
        )
    return check_records(
        records,
        dataset=FACTS_NTIRE.title,
        advice=FACTS_NTIRE.layout,
        allow_missing=allow_missing,
    )


def _parts(name: str) -> tuple[str, str, str]:
    """Reference, type and number of a name; the last two are empty if it has none."""
    parts = name.rpartition(".")[0].split("_")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (name, "", "")
