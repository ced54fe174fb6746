"""Pictures small enough to be inside a page, and where their quality maps are."""

import base64
import io
from pathlib import Path, PurePosixPath

from PIL import Image

from ganiqa_jax.scoring.decode import DecodeError, decode_picture

QUALITY = 80


def embedded(path: Path, side: int) -> str | None:
    """A picture as a JPEG data URI, its longer side at most `side` pixels.

    Decoded as for scoring, with the same limits. None if it cannot be, or is gone.
    """
    try:
        pixels = decode_picture(path).pixels
    except DecodeError:
        return None
    small = Image.fromarray(pixels)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def find_map(folder: Path, path: str, sha256: str | None) -> Path | None:
    """The quality map of a picture in a folder of PNG files.

    Its name is that of the picture with `.png` for its suffix or after it, or the hash
    of the file; it is in the same folder below `folder` as the picture, or in `folder`.
    """
    parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
    name = PurePosixPath(*parts) if parts else PurePosixPath("unnamed")
    wanted = [name.with_suffix(".png"), PurePosixPath(f"{name}.png")]
    wanted += [PurePosixPath(one.name) for one in wanted]
    if sha256:
        wanted.append(PurePosixPath(f"{sha256}.png"))
    return next((f for f in (folder / one for one in wanted) if f.is_file()), None)
