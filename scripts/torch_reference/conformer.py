"""Conformer encoder and decoder on maps, and the depthwise separable unit.

Sources: Gulati et al., Conformer, Interspeech 2020, arXiv:2005.08100; Conde et al.,
CVPR Workshops 2022, arXiv:2204.12819.
"""

# pyright: reportMissingImports=false

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganiqa_jax.network_config import StudentConfig, TeacherConfig
from torch_reference.attention import MultiHeadAttention, to_map, to_tokens
from torch_reference.layers import BatchNorm, CellLinear, ChannelNorm


class DepthwiseSeparableConv(nn.Module):
    """x + pointwise(Swish(BN(depthwise 3x3(LN(x)))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.batch_norm = BatchNorm(width)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.batch_norm(self.depthwise(self.norm(x)))
        return x + self.pointwise(F.silu(y))


class FeedForward(nn.Module):
    """Dropout(W2 Dropout(Swish(W1 LN(x))))."""

    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = ChannelNorm(width)
        self.expand = CellLinear(width, expansion * width)
        self.contract = CellLinear(expansion * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.expand(self.norm(x)))
        y = self.contract(F.dropout(y, self.dropout, self.training))
        return F.dropout(y, self.dropout, self.training)


class GatedConvolution(nn.Module):
    """LN, 1x1 to 2 D, GLU, depthwise 7x7 with bias, BN, Swish, 1x1, dropout."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = ChannelNorm(width)
        self.expand = CellLinear(width, 2 * width)
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.batch_norm = BatchNorm(width)
        self.contract = CellLinear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.glu(self.expand(self.norm(x)), dim=1)
        y = F.silu(self.batch_norm(self.depthwise(y)))
        return F.dropout(self.contract(y), self.dropout, self.training)


class EncoderBlock(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward, norm."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.feed_forward_1 = FeedForward(width, expansion, dropout)
        self.self_attention_norm = ChannelNorm(width)
        self.self_attention = MultiHeadAttention(width, heads, dropout)
        self.convolution = GatedConvolution(width, dropout)
        self.feed_forward_2 = FeedForward(width, expansion, dropout)
        self.norm = ChannelNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(self.begin(x))

    def begin(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.feed_forward_1(x)
        tokens = to_tokens(self.self_attention_norm(x))
        return x + to_map(self.self_attention(tokens, tokens), *x.shape[2:])

    def finish(self, x: Tensor) -> Tensor:
        x = x + self.convolution(x)
        return self.norm(x + 0.5 * self.feed_forward_2(x))


class DecoderBlock(EncoderBlock):
    """The encoder block with cross-attention before its convolution."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__(width, heads, expansion, dropout)
        self.cross_attention_norm = ChannelNorm(width)
        self.cross_attention = MultiHeadAttention(width, heads, dropout)

    def forward(self, x: Tensor, encoded: Tensor) -> Tensor:
        x = self.begin(x)
        query = to_tokens(self.cross_attention_norm(x))
        read = self.cross_attention(query, to_tokens(encoded))
        return self.finish(x + to_map(read, *x.shape[2:]))


class Transformer(nn.Module):
    """Adds one position table to both maps, encodes the difference, decodes the other.

    The decoder's queries are of the reference map, its keys and values of the encoded
    difference.
    """

    def __init__(self, config: TeacherConfig | StudentConfig) -> None:
        super().__init__()
        width, side = config.width, config.embedding_grid
        self.layers, self.dropout = config.layers, config.dropout
        self.embedding = nn.Parameter(0.02 * torch.randn(side, side, width))
        settings = (width, config.heads, config.expansion, config.dropout)
        for i in range(config.layers):
            self.add_module(f"encoder_{i}", EncoderBlock(*settings))
            self.add_module(f"decoder_{i}", DecoderBlock(*settings))

    def forward(self, difference: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
        position = F.interpolate(
            self.embedding.permute(2, 0, 1)[None],
            difference.shape[2:],
            mode="bilinear",
            align_corners=False,
        )
        encoded = F.dropout(difference + position, self.dropout, self.training)
        decoded = F.dropout(reference + position, self.dropout, self.training)
        for i in range(self.layers):
            encoded = self.get_submodule(f"encoder_{i}")(encoded)
        for i in range(self.layers):
            decoded = self.get_submodule(f"decoder_{i}")(decoded, encoded)
        return encoded, decoded
