"""Noise that makes the student's task harder and leaves the quality as it is.

After the noisy student of Xie et al., CVPR 2020, arXiv:1911.04252, with CutOut of
DeVries and Taylor, arXiv:1708.04552. Blur, compression, rescaling and colour changes
are left out on purpose: they would change the label.

Every function is pure, depends on its key and arguments alone, and returns its
argument unchanged where its probability or deviation is 0.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ganiqa_jax.config import NoiseConfig

GREY = 0.5
"""What holes are filled with: the value that both networks normalise to 0."""


def noise_pictures(
    key: Key[Array, ""], distorted: Float[Array, "B H W 3"], config: NoiseConfig
) -> Float[Array, "B H W 3"]:
    """Gaussian pixel noise on some rows, grey holes in some.

    Args:
      distorted: in [0, 1].
      config: its `pixel_*` and `cutout_*` fields.

    Returns:
      Pictures in [0, 1].
    """
    pixel_key, hole_key = jax.random.split(key)
    noised = _add_pixel_noise(pixel_key, distorted, config)
    return _cut_holes(hole_key, noised, config)


def noise_features(
    key: Key[Array, ""], h: Float[Array, "B n n D"], config: NoiseConfig
) -> Float[Array, "B n n D"]:
    """Gaussian noise on the feature maps of some rows.

    Its deviation is `feature_std` times that of the row's own features, through
    which no gradient flows.
    """
    if config.feature_prob == 0 or config.feature_std == 0:
        return h
    row_key, value_key = jax.random.split(key)
    chosen = _rows(row_key, h.shape[0], config.feature_prob)
    spread = jax.lax.stop_gradient(h).std(axis=(1, 2, 3), keepdims=True)
    noise = jax.random.normal(value_key, h.shape, h.dtype)
    return h + jnp.where(chosen, config.feature_std * spread * noise, 0)


def drop_tokens(
    key: Key[Array, ""], tokens: Float[Array, "B n n D"], rate: float
) -> Float[Array, "B n n D"]:
    """Sets whole tokens to zero, each with probability `rate`.

    Those that stay are not scaled up, as dropout would: a token tells how strongly its
    place is distorted, and that must not change.
    """
    if rate == 0:
        return tokens
    kept = jax.random.bernoulli(key, 1 - rate, (*tokens.shape[:3], 1))
    return jnp.where(kept, tokens, 0)


def jitter_labels(
    key: Key[Array, ""], z: Float[Array, " B"], std: float
) -> Float[Array, " B"]:
    """Adds Gaussian noise of deviation `std` to pseudo-labels."""
    if std == 0:
        return z
    return z + std * jax.random.normal(key, z.shape, z.dtype)


def _add_pixel_noise(
    key: Key[Array, ""], pictures: Float[Array, "B H W 3"], config: NoiseConfig
) -> Float[Array, "B H W 3"]:
    if config.pixel_prob == 0 or config.pixel_std == 0:
        return pictures
    row_key, value_key = jax.random.split(key)
    chosen = _rows(row_key, pictures.shape[0], config.pixel_prob)
    noise = jax.random.normal(value_key, pictures.shape, pictures.dtype)
    noised = jnp.clip(pictures + config.pixel_std * noise, 0, 1)
    return jnp.where(chosen, noised, pictures)


def _cut_holes(
    key: Key[Array, ""], pictures: Float[Array, "B H W 3"], config: NoiseConfig
) -> Float[Array, "B H W 3"]:
    """One to `cutout_holes` whole squares a chosen row; they may overlap."""
    batch, height, width = pictures.shape[:3]
    side = round(config.cutout_side * min(height, width))
    if config.cutout_prob == 0 or config.cutout_holes == 0 or side == 0:
        return pictures
    row_key, count_key, top_key, left_key = jax.random.split(key, 4)
    chosen = _rows(row_key, batch, config.cutout_prob)
    shape = (batch, config.cutout_holes)
    counts = jax.random.randint(count_key, (batch, 1), 1, config.cutout_holes + 1)
    tops = jax.random.randint(top_key, shape, 0, height - side + 1)
    lefts = jax.random.randint(left_key, shape, 0, width - side + 1)
    used = jnp.arange(config.cutout_holes)[None, :] < counts
    rows = _inside(tops, side, height) & used[..., None]
    holes = (rows[..., None] & _inside(lefts, side, width)[:, :, None, :]).any(axis=1)
    return jnp.where(chosen & holes[..., None], GREY, pictures)


def _inside(starts: Array, side: int, length: int) -> Bool[Array, "B N L"]:
    place = jnp.arange(length)[None, None, :]
    return (place >= starts[..., None]) & (place < starts[..., None] + side)


def _rows(
    key: Key[Array, ""], batch: int, probability: float
) -> Bool[Array, "B 1 1 1"]:
    return jax.random.bernoulli(key, probability, (batch, 1, 1, 1))
