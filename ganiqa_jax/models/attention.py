"""Attention: cascaded group attention on maps, multi-head attention on tokens.

Arrays are [B, H, W, D] maps or [B, N, D] tokens in the module's `dtype`. Scores and
softmax are float32 whatever that is.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from ganiqa_jax.config import StudentConfig, TeacherConfig
from ganiqa_jax.errors import InputError
from ganiqa_jax.models.conv import BatchNorm, Conv

MASKED = -1e9
"""Score of a key that is padding; its softmax weight is exactly 0 in float32."""


class CascadedGroupAttention(nn.Module):
    """Self-attention whose heads see successive channel groups, each fed by the last.

    Head `g` attends over channel group `g` plus the output of head `g - 1`. The
    caller adds the residual; with `gamma_init=0` that residual starts as identity.

    Source: Liu et al., EfficientViT: Memory Efficient Vision Transformer with
    Cascaded Group Attention, CVPR 2023, arXiv:2305.07027.
    Differs from it, unless `mask_padding=False`: cells that pad a map to whole
    windows are no keys, do not enter the convolution on the queries and do not count
    in the batch statistics. A map no larger than the window in either direction is
    attended over as it is, as in the original.

    Attributes:
      heads: number of channel groups G; must divide D.
      key_dim: query and key channels of a head, K.
      kernels: side of the depthwise kernel on the queries, odd, one per head.
      window: side of an attention window in cells; 0 attends over the whole map.
      grid: largest map side that a global position table serves.
      mask_padding: False lets padding take part, as the original does.
      gamma_init: first scale of the last batch norm.
      dtype: compute type.
    """

    heads: int
    key_dim: int
    kernels: tuple[int, ...]
    window: int = 0
    grid: int = 35
    mask_padding: bool = True
    gamma_init: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W D"], *, train: bool
    ) -> Float[Array, "B H W D"]:
        """Attends within windows; returns the branch without the residual.

        Raises:
          InputError: if the heads do not divide D, the kernels do not fit the heads,
            or a map is larger than a global position table.
        """
        height, width, channels = x.shape[1:]
        self._check(height, width, channels)
        if not self.mask_padding:
            x = _pad(x, *Windows(height, width, self.window).padding)
        windows = Windows(x.shape[1], x.shape[2], self.window)
        side = self.window or self.grid
        shape = (self.heads, side, side)
        table = self.param("position_bias", nn.initializers.zeros, shape, jnp.float32)
        bias = position_bias(table, windows.rows, windows.columns)

        outputs: list[Array] = []
        for g, group in enumerate(jnp.split(x, self.heads, axis=-1)):
            fed = group + outputs[-1] if outputs else group
            head = _Head(self.key_dim, self.kernels[g], self.dtype, name=f"head_{g}")
            outputs.append(head(fed, bias[g], windows, train=train))
        mixed = nn.relu(jnp.concatenate(outputs, axis=-1))
        out = Conv(features=channels, bias=False, dtype=self.dtype, name="out")(mixed)
        out = BatchNorm(
            epsilon=1e-5, gamma_init=self.gamma_init, dtype=self.dtype, name="out_norm"
        )(out, train=train)
        return out[:, :height, :width]

    def _check(self, height: int, width: int, channels: int) -> None:
        if channels % self.heads:
            raise InputError(f"D={channels} is not divisible by heads={self.heads}.")
        if len(self.kernels) != self.heads or any(k % 2 == 0 for k in self.kernels):
            raise InputError(
                f"kernels={self.kernels} must be one odd number for each of "
                f"heads={self.heads}."
            )
        if self.window == 0 and max(height, width) > self.grid:
            raise InputError(
                f"A {height}x{width} map is larger than the position table's "
                f"grid={self.grid}; use smaller crops or a larger attention_grid."
            )


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention, biases on all four projections.

    Source: Vaswani et al., NeurIPS 2017, arXiv:1706.03762. Dropout is on the output,
    not on the weights, as in the Conformer (Gulati et al., arXiv:2005.08100).

    Attributes:
      heads: number of heads; must divide D, unless `head_width` is given.
      dropout: rate on the output (rng `dropout`).
      dtype: compute type.
      head_width: channels of a head; 0 makes them share D.
      causal: a token reads itself and those before it alone.
    """

    heads: int
    dropout: float = 0.0
    dtype: DTypeLike = jnp.float32
    head_width: int = 0
    causal: bool = False

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "B N D"],
        keys: Float[Array, "B M D"],
        *,
        train: bool,
    ) -> Float[Array, "B N D"]:
        """Every query token reads the key tokens, which are the values as well.

        Raises:
          InputError: if the heads do not divide D.
        """
        width = query.shape[-1]
        if width % self.heads and not self.head_width:
            raise InputError(f"D={width} is not divisible by heads={self.heads}.")
        of_head = self.head_width or width // self.heads

        def project(x: Array, name: str) -> Array:
            x = nn.Dense(self.heads * of_head, dtype=self.dtype, name=name)(x)
            return x.reshape(*x.shape[:2], self.heads, of_head)

        mixed = jax.nn.dot_product_attention(
            project(query, "query"),
            project(keys, "key"),
            project(keys, "value"),
            is_causal=self.causal,
        )
        out = nn.Dense(width, dtype=self.dtype, name="out")(
            mixed.reshape(*mixed.shape[:2], self.heads * of_head)
        )
        return nn.Dropout(self.dropout, name="drop")(out, deterministic=not train)


