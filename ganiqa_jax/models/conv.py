"""Convolution units: the same layers trainable, frozen, or with fixed statistics.

NHWC throughout. Parameters are float32; `dtype` is the compute type.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganiqa_jax.models.depthwise import Pads, depthwise_conv

__all__ = ["BatchNorm", "Conv", "ConvNorm", "declare", "depthwise_conv", "pads"]

Activation = Literal["relu", "relu6", "swish", "none"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "relu6": nn.relu6,
    "swish": nn.swish,
    "none": lambda x: x,
}

_KERNEL_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal")


def pads(padding: int | Sequence[Sequence[int]]) -> Pads:
    """An integer means that many zeros on every side."""
    if isinstance(padding, int):
        return ((padding, padding), (padding, padding))
    (top, bottom), (left, right) = padding
    return ((top, bottom), (left, right))


def declare(
    module: nn.Module, frozen: bool, name: str, init: Callable, shape: tuple[int, ...]
) -> Array:
    """A float32 array of `params`, or of the collection the optimiser never sees.

    Variables read from a file may be NumPy arrays: the result is a JAX array anyway.
    """
    if not frozen:
        given = module.get_variable("params", name)
        # `param` traces the initialiser to learn the shape of what it has already,
        # which is a quarter of the time that it takes to trace a student.
        if given is None or given.shape != shape:
            given = module.param(name, init, shape, jnp.float32)
        return jnp.asarray(given)
    variable = module.variable(
        "frozen",
        name,
        lambda: init(module.make_rng("params"), shape, jnp.float32),
    )
    return jnp.asarray(variable.value)


class Conv(nn.Module):
    """Convolution with explicit padding.

    Attributes:
      features: output channels; with `depthwise`, must equal the input's.
      kernel: height and width.
      stride: in both directions.
      padding: zeros on every side, or ((top, bottom), (left, right)).
      bias: add a learned bias.
      depthwise: one filter a channel.
      frozen: arrays live in `frozen`.
      dtype: compute type.
    """

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: int | Sequence[Sequence[int]] = 0
    bias: bool = False
    depthwise: bool = False
    frozen: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B P Q D"]:
        channels = x.shape[-1]
        if self.depthwise and channels != self.features:
            raise ValueError(f"C={channels} differs from features={self.features}.")
        inputs = 1 if self.depthwise else channels
        shape = (*self.kernel, inputs, self.features)
        kernel = declare(self, self.frozen, "kernel", _KERNEL_INIT, shape)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        padding = pads(self.padding)
        if self.depthwise:
            y = depthwise_conv(x, kernel, stride=self.stride, padding=padding)
        else:
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                (self.stride, self.stride),
                padding,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        if self.bias:
            shape = (self.features,)
            bias = declare(self, self.frozen, "bias", nn.initializers.zeros, shape)
            y = y + bias.astype(self.dtype)[None, None, None, :]
        return y


class BatchNorm(nn.Module):
    """Batch normalisation over B, H and W, with float32 statistics.

    Attributes:
      epsilon: added to the variance.
      momentum: share of the old running statistics that is kept.
      frozen: all four arrays live in `frozen`; inference mode always.
      fixed_statistics: mean and variance live in `frozen`, scale and bias train.
      gamma_init: first value of the scale.
      dtype: type of the output.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    frozen: bool = False
    fixed_statistics: bool = False
    gamma_init: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool
    ) -> Float[Array, "B H W C"]:
        shape = (x.shape[-1],)
        gamma = nn.initializers.constant(self.gamma_init)
        scale = declare(self, self.frozen, "scale", gamma, shape)
        bias = declare(self, self.frozen, "bias", nn.initializers.zeros, shape)
        fixed = self.frozen or self.fixed_statistics
        home = "frozen" if fixed else "batch_stats"
        mean = self.variable(home, "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable(home, "var", jnp.ones, shape, jnp.float32)
        used_mean, used_var = jnp.asarray(mean.value), jnp.asarray(var.value)
        if train and not fixed:
            wide = x.astype(jnp.float32)
            used_mean = jnp.mean(wide, axis=(0, 1, 2))
            square = jnp.mean(jnp.square(wide), axis=(0, 1, 2))
            used_var = jnp.maximum(square - jnp.square(used_mean), 0.0)
            if not self.is_initializing():
                keep = self.momentum
                mean.value = keep * mean.value + (1 - keep) * used_mean
                var.value = keep * var.value + (1 - keep) * used_var
        statistics = used_mean, used_var
        return _normalised(x, scale, bias, *statistics, self.epsilon, self.dtype)


# Jitted, so that it is traced once for each shape and not for each layer.
@functools.partial(jax.jit, static_argnums=(5, 6))
def _normalised(
    x: Array,
    scale: Array,
    bias: Array,
    mean: Array,
    var: Array,
    epsilon: float,
    dtype: Any,
) -> Array:
    # One multiply and one add for each element.
    factor = scale * jax.lax.rsqrt(var + epsilon)
    offset = bias - mean * factor
    y = x.astype(jnp.float32) * factor[None, None, None, :]
    return (y + offset[None, None, None, :]).astype(dtype)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation. Attributes as above."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: int | Sequence[Sequence[int]] = 0
    depthwise: bool = False
    activation: Activation = "relu"
    epsilon: float = 1e-5
    frozen: bool = False
    fixed_statistics: bool = False
    gamma_init: float = 1.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool = False
    ) -> Float[Array, "B P Q D"]:
        y = Conv(
            features=self.features,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            depthwise=self.depthwise,
            frozen=self.frozen,
            dtype=self.dtype,
            name="conv",
        )(x)
        y = BatchNorm(
            epsilon=self.epsilon,
            frozen=self.frozen,
            fixed_statistics=self.fixed_statistics,
            gamma_init=self.gamma_init,
            dtype=self.dtype,
            name="norm",
        )(y, train=train)
        return ACTIVATIONS[self.activation](y)
