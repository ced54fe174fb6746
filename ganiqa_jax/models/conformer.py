"""Conformer encoder and decoder of feature maps, and the depthwise separable unit.

Source: Gulati et al., Conformer, Interspeech 2020, arXiv:2005.08100, as laid out for
image quality by Conde et al., CVPR Workshops 2022, arXiv:2204.12819: pre-norm
residual parts, attention over the N = H * W cells, 2-D convolution.

Arrays are [B, H, W, D] maps in the module's `dtype`; every module keeps the shape.
Layer norms and batch-norm statistics are computed in float32. Dropout draws from the
rng `dropout`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ganiqa_jax.config import StudentConfig, TeacherConfig
from ganiqa_jax.models.attention import MultiHeadAttention
from ganiqa_jax.models.conv import BatchNorm, Conv

EPSILON = 1e-5
KERNEL = 7


class DepthwiseSeparableConv(nn.Module):
    """Norm, depthwise convolution, batch norm, Swish, pointwise convolution, residual.

    Attributes:
      kernel: side of the depthwise kernel, odd.
      dtype: compute type.
    """

    kernel: int = 3
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W D"], *, train: bool
    ) -> Float[Array, "B H W D"]:
        """The map plus what its neighbourhoods say."""
        y = _layer_norm(self.dtype, "norm")(x)
        y = _depthwise(y, self.kernel, False, self.dtype, "depthwise")
        y = BatchNorm(epsilon=EPSILON, dtype=self.dtype, name="batch_norm")(
            y, train=train
        )
        y = nn.swish(y)
        return x + Conv(x.shape[-1], dtype=self.dtype, name="pointwise")(y)


class ConformerEncoderBlock(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward, norm.

    Attributes:
      heads: attention heads; must divide D.
      expansion: hidden width of the feed-forward parts over D.
      dropout: rate inside and after every part.
      kernel: side of the depthwise kernel of the convolution part, odd.
      dtype: compute type.
    """

    heads: int
    expansion: int = 4
    dropout: float = 0.1
    kernel: int = KERNEL
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W D"], *, train: bool
    ) -> Float[Array, "B H W D"]:
        """Encodes a map; the output is layer-normalised."""
        x = _attend_to_itself(self, x, train=train)
        return _finish(self, x, train=train)


class ConformerDecoderBlock(nn.Module):
    """The encoder block with cross-attention between attention and convolution.

    Attributes are those of `ConformerEncoderBlock`.
    """

    heads: int
    expansion: int = 4
    dropout: float = 0.1
    kernel: int = KERNEL
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B H W D"],
        encoded: Float[Array, "B Y X D"],
        *,
        train: bool,
    ) -> Float[Array, "B H W D"]:
        """Decodes a map by an encoded one, taken as it is: it ends in a norm."""
        x = _attend_to_itself(self, x, train=train)
        query = _layer_norm(self.dtype, "cross_attention_norm")(x)
        cross = MultiHeadAttention(
            self.heads, self.dropout, self.dtype, name="cross_attention"
        )
        x = x + cross(_tokens(query), _tokens(encoded), train=train).reshape(x.shape)
        return _finish(self, x, train=train)


class Transformer(nn.Module):
    """Position embedding, encoder of the difference, decoder of the reference.

    One learned table is added to both maps. The decoder's queries come from the
    reference map, its keys and values from the encoded difference.

    Attributes:
      heads: attention heads; must divide D.
      layers: encoder blocks, and decoder blocks.
      expansion: hidden width of the feed-forward parts over D.
      dropout: rate at the input and in the blocks.
      embedding_grid: side of the table; resized bilinearly to other grids.
      dtype: compute type.
    """

    heads: int
    layers: int = 1
    expansion: int = 4
    dropout: float = 0.1
    embedding_grid: int = 21
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        difference: Float[Array, "B H W D"],
        reference: Float[Array, "B H W D"],
        *,
        train: bool,
    ) -> tuple[Float[Array, "B H W D"], Float[Array, "B H W D"]]:
        """The encoded and the decoded map."""
        position = self._position(*difference.shape[1:]).astype(self.dtype)[None]
        drop = nn.Dropout(self.dropout, name="input_drop")
        encoded = drop(difference + position, deterministic=not train)
        decoded = drop(reference + position, deterministic=not train)

        settings = (self.heads, self.expansion, self.dropout, KERNEL, self.dtype)
        for i in range(self.layers):
            block = ConformerEncoderBlock(*settings, name=f"encoder_{i}")
            encoded = block(encoded, train=train)
        for i in range(self.layers):
            block = ConformerDecoderBlock(*settings, name=f"decoder_{i}")
            decoded = block(decoded, encoded, train=train)
        return encoded, decoded

    def _position(self, height: int, width: int, channels: int) -> Array:
        side = self.embedding_grid
        init = nn.initializers.normal(0.02)
        table = self.param("embedding", init, (side, side, channels), jnp.float32)
        if (height, width) == (side, side):
            return table
        shape = (height, width, channels)
        return jax.image.resize(table, shape, "linear", antialias=False)


