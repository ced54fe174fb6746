"""Inception-v3 up to mixed_8, frozen, batch norm folded into biases.

Source: Szegedy et al., CVPR 2016, arXiv:1512.00567, in the form of the TensorFlow
release of 2015 (pictures normalised by 128, names of its graph).
"""

# pyright: reportMissingImports=false

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_reference.layers import freeze

CHANNELS = (832, 768, 1280)
SHALLOW = {"mixed": (192, 32), "mixed_1": (256, 64), "mixed_2": (288, 64)}
"""Channels that come into a block at 1/8, and of its pooled branch."""
DEEP = {"mixed_4": 128, "mixed_5": 160, "mixed_6": 160, "mixed_7": 192}
"""Inner channels of a block at 1/16."""


class InceptionV3(nn.Module):
    """[B, 3, H, W] in [0, 1] to 832 channels at 1/8, 768 at 1/16, 1280 at 1/32.

    Args:
      taps: `single` gives the first alone and has no deeper layers.
    """

    def __init__(self, taps: Literal["multi", "single"] = "multi") -> None:
        super().__init__()
        self.taps = taps
        self._declare_stem()
        for name, (inputs, pooled) in SHALLOW.items():
            self._declare_shallow(name, inputs, pooled)
        if taps == "multi":
            self._add("mixed_3_conv", 288, 384, 3, stride=2, padding=0)
            self._add("mixed_3_tower_conv", 288, 64, 1)
            self._add("mixed_3_tower_conv_1", 64, 96, 3)
            self._add("mixed_3_tower_conv_2", 96, 96, 3, stride=2, padding=0)
            for name, inner in DEEP.items():
                self._declare_deep(name, inner)
            self._add("mixed_8_tower_conv", 768, 192, 1)
            self._add("mixed_8_tower_conv_1", 192, 320, 3, stride=2, padding=0)
            self._add("mixed_8_tower_1_conv", 768, 192, 1)
            self._add("mixed_8_tower_1_conv_1", 192, 192, (1, 7))
            self._add("mixed_8_tower_1_conv_2", 192, 192, (7, 1))
            self._add("mixed_8_tower_1_conv_3", 192, 192, 3, stride=2, padding=0)
        freeze(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self._run("conv", (x * 255 - 128) / 128)
        y = self._run("conv_2", self._run("conv_1", y))
        y = F.max_pool2d(y, 3, 2)
        y = self._run("conv_4", self._run("conv_3", y))
        y = F.max_pool2d(y, 3, 2)
        seen = []
        for name in SHALLOW:
            y = self._shallow(name, y)
            seen.append(y)
        maps = [torch.cat(seen, dim=1)]
        if self.taps == "multi":
            y = self._mixed_3(y)
            for name in DEEP:
                y = self._deep(name, y)
            maps += [y, self._mixed_8(y)]
        return maps

    def _declare_stem(self) -> None:
        self._add("conv", 3, 32, 3, stride=2, padding=0)
        self._add("conv_1", 32, 32, 3, padding=0)
        self._add("conv_2", 32, 64, 3)
        self._add("conv_3", 64, 80, 1)
        self._add("conv_4", 80, 192, 3, padding=0)

    def _declare_shallow(self, name: str, inputs: int, pooled: int) -> None:
        self._add(f"{name}_conv", inputs, 64, 1)
        self._add(f"{name}_tower_conv", inputs, 48, 1)
        self._add(f"{name}_tower_conv_1", 48, 64, 5)
        self._add(f"{name}_tower_1_conv", inputs, 64, 1)
        self._add(f"{name}_tower_1_conv_1", 64, 96, 3)
        self._add(f"{name}_tower_1_conv_2", 96, 96, 3)
        self._add(f"{name}_tower_2_conv", inputs, pooled, 1)

    def _shallow(self, name: str, x: Tensor) -> Tensor:
        return torch.cat(
            [
                self._run(f"{name}_conv", x),
                self._chain(f"{name}_tower_conv", 2, x),
                self._chain(f"{name}_tower_1_conv", 3, x),
                self._run(f"{name}_tower_2_conv", _smooth(x)),
            ],
            dim=1,
        )

    def _mixed_3(self, x: Tensor) -> Tensor:
        tower = self._chain("mixed_3_tower_conv", 3, x)
        return torch.cat(
            [self._run("mixed_3_conv", x), tower, F.max_pool2d(x, 3, 2)], dim=1
        )

    def _declare_deep(self, name: str, inner: int) -> None:
        self._add(f"{name}_conv", 768, 192, 1)
        self._add(f"{name}_tower_conv", 768, inner, 1)
        self._add(f"{name}_tower_conv_1", inner, inner, (1, 7))
        self._add(f"{name}_tower_conv_2", inner, 192, (7, 1))
        self._add(f"{name}_tower_1_conv", 768, inner, 1)
        self._add(f"{name}_tower_1_conv_1", inner, inner, (7, 1))
        self._add(f"{name}_tower_1_conv_2", inner, inner, (1, 7))
        self._add(f"{name}_tower_1_conv_3", inner, inner, (7, 1))
        self._add(f"{name}_tower_1_conv_4", inner, 192, (1, 7))
        self._add(f"{name}_tower_2_conv", 768, 192, 1)

    def _deep(self, name: str, x: Tensor) -> Tensor:
        return torch.cat(
            [
                self._run(f"{name}_conv", x),
                self._chain(f"{name}_tower_conv", 3, x),
                self._chain(f"{name}_tower_1_conv", 5, x),
                self._run(f"{name}_tower_2_conv", _smooth(x)),
            ],
            dim=1,
        )

    def _mixed_8(self, x: Tensor) -> Tensor:
        return torch.cat(
            [
                self._chain("mixed_8_tower_conv", 2, x),
                self._chain("mixed_8_tower_1_conv", 4, x),
                F.max_pool2d(x, 3, 2),
            ],
            dim=1,
        )

    def _add(
        self,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        around = (sides[0] // 2, sides[1] // 2) if padding is None else padding
        self.add_module(name, nn.Conv2d(inputs, outputs, sides, stride, around))

    def _run(self, name: str, x: Tensor) -> Tensor:
        return F.relu(self.get_submodule(name)(x))

    def _chain(self, name: str, length: int, x: Tensor) -> Tensor:
        """`name`, `name_1`, `name_2` and so on, one after the other."""
        for i in range(length):
            x = self._run(f"{name}_{i}" if i else name, x)
        return x


def _smooth(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