class MapSelfAttention(nn.Module):
    """Plain multi-head self-attention over the cells of a map, without residual.

    What stands in for cascaded group attention in the ablation `attention="mhsa"`.

    Attributes:
      heads: number of heads; must divide D.
      dtype: compute type.
    """

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W D"], *, train: bool
    ) -> Float[Array, "B H W D"]:
        """Every cell attends over all cells."""
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        attention = MultiHeadAttention(self.heads, dtype=self.dtype, name="heads")
        return attention(tokens, tokens, train=train).reshape(x.shape)


def map_attention(
    config: TeacherConfig | StudentConfig, *, name: str
) -> CascadedGroupAttention | MapSelfAttention | None:
    """The attention on a feature map that a configuration asks for, if any."""
    dtype = jnp.dtype(config.dtype)
    if config.attention == "cga":
        return CascadedGroupAttention(
            heads=config.heads,
            key_dim=config.attention_key_dim,
            kernels=config.attention_kernels,
            window=config.attention_window,
            grid=config.attention_grid,
            dtype=dtype,
            name=name,
        )
    if config.attention == "mhsa":
        return MapSelfAttention(heads=config.heads, dtype=dtype, name=name)
    return None


def position_bias(
    table: Float[Array, "G S S"], rows: int, columns: int
) -> Float[Array, "G N N"]:
    """Looks up a bias for every pair of the rows * columns cells of a window.

    The lookup is a product with one-hot offsets: its gradient is a product too, where
    that of a gather is a scatter-add, slow and of undefined order on GPU.

    Args:
      table: [g, a, b] is head g's bias between cells a rows and b columns apart.
    """
    heads, side = table.shape[:2]
    down, across = _offset_one_hot(rows, side), _offset_one_hot(columns, side)
    bias = jnp.einsum("gab,apq,bxy->gpxqy", table, down, across, precision="highest")
    return bias.reshape(heads, rows * columns, rows * columns)


