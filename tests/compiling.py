"""Programs that are compiled for a few small pictures and then hardly run."""

import functools

import jax

quick_jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)
"""`jax.jit` that leaves out LLVM's optimisation: two thirds of the time to compile.

Op by op, each operation on each shape would be compiled by itself.
"""
