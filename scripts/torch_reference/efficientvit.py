"""EfficientViT-like trunk with a stem of 1/8.

Source: Liu et al., CVPR 2023, arXiv:2305.07027; Hu et al., CVPR 2018, for the gate on
channels; Huang et al., ECCV 2016, for residuals dropped in training.
"""

# pyright: reportMissingImports=false

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganiqa_jax.network_config import StudentConfig
from torch_reference.attention import map_attention
from torch_reference.layers import ConvNorm

STEM = (16, 32, 64)
STAGES = ((64, 1), (128, 2), (192, 3))
"""Channels and blocks at 1/8, 1/16 and 1/32."""
CHANNELS = tuple(channels for channels, _ in STAGES)


class EfficientViT(nn.Module):
    """[B, 3, H, W] in [0, 1] to 64 channels at 1/8, 128 at 1/16, 192 at 1/32."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.rate = rate = config.stochastic_depth
        inputs = 3
        for i, channels in enumerate(STEM):
            last = "none" if i == len(STEM) - 1 else "relu"
            unit = ConvNorm(inputs, channels, 3, stride=2, padding=1, activation=last)
            self.add_module(f"stem_{i}", unit)
            inputs = channels
        for stage, (channels, blocks) in enumerate(STAGES, start=1):
            if stage > 1:
                self.add_module(f"down_{stage}", Downsample(inputs, channels, rate))
            for i in range(blocks):
                name = f"stage_{stage}_{i}"
                self.add_module(f"{name}_before", LocalMixing(channels, rate))
                if config.attention != "none":
                    attention = map_attention(config, channels)
                    self.add_module(f"{name}_attention", attention)
                self.add_module(f"{name}_after", LocalMixing(channels, rate))
            inputs = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        y = (x - 0.5) / 0.5
        for i in range(len(STEM)):
            y = self.get_submodule(f"stem_{i}")(y)
        maps = []
        for stage, (_, blocks) in enumerate(STAGES, start=1):
            if stage > 1:
                y = self.get_submodule(f"down_{stage}")(y)
            for i in range(blocks):
                y = self._block(f"stage_{stage}_{i}", y)
            maps.append(y)
        return maps

    def _block(self, name: str, x: Tensor) -> Tensor:
        x = self.get_submodule(f"{name}_before")(x)
        if hasattr(self, f"{name}_attention"):
            branch = self.get_submodule(f"{name}_attention")(x)
            x = x + drop_rows(branch, self.rate, self.training)
        return self.get_submodule(f"{name}_after")(x)


class LocalMixing(nn.Module):
    """x + depthwise 3x3(x), then x + FFN of width 2 C (x)."""

    def __init__(self, channels: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.depthwise = ConvNorm(
            channels,
            channels,
            3,
            padding=1,
            depthwise=True,
            activation="none",
            zero=True,
        )
        self.expand = ConvNorm(channels, 2 * channels)
        self.project = ConvNorm(2 * channels, channels, activation="none", zero=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x + drop_rows(self.depthwise(x), self.rate, self.training)
        branch = self.project(self.expand(x))
        return x + drop_rows(branch, self.rate, self.training)


class Downsample(nn.Module):
    """Local mixing, inverted bottleneck of stride 2 with a gate, local mixing."""

    def __init__(self, inputs: int, outputs: int, rate: float) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.before = LocalMixing(inputs, rate)
        self.expand = ConvNorm(inputs, hidden)
        self.depthwise = ConvNorm(
            hidden, hidden, 3, stride=2, padding=1, depthwise=True
        )
        self.squeeze = SqueezeExcite(hidden)
        self.project = ConvNorm(hidden, outputs, activation="none")
        self.after = LocalMixing(outputs, rate)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(self.before(x)))
        return self.after(self.project(self.squeeze(y)))


class SqueezeExcite(nn.Module):
    """Scales each channel by a sigmoid of two dense layers on the channel means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = F.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.expand(F.relu(self.reduce(mean))))


def drop_rows(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Leaves a branch out for whole pictures, and scales those that stay."""
    keep = torch.ones(branch.shape[0], 1, 1, 1)
    return branch * F.dropout(keep, rate, training)
