"""Folders of the user: where released models lie, and what may be made again.

`GANIQA_HOME` holds both, `models/` and `cache/`; without it they are where the
system keeps data and caches of a user.
"""

import os
import stat
from pathlib import Path

from ganiqa_jax.errors import InputError

VARIABLE = "GANIQA_HOME"


def models_folder() -> Path:
    """Where released models of this user lie, each in a folder of its name."""
    return _folder("models", "XDG_DATA_HOME", ".local/share")


def cache_folder(name: str) -> Path:
    """A folder for what can be made again; see `private_folder`."""
    return _folder("cache", "XDG_CACHE_HOME", ".cache") / name


def private_folder(path: Path) -> Path:
    """Makes a folder that nobody else can write to, because what is in it is run.

    Returns:
      The path.

    Raises:
      InputError: if it belongs to someone else, or others may write to it or to what
        it is reached by, or it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = path.stat()
    except OSError as error:
        raise InputError(
            f"Cannot make the folder {path}: {error.strerror}; set {VARIABLE} to a "
            "folder of yours."
        ) from error
    if not hasattr(os, "getuid"):
        return path  # a system without owners
    if facts.st_uid != os.getuid() or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise InputError(
            f"{path} belongs to someone else or can be written by others, who could "
            f"so run code as you; take their rights away (chmod go-w), or set "
            f"{VARIABLE} to a folder of yours."
        )
    return path


def _folder(name: str, variable: str, default: str) -> Path:
    own = os.environ.get(VARIABLE)
    if own:
        return Path(own).expanduser().absolute() / name
    base = os.environ.get(variable, "")
    root = Path(base) if os.path.isabs(base) else Path("~").expanduser() / default
    inside = root / "ganiqa_jax"
    return inside / name if name != "cache" else inside
