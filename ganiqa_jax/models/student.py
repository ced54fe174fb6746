"""The light no-reference network: one picture to a score.

Source: the student of Yan and Si, GAN Image Quality Assessment Method Based on
Knowledge Distillation, 2024, DOI 10.19370/10-1886/ts.2024.01.006, as far as it is
published. Ours: the two branches that stand for the reference it does not see, after
the learned reference space of CKDN (Zheng et al., ICCV 2021).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganiqa_jax.config import NoiseConfig, StudentConfig
from ganiqa_jax.image.jnd import mjnd
from ganiqa_jax.image.noise import drop_tokens, noise_features, noise_pictures
from ganiqa_jax.models.attention import map_attention
from ganiqa_jax.models.backbones.efficientnet_lite import EfficientNetLite
from ganiqa_jax.models.backbones.efficientvit import EfficientViT
from ganiqa_jax.models.backbones.light import LIGHT
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1
from ganiqa_jax.models.conformer import DepthwiseSeparableConv, transformer
from ganiqa_jax.models.features import MultiResolutionFusion, coarsest
from ganiqa_jax.models.quality import (
    MomentBranch,
    QualityHead,
    average_pool,
    local_moments_of,
    moments_of,
    moments_of_parts,
)
from ganiqa_jax.types import NetworkOutput

SINGLE_LEVEL = 1
"""Of the three coarsest resolutions the one that is taken alone: 1/16."""

DETAIL_MAPS = 3
"""How many of the trunk's maps, the finest, are read of the detail: what the coarser
ones see, a window of a few dozen pixels does not hold."""

LOCAL_SHARE = 0.25
"""Of a picture's side: what a cell of the quality map looks at around itself."""


class Student(nn.Module):
    """Scores a picture by the difference that it guesses from a hidden reference.

    Two branches on the fused features stand for what the teacher computes from a
    pair: `difference` for its feature difference, `reference` for its reference map.

    Attributes:
      config: every setting.
    """

    config: StudentConfig

    @nn.compact
    def __call__(
        self,
        distorted: Float[Array, "B H W 3"],
        detail: Float[Array, "B h w 3"] | None = None,
        *,
        train: bool = False,
        noise: NoiseConfig | None = None,
        local: bool = False,
        parts: bool = False,
    ) -> NetworkOutput:
        """z of each picture, higher is better.

        Args:
          distorted: in [0, 1].
          detail: windows of the same pictures at full size, side by side as one
            picture, in [0, 1]; for `StudentConfig.detail`. None: the pictures
            themselves, which hold all detail if they were never made smaller.
          train: dropout (rng `dropout`), batch statistics of the batch, and noise.
          noise: what disturbs the network in training (rng `noise`); None nothing.
          local: also give the feature `quality` [B, n, m]: z of what is around each
            cell of the picture, shifted so that its mean is z.
          parts: also give the feature `parts` [B, 5, M]: the moments of the whole
            picture, and of its four corners of three quarters of each side; those of
            the detail follow on each.

        Raises:
          InputError: if the pictures are too small for the trunk.
        """
        config = self.config
        noise = noise if train else None
        pictures = mjnd(distorted, config.jnd)
        if noise is not None:
            pictures = noise_pictures(self.make_rng("noise"), pictures, noise)
        trunk = _trunk(config)
        taps = trunk(pictures, train=train)
        fine = taps[:DETAIL_MAPS]
        if config.detail and detail is not None:
            assert not isinstance(trunk, EfficientViT)  # the configuration sees to it
            closer = mjnd(detail, config.jnd)
            fine = trunk(closer, train=train, first=DETAIL_MAPS)
        if config.taps == "single":
            taps = [coarsest(taps)[SINGLE_LEVEL]]
        h = self._neck(coarsest(taps), train=train)
        if noise is not None:
            h = noise_features(self.make_rng("noise"), h, noise)

        difference = self._branch(h, "difference", train=train)
        of_reference = self._branch(h, "reference", train=train)
        # The map that is compared with the teacher's keeps every token.
        kept = difference
        if noise is not None:
            kept = drop_tokens(self.make_rng("noise"), kept, noise.token_dropout)
        encoded, decoded = transformer(config, name="transformer")(
            kept, of_reference, train=train
        )

        features = {
            "difference": difference,
            "reference": of_reference,
            "encoded": encoded,
            "decoded": decoded,
            "pooled": average_pool(decoded),
        }
        branch = None
        seen = features["pooled"][:, None]
        if config.semantic:
            both = config.parts or parts
            moments = moments_of_parts(taps) if both else moments_of(taps)[:, None]
            if config.detail:
                moments = _beside(moments, moments_of(fine)[:, None])
            features["moments"] = moments[:, 0]
            if parts:
                features["parts"] = moments
            branch = moment_branch(config, name="semantic")
            if not config.parts:
                moments = moments[:, :1]
            vectors = branch(_rows(moments), train=train)
            vectors = vectors.reshape(-1, moments.shape[1], vectors.shape[-1])
            features["semantic"] = vectors[:, 0]
            pooled = jnp.broadcast_to(seen, vectors.shape)
            seen = jnp.concatenate([pooled, vectors], axis=-1)
        head = quality_head(config, name="head")
        z, logits = head(_rows(seen), train=train)
        if config.parts:
            z = z.reshape(-1, seen.shape[1]).mean(axis=1)
            if logits is not None:
                logits = logits.reshape(-1, seen.shape[1], config.bins).mean(axis=1)
        if local:
            around = decoded.astype(jnp.float32)
            if branch is not None:
                _, n, m, _ = decoded.shape
                moments = local_moments_of(taps, (n, m), LOCAL_SHARE)
                if config.detail:
                    moments = _beside(moments, moments_of(fine)[:, None, None])
                of_cells = branch(_rows(moments), train=train)
                of_cells = of_cells.reshape(-1, n, m, of_cells.shape[-1])
                around = jnp.concatenate([around, of_cells], axis=-1)
            quality = head(_rows(around), train=train)[0].reshape(around.shape[:3])
            mean = quality.mean(axis=(1, 2), keepdims=True)
            features["quality"] = quality - mean + z[:, None, None]
        return NetworkOutput(z, logits, features)

    def _neck(self, taps: list[Array], *, train: bool) -> Float[Array, "B n m D"]:
        """Taps fused on one grid; with a convolutional trunk, attended over as well."""
        config = self.config
        h = MultiResolutionFusion(
            config.width,
            level=config.neck_level,
            dtype=jnp.dtype(config.dtype),
            name="neck",
        )(taps)
        if config.trunk.startswith("efficientvit"):  # attends inside its own blocks
            return h
        attention = map_attention(config, name="attention")
        return h if attention is None else h + attention(h, train=train)

    def _branch(
        self, h: Float[Array, "B n m D"], name: str, *, train: bool
    ) -> Float[Array, "B n m D"]:
        dtype = jnp.dtype(self.config.dtype)
        for i in range(2):
            unit = DepthwiseSeparableConv(dtype=dtype, name=f"{name}_dsc_{i}")
            h = unit(h, train=train)
        return h


