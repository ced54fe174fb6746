"""`ganiqa data photographs`: undamaged pictures to train on, without a download."""

import io
from pathlib import Path

import tyro

from ganiqa_jax.errors import InputError


def photographs(out: tyro.conf.Positional[Path], /) -> None:
    """Write the photographs that scikit-image and scikit-learn ship.

    Nine undamaged pictures as PNG files. With your own beside them they are the
    source `pristine`: what a teacher is trained on, and what tells a student what
    damage costs. Files that are there are left as they are. Needs the demo extra.

      ganiqa data photographs data/photographs
      ganiqa train configs/teacher_s.py --workdir runs/teacher_s

    Args:
        out: the folder.
    """
    from PIL import Image

    from ganiqa_jax.data.synthetic import embedded_photographs
    from ganiqa_jax.rundir import replace_bytes

    found = embedded_photographs()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot write to {out}: {error.strerror}.") from error
    written = 0
    for name, pixels in found.items():
        path = out / f"{name}.png"
        if not path.exists():
            png = io.BytesIO()
            Image.fromarray(pixels).save(png, format="PNG")
            replace_bytes(path, png.getvalue())
            written += 1
    kept = f", {len(found) - written} were there" if written < len(found) else ""
    print(f"{written} photographs written to {out}{kept}")
