"""Inception-ResNet-v2: the teacher's backbone as the paper has it.

Source: Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning, AAAI 2017, arXiv:1602.07261; layer names, paddings and
residual scales as in the PyTorch port of the TensorFlow weights, with an index joined
by `_` (`repeat.0.branch1.0` is `repeat_0/branch1_0`).

A frozen feature extractor: batch norm always uses its stored statistics, and the
classifier is not built.
"""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganiqa_jax.errors import InputError
from ganiqa_jax.models.backbones.pooling import average_pool, max_pool
from ganiqa_jax.models.conv import Conv, ConvNorm

MINIMUM_SIDE = 75
EPSILON = 1e-3


class Unit(NamedTuple):
    """One convolution of a branch: zero padding keeps the grid, unless it strides."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


Branch = tuple[Unit, ...]

MIXED_5B: tuple[Branch, ...] = (
    (Unit(96),),
    (Unit(48), Unit(64, (5, 5))),
    (Unit(64), Unit(96, (3, 3)), Unit(96, (3, 3))),
)
BLOCK_35: tuple[Branch, ...] = (
    (Unit(32),),
    (Unit(32), Unit(32, (3, 3))),
    (Unit(32), Unit(48, (3, 3)), Unit(64, (3, 3))),
)
MIXED_6A: tuple[Branch, ...] = (
    (Unit(384, (3, 3), 2),),
    (Unit(256), Unit(256, (3, 3)), Unit(384, (3, 3), 2)),
)
BLOCK_17: tuple[Branch, ...] = (
    (Unit(192),),
    (Unit(128), Unit(160, (1, 7)), Unit(192, (7, 1))),
)
MIXED_7A: tuple[Branch, ...] = (
    (Unit(256), Unit(384, (3, 3), 2)),
    (Unit(256), Unit(288, (3, 3), 2)),
    (Unit(256), Unit(288, (3, 3)), Unit(320, (3, 3), 2)),
)
BLOCK_8: tuple[Branch, ...] = (
    (Unit(192),),
    (Unit(192), Unit(224, (1, 3)), Unit(256, (3, 1))),
)


class InceptionResNetV2(nn.Module):
    """Frozen feature maps at 1/8, 1/16 and 1/32.

    Attributes:
      taps: `multi` returns three maps, `single` the first alone and builds no more.
      dtype: compute type.
    """

    taps: Literal["multi", "single"] = "multi"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W 3"]) -> list[Array]:
        """Pictures in [0, 1] to maps of 1920, 1088 and 1536 channels.

        The first map joins the outputs of mixed_5b and of every second of the ten
        blocks at its resolution.

        Raises:
          InputError: for a picture under 75 pixels a side.
        """
        if min(x.shape[1:3]) < MINIMUM_SIDE:
            raise InputError(
                f"Inception-ResNet-v2 needs {MINIMUM_SIDE} pixels a side, not "
                f"{x.shape[1:3]}."
            )
        y = self._stem((x - 0.5) / 0.5)
        levels = [y]
        for number in range(10):
            y = self._residual(y, f"repeat_{number}", BLOCK_35, 0.17)
            if number % 2:
                levels.append(y)
        maps = [jnp.concatenate(levels, axis=-1)]
        if self.taps == "multi":
            maps.extend(self._deep(y))
        return maps

    def _stem(self, x: Array) -> Array:
        y = self._conv(x, "conv2d_1a", Unit(32, (3, 3), 2))
        y = self._conv(y, "conv2d_2a", Unit(32, (3, 3)), padding=0)
        y = self._conv(y, "conv2d_2b", Unit(64, (3, 3)), padding=1)
        y = max_pool(y)
        y = self._conv(y, "conv2d_3b", Unit(80))
        y = self._conv(y, "conv2d_4a", Unit(192, (3, 3)), padding=0)
        y = max_pool(y)
        mixed = Branches(MIXED_5B, dtype=self.dtype, name="mixed_5b")
        return mixed(y, pool="average")

    def _deep(self, y: Array) -> list[Array]:
        y = Branches(MIXED_6A, dtype=self.dtype, name="mixed_6a")(y, pool="max")
        for number in range(20):
            y = self._residual(y, f"repeat_1_{number}", BLOCK_17, 0.10)
        middle = y
        y = Branches(MIXED_7A, dtype=self.dtype, name="mixed_7a")(y, pool="max")
        for number in range(9):
            y = self._residual(y, f"repeat_2_{number}", BLOCK_8, 0.20)
        y = self._residual(y, "block8", BLOCK_8, 1.0, activated=False)
        return [middle, self._conv(y, "conv2d_7b", Unit(1536))]

    def _residual(
        self,
        x: Array,
        name: str,
        branches: tuple[Branch, ...],
        scale: float,
        activated: bool = True,
    ) -> Array:
        block = ResidualBlock(branches, scale, activated, dtype=self.dtype, name=name)
        return block(x)

    def _conv(
        self, x: Array, name: str, unit: Unit, padding: int | None = None
    ) -> Array:
        return _unit(unit, self.dtype, name, padding)(x)


class Branches(nn.Module):
    """Chains of units side by side, and a pooled one, joined over channels.

    Attributes:
      branches: the chains.
      dtype: compute type.
    """

    branches: tuple[Branch, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, pool: Literal["average", "max"]
    ) -> Float[Array, "B P Q D"]:
        """With `average`, a unit of 64 channels follows the pool; `max` halves."""
        outputs = _chains(x, self.branches, self.dtype)
        if pool == "average":
            project = _unit(Unit(64), self.dtype, f"branch{len(self.branches)}_1")
            outputs.append(project(average_pool(x)))
        else:
            outputs.append(max_pool(x))
        return jnp.concatenate(outputs, axis=-1)


class ResidualBlock(nn.Module):
    """Adds the branches, joined and projected back to C channels.

    Attributes:
      branches: the chains.
      scale: factor on what is added.
      activated: ReLU after the sum.
      dtype: compute type.
    """

    branches: tuple[Branch, ...]
    scale: float
    activated: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        outputs = _chains(x, self.branches, self.dtype)
        project = Conv(
            x.shape[-1], bias=True, frozen=True, dtype=self.dtype, name="conv2d"
        )
        y = x + self.scale * project(jnp.concatenate(outputs, axis=-1))
        return nn.relu(y) if self.activated else y


def _chains(x: Array, branches: tuple[Branch, ...], dtype: Any) -> list[Array]:
    outputs = []
    for branch, units in enumerate(branches):
        y = x
        for number, unit in enumerate(units):
            # The port numbers the units of a chain, but not a lone one.
            place = f"_{number}" if len(units) > 1 else ""
            y = _unit(unit, dtype, f"branch{branch}{place}")(y)
        outputs.append(y)
    return outputs


def _unit(unit: Unit, dtype: Any, name: str, padding: int | None = None) -> ConvNorm:
    height, width = unit.kernel
    keep = ((height // 2, height // 2), (width // 2, width // 2))
    around = 0 if unit.stride > 1 else keep
    return ConvNorm(
        unit.features,
        kernel=unit.kernel,
        stride=unit.stride,
        padding=around if padding is None else padding,
        epsilon=EPSILON,
        frozen=True,
        dtype=dtype,
        name=name,
    )
