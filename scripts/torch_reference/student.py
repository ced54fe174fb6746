"""The light network that sees one picture.

Source: Yan and Si 2024, DOI 10.19370/10-1886/ts.2024.01.006.
"""

# pyright: reportMissingImports=false

import torch
from torch import Tensor, nn

from ganiqa_jax.network_config import StudentConfig
from torch_reference import efficientnet_lite, efficientvit, mobilenet_v1
from torch_reference.attention import map_attention
from torch_reference.conformer import DepthwiseSeparableConv, Transformer
from torch_reference.jnd import mjnd
from torch_reference.layers import average_pool
from torch_reference.quality import (
    MomentBranch,
    MultiResolutionFusion,
    Output,
    QualityHead,
    coarsest,
    moments_of,
    moments_of_parts,
)

SINGLE_LEVEL = 1
DETAIL_MAPS = 3


class Student(nn.Module):
    """[B, 3, H, W] in [0, 1] to a score, without noise."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk, channels, fused = _trunk(config)
        if config.taps == "single":
            channels = fused = (fused[SINGLE_LEVEL],)
        width = config.width
        self.neck = MultiResolutionFusion(fused, width, level=config.neck_level)
        self.attention = None
        if config.trunk != "efficientvit" and config.attention != "none":
            self.attention = map_attention(config, width)
        for name in ("difference", "reference"):
            for i in range(2):
                self.add_module(f"{name}_dsc_{i}", DepthwiseSeparableConv(width))
        self.transformer = Transformer(config)
        self.semantic = None
        if config.semantic:
            pretrained = config.trunk_weights is not None
            seen = sum(channels)
            if config.detail:
                seen += sum(channels[:DETAIL_MAPS])
            self.semantic = MomentBranch(2 * seen, width, config.dropout, pretrained)
        seen = 2 * width if config.semantic else width
        self.head = QualityHead(seen, width, config.bins, config.dropout)

    def forward(self, distorted: Tensor, detail: Tensor | None = None) -> Output:
        taps = self.trunk(mjnd(distorted, self.config.jnd))
        fine = taps[:DETAIL_MAPS]
        if self.config.detail and detail is not None:
            fine = self.trunk(mjnd(detail, self.config.jnd), DETAIL_MAPS)
        if self.config.taps == "single":
            taps = [coarsest(taps)[SINGLE_LEVEL]]
        h = self.neck(coarsest(taps))
        if self.attention is not None:
            h = h + self.attention(h)
        difference = self._branch("difference", h)
        reference = self._branch("reference", h)
        encoded, decoded = self.transformer(difference, reference)
        features = {
            "difference": difference,
            "reference": reference,
            "encoded": encoded,
            "decoded": decoded,
            "pooled": average_pool(decoded),
        }
        seen = features["pooled"][:, None]
        if self.semantic is not None:
            parts = self.config.parts
            moments = moments_of_parts(taps) if parts else moments_of(taps)[:, None]
            if self.config.detail:
                of_detail = moments_of(fine)[:, None].expand(-1, moments.shape[1], -1)
                moments = torch.cat([moments, of_detail], dim=2)
            vectors = self.semantic(moments.flatten(0, 1)).unflatten(
                0, moments.shape[:2]
            )
            features["moments"], features["semantic"] = moments[:, 0], vectors[:, 0]
            seen = torch.cat([seen.expand_as(vectors), vectors], dim=2)
        z, logits = self.head(seen.flatten(0, 1))
        z = z.unflatten(0, seen.shape[:2]).mean(1)
        if logits is not None:
            logits = logits.unflatten(0, seen.shape[:2]).mean(1)
        return Output(z, logits, features)

    def _branch(self, name: str, h: Tensor) -> Tensor:
        for i in range(2):
            h = self.get_submodule(f"{name}_dsc_{i}")(h)
        return h


def _trunk(
    config: StudentConfig,
) -> tuple[nn.Module, tuple[int, ...], tuple[int, ...]]:
    """The trunk, the channels of its maps, and of those that `coarsest` keeps."""
    if config.trunk == "efficientvit":
        channels = efficientvit.CHANNELS
        return efficientvit.EfficientViT(config), channels, channels
    taps = "dense" if config.semantic else "multi"
    lite = config.trunk == "efficientnet_lite0"
    build = efficientnet_lite.EfficientNetLite if lite else mobilenet_v1.MobileNetV1
    trunk = build(
        taps,
        frozen_blocks=config.frozen_blocks,
        fixed_statistics=config.trunk_weights is not None,
    )
    channels = efficientnet_lite.CHANNELS if lite else mobilenet_v1.CHANNELS
    return trunk, channels[taps], channels["multi"]
