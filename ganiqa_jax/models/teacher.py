"""The full-reference network: (reference, distorted) to a score.

Source: the teacher of Yan and Si, GAN Image Quality Assessment Method Based on
Knowledge Distillation, 2024, DOI 10.19370/10-1886/ts.2024.01.006, on the frame of
IQA-Conformer (Conde et al. 2022, arXiv:2204.12819).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganiqa_jax.config import TeacherConfig
from ganiqa_jax.image.jnd import mjnd
from ganiqa_jax.models.attention import map_attention
from ganiqa_jax.models.backbones.efficientnet_lite import EfficientNetLite
from ganiqa_jax.models.backbones.inception_resnet_v2 import InceptionResNetV2
from ganiqa_jax.models.backbones.inception_v3 import InceptionV3
from ganiqa_jax.models.backbones.light import LIGHT
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1
from ganiqa_jax.models.comparison import compare
from ganiqa_jax.models.conformer import DepthwiseSeparableConv, transformer
from ganiqa_jax.models.features import MultiResolutionFusion, coarsest
from ganiqa_jax.models.iqt import QualityTokenTransformer
from ganiqa_jax.models.quality import (
    MomentBranch,
    QualityHead,
    SemanticBranch,
    average_pool,
)
from ganiqa_jax.types import NetworkOutput


class Teacher(nn.Module):
    """Scores a distorted picture by how its features differ from the reference's.

    Both pictures of a pair go through every layer up to the difference as rows of one
    batch of 2 B, so that they share batch statistics; so do the difference and the
    reference map in the depthwise separable convolution. Identical pictures have a
    difference of exactly 0 when `train` is False and projected maps are subtracted.

    The backbone lives in the collection `frozen`. In training no gradient enters it;
    at inference that is left to the backbone.

    `TeacherConfig.iqa_conformer()` and `TeacherConfig.iqt()` are the predecessors, to
    the last layer; they subtract the backbone's maps, so that a bias of the
    projection stays in the difference.

    Attributes:
      config: every setting.
    """

    config: TeacherConfig

    @nn.compact
    def __call__(
        self,
        reference: Float[Array, "B H W 3"],
        distorted: Float[Array, "B H W 3"],
        *,
        train: bool = False,
    ) -> NetworkOutput:
        """z of each distorted picture, higher is better.

        Args:
          reference: in [0, 1].
          distorted: in [0, 1], same size.
          train: dropout (rng `dropout`) and batch statistics of the batch.

        Raises:
          InputError: if the pictures are too small for the backbone, or their grid is
            larger than `attention_grid`.
        """
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        taps = self._taps(jnp.concatenate([reference, distorted]))
        levels = taps if config.taps == "single" else coarsest(taps)
        difference, of_reference = self._maps(levels, train=train)
        encoded, decoded, pooled = self._transform(
            difference, of_reference, train=train
        )
        features = {
            "difference": difference,
            "reference": of_reference,
            "encoded": encoded,
            "decoded": decoded,
            "pooled": pooled,
        }
        if config.channels:
            features |= compare(taps)._asdict()
            branch = moment_branch(config, name="semantic")
            features["semantic"] = branch(features["channels"], train=train)
        elif config.semantic:
            branch = SemanticBranch(
                config.width, config.dropout, dtype, name="semantic"
            )
            features["semantic"] = branch(*jnp.split(taps[-1], 2), train=train)
        seen = [features[name] for name in ("pooled", "semantic") if name in features]
        head = quality_head(config, name="head")
        z, logits = head(jnp.concatenate(seen, axis=-1), train=train)
        return NetworkOutput(z, logits, features)

    def _taps(self, pictures: Float[Array, "B H W 3"]) -> list[Array]:
        """Backbone maps of the minimum-JND pictures, finest first."""
        return _backbone(self.config)(mjnd(pictures, self.config.jnd))

    def _maps(
        self, taps: list[Array], *, train: bool
    ) -> tuple[Float[Array, "B n m D"], Float[Array, "B n m D"]]:
        """The difference and the reference map of each pair."""
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        if config.difference == "taps":
            taps = [_with_difference(tap) for tap in taps]
        fused = self._fused(taps)
        attention = map_attention(config, name="attention")
        if attention is not None:
            fused = fused + attention(fused, train=train)

        pair = fused if config.difference == "taps" else _with_difference(fused)
        if config.dsc:
            pair = DepthwiseSeparableConv(dtype=dtype, name="dsc")(pair, train=train)
        difference, of_reference = jnp.split(pair, 2)
        return difference, of_reference

    def _fused(self, taps: list[Array]) -> Float[Array, "R n m D"]:
        """Taps of both halves of a batch, as one map each."""
        config = self.config

        def fusion(name: str) -> MultiResolutionFusion:
            dtype = jnp.dtype(config.dtype)
            return MultiResolutionFusion(
                config.width,
                fusion=config.fusion,
                level=config.neck_level,
                dtype=dtype,
                name=name,
            )

        if config.projection == "shared":
            return fusion("fusion")(taps)
        halves = [jnp.split(tap, 2) for tap in taps]
        difference = fusion("difference_fusion")([first for first, _ in halves])
        return jnp.concatenate([difference, fusion("fusion")([h for _, h in halves])])

    def _transform(
        self,
        difference: Float[Array, "B n m D"],
        of_reference: Float[Array, "B n m D"],
        *,
        train: bool,
    ) -> tuple[Array, Array, Float[Array, "B D"]]:
        """The encoded and the decoded map, and the vector that the score reads."""
        config = self.config
        if config.transformer == "iqt":
            plain = QualityTokenTransformer(
                heads=config.heads,
                layers=config.layers,
                expansion=config.expansion,
                dropout=config.dropout,
                embedding_grid=config.embedding_grid,
                dtype=jnp.dtype(config.dtype),
                name="transformer",
            )
            return plain(difference, of_reference, train=train)
        encoded, decoded = transformer(config, name="transformer")(
            difference, of_reference, train=train
        )
        return encoded, decoded, average_pool(decoded)


def moment_branch(config: TeacherConfig, *, name: str | None = None) -> MomentBranch:
    """What reads compared channels, for `TeacherConfig.channels`."""
    return MomentBranch(
        config.width,
        config.dropout,
        # Those of random weights are worth nothing: they are learned.
        fixed_statistics=config.backbone_weights is not None,
        dtype=jnp.dtype(config.dtype),
        name=name,
    )


def quality_head(config: TeacherConfig, *, name: str | None = None) -> QualityHead:
    """The score head; it drops units where it is fitted to many channels."""
    return QualityHead(
        config.head_width or config.width,
        config.bins,
        config.dropout if config.channels else 0.0,
        jnp.dtype(config.dtype),
        config.head_bias,
        name=name,
    )


def _with_difference(pair: Float[Array, "R n m C"]) -> Float[Array, "R n m C"]:
    """Reference and distorted halves as the difference and the reference."""
    of_reference, of_distorted = jnp.split(pair, 2)
    return jnp.concatenate([of_reference - of_distorted, of_reference])


def _backbone(
    config: TeacherConfig,
) -> InceptionResNetV2 | InceptionV3 | MobileNetV1 | EfficientNetLite:
    dtype = jnp.dtype(config.dtype)
    if config.backbone == "inception_resnet_v2":
        return InceptionResNetV2(taps=config.taps, dtype=dtype, name="backbone")
    if config.backbone.startswith("inception_v3"):
        timm = config.backbone == "inception_v3_timm"
        return InceptionV3(
            taps=config.taps, dtype=dtype, pool_counts_padding=timm, name="backbone"
        )
    taps = "dense" if config.channels else config.taps
    build = LIGHT[config.backbone]
    return build(frozen=True, taps=taps, dtype=dtype, name="backbone")
