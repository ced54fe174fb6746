"""Does the score fall as damage rises? Photographs, kinds of damage, five levels.

    python scripts/check_monotonic.py data/pristine/kodak --model student-s

Each kind of `ganiqa_jax.data.distortions` is applied at full size; a teacher compares
with the photograph as it is. Prints for each the
share of adjacent levels, the undamaged picture first, at which the score falls, and
the mean score at each level.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from ganiqa_jax.data.distortions import LEVELS, distort
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.cropping import middle
from ganiqa_jax.scoring.decode import decode_picture
from ganiqa_jax.scoring.engine import create_scorer, find_pictures

KINDS = (
    "gaussian_blur",
    "gaussian_noise",
    "jpeg",
    "down_up_scale",
    "checkerboard",
    "texture_smear",
)


def main(
    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional],
    model: str = "student-s",
    limit: int = 0,
    kinds: tuple[str, ...] = KINDS,
    side: int = 0,
) -> None:
    """Prints a table.

    Args:
        pictures: undamaged photographs, or folders of them.
        model: run directory, released folder or released name.
        limit: most pictures taken; 0 takes all.
        kinds: of damage; by default six that cost every picture quality.
        side: of the square in the middle that is scored, pixels; 0 scores all.
    """
    scorer = create_scorer(model)
    paths = find_pictures(pictures)[: limit or None]
    scores = np.zeros((len(paths), len(kinds), 1 + len(LEVELS)))
    for number, path in enumerate(track(paths, len(paths), "photographs", True)):
        pixels = decode_picture(path).pixels
        versions = [pixels]
        for kind in kinds:
            random = np.random.default_rng(number)
            versions += [distort(pixels, kind, level, random) for level in LEVELS]
        if side:
            versions = [middle(version, side, side) for version in versions]
        if scorer.card.role == "teacher":
            pairs = [(versions[0], version) for version in versions]
            rows = scorer.compare_iter(pairs)
            found = np.array([row.score for row in rows], np.float64)
        else:
            found = scorer.score_batch(np.stack(versions))
        undamaged, *damaged = found
        scores[number, :, 0] = undamaged
        scores[number, :, 1:] = np.reshape(damaged, (len(kinds), len(LEVELS)))
    falls = np.diff(scores, axis=2) < 0
    print("| damage | steps that fall | " + " | ".join(f"{n}" for n in (0, *LEVELS)))
    print("|---|---|" + "---|" * (1 + len(LEVELS)))
    for n, kind in enumerate(kinds):
        means = " | ".join(f"{value:.3f}" for value in scores[:, n].mean(axis=0))
        print(f"| {kind} | {falls[:, n].mean():.1%} | {means} |")
    print(f"All {falls.size} steps: {falls.mean():.1%}. n = {len(paths)} photographs.")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
