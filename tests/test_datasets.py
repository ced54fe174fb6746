"""What every reader of a public data set does, on tiny copies of their layouts."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
from PIL import Image

from ganiqa_jax.data import catalog
from ganiqa_jax.data.records import Record
from ganiqa_jax.errors import InputError


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

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def those(condition: Callable[[Case], bool]) -> pytest.MarkDecorator:
    """Parametrises over the cases that satisfy a condition."""
    chosen = {name: case for name, case in CASES.items() if condition(case)}
    return pytest.mark.parametrize("case", chosen.values(), ids=chosen.keys())


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float64)


def damage(record: Record) -> float:
    """Distance to the reference, or without one what is missing of sharpness."""
    distorted = pixels(record.distorted)
    if record.reference is not None:
        return float(np.square(distorted - pixels(record.reference)).mean())
    return -float(np.abs(np.diff(distorted, axis=1)).mean())


def scene(record: Record) -> str:
    """Where there is no reference, the drawing that the fixture's name tells."""
    if record.reference is not None:
        return record.content
    if record.kind.startswith("model"):
        return str(int(record.content) % 2)
    return Path(record.name).stem[-2]


@every_case
def test_reads_every_label_once_with_files_that_are_there(tmp_path, case):
    records = case.read(case.make(tmp_path, **case.settings))
    assert len(records) == case.count
    assert len({record.name for record in records}) == case.count
    assert len({record.content for record in records}) == case.contents
    for record in records:
        assert record.distorted.is_file()
        assert (record.reference is None) == (case.reference[1] == 0)
        assert record.reference is None or record.reference.is_file()
        assert record.mos is None or 0 <= record.mos <= 1
        assert record.std is None or 0 < record.std < 0.5


@those(lambda case: case.labels != "")
def test_the_visibly_worse_picture_has_the_lower_score(tmp_path, case):
    records = case.read(case.make(tmp_path, **case.settings))
    compared = 0
    for drawing in {scene(record) for record in records}:
        of_scene = [record for record in records if scene(record) == drawing]
        best: dict[float, float] = {}  # score to the damage it comes with
        for record in of_scene:
            best.setdefault(round(record.mos, 1), damage(record))
        by_score = [best[score] for score in sorted(best)]
        assert by_score == sorted(by_score, reverse=True)
        compared += len(by_score) - 1
    assert compared >= 2  # at least two steps of quality were there to compare


@those(lambda case: case.picture != "")
def test_missing_picture_is_counted_and_named_in_one_line(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    (root / case.picture).unlink()
    with pytest.raises(InputError) as error:
        case.read(root)
    message = str(error.value)
    found = f"{case.count - 1} of {case.count} pictures found"
    assert found in message
    assert Path(case.picture).stem.lower() in message.lower()
    assert message.endswith(catalog.FACTS[case.name].layout)
    assert "\n" not in message


@those(lambda case: case.picture != "")
def test_missing_picture_can_be_left_out(tmp_path, case, caplog):
    root = case.make(tmp_path, **case.settings)
    every = case.read(root)
    (root / case.picture).unlink()
    with caplog.at_level(logging.WARNING, "ganiqa_jax"):
        records = case.read(root, allow_missing=True)
    gone = [record for record in every if record not in records]
    assert [record.distorted for record in gone] == [root / case.picture]
    assert f"1 of {case.count} scored pictures left out" in caplog.text


@those(lambda case: case.reference[1] > 0)
def test_missing_reference_is_counted_or_left_out_with_its_scene(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    path, count = case.reference
    scenes = len({record.content for record in case.read(root)})
    (root / path).unlink()
    message = f"{count - 1} of {count} references found; .*{Path(path).stem}"
    with pytest.raises(InputError, match=message):
        case.read(root)
    kept = case.read(root, allow_missing=True)
    assert len({record.content for record in kept}) == scenes - 1


@those(lambda case: case.picture != "")
def test_picture_without_a_label_is_a_warning(tmp_path, case, caplog):
    root = case.make(tmp_path, **case.settings)
    with caplog.at_level(logging.WARNING, "ganiqa_jax"):
        before = case.read(root)
        assert caplog.text == ""  # neither references nor what is skipped on purpose
        extra = (root / case.picture).with_name(
            f"unheard of{Path(case.picture).suffix}"
        )
        extra.write_bytes((root / case.picture).read_bytes())
        assert case.read(root) == before
    assert "1 pictures have no label" in caplog.text
    assert extra.name in caplog.text


@those(lambda case: case.labels != "" and not case.name.startswith("pipal"))
def test_missing_label_file_is_answered_with_what_to_unpack(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    (root / case.labels).unlink()
    with pytest.raises(InputError, match="Cannot read") as error:
        case.read(root)
    assert str(error.value).endswith(catalog.FACTS[case.name].layout)
    assert "\n" not in str(error.value)


@every_case
def test_empty_folder_is_answered_with_what_to_unpack(tmp_path, case):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError) as error:
            case.read(root, allow_missing=True)
        assert str(error.value).endswith(catalog.FACTS[case.name].layout)
        assert "\n" not in str(error.value)


@those(lambda case: case.labels != "")
def test_label_file_that_is_cut_or_another_is_refused(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    data = (root / case.labels).read_bytes()
    for damaged in (b"", b"\xff\xfe" + data[:3], bytes(200)):
        (root / case.labels).write_bytes(damaged)
        with pytest.raises(InputError) as error:
            case.read(root)
        assert "\n" not in str(error.value)


@those(lambda case: case.labels.endswith((".mat", ".xlsx", ".parquet")))
def test_binary_label_file_is_refused_wherever_it_is_cut(tmp_path, case):
    root = case.make(tmp_path, **case.settings)
    data = (root / case.labels).read_bytes()
    for share in np.linspace(0.02, 0.9, 12):
        (root / case.labels).write_bytes(data[: math.floor(share * len(data))])
        with pytest.raises(InputError):
            case.read(root)


@those(lambda case: case.name != "table")
@pytest.mark.parametrize("change", [str.upper, str.lower])
def test_case_of_names_on_disk_does_not_matter(tmp_path, case, change):
    root = case.make(tmp_path, **case.settings)

    def known(records: list[Record]) -> list[tuple]:
        return sorted((r.name.lower(), r.mos, r.content.lower()) for r in records)

    before = known(case.read(root))
    for path in sorted(root.rglob("*"), reverse=True):  # files before their folders
        path.rename(path.with_name(change(path.name)))
    assert known(case.read(root)) == before


@pytest.mark.parametrize("name", sorted(catalog.FACTS))
def test_facts_agree_with_each_other(name):
    facts = catalog.FACTS[name]
    assert facts.name == name == name.lower()
    assert facts.low < facts.high
    assert (facts.references > 0) <= (facts.kind != "pictures")
    assert facts.layout.endswith(".") and "\n" not in facts.layout
    assert name in ("synthetic", "table") or facts.citation.startswith("@")
    assert (name in catalog.READERS) == (facts.kind != "triplets")


def test_every_public_data_set_has_a_case():
    others = {"agiqa3k", "sr4kiqa", "synthetic"}  # these have tests of their own
    assert {case.name for case in CASES.values()} | others == set(catalog.READERS)
