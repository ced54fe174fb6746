"""Settings that every test shares."""

import gc
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
# Programs of the tests are compiled for a few small pictures and then hardly run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

# Traces of whole networks are millions of objects that live long: to look through them
# at every 700 new ones takes a tenth of the time of the tests.
gc.set_threshold(100_000, 20, 50)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)
