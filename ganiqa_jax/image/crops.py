"""Crops of pictures, and flips and turns that a pair shares.

Box arithmetic is plain Python on the host; the rest are pure functions of arrays. A
box is (top, left) in pixels. What moves a reference moves its distorted picture in
the same way, for the teacher compares them place by place.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ganiqa_jax.errors import InputError
from ganiqa_jax.image.boxes import check_fits


def crops_at(
    picture: Float[Array, "H W 3"], boxes: Sequence[tuple[int, int]], crop: int
) -> Float[Array, "N S S 3"]:
    """Cuts square crops of side `crop` at (top, left) boxes.

    Raises:
      InputError: if there is no box, or one is not wholly inside the picture.
    """
    height, width = picture.shape[:2]
    if not boxes:
        raise InputError("There is no box to crop at.")
    for top, left in boxes:
        if not (0 <= top <= height - crop and 0 <= left <= width - crop):
            raise InputError(
                f"The box of side {crop} at top {top}, left {left} is not inside "
                f"a picture of {width}x{height} pixels."
            )
    return jnp.stack([picture[y : y + crop, x : x + crop] for y, x in boxes])


def joint_crop(
    key: Key[Array, ""],
    reference: Float[Array, "H W 3"],
    distorted: Float[Array, "H W 3"],
    crop: int,
) -> tuple[Float[Array, "S S 3"], Float[Array, "S S 3"]]:
    """Cuts one random box out of both pictures of a pair.

    Raises:
      InputError: if the pictures are smaller than the crop.
    """
    height, width = reference.shape[:2]
    check_fits(height, width, crop)
    down, across = jax.random.split(key)
    top = jax.random.randint(down, (), 0, height - crop + 1)
    left = jax.random.randint(across, (), 0, width - crop + 1)

    def cut(picture: Float[Array, "H W 3"]) -> Float[Array, "S S 3"]:
        return jax.lax.dynamic_slice(picture, (top, left, 0), (crop, crop, 3))

    return cut(reference), cut(distorted)


def joint_augment(
    keys: Key[Array, " B"],
    reference: Float[Array, "P H W 3"],
    distorted: Float[Array, "B H W 3"],
    *,
    quarter_turns: bool,
) -> tuple[Float[Array, "P H W 3"], Float[Array, "B H W 3"]]:
    """Mirrors and turns the rows of a batch at random, pairs alike.

    Row i of both arrays meets the same change, and it depends on key i alone: not on
    the batch that the row is in.

    Args:
      keys: one for each row of `distorted`.
      reference: pictures of the first P rows; P may be 0.
      distorted: pictures of all rows.
      quarter_turns: all eight symmetries of the square, equally likely; without
        them, left-right mirroring of every second picture.

    Raises:
      InputError: if crops that are not square are to be turned.
    """
    height, width = distorted.shape[1:3]
    if quarter_turns and height != width:
        raise InputError(f"Crops of {width}x{height} are not square: cannot turn them.")
    choices = jax.vmap(lambda key: jax.random.bernoulli(key, shape=(3,)))(keys)
    pairs = reference.shape[0]
    return (
        _moved(reference, choices[:pairs], quarter_turns),
        _moved(distorted, choices, quarter_turns),
    )


def _moved(
    pictures: Float[Array, "B H W 3"], choices: Bool[Array, "B 3"], turns: bool
) -> Float[Array, "B H W 3"]:
    """Left-right; then up-down and across the diagonal, which make up the turns."""
    mirror, upend, transpose = choices.T[..., None, None, None]
    moved = jnp.where(mirror, pictures[:, :, ::-1], pictures)
    if turns:
        moved = jnp.where(upend, moved[:, ::-1], moved)
        moved = jnp.where(transpose, moved.swapaxes(1, 2), moved)
    return moved
