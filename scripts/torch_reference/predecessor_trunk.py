"""Inception-ResNet-v2 to its tenth block in PyTorch, names and order of Cadene's port.

The order matters: IQA-Conformer takes its backbone out of the flat list of modules.
Source: Szegedy et al., AAAI 2017, arXiv:1602.07261.
"""

import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

UNITS_35 = (
    ((32, 1),),
    ((32, 1), (32, 3)),
    ((32, 1), (48, 3), (64, 3)),
)
UNITS_5B = (
    ((96, 1),),
    ((48, 1), (64, 5)),
    ((64, 1), (96, 3), (96, 3)),
)


class Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Branches(nn.Module):
    """Chains of units side by side, joined over channels."""

    def __init__(self, inputs: int, chains: tuple) -> None:
        super().__init__()
        for number, chain in enumerate(chains):
            self.add_module(f"branch{number}", _chain(inputs, chain))

    def joined(self, x: Tensor) -> Tensor:
        branches = (m for n, m in self.named_children() if n.startswith("branch"))
        return torch.cat([branch(x) for branch in branches], dim=1)


class Mixed5b(Branches):
    """The chains, and a pool whose average leaves the border's padding out."""

    def __init__(self) -> None:
        super().__init__(192, UNITS_5B)
        pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.branch3 = nn.Sequential(pool, Unit(192, 64, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(x)


class Block35(Branches):
    """Adds 0.17 of the chains, projected back."""

    def __init__(self) -> None:
        super().__init__(320, UNITS_35)
        self.conv2d = nn.Conv2d(128, 320, 1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + 0.17 * self.conv2d(self.joined(x)))


class Trunk(nn.Module):
    """Pictures in [-1, 1] to the map after the tenth block."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1a = Unit(3, 32, 3, stride=2)
        self.conv2d_2a = Unit(32, 32, 3)
        self.conv2d_2b = Unit(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = Unit(64, 80, 1)
        self.conv2d_4a = Unit(80, 192, 3)
        self.maxpool_5a = nn.MaxPool2d(3, stride=2)
        self.mixed_5b = Mixed5b()
        self.repeat = nn.Sequential(*(Block35() for _ in range(10)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


def taps_of(trunk: Trunk, pictures: Tensor) -> Tensor:
    """The outputs of mixed_5b and of every second block, joined over channels."""
    x, levels = pictures, []
    for name, layer in trunk.named_children():
        if name == "repeat":
            break
        x = layer(x)
    levels.append(x)
    for number, block in enumerate(trunk.repeat):
        x = block(x)
        if number % 2:
            levels.append(x)
    return torch.cat(levels, dim=1)


def _chain(inputs: int, chain: tuple) -> nn.Module:
    units = []
    for outputs, kernel in chain:
        units.append(Unit(inputs, outputs, kernel, padding=kernel // 2))
        inputs = outputs
    return units[0] if len(units) == 1 else nn.Sequential(*units)
