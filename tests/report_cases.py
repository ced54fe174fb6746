"""Pictures, rows and labels that the tests of the report share."""

import colorsys
import csv
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ganiqa_jax.scoring.rows import RowsHeader, ScoreRow, Status, open_rows

EVIL = "</script><script>window.injected = 1</script>\"'><img src=x onerror=alert(1)>"


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Pictures of one strong colour each: picture00.png, picture01.png and so on."""
    folder.mkdir(parents=True)
    paths = []
    for number in range(count):
        colour = colorsys.hsv_to_rgb(number / count, 0.9, 0.9)
        rgb = tuple(round(255 * part) for part in colour)
        paths.append(folder / f"picture{number:02d}.png")
        Image.new("RGB", (64, 48), rgb).save(paths[-1])
    return paths


def row(path: str, score: float | None, **values) -> ScoreRow:
    status: Status = "decode_error" if score is None else "ok"
    settings = {"error": "cut off"} if score is None else {"sigma": 0.01}
    return ScoreRow(
        path=path,
        score=score,
        **{  # pyright: ignore[reportArgumentType]
            "status": status,
            "model": "student",
            "model_sha": "abc123",
            "prep_sha": "def456",
            **settings,
            **values,
        },
    )


def write_rows(
    path: Path, names: Sequence[str], scores: Sequence[float | None], **values
) -> Path:
    header = RowsHeader(
        model="student",
        model_sha="abc123",
        prep_sha="def456",
        scale="grade",
        mos_low=0.0,
        mos_high=5.0,
    )
    with open_rows(path, header) as writer:
        for name, score in zip(names, scores, strict=True):
            writer.write(row(name, score, **values))
    return path


def write_labels(path: Path, names: Sequence[str], **columns: Sequence) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", *columns])
        writer.writerows(zip(names, *columns.values(), strict=True))
    return path
