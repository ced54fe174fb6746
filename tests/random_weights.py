"""Weights at random from shapes alone: compiling initialisers takes many seconds."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def random_weights(shapes, seed=0):
    """Every array of a tree of shapes at random, so that no zero start hides a path.

    Scales and variances are one; kernels keep the spread of what they are given.
    """
    generator = np.random.default_rng(seed)

    def fill(path, leaf):
        name = path[-1].key
        if name in ("scale", "var"):
            return jnp.asarray(np.ones(leaf.shape, np.float32))
        spread = math.sqrt(2 / math.prod(leaf.shape[:-1])) if name == "kernel" else 0.1
        return jnp.asarray(generator.normal(0, spread, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)
