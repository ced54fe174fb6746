"""EfficientViT-like trunk: a light network of depthwise and cascaded group attention.

Source: Liu et al., EfficientViT: Memory Efficient Vision Transformer with Cascaded
Group Attention, CVPR 2023, arXiv:2305.07027.
Differs from it: the stem ends at 1/8 and not at 1/16 of the picture, since quality
shows in fine detail; attention is windowed at every stage; padding is no key of it.
`EfficientViT.published_m0()` is the published network.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganiqa_jax.errors import InputError
from ganiqa_jax.models.attention import CascadedGroupAttention, MapSelfAttention
from ganiqa_jax.models.conv import Conv, ConvNorm
from ganiqa_jax.network_config import Attention

MINIMUM_SIDE = 32
STEM = (16, 32, 64)
STEM_M0 = (8, 16, 32, 64)  # of the published M0, whose maps are half as fine
# Channels and blocks of each stage, at 1/8, 1/16 and 1/32 of the picture.
STAGES = ((64, 1), (128, 2), (192, 3))


class EfficientViT(nn.Module):
    """Feature maps at 1/8, 1/16 and 1/32; all of it trains.

    Attributes:
      stochastic_depth: rate of dropped residual branches (rng `dropout`).
      attention: what mixes the cells of a map: cascaded groups, plain multi-head
        attention over the whole map, or nothing (the ablations).
      heads: attention heads.
      key_dim: query and key channels of a head.
      kernels: depthwise kernel on the queries, one per head.
      window: side of an attention window in cells; 0 is global.
      grid: largest grid side of a global position-bias table.
      dtype: compute type.
      stem: channels of the convolutions of stride 2 that come first.
      mask_padding: False lets padding of windows be keys, as in the original.
      mean: of each colour, taken off the picture.
      std: of each colour, which the rest is divided by.
    """

    stochastic_depth: float = 0.1
    attention: Attention = "cga"
    heads: int = 4
    key_dim: int = 16
    kernels: tuple[int, ...] = (7, 5, 3, 3)
    window: int = 7
    grid: int = 35
    dtype: Any = jnp.float32
    stem: tuple[int, ...] = STEM
    mask_padding: bool = True
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @classmethod
    def published_m0(cls, **settings: Any) -> "EfficientViT":
        """EfficientViT-M0, whose pictures are scaled by the colours of ImageNet."""
        return cls(
            kernels=(5, 5, 5, 5),
            stem=STEM_M0,
            mask_padding=False,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            **settings,
        )

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W 3"], *, train: bool = False
    ) -> list[Array]:
        """Pictures in [0, 1] to maps of 64, 128 and 192 channels.

        Raises:
          InputError: for a picture under 32 pixels a side.
        """
        if min(x.shape[1:3]) < MINIMUM_SIDE:
            raise InputError(
                f"EfficientViT needs {MINIMUM_SIDE} pixels a side, not {x.shape[1:3]}."
            )
        mean, std = jnp.asarray(self.mean, x.dtype), jnp.asarray(self.std, x.dtype)
        y = self._stem((x - mean[None, None, None]) / std[None, None, None], train)
        maps = []
        for stage, (channels, blocks) in enumerate(STAGES, start=1):
            if stage > 1:
                y = Downsample(
                    channels, self.stochastic_depth, self.dtype, name=f"down_{stage}"
                )(y, train=train)
            for block in range(blocks):
                y = self._block(y, f"stage_{stage}_{block}", train)
            maps.append(y)
        return maps

    def _stem(self, x: Array, train: bool) -> Array:
        for number, features in enumerate(self.stem):
            last = number == len(self.stem) - 1
            x = ConvNorm(
                features,
                kernel=(3, 3),
                stride=2,
                padding=1,
                activation="none" if last else "relu",
                dtype=self.dtype,
                name=f"stem_{number}",
            )(x, train=train)
        return x

    def _block(self, x: Array, name: str, train: bool) -> Array:
        """Local mixing, attention, local mixing; each a residual."""
        rate, dtype = self.stochastic_depth, self.dtype
        x = LocalMixing(rate, dtype, name=f"{name}_before")(x, train=train)
        attention = self._attention(f"{name}_attention")
        if attention is not None:
            branch = attention(x, train=train)
            x = _join(x, branch, rate, f"{name}_drop", train)
        return LocalMixing(rate, dtype, name=f"{name}_after")(x, train=train)

    def _attention(self, name: str) -> CascadedGroupAttention | MapSelfAttention | None:
        if self.attention == "none":
            return None
        if self.attention == "mhsa":
            return MapSelfAttention(heads=self.heads, dtype=self.dtype, name=name)
        return CascadedGroupAttention(
            heads=self.heads,
            key_dim=self.key_dim,
            kernels=self.kernels,
            window=self.window,
            grid=self.grid,
            mask_padding=self.mask_padding,
            dtype=self.dtype,
            name=name,
        )


class LocalMixing(nn.Module):
    """Two residuals: a depthwise 3x3 convolution, then a feed-forward of width 2C.

    The last norm of each starts at zero, so that the block starts as the identity.

    Attributes:
      stochastic_depth: rate of dropped residual branches.
      dtype: compute type.
    """

    stochastic_depth: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool
    ) -> Float[Array, "B H W C"]:
        channels = x.shape[-1]
        branch = ConvNorm(
            channels,
            kernel=(3, 3),
            padding=1,
            depthwise=True,
            activation="none",
            gamma_init=0.0,
            dtype=self.dtype,
            name="depthwise",
        )(x, train=train)
        x = _join(x, branch, self.stochastic_depth, "depthwise_drop", train)
        hidden = ConvNorm(2 * channels, dtype=self.dtype, name="expand")(x, train=train)
        branch = ConvNorm(
            channels,
            activation="none",
            gamma_init=0.0,
            dtype=self.dtype,
            name="project",
        )(hidden, train=train)
        return _join(x, branch, self.stochastic_depth, "feed_forward_drop", train)


class Downsample(nn.Module):
    """Halves the grid: local mixing, inverted bottleneck of stride 2, local mixing.

    Attributes:
      features: output channels.
      stochastic_depth: rate of dropped residual branches.
      dtype: compute type.
    """

    features: int
    stochastic_depth: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], *, train: bool
    ) -> Float[Array, "B P Q D"]:
        rate, dtype = self.stochastic_depth, self.dtype
        x = LocalMixing(rate, dtype, name="before")(x, train=train)
        hidden = 4 * x.shape[-1]
        y = ConvNorm(hidden, dtype=dtype, name="expand")(x, train=train)
        y = ConvNorm(
            hidden,
            kernel=(3, 3),
            stride=2,
            padding=1,
            depthwise=True,
            dtype=dtype,
            name="depthwise",
        )(y, train=train)
        y = SqueezeExcite(dtype=dtype, name="squeeze")(y)
        y = ConvNorm(self.features, activation="none", dtype=dtype, name="project")(
            y, train=train
        )
        return LocalMixing(rate, dtype, name="after")(y, train=train)


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate in (0, 1) that reads the mean of every channel.

    Source: Hu et al., Squeeze-and-Excitation Networks, CVPR 2018, arXiv:1709.01507.

    Attributes:
      ratio: hidden width over C.
      dtype: compute type.
    """

    ratio: float = 0.25
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        channels = x.shape[-1]
        mean = jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32)
        hidden = Conv(
            int(channels * self.ratio), bias=True, dtype=self.dtype, name="reduce"
        )(mean)
        gate = Conv(channels, bias=True, dtype=self.dtype, name="expand")(
            nn.relu(hidden)
        )
        return x * jax.nn.sigmoid(gate)


def _join(x: Array, branch: Array, rate: float, name: str, train: bool) -> Array:
    """Adds a residual branch, left out for whole pictures at `rate` in training.

    Source: Huang et al., Deep Networks with Stochastic Depth, ECCV 2016.
    """
    drop = nn.Dropout(rate, broadcast_dims=(1, 2, 3), name=name)
    return x + drop(branch, deterministic=not train)