def transformer(config: TeacherConfig | StudentConfig, *, name: str) -> Transformer:
    """Encoder and decoder as a configuration asks for them."""
    return Transformer(
        heads=config.heads,
        layers=config.layers,
        expansion=config.expansion,
        dropout=config.dropout,
        embedding_grid=config.embedding_grid,
        dtype=jnp.dtype(config.dtype),
        name=name,
    )


class FeedForward(nn.Module):
    """Norm, wide dense layer, Swish, dense layer, with dropout after both.

    Attributes:
      expansion: hidden width over D.
      dropout: rate.
      dtype: compute type.
    """

    expansion: int
    dropout: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W D"], *, train: bool
    ) -> Float[Array, "B H W D"]:
        """The branch without its residual."""
        width = x.shape[-1]
        y = _layer_norm(self.dtype, "norm")(x)
        y = nn.Dense(self.expansion * width, dtype=self.dtype, name="expand")(y)
        y = nn.Dropout(self.dropout, name="inner_drop")(
            nn.swish(y), deterministic=not train
        )
        y = nn.Dense(width, dtype=self.dtype, name="contract")(y)
        return nn.Dropout(self.dropout, name="drop")(y, deterministic=not train)


class GatedConvolution(nn.Module):
    """Norm, gated pointwise, depthwise, batch norm, Swish, pointwise, dropout.

    Attributes:
      kernel: side of the depthwise kernel, odd.
      dropout: rate.
      dtype: compute type.
    """

    kernel: int
    dropout: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W D"], *, train: bool
    ) -> Float[Array, "B H W D"]:
        """The branch without its residual."""
        width = x.shape[-1]
        y = _layer_norm(self.dtype, "norm")(x)
        y = nn.Dense(2 * width, dtype=self.dtype, name="expand")(y)
        y = nn.glu(y)  # first half times the sigmoid of the second
        y = _depthwise(y, self.kernel, True, self.dtype, "depthwise")
        y = BatchNorm(epsilon=EPSILON, dtype=self.dtype, name="batch_norm")(
            y, train=train
        )
        y = nn.Dense(width, dtype=self.dtype, name="contract")(nn.swish(y))
        return nn.Dropout(self.dropout, name="drop")(y, deterministic=not train)


_Block = ConformerEncoderBlock | ConformerDecoderBlock


def _attend_to_itself(block: _Block, x: Array, *, train: bool) -> Array:
    """The parts that both blocks begin with."""
    forward = FeedForward(
        block.expansion, block.dropout, block.dtype, name="feed_forward_1"
    )
    x = x + 0.5 * forward(x, train=train)
    tokens = _tokens(_layer_norm(block.dtype, "self_attention_norm")(x))
    attention = MultiHeadAttention(
        block.heads, block.dropout, block.dtype, name="self_attention"
    )
    return x + attention(tokens, tokens, train=train).reshape(x.shape)


def _finish(block: _Block, x: Array, *, train: bool) -> Array:
    """The parts that both blocks end with."""
    convolution = GatedConvolution(
        block.kernel, block.dropout, block.dtype, name="convolution"
    )
    x = x + convolution(x, train=train)
    forward = FeedForward(
        block.expansion, block.dropout, block.dtype, name="feed_forward_2"
    )
    x = x + 0.5 * forward(x, train=train)
    return _layer_norm(block.dtype, "norm")(x)


def _tokens(x: Float[Array, "B H W D"]) -> Float[Array, "B N D"]:
    return x.reshape(x.shape[0], -1, x.shape[-1])


def _layer_norm(dtype: DTypeLike, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=EPSILON, dtype=dtype, name=name)


def _depthwise(x: Array, kernel: int, bias: bool, dtype: DTypeLike, name: str) -> Array:
    conv = Conv(
        features=x.shape[-1],
        kernel=(kernel, kernel),
        padding=kernel // 2,
        bias=bias,
        depthwise=True,
        dtype=dtype,
        name=name,
    )
    return conv(x)
