"""Cascaded group attention on maps, multi-head attention on tokens.

Sources: Liu et al., EfficientViT, CVPR 2023, arXiv:2305.07027; Vaswani et al., NeurIPS
2017, arXiv:1706.03762.
"""

# pyright: reportMissingImports=false

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganiqa_jax.network_config import StudentConfig, TeacherConfig
from torch_reference.layers import BatchNorm


class CascadedGroupAttention(nn.Module):
    """Head j reads channel group j plus what head j - 1 gave out; no residual here.

    Args:
      channels: D, divided by the heads.
      heads: groups.
      key_dim: query and key channels of a head.
      kernels: side of the depthwise kernel on the queries, one per head.
      window: side of a window in cells; 0 attends over the whole map.
      grid: largest map side of a global position table.
      mask_padding: cells that fill a map up to whole windows are no keys; False lets
        them take part, as the original does.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 4,
        key_dim: int = 16,
        kernels: Sequence[int] = (7, 5, 3, 3),
        window: int = 0,
        grid: int = 35,
        mask_padding: bool = True,
    ) -> None:
        super().__init__()
        self.heads, self.window, self.mask_padding = heads, window, mask_padding
        side = window or grid
        self.position_bias = nn.Parameter(torch.zeros(heads, side, side))
        for j, kernel in enumerate(kernels):
            head = Head(channels // heads, key_dim, kernel)
            self.add_module(f"head_{j}", head)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)
        self.out_norm = BatchNorm(channels)
        nn.init.zeros_(self.out_norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        whole = self.window == 0 or max(height, width) <= self.window
        rows, columns = (height, width) if whole else (self.window, self.window)
        if not self.mask_padding:
            x = F.pad(x, (0, -width % columns, 0, -height % rows))
        bias = self._bias(rows, columns)
        outputs = []
        for j, group in enumerate(x.chunk(self.heads, dim=1)):
            head = self.get_submodule(f"head_{j}")
            fed = group + outputs[-1] if outputs else group
            outputs.append(head(fed, bias[j], rows, columns))
        out = self.out_norm(self.out(F.relu(torch.cat(outputs, dim=1))))
        return out[:, :, :height, :width]

    def _bias(self, rows: int, columns: int) -> Tensor:
        """[heads, N, N]: entries of the table by absolute offset of the two cells."""
        row = torch.arange(rows).repeat_interleave(columns)
        column = torch.arange(columns).repeat(rows)
        down = (row[:, None] - row[None, :]).abs()
        across = (column[:, None] - column[None, :]).abs()
        return self.position_bias[:, down, across]


class Head(nn.Module):
    """One head: query, key and value of the map, attention inside each window."""

    def __init__(self, channels: int, key_dim: int, kernel: int) -> None:
        super().__init__()
        self.key_dim = key_dim
        self.qkv = nn.Conv2d(channels, 2 * key_dim + channels, 1, bias=False)
        self.qkv_norm = BatchNorm(2 * key_dim + channels)
        self.query = nn.Conv2d(
            key_dim, key_dim, kernel, padding=kernel // 2, groups=key_dim, bias=False
        )
        self.query_norm = BatchNorm(key_dim)

    def forward(self, x: Tensor, bias: Tensor, rows: int, columns: int) -> Tensor:
        """Attends over [B, C, H, W] in windows of `rows` times `columns` cells.

        Args:
          bias: [N, N] of the cells of a window.
        """
        height, width = x.shape[2:]
        joint = self.qkv_norm(self.qkv(x))
        query, key, value = joint.split([self.key_dim, self.key_dim, x.shape[1]], dim=1)
        # The convolution does not see beyond its window, which zeros surround.
        query = self.query(cut(query, rows, columns))
        query = self.query_norm(join(query, height, width))

        q, k, v = (
            cut(m, rows, columns).flatten(2).transpose(1, 2)
            for m in (query, key, value)
        )  # [B * windows, N, channels]
        scores = q @ k.transpose(1, 2) / math.sqrt(self.key_dim) + bias
        real = cut(torch.ones(1, 1, height, width), rows, columns).flatten(1) > 0
        real = real.repeat(x.shape[0], 1)[:, None, :]
        weights = scores.masked_fill(~real, -math.inf).softmax(dim=-1)
        mixed = (weights @ v).transpose(1, 2).unflatten(2, (rows, columns))
        return join(mixed, height, width)


def cut(x: Tensor, rows: int, columns: int) -> Tensor:
    """[B, C, H, W] to windows [B * windows, C, rows, columns], filled up by zeros."""
    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % columns, 0, -height % rows))
    x = x.unflatten(3, (-1, columns)).unflatten(2, (-1, rows))  # B C down r across c
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def join(x: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `cut`."""
    rows, columns = x.shape[2:]
    down, across = -(-height // rows), -(-width // columns)
    x = x.unflatten(0, (-1, down, across)).permute(0, 3, 1, 4, 2, 5)
    x = x.flatten(4, 5).flatten(2, 3)
    return x[:, :, :height, :width]


class MultiHeadAttention(nn.Module):
    """softmax(Q K^T / sqrt(d)) V for each head; all four projections have biases."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """[B, N, D] tokens read [B, M, D] tokens."""
        q, k, v = (
            projected.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projected in (self.query(query), self.key(keys), self.value(keys))
        )  # [B, heads, N, d]
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
        return F.dropout(self.out(mixed), self.dropout, self.training)


class MapSelfAttention(nn.Module):
    """Multi-head attention among all cells of a map, without residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.add_module("heads", MultiHeadAttention(width, heads))

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        mixed = self.get_submodule("heads")(tokens, tokens)
        return to_map(mixed, *x.shape[2:])


def map_attention(config: TeacherConfig | StudentConfig, channels: int) -> nn.Module:
    """What the configuration puts on a map; `nn.Identity` stands for nothing."""
    if config.attention == "cga":
        return CascadedGroupAttention(
            channels,
            config.heads,
            config.attention_key_dim,
            config.attention_kernels,
            config.attention_window,
            config.attention_grid,
        )
    if config.attention == "mhsa":
        return MapSelfAttention(channels, config.heads)
    return nn.Identity()


def to_tokens(x: Tensor) -> Tensor:
    """[B, D, H, W] to [B, N, D], row by row."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `to_tokens`."""
    return tokens.transpose(1, 2).unflatten(2, (height, width))
