"""Settings that every test shares."""

import os
from pathlib import Path

# The test processes, and those that tests start, compile each program once for all.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(Path(__file__).resolve().parents[1] / ".cache" / "jax"),
)
# What commands keep for the user must not come from, or go to, a real home.
os.environ.setdefault(
    "GANIQA_HOME", str(Path(__file__).resolve().parents[1] / ".cache" / "ganiqa")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
