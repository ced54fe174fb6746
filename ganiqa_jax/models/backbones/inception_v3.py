"""Inception-v3 up to mixed_8: the teacher's backbone with batch norm folded in.

Source: Szegedy et al., Rethinking the Inception Architecture, CVPR 2016,
arXiv:1512.00567; layer names and the order of branches as in the TensorFlow release
of 2015.
"""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganiqa_jax.errors import InputError
from ganiqa_jax.models.backbones.pooling import average_pool, max_pool
from ganiqa_jax.models.conv import Conv

MINIMUM_SIDE = 75

# A branch is a chain of (height, width, features) convolutions of stride 1.
Branch = tuple[tuple[int, int, int], ...]


def _block_35(pool: int) -> dict[str, Branch]:
    return {
        "conv": ((1, 1, 64),),
        "tower": ((1, 1, 48), (5, 5, 64)),
        "tower_1": ((1, 1, 64), (3, 3, 96), (3, 3, 96)),
        "tower_2": ((1, 1, pool),),
    }


def _block_17(inner: int) -> dict[str, Branch]:
    return {
        "conv": ((1, 1, 192),),
        "tower": ((1, 1, inner), (1, 7, inner), (7, 1, 192)),
        "tower_1": (
            (1, 1, inner),
            (7, 1, inner),
            (1, 7, inner),
            (7, 1, inner),
            (1, 7, 192),
        ),
        "tower_2": ((1, 1, 192),),
    }


class InceptionV3(nn.Module):
    """Frozen feature maps at 1/8, 1/16 and 1/32.

    Attributes:
      taps: `multi` returns three maps, `single` the first alone and builds no more.
      dtype: compute type.
      pool_counts_padding: cells outside a map are zeros of its average, as in
        PyTorch's networks, and not left out of it.
    """

    taps: Literal["multi", "single"] = "multi"
    dtype: Any = jnp.float32
    pool_counts_padding: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B H W 3"]) -> list[Array]:
        """Pictures in [0, 1] to maps of 832, 768 and 1280 channels.

        Raises:
          InputError: for a picture under 75 pixels a side.
        """
        if min(x.shape[1:3]) < MINIMUM_SIDE:
            raise InputError(
                f"Inception-v3 needs {MINIMUM_SIDE} pixels a side, not {x.shape[1:3]}."
            )
        y = self._stem((x * 255.0 - 128.0) / 128.0)
        levels = []
        for name, pool in (("mixed", 32), ("mixed_1", 64), ("mixed_2", 64)):
            y = self._mixed(y, name, _block_35(pool))
            levels.append(y)
        maps = [jnp.concatenate(levels, axis=-1)]
        if self.taps == "multi":
            y = self._mixed_3(y)
            for number, inner in ((4, 128), (5, 160), (6, 160), (7, 192)):
                y = self._mixed(y, f"mixed_{number}", _block_17(inner))
            maps.extend([y, self._mixed_8(y)])
        return maps

    def _stem(self, x: Array) -> Array:
        y = self._conv(x, "conv", (3, 3, 32), stride=2, padding=0)
        y = self._conv(y, "conv_1", (3, 3, 32), padding=0)
        y = self._conv(y, "conv_2", (3, 3, 64))
        y = max_pool(y)
        y = self._conv(y, "conv_3", (1, 1, 80))
        y = self._conv(y, "conv_4", (3, 3, 192), padding=0)
        return max_pool(y)

    def _mixed(self, x: Array, name: str, branches: dict[str, Branch]) -> Array:
        outputs = []
        for branch, chain in branches.items():
            y = x
            if branch == "tower_2":
                y = average_pool(x, count_padding=self.pool_counts_padding)
            outputs.append(self._chain(y, name, branch, chain))
        return jnp.concatenate(outputs, axis=-1)

    def _mixed_3(self, x: Array) -> Array:
        conv = self._conv(x, "mixed_3_conv", (3, 3, 384), stride=2, padding=0)
        tower = self._chain(x, "mixed_3", "tower", ((1, 1, 64), (3, 3, 96)))
        tower = self._conv(tower, "mixed_3_tower_conv_2", (3, 3, 96), 2, 0)
        pool = max_pool(x)
        return jnp.concatenate([conv, tower, pool], axis=-1)

    def _mixed_8(self, x: Array) -> Array:
        tower = self._chain(x, "mixed_8", "tower", ((1, 1, 192),))
        tower = self._conv(tower, "mixed_8_tower_conv_1", (3, 3, 320), 2, 0)
        chain = ((1, 1, 192), (1, 7, 192), (7, 1, 192))
        other = self._chain(x, "mixed_8", "tower_1", chain)
        other = self._conv(other, "mixed_8_tower_1_conv_3", (3, 3, 192), 2, 0)
        pool = max_pool(x)
        return jnp.concatenate([tower, other, pool], axis=-1)

    def _chain(self, x: Array, block: str, branch: str, chain: Branch) -> Array:
        stem = f"{block}_conv" if branch == "conv" else f"{block}_{branch}_conv"
        for number, shape in enumerate(chain):
            x = self._conv(x, stem if number == 0 else f"{stem}_{number}", shape)
        return x

    def _conv(
        self,
        x: Array,
        name: str,
        shape: tuple[int, int, int],
        stride: int = 1,
        padding: int | None = None,
    ) -> Array:
        height, width, features = shape
        around = ((height // 2, height // 2), (width // 2, width // 2))
        conv = Conv(
            features,
            kernel=(height, width),
            stride=stride,
            padding=around if padding is None else padding,
            bias=True,
            frozen=True,
            dtype=self.dtype,
            name=name,
        )
        return nn.relu(conv(x))
