"""Inception-ResNet-v2 up to conv2d_7b, frozen.

Source: Szegedy et al., AAAI 2017, arXiv:1602.07261. An index of the usual state dict
joins the name before it: `repeat.0.branch1.0` is `repeat_0.branch1_0`.
"""

# pyright: reportMissingImports=false

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_reference.layers import ConvNorm, freeze

CHANNELS = (1920, 1088, 1536)


def unit(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int] = 1,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
) -> ConvNorm:
    """Convolution, batch norm by stored statistics with eps 1e-3, ReLU."""
    return ConvNorm(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=padding,
        eps=1e-3,
        fixed=True,
    )


class Mixed5b(nn.Module):
    """192 channels to 320 on one grid."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = unit(192, 96)
        self.branch1_0 = unit(192, 48)
        self.branch1_1 = unit(48, 64, 5, padding=2)
        self.branch2_0 = unit(192, 64)
        self.branch2_1 = unit(64, 96, 3, padding=1)
        self.branch2_2 = unit(96, 96, 3, padding=1)
        self.branch3_1 = unit(192, 64)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        return torch.cat(
            [
                self.branch0(x),
                self.branch1_1(self.branch1_0(x)),
                self.branch2_2(self.branch2_1(self.branch2_0(x))),
                self.branch3_1(pooled),
            ],
            dim=1,
        )


class Mixed6a(nn.Module):
    """320 channels to 1088 on half the grid."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = unit(320, 384, 3, stride=2)
        self.branch1_0 = unit(320, 256)
        self.branch1_1 = unit(256, 256, 3, padding=1)
        self.branch1_2 = unit(256, 384, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        tower = self.branch1_2(self.branch1_1(self.branch1_0(x)))
        return torch.cat([self.branch0(x), tower, F.max_pool2d(x, 3, 2)], dim=1)


class Mixed7a(nn.Module):
    """1088 channels to 2080 on half the grid."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0_0 = unit(1088, 256)
        self.branch0_1 = unit(256, 384, 3, stride=2)
        self.branch1_0 = unit(1088, 256)
        self.branch1_1 = unit(256, 288, 3, stride=2)
        self.branch2_0 = unit(1088, 256)
        self.branch2_1 = unit(256, 288, 3, padding=1)
        self.branch2_2 = unit(288, 320, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        towers = [
            self.branch0_1(self.branch0_0(x)),
            self.branch1_1(self.branch1_0(x)),
            self.branch2_2(self.branch2_1(self.branch2_0(x))),
        ]
        return torch.cat([*towers, F.max_pool2d(x, 3, 2)], dim=1)


class Block35(nn.Module):
    """x + 0.17 * conv2d(branches), ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = unit(320, 32)
        self.branch1_0 = unit(320, 32)
        self.branch1_1 = unit(32, 32, 3, padding=1)
        self.branch2_0 = unit(320, 32)
        self.branch2_1 = unit(32, 48, 3, padding=1)
        self.branch2_2 = unit(48, 64, 3, padding=1)
        self.conv2d = nn.Conv2d(128, 320, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [
            self.branch0(x),
            self.branch1_1(self.branch1_0(x)),
            self.branch2_2(self.branch2_1(self.branch2_0(x))),
        ]
        return F.relu(x + 0.17 * self.conv2d(torch.cat(branches, dim=1)))


class Block17(nn.Module):
    """x + 0.10 * conv2d(branches), ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.branch0 = unit(1088, 192)
        self.branch1_0 = unit(1088, 128)
        self.branch1_1 = unit(128, 160, (1, 7), padding=(0, 3))
        self.branch1_2 = unit(160, 192, (7, 1), padding=(3, 0))
        self.conv2d = nn.Conv2d(384, 1088, 1)

    def forward(self, x: Tensor) -> Tensor:
        tower = self.branch1_2(self.branch1_1(self.branch1_0(x)))
        branches = torch.cat([self.branch0(x), tower], dim=1)
        return F.relu(x + 0.10 * self.conv2d(branches))


class Block8(nn.Module):
    """x + scale * conv2d(branches); ReLU but for the last of them."""

    def __init__(self, scale: float = 0.20, activated: bool = True) -> None:
        super().__init__()
        self.scale, self.activated = scale, activated
        self.branch0 = unit(2080, 192)
        self.branch1_0 = unit(2080, 192)
        self.branch1_1 = unit(192, 224, (1, 3), padding=(0, 1))
        self.branch1_2 = unit(224, 256, (3, 1), padding=(1, 0))
        self.conv2d = nn.Conv2d(448, 2080, 1)

    def forward(self, x: Tensor) -> Tensor:
        tower = self.branch1_2(self.branch1_1(self.branch1_0(x)))
        branches = torch.cat([self.branch0(x), tower], dim=1)
        y = x + self.scale * self.conv2d(branches)
        return F.relu(y) if self.activated else y


class InceptionResNetV2(nn.Module):
    """[B, 3, H, W] in [0, 1] to 1920 channels at 1/8, 1088 at 1/16, 1536 at 1/32.

    Args:
      taps: `single` gives the first alone and has no deeper layers.
    """

    def __init__(self, taps: Literal["multi", "single"] = "multi") -> None:
        super().__init__()
        self.taps = taps
        self.conv2d_1a = unit(3, 32, 3, stride=2)
        self.conv2d_2a = unit(32, 32, 3)
        self.conv2d_2b = unit(32, 64, 3, padding=1)
        self.conv2d_3b = unit(64, 80)
        self.conv2d_4a = unit(80, 192, 3)
        self.mixed_5b = Mixed5b()
        for i in range(10):
            self.add_module(f"repeat_{i}", Block35())
        if taps == "multi":
            self.mixed_6a = Mixed6a()
            for i in range(20):
                self.add_module(f"repeat_1_{i}", Block17())
            self.mixed_7a = Mixed7a()
            for i in range(9):
                self.add_module(f"repeat_2_{i}", Block8())
            self.block8 = Block8(scale=1.0, activated=False)
            self.conv2d_7b = unit(2080, 1536)
        freeze(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.conv2d_2a(self.conv2d_1a((x - 0.5) / 0.5))
        y = F.max_pool2d(self.conv2d_2b(y), 3, 2)
        y = F.max_pool2d(self.conv2d_4a(self.conv2d_3b(y)), 3, 2)
        y = self.mixed_5b(y)
        seen = [y]
        for i in range(10):
            y = self.get_submodule(f"repeat_{i}")(y)
            seen.append(y)
        # mixed_5b, and the outputs of blocks 2, 4, 6, 8 and 10.
        maps = [torch.cat(seen[::2], dim=1)]
        if self.taps == "multi":
            y = self.mixed_6a(y)
            for i in range(20):
                y = self.get_submodule(f"repeat_1_{i}")(y)
            maps.append(y)
            y = self.mixed_7a(y)
            for i in range(9):
                y = self.get_submodule(f"repeat_2_{i}")(y)
            maps.append(self.conv2d_7b(self.block8(y)))
        return maps
