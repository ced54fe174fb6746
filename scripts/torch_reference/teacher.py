"""The network that compares a picture with its reference.

Source: Yan and Si 2024, DOI 10.19370/10-1886/ts.2024.01.006, on the frame of Conde et
al., CVPR Workshops 2022, arXiv:2204.12819.
"""

# pyright: reportMissingImports=false

import torch
from torch import Tensor, nn

from ganiqa_jax.network_config import TeacherConfig
from torch_reference import (
    efficientnet_lite,
    inception_resnet_v2,
    inception_v3,
    mobilenet_v1,
)
from torch_reference.attention import map_attention
from torch_reference.conformer import DepthwiseSeparableConv, Transformer
from torch_reference.jnd import mjnd
from torch_reference.layers import average_pool
from torch_reference.quality import (
    MultiResolutionFusion,
    Output,
    QualityHead,
    SemanticBranch,
)


class Teacher(nn.Module):
    """(reference, distorted), both [B, 3, H, W] in [0, 1], to a score.

    A pair goes through as rows of one batch of 2 B, so that in training it shares the
    statistics of a batch.
    """

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone, channels = _backbone(config)
        width = config.width
        self.fusion = MultiResolutionFusion(channels, width, config.fusion)
        self.attention = None
        if config.attention != "none":
            self.attention = map_attention(config, width)
        self.dsc = DepthwiseSeparableConv(width) if config.dsc else None
        self.transformer = Transformer(config)
        self.semantic = None
        if config.semantic:
            self.semantic = SemanticBranch(channels[-1], width, config.dropout)
        seen = 2 * width if config.semantic else width
        self.head = QualityHead(seen, width, config.bins)

    def forward(self, reference: Tensor, distorted: Tensor) -> Output:
        both = mjnd(torch.cat([reference, distorted]), self.config.jnd)
        taps = [tap.detach() for tap in self.backbone(both)]
        fused = self.fusion(taps)
        if self.attention is not None:
            fused = fused + self.attention(fused)
        f_ref, f_dis = fused.chunk(2)
        pair = torch.cat([f_ref - f_dis, f_ref])
        if self.dsc is not None:
            pair = self.dsc(pair)
        difference, of_reference = pair.chunk(2)
        encoded, decoded = self.transformer(difference, of_reference)
        features = {
            "difference": difference,
            "reference": of_reference,
            "encoded": encoded,
            "decoded": decoded,
            "pooled": average_pool(decoded),
        }
        seen = [features["pooled"]]
        if self.semantic is not None:
            features["semantic"] = self.semantic(*taps[-1].chunk(2))
            seen.append(features["semantic"])
        z, logits = self.head(torch.cat(seen, dim=1))
        return Output(z, logits, features)


def _backbone(config: TeacherConfig) -> tuple[nn.Module, list[int]]:
    """The frozen backbone and the channels of the maps it gives out."""
    taps = config.taps
    if config.backbone == "mobilenet_v1":
        network = mobilenet_v1.MobileNetV1(taps, frozen=True)
        return network, list(mobilenet_v1.CHANNELS[taps])
    if config.backbone == "efficientnet_lite0":
        every = len(efficientnet_lite.BLOCKS)
        network = efficientnet_lite.EfficientNetLite(taps, frozen_blocks=every)
        return network, list(efficientnet_lite.CHANNELS[taps])
    levels = 3 if taps == "multi" else 1
    if config.backbone == "inception_v3":
        return inception_v3.InceptionV3(taps), list(inception_v3.CHANNELS[:levels])
    network = inception_resnet_v2.InceptionResNetV2(taps)
    return network, list(inception_resnet_v2.CHANNELS[:levels])
