"""Fusion of the backbone's levels, semantic and moment branch, score head.

Sources: Yan and Si 2024, DOI 10.19370/10-1886/ts.2024.01.006; Conde et al., CVPR
Workshops 2022, arXiv:2204.12819.
"""

# pyright: reportMissingImports=false

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from torch_reference.layers import (
    BatchNorm,
    CellLinear,
    ChannelNorm,
    area_resize,
    average_pool,
    resize_map,
)

DISTILLED_MAPS = ("difference", "reference", "encoded", "decoded")


class Output(NamedTuple):
    """What both networks give out.

    Attributes:
      z: [B], the score in deviations of the training scores, higher is better.
      logits: [B, K] of the score bins; None without bins.
      features: named intermediates; maps are [B, D, n, n].
    """

    z: Tensor
    logits: Tensor | None
    features: dict[str, Tensor]


class MultiResolutionFusion(nn.Module):
    """A 1x1 convolution for each level, resized, layer-normalised, summed or joined.

    A finer level is reduced before the convolution, which is the same and costs less.

    Args:
      inputs: channels of each level, finest first. A single level passes its
        convolution alone.
      width: D.
      fusion: `sum` by softmax of learned scalars, or `concat` and one more 1x1.
      level: whose grid the result has.
    """

    def __init__(
        self,
        inputs: Sequence[int],
        width: int,
        fusion: Literal["sum", "concat"] = "sum",
        level: int = 0,
    ) -> None:
        super().__init__()
        self.level = level
        self.levels = len(inputs)
        for i, channels in enumerate(inputs):
            self.add_module(f"project_{i}", nn.Conv2d(channels, width, 1))
            if self.levels > 1:
                self.add_module(f"norm_{i}", ChannelNorm(width))
        self.mix = None
        if self.levels > 1 and fusion == "concat":
            self.mix = nn.Conv2d(self.levels * width, width, 1)
        elif self.levels > 1:
            self.level_weights = nn.Parameter(torch.zeros(self.levels))

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        if self.levels == 1:
            return self.get_submodule("project_0")(taps[0])
        height, width = taps[self.level].shape[2:]
        maps = []
        for i, tap in enumerate(taps):
            project = self.get_submodule(f"project_{i}")
            if tap[0, 0].numel() > height * width:
                level = project(resize_map(tap, height, width))
            else:
                level = resize_map(project(tap), height, width)
            maps.append(self.get_submodule(f"norm_{i}")(level))
        if self.mix is not None:
            return self.mix(torch.cat(maps, dim=1))
        shares = self.level_weights.softmax(dim=0)
        return torch.einsum("l,lbchw->bchw", shares, torch.stack(maps))


class SemanticBranch(nn.Module):
    """Dense layers on [g_dis, |g_ref - g_dis|, cosine] of the deepest level."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.hidden = nn.Linear(2 * channels + 1, 2 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, reference: Tensor, distorted: Tensor) -> Tensor:
        g_ref, g_dis = average_pool(reference), average_pool(distorted)
        cosine = F.cosine_similarity(g_ref, g_dis, dim=1)[:, None]
        seen = torch.cat([g_dis, (g_ref - g_dis).abs(), cosine], dim=1)
        hidden = F.silu(self.hidden(seen))
        return self.out(F.dropout(hidden, self.dropout, self.training))


class MomentBranch(nn.Module):
    """A dense layer on what was measured of channels, standardised."""

    def __init__(
        self, inputs: int, width: int, dropout: float, fixed_statistics: bool
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.norm = BatchNorm(inputs, fixed=fixed_statistics)
        self.out = nn.Linear(inputs, width)

    def forward(self, moments: Tensor) -> Tensor:
        seen = self.norm(moments[:, :, None, None])[:, :, 0, 0]
        return self.out(F.dropout(seen, self.dropout, self.training))


class QualityHead(nn.Module):
    """Dense, ReLU, then the score, and from the same hidden vector the bins."""

    def __init__(
        self, inputs: int, width: int, bins: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.hidden = nn.Linear(inputs, width)
        self.score = nn.Linear(width, 1)
        self.bins = nn.Linear(width, bins) if bins else None

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden = F.relu(self.hidden(pooled))
        hidden = F.dropout(hidden, self.dropout, self.training)
        z = self.score(hidden).squeeze(1)
        return z, None if self.bins is None else self.bins(hidden)


class FeatureAdapters(nn.Module):
    """A dense layer on every cell of each map that is distilled; training only."""

    def __init__(self, width: int, teacher_width: int) -> None:
        super().__init__()
        for name in DISTILLED_MAPS:
            self.add_module(name, CellLinear(width, teacher_width))

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: self.get_submodule(n)(features[n]) for n in DISTILLED_MAPS}


def coarsest(taps: Sequence[Tensor]) -> list[Tensor]:
    """Of maps finest first, the last at each of the three coarsest resolutions."""
    last = [
        tap
        for tap, following in zip(taps, [*taps[1:], None], strict=True)
        if following is None or following.shape[2:] != tap.shape[2:]
    ]
    return last[-3:]


def moments_of(taps: Sequence[Tensor]) -> Tensor:
    """[B, M]: of each map in turn the means, then the deviations of its channels."""
    # Two to five times as fast on a CPU as torch.var_mean.
    return torch.cat(
        [_moments(tap.mean((2, 3)), (tap * tap).mean((2, 3))) for tap in taps], dim=1
    )


def moments_of_parts(taps: Sequence[Tensor]) -> Tensor:
    """[B, 5, M]: `moments_of` the whole maps, then of corners of 3/4 of each side."""
    cells = [(area_resize(tap, 4, 4), area_resize(tap * tap, 4, 4)) for tap in taps]
    places = [
        (slice(top, top + 3), slice(left, left + 3))
        for top in (0, 1)
        for left in (0, 1)
    ]
    parts = [
        torch.cat(
            [
                _moments(*(c[:, :, rows, columns].mean((2, 3)) for c in of_tap))
                for of_tap in cells
            ],
            dim=1,
        )
        for rows, columns in ((slice(None), slice(None)), *places)
    ]
    return torch.stack(parts, dim=1)


def _moments(mean: Tensor, squares: Tensor) -> Tensor:
    deviation = torch.sqrt((squares - mean * mean).clamp_min(0) + 1e-6)
    return torch.cat([mean, deviation], dim=1)
