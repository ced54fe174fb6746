"""Arrays at random by NumPy: JAX compiles a second and more for each shape it draws."""

import jax.numpy as jnp
import numpy as np


def normal(*shape: int, seed: int = 0):
    """Of mean 0 and deviation 1, float32."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def uniform(*shape: int, seed: int = 0):
    """From 0 up to 1, float32."""
    return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), jnp.float32)
