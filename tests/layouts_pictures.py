"""Makers of tiny data sets without references, in the exact layout of the real ones.

A name that ends in a digit ends in the rank of the picture: the higher, the more
blurred, and the lower its score. The digits before it are the scene.
"""

from pathlib import Path

import numpy as np
from layouts_pairs import cells, save, save_many, write_rows
from scipy.io import savemat

VERSIONS = [(scene, rank) for scene in (1, 2) for rank in (1, 2, 3)]


def make_koniq10k(root: Path, *, sides: tuple[str, ...] = ("1024x768",)) -> Path:
    """The table with the authors' sets; MOS from 0 to 100, SD of ratings."""
    header = [*"image_name c1 c2 c3 c4 c5 c_total MOS SD set".split()]
    sets = ("training", "training", "validation", "test")
    rows: list[list[object]] = [header]
    for number, (scene, rank) in enumerate(VERSIONS):
        name = f"10{scene}{rank}.jpg"
        for side in sides:
            save(root / side / name, scene, rank)
        counts = [0, 25, 73, 7, 0, 105]
        rows.append([name, *counts, 90 - 25 * rank, 0.52, sets[number % 4]])
    write_rows(root / "koniq10k_distributions_sets.csv", rows)
    return root


def make_livec(root: Path) -> Path:
    """Seven training pictures head the label files, then six others."""
    names = [f"t{number}.bmp" for number in range(1, 8)]
    for name in names:
        save(root / "Images" / "trainingImages" / name, 9, 0)
    for scene, rank in VERSIONS:
        names.append(f"{scene}{rank}.bmp")
        save(root / "Images" / names[-1], scene, rank)
    scores = [50.0] * 7 + [95.5 - 30 * rank for _, rank in VERSIONS]
    data = root / "Data"
    data.mkdir()
    arrays = {
        "AllImages_release": cells(names)[:, None],
        "AllMOS_release": np.array([scores]),
        "AllStdDev_release": np.full((1, len(names)), 18.0),
    }
    for key, array in arrays.items():
        savemat(data / f"{key}.mat", {key: array})
    return root


def aigciqa2023_rank(number: int) -> int:
    """How blurred a picture of the fixture is: by model, then by its place in four."""
    return 1 + number // 400 % 3


def make_aigciqa2023(root: Path) -> Path:
    """All 2400 pictures: six models, 100 prompts of each, four of each prompt."""
    ranks = [aigciqa2023_rank(number) for number in range(2400)]
    save_many(
        (root / "Image" / "allimg" / f"{number}.png", number // 4 % 100 % 2, rank)
        for number, rank in enumerate(ranks)
    )
    folder = root / "DATA" / "MOS"
    folder.mkdir(parents=True)
    quality = np.array([[75.0 - 15 * rank] for rank in ranks])
    savemat(folder / "mosz1.mat", {"MOSz": quality})
    for other in ("mosz2.mat", "mosz3.mat"):  # not quality: turned round here
        savemat(folder / other, {"MOSz": 100 - quality})
    return root


def make_gfiqa20k(root: Path, *, table: str = "mos_val_rating.csv") -> Path:
    """Faces, by number; the table has names without an ending for scene 2."""
    rows: list[list[object]] = [["Image Name", "MOS"]]
    for scene, rank in VERSIONS:
        save(root / "image" / f"{scene}{rank}.jpg", scene, rank)
        suffix = ".jpg" if scene == 1 else ""
        rows.append([f"{scene}{rank}{suffix}", 0.98 - 0.3 * rank])
    write_rows(root / table, rows)
    return root


def make_table(root: Path, *, suffix: str = ".csv", references: bool = True) -> Path:
    """One's own table: all columns, some of them empty."""
    header = ["path", "mos", "reference", "std", "group", "split", "camera"]
    rows: list[list[object]] = [header]
    for scene, rank in VERSIONS:
        path, reference = f"shots/{scene}{rank}.png", f"pristine/{scene}.png"
        save(root / path, scene, rank)
        save(root / reference, scene, 0)
        split = "train" if scene == 1 else "test"
        columns = [reference if references else "", 0.5, f"scene {scene}", split, "x"]
        rows.append([path, 9.0 - 2 * rank, *columns])
    if suffix == ".csv":
        write_rows(root / "labels.csv", rows)
    else:
        import pyarrow
        from pyarrow import parquet

        columns = dict(zip(header, map(list, zip(*rows[1:], strict=True)), strict=True))
        parquet.write_table(pyarrow.table(columns), root / "labels.parquet")
    return root
