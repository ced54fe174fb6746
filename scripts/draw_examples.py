"""Draws docs/examples.jpg: photographs, undamaged and damaged, with their scores.

    python scripts/draw_examples.py docs/examples.jpg

The photographs come with scikit-image and are in the public domain. student-s has seen
them while it was trained, so that this is an illustration and no measurement.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

import ganiqa_jax as gq
from ganiqa_jax.data.distortions import distort
from ganiqa_jax.data.synthetic import embedded_photographs

PHOTOGRAPHS = ("astronaut", "cat", "coffee")
DAMAGE = (
    ("as it is", "", 0),
    ("JPEG", "jpeg", 4),
    ("blur", "gaussian_blur", 2),
    ("blur, strong", "gaussian_blur", 4),
    ("checkerboard", "checkerboard", 4),
    ("smearing", "texture_smear", 4),
)
SIDE, LINE = 160, 28


def main(out: Annotated[Path, tyro.conf.Positional], model: str = "student-s") -> None:
    """Writes a sheet with a photograph in each row.

    Args:
        out: a picture file.
        model: run directory, released folder or released name of a student.
    """
    scorer = gq.create_scorer(model, pictures=1)
    photographs = embedded_photographs()
    size = len(DAMAGE) * SIDE, len(PHOTOGRAPHS) * (SIDE + LINE)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, name in enumerate(PHOTOGRAPHS):
        for column, (title, kind, level) in enumerate(DAMAGE):
            pixels = photographs[name]
            if kind:
                pixels = distort(pixels, kind, level, np.random.default_rng(0))
            score = scorer.score(pixels).score
            image = Image.fromarray(pixels)
            side = min(image.size)
            left, top = ((length - side) // 2 for length in image.size)
            shown = image.crop((left, top, left + side, top + side))
            place = column * SIDE, row * (SIDE + LINE)
            sheet.paste(shown.resize((SIDE, SIDE), Image.Resampling.LANCZOS), place)
            text = f"{score:.2f}  {title}"
            draw.text((place[0] + 4, place[1] + SIDE + 5), text, "black", font)
    sheet.save(out, quality=88)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
