"""Compiled programs kept from one start of a command to the next."""

import logging
import os

import jax

from ganiqa_jax import home
from ganiqa_jax.errors import InputError

SWITCH = "GANIQA_COMPILE_CACHE"

_log = logging.getLogger("ganiqa_jax")


def use_compile_cache() -> None:
    """Lets JAX keep compiled programs in the user's cache folder.

    Programs read from there are run, so the folder must be the user's alone; if it is
    not, or cannot be made, a warning says so and nothing is kept. Nothing is done
    either if the user has set a folder for JAX, or `GANIQA_COMPILE_CACHE=off`.
    """
    if os.environ.get(SWITCH, "").lower() == "off":
        return
    if jax.config.jax_compilation_cache_dir:
        return
    try:
        folder = home.private_folder(home.cache_folder("jax"))
    except InputError as error:
        _log.warning("No compiled programs are kept: %s", error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
