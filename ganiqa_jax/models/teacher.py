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
from ganiqa_jax.models.backbones.inception_resnet_v2 import InceptionResNetV2
from ganiqa_jax.models.backbones.inception_v3 import InceptionV3
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1
from ganiqa_jax.models.conformer import DepthwiseSeparableConv, transformer
from ganiqa_jax.models.features import MultiResolutionFusion
from ganiqa_jax.models.quality import QualityHead, SemanticBranch, average_pool
from ganiqa_jax.types import NetworkOutput


class Teacher(nn.Module):
    """Scores a distorted picture by how its features differ from the reference's.

    Both pictures of a pair go through every layer up to the difference as rows of one
    batch of 2 B, so that they share batch statistics; so do the difference and the
    reference map in the depthwise separable convolution. Identical pictures have a
    difference of exactly 0 when `train` is False.

    The backbone lives in the collection `frozen`. In training no gradient enters it;
    at inference that is left to the backbone.

    `TeacherConfig.iqa_conformer()` is the predecessor, but for the bias of its
    projection, which here cancels in the difference.

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
        difference, of_reference = self._maps(taps, train=train)
        encoded, decoded = transformer(config, name="transformer")(
            difference, of_reference, train=train
        )

        features = {
            "difference": difference,
            "reference": of_reference,
            "encoded": encoded,
            "decoded": decoded,
            "pooled": average_pool(decoded),
        }
        if config.semantic:
            branch = SemanticBranch(
                config.width, config.dropout, dtype, name="semantic"
            )
            features["semantic"] = branch(*jnp.split(taps[-1], 2), train=train)
        seen = [features[name] for name in ("pooled", "semantic") if name in features]
        head = QualityHead(config.width, config.bins, dtype=dtype, name="head")
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
        fused = MultiResolutionFusion(
            config.width, fusion=config.fusion, dtype=dtype, name="fusion"
        )(taps)
        attention = map_attention(config, name="attention")
        if attention is not None:
            fused = fused + attention(fused, train=train)

        of_reference, of_distorted = jnp.split(fused, 2)
        pair = jnp.concatenate([of_reference - of_distorted, of_reference])
        if config.dsc:
            pair = DepthwiseSeparableConv(dtype=dtype, name="dsc")(pair, train=train)
        difference, of_reference = jnp.split(pair, 2)
        return difference, of_reference


def _backbone(
    config: TeacherConfig,
) -> InceptionResNetV2 | InceptionV3 | MobileNetV1:
    dtype = jnp.dtype(config.dtype)
    if config.backbone == "inception_resnet_v2":
        return InceptionResNetV2(taps=config.taps, dtype=dtype, name="backbone")
    if config.backbone == "inception_v3":
        return InceptionV3(taps=config.taps, dtype=dtype, name="backbone")
    return MobileNetV1(frozen=True, taps=config.taps, dtype=dtype, name="backbone")
