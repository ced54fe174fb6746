"""Does the score stay where people see the same? Sizes, formats, crops, the mirror.

    python scripts/check_steady.py data/agiqa3k/images --limit 200

Every picture is scored as it is and in versions of it. Prints for each version how well
its scores agree in rank with those of the pictures as they are, by how much they are
higher on average, and how far single ones are from that. Down-scaling by much and
cutting do change what people see: how much they change is for the reader to judge.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from ganiqa_jax import metrics
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.decode import decode_picture
from ganiqa_jax.scoring.engine import create_scorer, find_pictures

Change = Callable[[Image.Image], Image.Image]


def resized(side: int) -> Change:
    """With this shorter side, by Lanczos' filter."""

    def change(picture: Image.Image) -> Image.Image:
        share = side / min(picture.size)
        width, height = (round(share * length) for length in picture.size)
        return picture.resize((width, height), Image.Resampling.LANCZOS)

    return change


def compressed(quality: int) -> Change:
    """Through a JPEG file."""

    def change(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return change


def cut(across: float, down: float) -> Change:
    """Without these shares of its width and height, half of them at each side."""

    def change(picture: Image.Image) -> Image.Image:
        width, height = picture.size
        left, top = round(across * width / 2), round(down * height / 2)
        return picture.crop((left, top, width - left, height - top))

    return change


CHANGES: dict[str, Change] = {
    **{f"shorter side {side}": resized(side) for side in (256, 384, 768, 1024, 2048)},
    "JPEG of quality 95": compressed(95),
    "JPEG of quality 90": compressed(90),
    "3 and 5 pixels cut off at two sides": lambda p: p.crop((3, 5, *p.size)),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "a tenth cut off at each side": cut(0.2, 0.2),
    "7/16 of its height cut off: of a square, 16:9": cut(0, 7 / 16),
}


def main(
    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional],
    model: str = "student-s",
    limit: int = 0,
) -> None:
    """Prints a table.

    Args:
        pictures: files, or folders of them.
        model: run directory, released folder or released name of a student.
        limit: most pictures taken, spread evenly; 0 takes all.
    """
    changes: list[Change] = [lambda picture: picture, *CHANGES.values()]
    scorer = create_scorer(model, pictures=len(changes))
    paths = find_pictures(pictures)
    if limit and limit < len(paths):
        paths = [paths[n * len(paths) // limit] for n in range(limit)]
    found = []
    for path in track(paths, len(paths), "pictures", True):
        picture = Image.fromarray(decode_picture(path).pixels)
        versions = [np.asarray(change(picture)) for change in changes]
        found.append([row.score for row in scorer.score_iter(versions)])
    first, *others = np.array(found, np.float64).T
    print("| version | SRCC with the score as it is | higher by | deviation of that |")
    print("|---|---|---|---|")
    for name, scores in zip(CHANGES, others, strict=True):
        more = scores - first
        srcc = metrics.srcc(scores, first)
        print(f"| {name} | {srcc:.3f} | {more.mean():+.3f} | {more.std():.3f} |")
    print(f"As they are: {first.mean():.3f}, deviation {first.std():.3f}.")
    print(f"n = {len(paths)} pictures.")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