def moment_branch(config: StudentConfig, *, name: str | None = None) -> MomentBranch:
    """What reads the moments of the trunk's channels."""
    return MomentBranch(
        config.width,
        config.dropout,
        config.moment_noise,
        fixed_statistics=config.trunk_weights is not None,
        dtype=jnp.dtype(config.dtype),
        name=name,
    )


def quality_head(config: StudentConfig, *, name: str | None = None) -> QualityHead:
    """What gives the score."""
    dtype = jnp.dtype(config.dtype)
    return QualityHead(config.width, config.bins, config.dropout, dtype, name=name)


def _rows(x: Array) -> Float[Array, "N C"]:
    """One row for each vector along the last axis."""
    return x.reshape(-1, x.shape[-1])


def _beside(moments: Array, of_detail: Array) -> Array:
    """Both along the last axis; the second is the same for each of the first."""
    shape = (*moments.shape[:-1], of_detail.shape[-1])
    return jnp.concatenate([moments, jnp.broadcast_to(of_detail, shape)], axis=-1)


def _trunk(config: StudentConfig) -> MobileNetV1 | EfficientNetLite | EfficientViT:
    dtype = jnp.dtype(config.dtype)
    if config.trunk in LIGHT:
        return LIGHT[config.trunk](
            frozen_blocks=config.frozen_blocks,
            # A regressor does better on the moments of six maps than of three.
            taps="dense" if config.semantic else "multi",
            # Statistics of random weights are worth nothing: those are learned.
            fixed_statistics=config.trunk_weights is not None,
            dtype=dtype,
            name="trunk",
        )
    if config.trunk == "efficientvit_m0":
        return EfficientViT.published_m0(
            stochastic_depth=config.stochastic_depth, dtype=dtype, name="trunk"
        )
    return EfficientViT(
        stochastic_depth=config.stochastic_depth,
        attention=config.attention,
        heads=config.heads,
        key_dim=config.attention_key_dim,
        kernels=config.attention_kernels,
        window=config.attention_window,
        grid=config.attention_grid,
        dtype=dtype,
        name="trunk",
    )
