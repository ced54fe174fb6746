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


def forward(network: nn.Module, role: str) -> Callable[..., Float[Array, " B"]]:
    """A function of variables and crops (for a teacher: reference, distorted)."""

    @_in_full_precision
    def of_pictures(
        variables: Mapping[str, Params], distorted: UInt8[Array, "B S S 3"]
    ) -> Any:
        return _z(network.apply(variables, _to_float(distorted)))

    @_in_full_precision
    def of_pairs(
        variables: Mapping[str, Params],
        reference: UInt8[Array, "B S S 3"],
        distorted: UInt8[Array, "B S S 3"],
    ) -> Any:
        pair = _to_float(reference), _to_float(distorted)
        return _z(network.apply(variables, *pair))

    return of_pairs if role == "teacher" else of_pictures


def local_forward(network: nn.Module) -> Callable[..., Float[Array, "B n m"]]:
    """A function of a student's variables and crops: z around each cell."""

    @_in_full_precision
    def of_pictures(
        variables: Mapping[str, Params], distorted: UInt8[Array, "B S S 3"]
    ) -> Any:
        output: Any = network.apply(variables, _to_float(distorted), local=True)
        return output.features["quality"]

    return of_pictures


def inputs_of(role: str) -> tuple[str, ...]:
    """Names of the crops that a network takes."""
    return ("reference", "distorted") if role == "teacher" else ("distorted",)


def _z(output: Any) -> Float[Array, " B"]:
    return output.z


def _to_float(pixels: UInt8[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    return pixels.astype(jnp.float32) / 255.0
