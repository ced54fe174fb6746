"""Encoder and decoder of IQT: plain post-norm attention with a quality token.

Source: Cheon et al., Perceptual Image Quality Assessment with Transformers, CVPR
Workshops 2021, arXiv:2104.14730, as the public PyTorch implementation anse3832/IQT
has it. Two things are of that implementation and not of the paper, and its weights
need them: every head is as wide as the model, and a token of the decoder attends to
itself and those before it alone, so that the quality token, which is the first, sees
the picture through the encoder only.

Arrays are [B, N, D] tokens in the module's `dtype`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ganiqa_jax.models.attention import MultiHeadAttention

EPSILON = 1e-12


class QualityTokenTransformer(nn.Module):
    """Encodes the difference, decodes the reference by it, and reads one token.

    Encoder and decoder have a learned token and a learned position table each, whose
    first row is the token's.

    Attributes:
      heads: attention heads, each of D channels.
      layers: encoder blocks, and decoder blocks.
      expansion: hidden width of the feed-forward parts over D.
      dropout: rate at the input and after each part (rng `dropout`).
      embedding_grid: side of the position tables; resized bilinearly to other grids.
      dtype: compute type.
    """

    heads: int
    layers: int = 1
    expansion: int = 8
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
    ) -> tuple[Float[Array, "B H W D"], Float[Array, "B H W D"], Float[Array, "B D"]]:
        """The encoded and the decoded map, and the decoded token in float32."""
        encoded = self._tokens(difference, "encoder", train=train)
        decoded = self._tokens(reference, "decoder", train=train)
        settings = (self.heads, self.expansion, self.dropout, self.dtype)
        for i in range(self.layers):
            block = PostNormBlock(*settings, name=f"encoder_{i}")
            encoded = block(encoded, None, train=train)
        for i in range(self.layers):
            block = PostNormBlock(*settings, name=f"decoder_{i}")
            decoded = block(decoded, encoded, train=train)
        return (
            encoded[:, 1:].reshape(difference.shape),
            decoded[:, 1:].reshape(reference.shape),
            decoded[:, 0].astype(jnp.float32),
        )

    def _tokens(
        self, x: Float[Array, "B H W D"], name: str, *, train: bool
    ) -> Float[Array, "B N D"]:
        """The token and the cells of a map, with their positions added."""
        batch, height, width, channels = x.shape
        side, init = self.embedding_grid, nn.initializers.normal(0.02)
        token = self.param(f"{name}_token", init, (channels,), jnp.float32)
        table = self.param(
            f"{name}_embedding", init, (1 + side * side, channels), jnp.float32
        )
        cells = table[1:]
        if (height, width) != (side, side):
            shape = (height, width, channels)
            cells = cells.reshape(side, side, channels)
            cells = jax.image.resize(cells, shape, "linear", antialias=False)
            cells = cells.reshape(height * width, channels)
        first = jnp.broadcast_to(token[None, None], (batch, 1, channels))
        tokens = jnp.concatenate(
            [first.astype(self.dtype), x.reshape(batch, height * width, channels)],
            axis=1,
        )
        position = jnp.concatenate([table[:1], cells]).astype(self.dtype)
        drop = nn.Dropout(self.dropout, name=f"{name}_drop")
        return drop(tokens + position[None], deterministic=not train)


class PostNormBlock(nn.Module):
    """Self-attention, cross-attention if there is an encoding, feed-forward; a norm
    after each sum.

    Attributes:
      heads: attention heads, each of D channels.
      expansion: hidden width of the feed-forward part over D.
      dropout: rate after each part (rng `dropout`).
      dtype: compute type.
    """

    heads: int
    expansion: int
    dropout: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B N D"],
        encoded: Float[Array, "B M D"] | None,
        *,
        train: bool,
    ) -> Float[Array, "B N D"]:
        """Encodes tokens, or with an encoding decodes them, each by those before."""
        attention = self._attention("self_attention", x, causal=encoded is not None)
        branch = attention(x, x, train=train)
        x = self._norm("self_attention_norm")(x + branch)
        if encoded is not None:
            cross = self._attention("cross_attention", x, causal=False)
            branch = cross(x, encoded, train=train)
            x = self._norm("cross_attention_norm")(x + branch)

        width = x.shape[-1]
        y = nn.Dense(self.expansion * width, dtype=self.dtype, name="expand")(x)
        y = nn.gelu(y, approximate=False)
        y = nn.Dense(width, dtype=self.dtype, name="contract")(y)
        y = nn.Dropout(self.dropout, name="drop")(y, deterministic=not train)
        return self._norm("norm")(x + y)

    def _attention(self, name: str, x: Array, *, causal: bool) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.heads,
            self.dropout,
            self.dtype,
            head_width=x.shape[-1],
            causal=causal,
            name=name,
        )

    def _norm(self, name: str) -> nn.LayerNorm:
        # So small an epsilon needs the variance without cancellation.
        return nn.LayerNorm(
            epsilon=EPSILON, use_fast_variance=False, dtype=self.dtype, name=name
        )
