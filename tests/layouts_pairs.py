"""Makers of tiny data sets with references, in the exact layout of the real ones.

Each has at least two scenes and three distorted versions of each; the more blurred
version has the label that says so. Every maker returns the folder it wrote.
"""

import csv
import functools
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from fixtures import draw_scene
from openpyxl import Workbook
from PIL import Image, ImageFilter
from scipy.io import savemat

SIDE = 24


@functools.cache
def picture_bytes(scene: int, rank: int, suffix: str) -> bytes:
    """A file of one scene, blurred more the higher the rank; rank 0 is pristine."""
    picture = Image.fromarray(draw_scene(scene, height=SIDE, width=SIDE))
    if rank:
        picture = picture.filter(ImageFilter.GaussianBlur(0.4 + 0.6 * rank))
    buffer = io.BytesIO()
    kind = {".bmp": "BMP", ".png": "PNG", ".jpg": "JPEG"}[suffix.lower()]
    picture.save(buffer, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return buffer.getvalue()


def save(path: Path, scene: int, rank: int) -> None:
    """Writes a version of a scene, and the folders it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_bytes(scene, rank, path.suffix))


def save_many(pictures: Iterable[tuple[Path, int, int]]) -> None:
    """Writes path, scene and rank of thousands; those alike are one file by links."""
    first: dict[tuple[int, int], Path] = {}
    for path, scene, rank in pictures:
        if (scene, rank) in first:
            os.link(first[scene, rank], path)
        else:
            save(path, scene, rank)
            first[scene, rank] = path


def write_rows(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Writes a CSV table; the first row is its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def cells(names: Sequence[str]) -> np.ndarray:
    """Names as scipy writes them to a cell array."""
    array = np.empty(len(names), object)
    array[:] = names
    return array


def make_pipal(root: Path, *, layout: str = "split") -> Path:
    """`layout` is split (Distortion_<n>/), merged (Dist_Imgs/) or flat."""
    for scene, name in enumerate(("A0001", "A0002")):
        save(root / "Train_Ref" / f"{name}.bmp", scene, 0)
        lines = []
        for rank, kind in enumerate(("00", "04", "06"), start=1):
            file = f"{name}_{kind}_{rank:02d}.bmp"
            folder = {"split": f"Distortion_{rank}", "merged": "Dist_Imgs", "flat": ""}
            save(root / folder[layout] / file, scene, rank)
            lines.append(f"{file},{1850 - 350 * rank + scene}.25\n")
        labels = root / "Train_Label" / f"{name}.txt"
        labels.parent.mkdir(exist_ok=True)
        labels.write_text("".join(lines))
    return root


def make_pipal_ntire(root: Path) -> Path:
    """The unlabelled test part of a challenge: types reach beyond 06."""
    for scene, name in enumerate(("A0000", "A0007")):
        save(root / "NTIRE2022_FR_Testing_Ref" / f"{name}.bmp", scene, 0)
        for rank, kind in enumerate(("04", "10", "11"), start=1):
            file = f"{name}_{kind}_{rank:02d}.bmp"
            save(root / "NTIRE2022_FR_Testing_Dis" / file, scene, rank)
    return root


LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
LIVE_COPIES = 203


def make_live(root: Path, *, realigned: bool = True) -> Path:
    """All 982 pictures, 203 of them undistorted copies, of two scenes."""
    scenes = ("bikes.bmp", "sailing1.bmp")
    for scene, name in enumerate(scenes):
        save(root / "refimgs" / name, scene, 0)
    ranks = [0 if i % 4 == 0 and i < 4 * LIVE_COPIES else 1 + i % 3 for i in range(982)]
    dmos = np.array([(0.0, -2.6, 55.0, 111.7)[rank] for rank in ranks])
    places = [(folder, n) for folder, m in LIVE_FOLDERS.items() for n in range(m)]
    for folder in LIVE_FOLDERS:
        (root / folder).mkdir()
    save_many(
        (root / folder / f"img{number + 1}.bmp", index % 2, ranks[index])
        for index, (folder, number) in enumerate(places)
    )
    orgs = np.array([[rank == 0 for rank in ranks]], np.uint8)
    names = [scenes[index % 2] for index in range(982)]
    savemat(root / "refnames_all.mat", {"refnames_all": cells(names)[None]})
    # The file without realignment has a scale of its own, from 0 to 100.
    savemat(root / "dmos.mat", {"dmos": dmos[None].clip(0, 90), "orgs": orgs})
    if realigned:
        arrays = {"dmos_new": dmos[None], "orgs": orgs, "dmos_std": 6.0 + orgs}
        savemat(root / "dmos_realigned.mat", arrays)
    return root


CSIQ_KINDS = {"AWGN": "noise", "BLUR": "blur", "jpeg2000": "jpeg 2000"}
"""Type in a file name, and as the spreadsheet has it."""


def make_csiq(root: Path, *, labels: str = "text", folder: str = "dst_imgs") -> Path:
    """`folder` may be `split`: dst_imgs/ with a folder for each type."""
    lines, book = [], Workbook()
    sheet = book.active
    sheet.title = "notes"
    sheet = book.create_sheet("all_by_image")
    sheet.append([None, "CSIQ, realigned scores"])
    header = ["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]
    sheet.append([None, None, *header])
    for scene, name in enumerate(("1600", "aerial_city")):
        save(root / "src_imgs" / f"{name}.png", scene, 0)
        for number, (kind, spelled) in enumerate(CSIQ_KINDS.items(), start=1):
            for level in (1, 2, 3):
                file = f"{name}.{kind}.{level}.png"
                parts = ("dst_imgs", spelled) if folder == "split" else (folder,)
                save(root.joinpath(*parts, file), scene, level)
                dmos = round(0.3 * level + 0.01 * number, 3)
                lines.append(f"{file} {dmos}\n")
                image = int(name) if name.isdigit() else name
                row = [image, number, spelled, level, 0.05, dmos]
                sheet.append([None, None, *row])
    if labels == "text":
        (root / "csiq_label.txt").write_text("".join(lines))
    else:
        book.save(root / "csiq.DMOS.xlsx")
    return root


def make_tid2013(root: Path) -> Path:
    """Names in mixed case, differently on disk and in the label file."""
    lines, deviations = [], []
    for scene, (reference, stem, label) in enumerate(
        (("I01.BMP", "i01", "I01"), ("i25.bmp", "I25", "i25"))
    ):
        save(root / "reference_images" / reference, scene, 0)
        for kind in ("01", "08", "24"):
            for level in (1, 3):
                file = f"{stem}_{kind}_{level}.bmp"
                save(root / "distorted_images" / file, scene, level)
                lines.append(f"{7.2 - 2 * level:.5f} {label}_{kind}_{level}.bmp\n")
                deviations.append(f"0.{level}8\n")
    (root / "mos_with_names.txt").write_text("".join(lines))
    (root / "mos_std.txt").write_text("".join(deviations))
    return root


def make_kadid10k(root: Path) -> Path:
    """References and distorted pictures in one folder."""
    rows: list[list[object]] = [["dist_img", "ref_img", "dmos", "var"]]
    for scene, name in enumerate(("I01", "I81")):
        save(root / "images" / f"{name}.png", scene, 0)
        for kind in ("01", "10", "25"):
            for level in (1, 3, 5):
                file = f"{name}_{kind}_{level:02d}.png"
                save(root / "images" / file, scene, level)
                rows.append([file, f"{name}.png", 5.5 - 0.9 * level, 0.64])
    write_rows(root / "dmos.csv", rows)
    return root


def make_kadis(root: Path, *, names: tuple[str, str] = ("ref_imgs", "dist_imgs")):
    """Pristine pictures with underscores in their names, and no labels."""
    for scene, name in enumerate(("abc_1280", "abc")):
        save(root / names[0] / f"{name}.png", scene, 0)
        for level in (1, 2, 3):
            save(root / names[1] / f"{name}_08_{level:02d}.bmp", scene, level)
    return root


def make_pieapp(root: Path) -> Path:
    """Two references in train, two in test; the reference takes part in pairs."""
    head = ["ref image", " distorted image A", " distorted image B", " preference"]
    for part, numbers in (("train", (1, 2)), ("test", (161, 162))):
        listed = [f"ref_{number}.png" for number in numbers]
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{part}_reference_list.txt").write_text("\n".join(listed) + "\n")
        for scene, (number, reference) in enumerate(zip(numbers, listed, strict=True)):
            stem = f"ref_{number}"
            save(root / "reference_images" / part / reference, scene, 0)
            files = [f"distort_{number}_jpeg_2_inter_{rank}.png" for rank in (1, 2, 3)]
            for rank, file in enumerate(files, start=1):
                save(root / "distorted_images" / part / stem / file, scene, rank)
            labels = root / "labels" / part
            pairs = [
                [reference, reference, files[0], "0.9", "0.88"],
                [reference, files[0], files[1], "0.75", "0.7"],
                [reference, files[0], files[2], "", "0.95"],
            ]
            if part == "test":
                pairs = [row[:4] for row in pairs[:2]]
                scores = [[reference, f, 1.5 * r] for r, f in enumerate(files, 1)]
                header = ["ref image", " distorted image", " score for distorted image"]
                write_rows(labels / f"{stem}_per_image_score.csv", [header, *scores])
            write_rows(labels / f"{stem}_pairwise_labels.csv", [head, *pairs])
    return root


BAPPS_KINDS = {"train": ("cnn", "mix"), "val": ("cnn", "superres")}


def make_bapps(root: Path, *, inside: str = "") -> Path:
    """Triplets of both parts; p0 is the closer one where its number is even."""
    for part, kinds in BAPPS_KINDS.items():
        for kind in kinds:
            folder = root / inside / "2afc" / part / kind
            (folder / "judge").mkdir(parents=True)
            for number in range(4):
                ranks = (1, 3) if number % 2 == 0 else (3, 1)
                for side, rank in zip(("ref", "p0", "p1"), (0, *ranks), strict=True):
                    save(folder / side / f"{number:06d}.png", number, rank)
                share = np.array([0.2 if number % 2 == 0 else 1.0], np.float32)
                np.save(folder / "judge" / f"{number:06d}.npy", share)
    return root
