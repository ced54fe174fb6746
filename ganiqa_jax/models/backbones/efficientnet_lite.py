"""EfficientNet-Lite0: inverted residuals without squeeze-and-excitation.

Source: Tan and Le, EfficientNet, ICML 2019, arXiv:1905.11946, as Google released it
for small devices in 2020 (EfficientNet-Lite): ReLU6 for swish, no squeeze-and-
excitation, stem and head of fixed width, TF "SAME" padding, epsilon 1e-3. Pictures are
standardised as there, (255 x - 127) / 128.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganiqa_jax.errors import InputError
from ganiqa_jax.models.backbones.mobilenet_v1 import same_padding
from ganiqa_jax.models.conv import Activation, Conv, ConvNorm

EPSILON = 1e-3
STEM, HEAD = 32, 1280
# Blocks, kernel, stride of the first block, expansion and output channels of a stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The expansions of these blocks are given out: each the first of its stage, and so
# the widest map of the stage before.
TAPS = (5, 11, 15)
DENSE_TAPS = (3, 5, 8, 11, 15)
MINIMUM_SIDE = 32


class Block(NamedTuple):
    """One inverted residual.

    Attributes:
      kernel: side of the depthwise convolution.
      stride: of the same.
      expansion: its channels over those of the input; 1 leaves the expansion out.
      channels: of the output.
    """

    kernel: int
    stride: int
    expansion: int
    channels: int


def _blocks() -> Iterator[Block]:
    for repeats, kernel, stride, expansion, channels in STAGES:
        yield Block(kernel, stride, expansion, channels)
        yield from [Block(kernel, 1, expansion, channels)] * (repeats - 1)


BLOCKS = tuple(_blocks())


class EfficientNetLite(nn.Module):
    """Feature maps at 1/8, 1/16 and 1/32, and between, after expansion and ReLU6.

    Blocks have the numbers 0 to 15. Nothing behind the last map is built, unless there
    are `classes`: of block 15 its expansion alone.

    Attributes:
      frozen_blocks: the stem and this many blocks, 0 to this number less one, live in
        `frozen`; 0 trains everything, 16 leaves nothing to train but what `classes`
        adds.
      frozen: all of it lives in `frozen`.
      fixed_statistics: trainable blocks keep the loaded batch-norm statistics.
      taps: `multi` returns three maps, `single` the first alone, `dense` five: of 1/4
        and 1/8, two of 1/16 and one of 1/32.
      classes: outputs of the ImageNet head, returned last; 0 leaves it out.
      dtype: compute type.
    """

    frozen_blocks: int = 0
    frozen: bool = False
    fixed_statistics: bool = True
    taps: Literal["multi", "single", "dense"] = "multi"
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W 3"], *, train: bool = False, first: int = 0
    ) -> list[Array]:
        """Pictures in [0, 1] to maps of 240, 672 and 1152 channels (`multi`).

        Args:
          x: the pictures.
          train: batch statistics of the batch, where they are not fixed.
          first: stop at so many maps, the finest; 0 gives all.

        Raises:
          InputError: for a picture under 32 pixels a side.
        """
        if min(x.shape[1:3]) < MINIMUM_SIDE:
            raise InputError(
                f"EfficientNet-Lite needs {MINIMUM_SIDE} pixels a side, "
                f"not {x.shape[1:3]}."
            )
        x = (x * 255 - 127) / 128
        y = self._unit(x, 0, "stem", STEM, kernel=3, stride=2, train=train)
        taps = {"multi": TAPS, "single": TAPS[:1], "dense": DENSE_TAPS}[self.taps]
        maps = []
        for number, block in enumerate(BLOCKS):
            expanded = self._expanded(y, number, block, train=train)
            if number in taps:
                maps.append(expanded)
                if len(maps) == first:
                    return maps
            if number == taps[-1] and not self.classes:
                return maps
            reduced = self._reduced(expanded, number, block, train=train)
            y = y + reduced if y.shape == reduced.shape else reduced
        return [*maps, self._class_scores(y, train=train)]

    def _expanded(self, y: Array, number: int, block: Block, *, train: bool) -> Array:
        if block.expansion == 1:
            return y
        features = block.expansion * y.shape[-1]
        return self._unit(y, number, f"block_{number:02}_expand", features, train=train)

    def _reduced(self, y: Array, number: int, block: Block, *, train: bool) -> Array:
        """Depthwise convolution, and the projection that no activation follows."""
        y = self._unit(
            y,
            number,
            f"block_{number:02}_depthwise",
            y.shape[-1],
            kernel=block.kernel,
            stride=block.stride,
            depthwise=True,
            train=train,
        )
        return self._unit(
            y,
            number,
            f"block_{number:02}_project",
            block.channels,
            activation="none",
            train=train,
        )

    def _class_scores(self, y: Array, *, train: bool) -> Array:
        """Before the softmax."""
        y = self._unit(y, len(BLOCKS), "head", HEAD, train=train)
        pooled = jnp.mean(y, axis=(1, 2), keepdims=True)
        classifier = Conv(
            self.classes,
            bias=True,
            frozen=self.frozen,
            dtype=self.dtype,
            name="classifier",
        )
        return classifier(pooled)[:, 0, 0]

    def _unit(
        self,
        x: Array,
        block: int,
        name: str,
        features: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        activation: Activation = "relu6",
        train: bool,
    ) -> Array:
        unit = ConvNorm(
            features,
            kernel=(kernel, kernel),
            stride=stride,
            padding=same_padding(x.shape[1:3], kernel, stride),
            depthwise=depthwise,
            activation=activation,
            epsilon=EPSILON,
            frozen=self.frozen or block < self.frozen_blocks,
            fixed_statistics=self.fixed_statistics,
            dtype=self.dtype,
            name=name,
        )
        return unit(x, train=train)
