"""TID2013: 24 distortions of 25 pictures at 5 levels, with their references.

Source: Ponomarenko et al., "Image database TID2013: Peculiarities, results and
perspectives", Signal Processing: Image Communication 2015.

`reference_images/I01.BMP`, `distorted_images/i01_01_1.bmp` (reference, distortion,
level), `mos_with_names.txt` with a line `5.51429 I01_01_1.bmp` for each picture, and
`mos_std.txt` with one number a line in the same order. Upper and lower case are mixed,
differently in each of them, so names are matched without regard to case.

The label is a mean opinion score from 0 to 9, higher is better.
"""

import re
from pathlib import Path

from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.folders import Folder
from ganiqa_jax.data.labels import read_lines
from ganiqa_jax.data.records import Record, check_records
from ganiqa_jax.errors import InputError

KINDS = (
    "gaussian_noise",
    "color_noise",
    "correlated_noise",
    "masked_noise",
    "high_frequency_noise",
    "impulse_noise",
    "quantization_noise",
    "gaussian_blur",
    "denoising",
    "jpeg",
    "jpeg2000",
    "jpeg_transmission",
    "jpeg2000_transmission",
    "pattern_noise",
    "block_distortion",
    "mean_shift",
    "contrast_change",
    "saturation_change",
    "multiplicative_noise",
    "comfort_noise",
    "noisy_compression",
    "color_quantization",
    "chromatic_aberration",
    "sparse_sampling",
)
"""The distortions 01 to 24, after table 1 of the paper."""

FACTS = Facts(
    name="tid2013",
    title="TID2013",
    kind="pairs",
    pictures=3000,
    references=25,
    contents=25,
    scale="TID2013 MOS",
    low=0.0,
    high=9.0,
    rises=True,
    licence="free for research; see the readme of the archive",
    address="https://www.ponomarenko.info/tid2013.htm",
    layout=(
        "Unpack TID2013 so that the folder holds reference_images/, "
        "distorted_images/, mos_with_names.txt and mos_std.txt."
    ),
    citation="""@article{ponomarenko2015image,
  title={Image database TID2013: Peculiarities, results and perspectives},
  author={Ponomarenko, Nikolay and Jin, Lina and Ieremeiev, Oleg and Lukin, Vladimir
    and Egiazarian, Karen and Astola, Jaakko and Vozel, Benoit and Chehdi, Kacem and
    Carli, Marco and Battisti, Federica and Kuo, C-C Jay},
  journal={Signal Processing: Image Communication},
  volume={30},
  pages={57--77},
  year={2015}
}""",
)

_NAME = re.compile(r"(i\d\d)_(\d\d)_(\d)\.bmp", re.IGNORECASE)


def read_records(root: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads the labels; opens no picture.

    Args:
      root: the unpacked set, as in the head of this module.
      allow_missing: leave out pictures that are not there.

    Returns:
      One record per label, in file order, scores rescaled to [0, 1]. Without
      `mos_std.txt` there are no deviations.

    Raises:
      InputError: if labels, pictures or references are missing or damaged.
    """
    top = Folder(root)
    table = top.file("mos_with_names.txt")
    lines = read_lines(table, advice=FACTS.layout)
    deviations = _deviations(top, len(lines))
    references = top.folder("reference_images")
    distorted = top.folder("distorted_images")
    records = []
    for line, deviation in zip(lines, deviations, strict=True):
        mos, _, name = line.partition(" ")
        parts = _NAME.fullmatch(name.strip())
        if parts is None or not 1 <= int(parts[2]) <= len(KINDS):
            raise InputError(
                f"{table}: {line!r} is not a line such as '5.51429 I01_01_1.bmp'; "
                "check the file."
            )
        name, scene = parts[0].lower(), parts[1].upper()
        records.append(
            Record(
                name=name,
                distorted=distorted.file(name),
                reference=references.file(f"{scene}.BMP"),
                mos=FACTS.score(mos, name=name, table=table),
                content=scene,
                std=None
                if deviation is None
                else FACTS.deviation(
                    deviation, name=name, table=top.file("mos_std.txt")
                ),
                kind=KINDS[int(parts[2]) - 1],
                level=int(parts[3]),
            )
        )
    return check_records(
        records, dataset=FACTS.title, advice=FACTS.layout, allow_missing=allow_missing
    )


def _deviations(top: Folder, count: int) -> list[str] | list[None]:
    if not top.has("mos_std.txt"):
        return [None] * count
    table = top.file("mos_std.txt")
    lines = read_lines(table, advice=FACTS.layout)
    if len(lines) != count:
        raise InputError(
            f"{table} has {len(lines)} lines and mos_with_names.txt {count}; unpack "
            "both from one archive."
        )
    return lines
