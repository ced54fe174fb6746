"""`ganiqa data photographs`: undamaged pictures to train on, without a download."""

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
    from ganiqa_jax.data.synthetic import embedded_photographs, save_picture

    written = 0
    found = embedded_photographs()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, pixels in found.items():
            path = out / f"{name}.png"
            if not path.exists():
                save_picture(path, pixels)
                written += 1
    except OSError as error:
        raise InputError(f"Cannot write to {out}: {error.strerror}.") from error
    kept = f", {len(found) - written} were there" if written < len(found) else ""
    print(f"{written} photographs written to {out}{kept}")
