"""Does the score stay where people see the same? Sizes, formats, crops, the mirror.

    python scripts/check_steady.py data/agiqa3k/images --limit 200

Every picture is scored as it is and in versions of it. Prints for each version how well
its scores agree in rank with those of the pictures as they are, by how much they are
higher on average, and how far single ones are from that. Down-scaling by much and
cutting do change what people see: how much they change is for the reader to judge.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from ganiqa_jax import metrics
from ganiqa_jax.data.distortions_compression import through_jpeg
from ganiqa_jax.data.distortions_pixels import Pixels
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.cropping import middle, resized_sides
from ganiqa_jax.scoring.decode import decode_picture
from ganiqa_jax.scoring.engine import create_scorer, find_pictures


def resized(pixels: Pixels, side: int) -> Pixels:
    """With this shorter side; by Lanczos' filter, which is not the one of scoring."""
    height, width = pixels.shape[:2]
    height, width = resized_sides(height, width, side)
    picture = Image.fromarray(pixels)
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))


def cut(pixels: Pixels, across: float, down: float) -> Pixels:
    """Without these shares of its width and height, half of them at each side."""
    height, width = pixels.shape[:2]
    left, top = round(across * width / 2), round(down * height / 2)
    return pixels[top : height - top, left : width - left]


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    **{
        f"shorter side {side}": partial(resized, side=side)
        for side in (256, 384, 768, 1024, 2048)
    },
    "JPEG of quality 95": partial(through_jpeg, quality=95),
    "JPEG of quality 90": partial(through_jpeg, quality=90),
    "3 and 5 pixels cut off at two sides": lambda pixels: pixels[5:, 3:],
    **{
        f"the middle {side}x{side} pixels": partial(middle, height=side, width=side)
        for side in (256, 128, 64)
    },
    "mirrored": lambda pixels: pixels[:, ::-1],
    "a tenth cut off at each side": partial(cut, across=0.2, down=0.2),
    "7/16 of its height cut off: of a square, 16:9": partial(
        cut, across=0, down=7 / 16
    ),
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
    scorer = create_scorer(model, pictures=1 + len(CHANGES))
    paths = find_pictures(pictures)
    if limit and limit < len(paths):
        paths = [paths[n * len(paths) // limit] for n in range(limit)]
    found = []
    for path in track(paths, len(paths), "pictures", True):
        pixels = decode_picture(path).pixels
        versions = [pixels, *(change(pixels) for change in CHANGES.values())]
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
