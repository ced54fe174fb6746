"""The network of a model as the one function that every export is made of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganiqa_jax.export.parity import Compute, Crops
from ganiqa_jax.release import LoadedModel
from ganiqa_jax.scoring.forward import forward, inputs_of


def network_function(model: LoadedModel) -> Callable[..., Any]:
    """uint8 crops to z, as scoring computes it, with the weights closed over."""
    variables = jax.tree.map(np.asarray, model.variables)
    compute = forward(model.network, model.card.role)
    return lambda *crops: compute(variables, *crops)


def crop_shapes(model: LoadedModel, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """What the function takes, by name, for a number of crops or a symbolic one."""
    side = model.card.preprocessing.crop
    shape = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8)
    return dict.fromkeys(inputs_of(model.card.role), shape)


def reference_compute(model: LoadedModel) -> Compute:
    """The network by JAX on the CPU, in full precision."""
    compute = jax.jit(forward(model.network, model.card.role))

    def run(crops: Crops) -> np.ndarray:
        cpu = jax.local_devices(backend="cpu")[0]
        with jax.default_device(cpu), jax.default_matmul_precision("highest"):
            return np.asarray(compute(jax.device_put(model.variables, cpu), *crops))

    return run
