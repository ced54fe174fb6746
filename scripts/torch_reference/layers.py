"""Layers that several networks share: norms, convolution units, pooling of maps.

Maps are [B, C, H, W]. Batch norm follows Flax in one point: the running variance is the
population variance of the batch, where `torch.nn.BatchNorm2d` keeps the unbiased one.
"""

# pyright: reportMissingImports=false

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["relu", "relu6", "none"]

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "none": lambda x: x,
}

KEEP = 0.9
"""Share of the old running statistics that stays: a momentum of 0.1 in PyTorch."""


class BatchNorm(nn.Module):
    """Batch normalisation of each channel over batch, rows and columns.

    Args:
      channels: C.
      eps: added to the variance.
      fixed: always by the stored statistics, also in training.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5, fixed: bool = False) -> None:
        super().__init__()
        self.eps, self.fixed = eps, fixed
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training and not self.fixed:
            var, mean = torch.var_mean(x, dim=(0, 2, 3), unbiased=False)
            with torch.no_grad():
                self.running_mean.lerp_(mean, 1 - KEEP)
                self.running_var.lerp_(var, 1 - KEEP)
        centred = x - mean[:, None, None]
        scaled = centred / torch.sqrt(var + self.eps)[:, None, None]
        return scaled * self.weight[:, None, None] + self.bias[:, None, None]


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every cell of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class CellLinear(nn.Linear):
    """A dense layer on the channels of every cell of a map."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, activation.

    Args:
      inputs: channels that come in.
      outputs: channels that go out.
      kernel: height and width.
      stride: in both directions.
      padding: zeros on rows and on columns, or "same" as TensorFlow understands it,
        with the odd zero at the bottom and on the right.
      depthwise: one filter a channel.
      activation: after the norm.
      eps: of the norm.
      fixed: the norm always uses the stored statistics.
      zero: the scale of the norm starts at 0, for the end of a residual branch.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        padding: int | tuple[int, int] | Literal["same"] = 0,
        depthwise: bool = False,
        activation: Activation = "relu",
        eps: float = 1e-5,
        fixed: bool = False,
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.same = padding == "same"
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride,
            padding=0 if padding == "same" else padding,
            groups=inputs if depthwise else 1,
            bias=False,
        )
        self.norm = BatchNorm(outputs, eps, fixed)
        self.activate = ACTIVATIONS[activation]
        if zero:
            nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            x = pad_same(x, self.conv.kernel_size, self.conv.stride)
        return self.activate(self.norm(self.conv(x)))


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """The zeros with which a grid of n cells becomes one of ceil(n / stride)."""
    amounts = []
    for side, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max((-(-side // s) - 1) * s + k - side, 0)
        amounts += [total // 2, total - total // 2]
    return F.pad(x, amounts)


def freeze(module: nn.Module) -> None:
    """No array of the module is trained."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def average_pool(x: Tensor) -> Tensor:
    """[B, C, H, W] to the means [B, C]."""
    return x.mean(dim=(2, 3))


def resize_map(x: Tensor, height: int, width: int) -> Tensor:
    """Enlarges bilinearly (align corners off), reduces by exact shares of area."""
    if height >= x.shape[2] and width >= x.shape[3]:
        return F.interpolate(
            x, (height, width), mode="bilinear", align_corners=False, antialias=False
        )
    return area_resize(x, height, width)


def area_resize(x: Tensor, height: int, width: int) -> Tensor:
    """The mean over what a new cell covers, cells in part counted in part.

    Every cell is repeated as often as there are new cells, so that new cells begin and
    end where old ones do; then plain averages are exact. Where sides divide they are
    without that.
    """
    rows, columns = x.shape[2] // height, x.shape[3] // width
    if x.shape[2:] == (rows * height, columns * width):
        return F.avg_pool2d(x, (rows, columns))
    for dim, new in ((2, height), (3, width)):
        old = x.shape[dim]
        if old != new:
            fine = x.repeat_interleave(new, dim=dim)
            x = fine.unflatten(dim, (new, old)).mean(dim=dim + 1)
    return x