class Windows(NamedTuple):
    """How a map of fixed size is cut into M equal windows of N cells; all static.

    Attributes:
      height: rows of the map.
      width: columns of the map.
      window: side of a window; 0, or no less than both sides, makes one of the map.
    """

    height: int
    width: int
    window: int

    @property
    def is_whole(self) -> bool:
        return self.window == 0 or max(self.height, self.width) <= self.window

    @property
    def rows(self) -> int:
        return self.height if self.is_whole else self.window

    @property
    def columns(self) -> int:
        return self.width if self.is_whole else self.window

    @property
    def padding(self) -> tuple[int, int]:
        """Rows and columns that are missing at the bottom and on the right."""
        return -self.height % self.rows, -self.width % self.columns

    def split(self, x: Float[Array, "B H W C"]) -> Float[Array, "B M h w C"]:
        """Windows of a map, row by row; padding cells are zero."""
        x = _pad(x, *self.padding)
        batch, height, width, channels = x.shape
        down, across = height // self.rows, width // self.columns
        x = x.reshape(batch, down, self.rows, across, self.columns, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, down * across, self.rows, self.columns, channels)

    def merge(self, x: Float[Array, "B M h w C"]) -> Float[Array, "B H W C"]:
        """The inverse of `split`: the map again, padding cut off."""
        batch, channels = x.shape[0], x.shape[-1]
        down = -(-self.height // self.rows)
        across = -(-self.width // self.columns)
        x = x.reshape(batch, down, across, self.rows, self.columns, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5)
        x = x.reshape(batch, down * self.rows, across * self.columns, channels)
        return x[:, : self.height, : self.width]

    def real(self) -> Bool[np.ndarray, "M N"]:
        """Which cells of each window are no padding."""
        down, right = self.padding
        cells = np.pad(
            np.ones((self.height, self.width), bool), ((0, down), (0, right))
        )
        cells = cells.reshape(
            -1, self.rows, cells.shape[1] // self.columns, self.columns
        )
        return cells.transpose(0, 2, 1, 3).reshape(-1, self.rows * self.columns)


class _Head(nn.Module):
    """One head: projections on the map, then attention inside each window."""

    key_dim: int
    kernel: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W C"],
        bias: Float[Array, "N N"],
        windows: Windows,
        *,
        train: bool,
    ) -> Float[Array, "B H W C"]:
        # Batch norms see the map, not the padded windows: padding stays zero for the
        # convolution on the queries, and outside the batch statistics.
        joint = Conv(
            features=2 * self.key_dim + x.shape[-1],
            bias=False,
            dtype=self.dtype,
            name="qkv",
        )(x)
        joint = self._norm("qkv_norm")(joint, train=train)
        query, rest = jnp.split(joint, [self.key_dim], axis=-1)
        query = self._convolve(windows.split(query))
        query = self._norm("query_norm")(windows.merge(query), train=train)
        key, value = jnp.split(windows.split(rest), [self.key_dim], axis=-1)

        mixed = _attend(windows.split(query), key, value, bias, windows.real())
        return windows.merge(mixed)

    def _convolve(self, query: Float[Array, "B M h w K"]) -> Float[Array, "B M h w K"]:
        conv = Conv(
            features=self.key_dim,
            kernel=(self.kernel, self.kernel),
            padding=self.kernel // 2,
            bias=False,
            depthwise=True,
            dtype=self.dtype,
            name="query",
        )
        return conv(query.reshape(-1, *query.shape[2:])).reshape(query.shape)

    def _norm(self, name: str) -> BatchNorm:
        return BatchNorm(epsilon=1e-5, dtype=self.dtype, name=name)


def _attend(
    query: Float[Array, "B M h w K"],
    key: Float[Array, "B M h w K"],
    value: Float[Array, "B M h w C"],
    bias: Float[Array, "N N"],
    real: Bool[np.ndarray, "M N"],
) -> Float[Array, "B M h w C"]:
    q, k, v = (x.reshape(*x.shape[:2], -1, x.shape[-1]) for x in (query, key, value))
    scores = jnp.einsum("bmqk,bmnk->bmqn", q, k, preferred_element_type=jnp.float32)
    scores = scores / math.sqrt(q.shape[-1]) + bias[None, None]
    if not real.all():
        scores = jnp.where(real[None, :, None, :], scores, MASKED)
    weights = nn.softmax(scores).astype(v.dtype)
    return jnp.einsum("bmqn,bmnc->bmqc", weights, v).reshape(value.shape)


def _offset_one_hot(n: int, side: int) -> Float[np.ndarray, "A n n"]:
    """[a, p, q] is 1 where |p - q| = a."""
    offsets = np.abs(np.arange(n)[:, None] - np.arange(n)[None, :])
    return (np.arange(side)[:, None, None] == offsets[None]).astype(np.float32)


def _pad(x: Float[Array, "B H W C"], down: int, right: int) -> Float[Array, "B Y X C"]:
    if down == 0 and right == 0:
        return x
    return jnp.pad(x, ((0, 0), (0, down), (0, right), (0, 0)))
