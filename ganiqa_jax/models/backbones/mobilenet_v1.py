"""MobileNetV1: the light pretrained trunk, 0.75 wide unless told.

Source: Howard et al., MobileNets, 2017, arXiv:1704.04861; layer names, TF "SAME"
padding, ReLU6 and epsilon as in the Keras ImageNet weights. `MobileNetV1.timm()` is
the network of PyTorch's timm instead (`mobilenetv1_100`).
"""

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganiqa_jax.errors import InputError
from ganiqa_jax.models.conv import Conv, ConvNorm
from ganiqa_jax.models.depthwise import Pads

EPSILON = 1e-3
STEM = 32
# Output channels and stride of each depthwise separable block at width 1.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
# After these blocks a map is given out: the last of each resolution, and all of those.
TAPS = (5, 11, 13)
DENSE_TAPS = (3, 5, 7, 9, 11, 13)
MINIMUM_SIDE = 32


class MobileNetV1(nn.Module):
    """Feature maps at 1/8, 1/16 and 1/32, and between.

    Attributes:
      frozen_blocks: the stem and blocks 1 to this number live in `frozen`; 0 trains
        everything.
      frozen: all of it lives in `frozen`.
      fixed_statistics: trainable blocks keep the loaded batch-norm statistics.
      taps: `multi` returns three maps, `single` the first alone, `dense` six: of 1/4
        and 1/8, three of 1/16 and one of 1/32.
      classes: outputs of the ImageNet head, returned last; 0 leaves it out.
      dtype: compute type.
      width: share of the channels of the original.
      same_padding: TensorFlow's padding of strided layers; else one zero all round.
      epsilon: of the batch norms.
    """

    frozen_blocks: int = 0
    frozen: bool = False
    fixed_statistics: bool = True
    taps: Literal["multi", "single", "dense"] = "multi"
    classes: int = 0
    dtype: Any = jnp.float32
    width: float = 0.75
    same_padding: bool = True
    epsilon: float = EPSILON

    @classmethod
    def timm(cls, **settings: Any) -> "MobileNetV1":
        """The network of timm's `mobilenetv1_100`: padding and epsilon of PyTorch."""
        return cls(width=1.0, same_padding=False, epsilon=1e-5, **settings)

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W 3"], *, train: bool = False, first: int = 0
    ) -> list[Array]:
        """Pictures in [0, 1] to maps of 192, 384 and 768 channels (`multi`, 0.75).

        Args:
          x: the pictures.
          train: batch statistics of the batch, where they are not fixed.
          first: stop at so many maps, the finest; 0 gives all.

        Raises:
          InputError: for a picture under 32 pixels a side.
        """
        if min(x.shape[1:3]) < MINIMUM_SIDE:
            raise InputError(
                f"MobileNetV1 needs {MINIMUM_SIDE} pixels a side, not {x.shape[1:3]}."
            )
        y = self._unit(x * 2 - 1, 0, "conv1", self._wide(STEM), stride=2, train=train)
        maps = []
        shallow = self.taps == "single" and not self.classes
        last = TAPS[0] if shallow else len(BLOCKS)
        for block, (channels, stride) in enumerate(BLOCKS[:last], start=1):
            y = self._unit(
                y,
                block,
                f"conv_dw_{block}",
                y.shape[-1],
                stride=stride,
                depthwise=True,
                train=train,
            )
            y = self._unit(
                y,
                block,
                f"conv_pw_{block}",
                self._wide(channels),
                kernel=1,
                train=train,
            )
            if block in (DENSE_TAPS if self.taps == "dense" else TAPS):
                maps.append(y)
                if len(maps) == first:
                    return maps
        maps = maps[:1] if self.taps == "single" else maps
        return [*maps, self._head(y)] if self.classes else maps

    def _wide(self, channels: int) -> int:
        return int(channels * self.width)

    def _head(self, y: Array) -> Array:
        """Class scores before the softmax."""
        pooled = jnp.mean(y, axis=(1, 2), keepdims=True)
        head = Conv(
            self.classes,
            bias=True,
            frozen=self.frozen,
            dtype=self.dtype,
            name="conv_preds",
        )
        return head(pooled)[:, 0, 0]

    def _unit(
        self,
        x: Array,
        block: int,
        name: str,
        features: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        depthwise: bool = False,
        train: bool,
    ) -> Array:
        frozen = self.frozen or (self.frozen_blocks > 0 and block <= self.frozen_blocks)
        unit = ConvNorm(
            features,
            kernel=(kernel, kernel),
            stride=stride,
            padding=same_padding(x.shape[1:3], kernel, stride)
            if self.same_padding
            else kernel // 2,
            depthwise=depthwise,
            activation="relu6",
            epsilon=self.epsilon,
            frozen=frozen,
            fixed_statistics=self.fixed_statistics,
            dtype=self.dtype,
            name=name,
        )
        return unit(x, train=train)


def same_padding(sides: tuple[int, ...], kernel: int, stride: int) -> Pads:
    """TensorFlow's "SAME": the odd zero goes to the bottom and the right."""

    def one(side: int) -> tuple[int, int]:
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        return total // 2, total - total // 2

    return one(sides[0]), one(sides[1])
