"""`ganiqa synthesize`: graded synthetic pairs from pristine pictures."""

from pathlib import Path
from typing import Annotated

import tyro


def synthesize(
    pictures: tyro.conf.Positional[tuple[Path, ...]],
    /,
    out: Path,
    per_picture: int = 6,
    crop: int = 288,
    limit: Annotated[int, tyro.conf.arg(metavar="N")] = 0,
    seed: int = 0,
) -> None:
    """Distort pristine pictures in graded steps, for training without labels.

    Writes reference and distorted PNGs and a manifest: the data set `synthetic`.

      ganiqa synthesize data/pristine --out data/synthetic --per-picture 6

    Args:
        pictures: pristine pictures, or folders of them.
        out: folder of the new data set.
        per_picture: distorted versions of each picture.
        crop: side of the window taken from each picture, pixels.
        limit: most pictures taken, in order; 0 takes all.
        seed: decides windows, distortions and levels.
    """
    from rich.progress import Progress

    from ganiqa_jax.data.synthetic import write_pairs
    from ganiqa_jax.scoring.engine import find_pictures

    pristine = find_pictures([str(path) for path in pictures])
    pristine = pristine[:limit] if limit else pristine
    with Progress() as bar:
        task = bar.add_task("pairs", total=None)
        records = write_pairs(
            pristine,
            out,
            seed=seed,
            crop=crop,
            per_picture=per_picture,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"{len(records)} pairs of {len(pristine)} pictures in {out}")
