"""EfficientNet-Lite0.

Source: Tan and Le, 2019, arXiv:1905.11946, in Google's release for small devices of
2020: padding "same" after TensorFlow, ReLU6, epsilon 1e-3, no squeeze-and-excitation.
"""

# pyright: reportMissingImports=false

from typing import Literal

from torch import Tensor, nn

from torch_reference.layers import ConvNorm, freeze

BLOCKS = (
    (16, 3, 1),
    (24, 3, 2),
    (24, 3, 1),
    (40, 5, 2),
    (40, 5, 1),
    (80, 3, 2),
    (80, 3, 1),
    (80, 3, 1),
    (112, 5, 1),
    (112, 5, 1),
    (112, 5, 1),
    (192, 5, 2),
    (192, 5, 1),
    (192, 5, 1),
    (192, 5, 1),
    (320, 3, 1),
)
"""Output channels, kernel and stride of every block."""

TAPS = {"single": (5,), "multi": (5, 11, 15), "dense": (3, 5, 8, 11, 15)}
"""Blocks whose expanded input is given out."""
CHANNELS = {
    taps: tuple(6 * BLOCKS[number - 1][0] for number in numbers)
    for taps, numbers in TAPS.items()
}


class EfficientNetLite(nn.Module):
    """[B, 3, H, W] in [0, 1] to expanded maps; nothing behind the last is there.

    Args:
      taps: which.
      frozen_blocks: the stem and so many blocks do not train, if above 0.
      fixed_statistics: norms use the stored statistics, their scales train.
    """

    def __init__(
        self,
        taps: Literal["single", "multi", "dense"] = "multi",
        frozen_blocks: int = 0,
        fixed_statistics: bool = True,
    ) -> None:
        super().__init__()
        self.numbers = TAPS[taps]
        last = self.numbers[-1]

        def add(number: int, name: str, unit: ConvNorm) -> None:
            self.add_module(name, unit)
            if number < frozen_blocks:
                freeze(unit)

        def fixed(number: int) -> bool:
            return fixed_statistics or number < frozen_blocks

        add(0, "stem", _unit(3, 32, 3, stride=2, fixed=fixed(0)))
        inputs = 32
        for number, (outputs, kernel, stride) in enumerate(BLOCKS):
            wide, name = inputs, f"block_{number:02}"
            if number:
                wide = 6 * inputs
                expand = _unit(inputs, wide, 1, fixed=fixed(number))
                add(number, f"{name}_expand", expand)
            if number == last:
                return
            depthwise = _unit(
                wide, wide, kernel, stride=stride, depthwise=True, fixed=fixed(number)
            )
            add(number, f"{name}_depthwise", depthwise)
            project = _unit(wide, outputs, 1, linear=True, fixed=fixed(number))
            add(number, f"{name}_project", project)
            inputs = outputs

    def forward(self, x: Tensor, first: int = 0) -> list[Tensor]:
        y = self.stem((255 * x - 127) / 128)
        maps = []
        for number, (outputs, _, stride) in enumerate(BLOCKS):
            name = f"block_{number:02}"
            wide = self.get_submodule(f"{name}_expand")(y) if number else y
            if number in self.numbers:
                maps.append(wide)
            if number == self.numbers[-1] or len(maps) == first > 0:
                break
            wide = self.get_submodule(f"{name}_depthwise")(wide)
            narrow = self.get_submodule(f"{name}_project")(wide)
            residual = stride == 1 and y.shape[1] == outputs
            y = y + narrow if residual else narrow
        return maps


def _unit(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    depthwise: bool = False,
    linear: bool = False,
    fixed: bool,
) -> ConvNorm:
    return ConvNorm(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding="same",
        depthwise=depthwise,
        activation="none" if linear else "relu6",
        eps=1e-3,
        fixed=fixed,
    )
