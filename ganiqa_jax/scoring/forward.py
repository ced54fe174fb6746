"""From crops as they are cut to z: what every backend computes.

In full precision on every device. GPUs and TPUs otherwise round what they multiply to
half of the digits or less, and a score would differ with the machine that gave it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from ganiqa_jax.types import Params

_in_full_precision = jax.default_matmul_precision("highest")


def forward(network: nn.Module) -> Callable[..., Float[Array, " B"]]:
    """A function of variables and crops, which are those of `ModelCard.inputs`."""

    @_in_full_precision
    def of_crops(
        variables: Mapping[str, Params], *crops: UInt8[Array, "B S S 3"]
    ) -> Any:
        output: Any = network.apply(variables, *map(_to_float, crops))
        return output.z

    return of_crops


def local_forward(network: nn.Module) -> Callable[..., Float[Array, "B n m"]]:
    """A function of a student's variables and crops: z around each cell."""

    @_in_full_precision
    def of_crops(
        variables: Mapping[str, Params], *crops: UInt8[Array, "B S S 3"]
    ) -> Any:
        output: Any = network.apply(variables, *map(_to_float, crops), local=True)
        return output.features["quality"]

    return of_crops


def _to_float(pixels: UInt8[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    return pixels.astype(jnp.float32) / 255.0
