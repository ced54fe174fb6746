"""MobileNetV1 of width 0.75.

Source: Howard et al., 2017, arXiv:1704.04861, as in Keras: padding "same" after
TensorFlow, ReLU6, epsilon 1e-3.
"""

# pyright: reportMissingImports=false

from typing import Literal

from torch import Tensor, nn

from torch_reference.layers import ConvNorm, freeze

BLOCKS = (
    (48, 1),
    (96, 2),
    (96, 1),
    (192, 2),
    (192, 1),
    (384, 2),
    (384, 1),
    (384, 1),
    (384, 1),
    (384, 1),
    (384, 1),
    (768, 2),
    (768, 1),
)
"""Output channels and stride of every block."""

TAPS = {"multi": (5, 11, 13), "single": (5,), "dense": (3, 5, 7, 9, 11, 13)}
CHANNELS = {
    taps: tuple(BLOCKS[number - 1][0] for number in numbers)
    for taps, numbers in TAPS.items()
}


class MobileNetV1(nn.Module):
    """[B, 3, H, W] in [0, 1] to the maps after the blocks of `TAPS`.

    Args:
      taps: which.
      frozen: nothing trains, norms use the stored statistics.
      frozen_blocks: the same for the stem and the first blocks, if above 0.
      fixed_statistics: norms use the stored statistics, their scales train.
    """

    def __init__(
        self,
        taps: Literal["multi", "single", "dense"] = "multi",
        frozen: bool = False,
        frozen_blocks: int = 0,
        fixed_statistics: bool = True,
    ) -> None:
        super().__init__()
        self.numbers = TAPS[taps]
        still = len(BLOCKS) if frozen else frozen_blocks
        fixed = fixed_statistics or still > 0
        self.conv1 = _unit(3, 24, 3, stride=2, fixed=fixed)
        if still:
            freeze(self.conv1)
        inputs = 24
        for number, (outputs, stride) in enumerate(BLOCKS, start=1):
            if number > self.numbers[-1]:
                break
            fixed = fixed_statistics or number <= still
            depthwise = _unit(
                inputs, inputs, 3, stride=stride, depthwise=True, fixed=fixed
            )
            pointwise = _unit(inputs, outputs, 1, fixed=fixed)
            self.add_module(f"conv_dw_{number}", depthwise)
            self.add_module(f"conv_pw_{number}", pointwise)
            if number <= still:
                freeze(depthwise)
                freeze(pointwise)
            inputs = outputs

    def forward(self, x: Tensor, first: int = 0) -> list[Tensor]:
        y = self.conv1(2 * x - 1)
        maps = []
        for number in range(1, self.numbers[-1] + 1):
            y = self.get_submodule(f"conv_dw_{number}")(y)
            y = self.get_submodule(f"conv_pw_{number}")(y)
            if number in self.numbers:
                maps.append(y)
                if len(maps) == first:
                    break
        return maps


def _unit(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    depthwise: bool = False,
    fixed: bool,
) -> ConvNorm:
    return ConvNorm(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding="same",
        depthwise=depthwise,
        activation="relu6",
        eps=1e-3,
        fixed=fixed,
    )
