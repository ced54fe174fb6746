"""What happens to a blurred photograph whose score is driven up by its gradient?

    python scripts/check_ascent.py data/pristine/kodak --model student-s

The middle of each photograph is blurred and then changed in steps along the gradient
of `as_loss`, each of the same root mean square. Prints, before and after, the score,
PSNR to the undamaged window, and what a full-reference teacher says: a score that rises
while both others fall is exploited, not earned.
"""

from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from ganiqa_jax.compile_cache import use_compile_cache
from ganiqa_jax.data.distortions import distort
from ganiqa_jax.differentiable import as_loss
from ganiqa_jax.mesh import set_cpu_flags
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.cropping import middle
from ganiqa_jax.scoring.decode import decode_picture
from ganiqa_jax.scoring.engine import find_pictures


def main(
    pictures: Annotated[tuple[Path, ...], tyro.conf.Positional],
    model: str = "student-s",
    judge: str = "teacher-s",
    limit: int = 6,
    side: int = 320,
    level: int = 3,
    steps: int = 20,
    size: float = 0.002,
) -> None:
    """Prints a table.

    Args:
        pictures: undamaged photographs, or folders of them.
        model: student whose score is driven up.
        judge: teacher that compares with the undamaged window.
        limit: most photographs taken; 0 takes all.
        side: of the window, pixels.
        level: of the blur, 1 to 5.
        steps: along the gradient.
        size: root mean square of a step; pixels are in [0, 1].
    """
    set_cpu_flags("infer")
    use_compile_cache()
    loss, compare = as_loss(model), jax.jit(as_loss(judge))
    slope = jax.jit(jax.value_and_grad(lambda window: loss(window).sum()))
    print("| photograph | | score | PSNR, dB | teacher |\n|---|---|---|---|---|")
    gains = []
    paths = find_pictures(pictures)[: limit or None]
    for path in track(paths, len(paths), "photographs", True):
        pixels = decode_picture(path).pixels
        clean = middle(pixels, side, side)
        blurred = distort(clean, "gaussian_blur", level, np.random.default_rng(0))
        original = jnp.asarray(clean[None], jnp.float32) / 255
        window = jnp.asarray(blurred[None], jnp.float32) / 255
        seen = [window]
        for _ in range(steps):
            _, gradient = slope(window)
            step = gradient / jnp.sqrt(jnp.mean(jnp.square(gradient)) + 1e-20)
            window = jnp.clip(window - size * step, 0.0, 1.0)
        seen.append(window)
        found = []
        for name, one in zip(("blurred", "after"), seen, strict=True):
            error = float(jnp.mean(jnp.square(one - original)))
            values = (
                1 - float(slope(one)[0]),
                -10 * np.log10(error),
                1 - float(compare(original, one)[0]),
            )
            found.append(values)
            cells = " | ".join(f"{value:.3f}" for value in values)
            print(f"| {path.name} | {name} | {cells} |", flush=True)
        gains.append(np.subtract(*reversed(found)))
    score, psnr, teacher = np.mean(gains, axis=0)
    better = int((np.array(gains)[:, 1] > 0).sum())
    print(
        f"Mean change after {steps} steps: score {score:+.3f}, PSNR {psnr:+.2f} dB "
        f"({better} of {len(gains)} rise), teacher {teacher:+.3f}."
    )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
