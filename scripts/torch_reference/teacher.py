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
from torch_reference.channels import compare
from torch_reference.conformer import DepthwiseSeparableConv, Transformer
from torch_reference.jnd import mjnd
from torch_reference.layers import average_pool
from torch_reference.quality import (
    MomentBranch,
    MultiResolutionFusion,
    Output,
    QualityHead,
    SemanticBranch,
    coarsest,
)


class Teacher(nn.Module):
    """(reference, distorted), both [B, 3, H, W] in [0, 1], to a score.

    A pair goes through as rows of one batch of 2 B, so that in training it shares the
    statistics of a batch.
    """

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone, channels, fused = _backbone(config)
        width = config.width
        self.fusion = MultiResolutionFusion(
            fused, width, config.fusion, config.neck_level
        )
        self.attention = None
        if config.attention != "none":
            self.attention = map_attention(config, width)
        self.dsc = DepthwiseSeparableConv(width) if config.dsc else None
        self.transformer = Transformer(config)
        self.semantic = None
        dropout = 0.0
        if config.channels:
            dropout, pretrained = config.dropout, config.backbone_weights is not None
            self.semantic = MomentBranch(3 * sum(channels), width, dropout, pretrained)
        elif config.semantic:
            self.semantic = SemanticBranch(channels[-1], width, config.dropout)
        seen = 2 * width if config.semantic else width
        self.head = QualityHead(seen, width, config.bins, dropout)

    def forward(self, reference: Tensor, distorted: Tensor) -> Output:
        both = mjnd(torch.cat([reference, distorted]), self.config.jnd)
        taps = [tap.detach() for tap in self.backbone(both)]
        single = self.config.taps == "single"
        fused = self.fusion(taps if single else coarsest(taps))
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
            read = taps[-1].chunk(2)
            if self.config.channels:
                features["channels"], features["likeness"] = compare(taps)
                read = (features["channels"],)
            features["semantic"] = self.semantic(*read)
            seen.append(features["semantic"])
        z, logits = self.head(torch.cat(seen, dim=1))
        return Output(z, logits, features)


def _backbone(config: TeacherConfig) -> tuple[nn.Module, list[int], list[int]]:
    """The frozen backbone, the channels of its maps, and of those that are fused."""
    taps = config.taps
    given = "dense" if config.channels else taps
    if config.backbone == "mobilenet_v1":
        channels = mobilenet_v1.CHANNELS
        network = mobilenet_v1.MobileNetV1(given, frozen=True)
        return network, list(channels[given]), list(channels[taps])
    if config.backbone == "efficientnet_lite0":
        channels = efficientnet_lite.CHANNELS
        every = len(efficientnet_lite.BLOCKS)
        network = efficientnet_lite.EfficientNetLite(given, frozen_blocks=every)
        return network, list(channels[given]), list(channels[taps])
    if config.backbone == "inception_v3":
        network, channels = inception_v3.InceptionV3(taps), inception_v3.CHANNELS
    else:
        network = inception_resnet_v2.InceptionResNetV2(taps)
        channels = inception_resnet_v2.CHANNELS
    fused: list[int] = list(channels[: 3 if taps == "multi" else 1])
    return network, fused, fused
