"""The public data sets that are tested alike: how to make each, and what is in it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layouts_pairs import (
    make_csiq,
    make_kadid10k,
    make_kadis,
    make_live,
    make_pieapp,
    make_pipal,
    make_pipal_ntire,
    make_tid2013,
)
from layouts_pictures import (
    make_aigciqa2023,
    make_gfiqa20k,
    make_koniq10k,
    make_livec,
    make_table,
)

from ganiqa_jax.data import catalog
from ganiqa_jax.data.records import Record


@dataclass(frozen=True)
class Case:
    """One data set: how to make it, what is in it, what to break.

    Attributes:
      name: key of the catalog.
      make: writes the data set.
      count: records.
      contents: different contents.
      labels: a file or folder without which there are no labels.
      picture: a scored picture.
      reference: a pristine picture, and how many there are.
      settings: arguments of the maker.
    """

    name: str
    make: Callable[..., Path]
    count: int
    contents: int
    labels: str
    picture: str
    reference: tuple[str, int] = ("", 0)
    settings: dict[str, Any] = field(default_factory=dict)

    def read(self, root: Path, **arguments: bool) -> list[Record]:
        return catalog.read(self.name, root, **arguments)


_PIPAL = {"count": 6, "contents": 2, "labels": "Train_Label/A0001.txt"}
_CSIQ = {"count": 18, "contents": 2, "reference": ("src_imgs/1600.png", 2)}
_LIVE = {"count": 779, "contents": 2, "reference": ("refimgs/bikes.bmp", 2)}
_LIVE |= {"picture": "jp2k/img2.bmp"}
_KADIS = {"count": 6, "contents": 2, "labels": ""}

CASES = {
    "pipal": Case(
        "pipal",
        make_pipal,
        picture="Distortion_1/A0001_00_01.bmp",
        reference=("Train_Ref/A0002.bmp", 2),
        **_PIPAL,
    ),
    "pipal merged": Case(
        "pipal",
        make_pipal,
        picture="Dist_Imgs/A0001_04_02.bmp",
        reference=("Train_Ref/A0002.bmp", 2),
        settings={"layout": "merged"},
        **_PIPAL,
    ),
    "pipal flat": Case(
        "pipal",
        make_pipal,
        picture="A0001_04_02.bmp",
        reference=("Train_Ref/A0002.bmp", 2),
        settings={"layout": "flat"},
        **_PIPAL,
    ),
    "pipal ntire": Case(
        "pipal_ntire",
        make_pipal_ntire,
        count=6,
        contents=2,
        labels="",
        picture="",
        reference=("NTIRE2022_FR_Testing_Ref/A0007.bmp", 2),
    ),
    "live": Case("live", make_live, labels="refnames_all.mat", **_LIVE),
    "live dmos": Case(
        "live", make_live, labels="dmos.mat", settings={"realigned": False}, **_LIVE
    ),
    "csiq": Case(
        "csiq",
        make_csiq,
        labels="csiq_label.txt",
        picture="dst_imgs/1600.AWGN.2.png",
        **_CSIQ,
    ),
    "csiq all": Case(
        "csiq",
        make_csiq,
        labels="csiq_label.txt",
        picture="dst_imgs_all/1600.jpeg2000.3.png",
        settings={"folder": "dst_imgs_all"},
        **_CSIQ,
    ),
    "csiq split sheet": Case(
        "csiq",
        make_csiq,
        labels="csiq.DMOS.xlsx",
        picture="dst_imgs/jpeg 2000/1600.jpeg2000.3.png",
        settings={"folder": "split", "labels": "sheet"},
        **_CSIQ,
    ),
    "tid2013": Case(
        "tid2013",
        make_tid2013,
        count=12,
        contents=2,
        labels="mos_with_names.txt",
        picture="distorted_images/I25_08_3.bmp",
        reference=("reference_images/i25.bmp", 2),
    ),
    "kadid10k": Case(
        "kadid10k",
        make_kadid10k,
        count=18,
        contents=2,
        labels="dmos.csv",
        picture="images/I01_10_03.png",
        reference=("images/I81.png", 2),
    ),
    "kadis": Case(
        "kadis",
        make_kadis,
        picture="",
        reference=("ref_imgs/abc.png", 2),
        **_KADIS,
    ),
    "kadis own": Case(
        "kadis",
        make_kadis,
        picture="",
        reference=("ref/abc.png", 2),
        settings={"names": ("ref", "dist")},
        **_KADIS,
    ),
    "pieapp": Case(
        "pieapp",
        make_pieapp,
        count=6,
        contents=2,
        labels="labels/test/ref_161_per_image_score.csv",
        picture="distorted_images/test/ref_162/distort_162_jpeg_2_inter_3.png",
        reference=("reference_images/test/ref_161.png", 2),
    ),
    "koniq10k": Case(
        "koniq10k",
        make_koniq10k,
        count=6,
        contents=6,
        labels="koniq10k_distributions_sets.csv",
        picture="1024x768/1012.jpg",
    ),
    "koniq10k small": Case(
        "koniq10k",
        make_koniq10k,
        count=6,
        contents=6,
        labels="koniq10k_distributions_sets.csv",
        picture="512x384/1012.jpg",
        settings={"sides": ("512x384",)},
    ),
    "livec": Case(
        "livec",
        make_livec,
        count=6,
        contents=6,
        labels="Data/AllMOS_release.mat",
        picture="Images/11.bmp",
    ),
    "aigciqa2023": Case(
        "aigciqa2023",
        make_aigciqa2023,
        count=2400,
        contents=100,
        labels="DATA/MOS/mosz1.mat",
        picture="Image/allimg/7.png",
    ),
    "gfiqa20k": Case(
        "gfiqa20k",
        make_gfiqa20k,
        count=6,
        contents=6,
        labels="mos_val_rating.csv",
        picture="image/21.jpg",
    ),
    "gfiqa20k all": Case(
        "gfiqa20k",
        make_gfiqa20k,
        count=6,
        contents=6,
        labels="mos_rating.csv",
        picture="image/21.jpg",
        settings={"table": "mos_rating.csv"},
    ),
    "table": Case(
        "table",
        make_table,
        count=6,
        contents=2,
        labels="labels.csv",
        picture="shots/21.png",
        reference=("pristine/1.png", 2),
    ),
    "table parquet": Case(
        "table",
        make_table,
        count=6,
        contents=2,
        labels="labels.parquet",
        picture="shots/21.png",
        settings={"suffix": ".parquet", "references": False},
    ),
}
