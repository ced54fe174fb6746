"""The network of a model as the one function that every export is made of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ganiqa_jax.export.parity import BATCHES, Compute, Crops
from ganiqa_jax.release import LoadedModel
from ganiqa_jax.scoring.forward import forward


def network_function(model: LoadedModel) -> Callable[..., Any]:
    """uint8 crops to z, as scoring computes it, with the weights closed over."""
    variables = jax.device_put(model.variables, jax.local_devices(backend="cpu")[0])
    compute = forward(model.network)
    return lambda *crops: compute(variables, *crops)


def crop_shapes(model: LoadedModel, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """What the function takes, by name, for a number of crops or a symbolic one."""
    side = model.card.preprocessing.crop
    shape = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8)
    return dict.fromkeys(model.card.inputs, shape)


def reference_compute(model: LoadedModel, size: int = max(BATCHES)) -> Compute:
    """The network by JAX on the CPU, in full precision, in batches of one size."""
    compute = jax.jit(forward(model.network))
    cpu = jax.local_devices(backend="cpu")[0]
    variables = jax.device_put(model.variables, cpu)

    def run(crops: Crops) -> np.ndarray:
        rows = len(crops[0])
        around = [(0, size - rows), (0, 0), (0, 0), (0, 0)]
        filled = [jax.device_put(np.pad(side, around), cpu) for side in crops]
        return np.asarray(compute(variables, *filled))[:rows]

    return run
