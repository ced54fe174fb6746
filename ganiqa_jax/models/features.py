"""Projection and fusion of backbone taps, and the adapters of distillation.

Arrays are [B, H, W, C] maps. A tap is one resolution of a backbone, finest first.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ganiqa_jax.models.conv import Conv

DISTILLED_MAPS = ("difference", "reference", "encoded", "decoded")


class MultiResolutionFusion(nn.Module):
    """Taps of several resolutions as one map of one width on one tap's grid.

    Each tap passes a 1x1 convolution with bias, is resized to the grid of tap
    `level` (a finer one before the convolution, which is the same and costs less) and
    layer-normalised over channels; the sum has learned weights that are positive and
    sum to one. `concat` joins the levels by one more 1x1 convolution
    instead. A single tap passes its 1x1 convolution alone, as in IQA-Conformer
    (Conde et al. 2022, arXiv:2204.12819).

    Attributes:
      width: D.
      fusion: how levels join.
      level: index of the tap whose grid the result has.
      dtype: compute type.
    """

    width: int
    fusion: Literal["sum", "concat"] = "sum"
    level: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, taps: Sequence[Array]) -> Float[Array, "B n m D"]:
        """Fuses [B, n_i, m_i, C_i] taps."""
        projections = [
            Conv(self.width, bias=True, dtype=self.dtype, name=f"project_{i}")
            for i in range(len(taps))
        ]
        if len(taps) == 1:
            return projections[0](taps[0])
        grid = taps[self.level].shape[1:3]
        levels = []
        for i, (tap, project) in enumerate(zip(taps, projections, strict=True)):
            if math.prod(tap.shape[1:3]) > math.prod(grid):
                level = project(resize_map(tap, *grid))
            else:
                level = resize_map(project(tap), *grid)
            norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name=f"norm_{i}")
            levels.append(norm(level))
        return self._weighted(levels) if self.fusion == "sum" else self._mixed(levels)

    def _weighted(self, levels: list[Array]) -> Array:
        scalars = self.param(
            "level_weights", nn.initializers.zeros, (len(levels),), jnp.float32
        )
        weights = nn.softmax(scalars).astype(self.dtype)
        return sum(
            (weights[i] * level for i, level in enumerate(levels[1:], start=1)),
            start=weights[0] * levels[0],
        )

    def _mixed(self, levels: list[Array]) -> Array:
        joined = jnp.concatenate(levels, axis=-1)
        return Conv(self.width, bias=True, dtype=self.dtype, name="mix")(joined)


class FeatureAdapters(nn.Module):
    """Training-only 1x1 convolutions from the student's maps to the teacher's.

    Attributes:
      width: channels of the teacher's maps; 0 keeps the student's own number.
      dtype: compute type.
    """

    width: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Mapping[str, Array]) -> dict[str, Array]:
        """One adapted [B, n, m, D] map for each of `DISTILLED_MAPS`."""
        return {
            name: nn.Dense(
                self.width or features[name].shape[-1], dtype=self.dtype, name=name
            )(features[name])
            for name in DISTILLED_MAPS
        }


def coarsest(taps: Sequence[Array]) -> list[Array]:
    """The last map of each of the three coarsest resolutions, finest first.

    Args:
      taps: [B, H, W, C] maps in the order of the network.
    """
    of_resolution = {tap.shape[1:3]: tap for tap in taps}
    return list(of_resolution.values())[-3:]


def resize_map(
    x: Float[Array, "B H W C"], height: int, width: int
) -> Float[Array, "B Y X C"]:
    """Enlarges bilinearly (pixel centres, corners not aligned), reduces by area.

    Reducing is the exact average over the area that a cell covers: average pooling
    where the sides divide, and without aliasing where they do not.
    """
    batch, old_height, old_width, channels = x.shape
    if height >= old_height and width >= old_width:
        shape = (batch, height, width, channels)
        return jax.image.resize(x, shape, "linear", antialias=False)
    return area_means(x, height, width)


def area_means(
    x: Float[Array, "B H W C"], height: int, width: int
) -> Float[Array, "B Y X C"]:
    """Means over the cells of a grid on a map, which may part the map's own cells."""
    _, old_height, old_width, _ = x.shape
    if old_height % height or old_width % width:
        row_weights = _area_weights(old_height, height).astype(x.dtype)
        column_weights = _area_weights(old_width, width).astype(x.dtype)
        return jnp.einsum("yh,bhwc,xw->byxc", row_weights, x, column_weights)
    rows, columns = old_height // height, old_width // width
    # One side after the other: a window over both takes XLA twice as long on a CPU.
    for side, window in ((columns, (1, 1, columns, 1)), (rows, (1, rows, 1, 1))):
        if side > 1:
            x = jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID")
            x = x / side
    return x


def _area_weights(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Share of each old cell in each new one."""
    edges = np.arange(new + 1) * old / new
    low = np.maximum(edges[:-1, None], np.arange(old)[None, :])
    high = np.minimum(edges[1:, None], np.arange(1, old + 1)[None, :])
    return np.maximum(high - low, 0.0) * (new / old)
