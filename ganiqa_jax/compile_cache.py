"""Compiled and traced programs kept from one start of a command to the next."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from ganiqa_jax import home
from ganiqa_jax.errors import InputError

SWITCH = "GANIQA_COMPILE_CACHE"

_PACKAGE = Path(__file__).parent
_NETWORK_CODE = ("models", "image", "network_config.py", "steps.py", "scoring")
_DIGEST = hashlib.sha256().digest_size

_log = logging.getLogger("ganiqa_jax")


def use_compile_cache() -> None:
    """Lets JAX keep compiled programs in the user's cache folder.

    Programs read from there are run, so the folder must be the user's alone; if it is
    not, or cannot be made, a warning says so and nothing is kept. Nothing is done
    either if the user has set a folder for JAX, or `GANIQA_COMPILE_CACHE=off`.
    """
    if os.environ.get(SWITCH, "").lower() == "off":
        return
    if _set_folder():
        return
    try:
        folder = _folder()
    except InputError as error:
        _log.warning("No compiled programs are kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def kept_program(
    name: str, program: Any, arguments: tuple[Any, ...]
) -> Callable[..., Any]:
    """A jitted network, traced at an earlier start if `use_compile_cache` is in force.

    Tracing a network takes longer than reading back what it compiles to.

    Args:
      name: of the network with all its settings.
      program: jitted.
      arguments: shapes and types that it is called with, on one device.

    Returns:
      A jitted function of such arguments.
    """
    if _set_folder() != str(home.cache_folder("jax")):
        return program
    text = [name, jax.__version__, jax.default_backend(), _code()]
    text.append(str(jax.tree.map(lambda a: (a.shape, str(a.dtype)), arguments)))
    key = hashlib.sha256("\n".join(text).encode()).hexdigest()[:24]
    path = _folder() / f"traced-{key}"
    data = _read(path)
    if data is None:
        # Serialising needs flatbuffers, which JAX does not bring along.
        with contextlib.suppress(ImportError, OSError):
            exported = jax.export.export(program)(*arguments)
            data = bytes(exported.serialize())
            _write(path, data)
    if data is None:
        return program
    return jax.jit(jax.export.deserialize(bytearray(data)).call)


def _set_folder() -> str | None:
    """Where JAX keeps compiled programs, if anywhere."""
    return getattr(jax.config, "jax_compilation_cache_dir")  # noqa: B009


def _folder() -> Path:
    return home.private_folder(home.cache_folder("jax"))


def _code() -> str:
    """Changes with every change of the code that a network is traced from."""
    digest = hashlib.sha256()
    for part in _NETWORK_CODE:
        root = _PACKAGE / part
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> bytes | None:
    """What `_write` wrote, if it is there and whole."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    digest, data = stored[:_DIGEST], stored[_DIGEST:]
    return data if hashlib.sha256(data).digest() == digest else None


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_bytes(hashlib.sha256(data).digest() + data)
    partial.replace(path)
