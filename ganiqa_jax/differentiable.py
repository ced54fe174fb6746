"""A model as a loss: differentiable in the pixels, to train generators against.

A metric that is optimised is also exploited: pictures are found that it likes and
people do not. Keep the loss as a small part beside others, and judge by another one.
"""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import cast

import jax.image
import jax.numpy as jnp
from jaxtyping import Array, Float

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.image.boxes import test_boxes
from ganiqa_jax.release import LoadedModel, load_model
from ganiqa_jax.scoring.cropping import detail_sides, seen_sides, window_places
from ganiqa_jax.types import NetworkOutput

Loss = Callable[..., Float[Array, " B"]]


def as_loss(model: str | Path | LoadedModel = "student-s") -> Loss:
    """One minus the score of a model, as a function that JAX differentiates.

    Pictures are resized or cut as for scoring, without rounding to 8 bits, so that
    it agrees with `Scorer` to about a hundredth. The score is not clipped to [0, 1]:
    a clipped one has no gradient.

    Args:
      model: run directory, released folder or released name, or what `load` gave.

    Returns:
      For a student a function of pictures [B, H, W, 3], floating in [0, 1]; for a
      teacher one of references and distorted pictures. It gives [B] float32; lower is
      better. It may be jitted, and is compiled anew for each size of picture.

    Raises:
      InputError: if there is no such model.
      IntegrityError: if it is damaged.
    """
    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    network, variables, card = loaded

    def loss(*pictures: Float[Array, "B H W 3"]) -> Float[Array, " B"]:
        seen = [differentiable_views(each, card.preprocessing) for each in pictures]
        output = cast(NetworkOutput, network.apply(variables, *itertools.chain(*seen)))
        z = output.z.reshape(-1, len(pictures[0])).mean(axis=0)
        return 1.0 - (z * card.scale.std + card.scale.mean)

    return loss


def differentiable_views(
    pictures: Float[Array, "B H W 3"], preprocessing: Preprocessing
) -> tuple[Float[Array, "N S S 3"], ...]:
    """What `scoring.cropping.views` makes of a picture, of a batch and in floats."""
    crops = differentiable_crops(pictures, preprocessing)
    if not preprocessing.detail_side:
        return (crops,)
    _, height, width, _ = pictures.shape
    side = preprocessing.crop
    filled = _reflected(
        _resized(pictures, detail_sides(height, width, preprocessing)), side
    )
    rows, columns = (window_places(length, side) for length in filled.shape[1:3])
    detail = filled[:, rows[:, None], columns]
    if preprocessing.mirror:
        detail = jnp.concatenate([detail, detail[:, :, ::-1]])
    return crops, detail


def differentiable_crops(
    pictures: Float[Array, "B H W 3"], preprocessing: Preprocessing
) -> Float[Array, "N S S 3"]:
    """The crops of `scoring.cropping.prepare` of a batch, in floating point.

    Returns:
      So many for each picture: all pictures at the first position, then all at the
      second, and so on.
    """
    _, height, width, _ = pictures.shape
    side = preprocessing.crop
    seen = _resized(pictures, seen_sides(height, width, preprocessing))
    pictures = _reflected(seen, side)
    _, height, width, _ = pictures.shape
    boxes = test_boxes(height, width, side, preprocessing.points)
    crops = [pictures[:, y : y + side, x : x + side] for y, x in boxes]
    if preprocessing.mirror:
        crops += [crop[:, :, ::-1] for crop in crops]
    return jnp.concatenate(crops)


def _resized(
    pictures: Float[Array, "B H W 3"], sides: tuple[int, int]
) -> Float[Array, "B h w 3"]:
    batch, height, width, _ = pictures.shape
    if sides == (height, width):
        return pictures
    # Along the rows, then along the columns, as Pillow, which clips after each.
    for shape in ((batch, height, sides[1], 3), (batch, *sides, 3)):
        pictures = jax.image.resize(pictures, shape, "cubic", antialias=True)
        pictures = jnp.clip(pictures, 0.0, 1.0)
    return pictures


def _reflected(pictures: Float[Array, "B H W 3"], side: int) -> Float[Array, "B h w 3"]:
    """As `scoring.cropping.reflect_to`."""
    missing = [max(0, side - length) for length in pictures.shape[1:3]]
    if not any(missing):
        return pictures
    widths = [(lack // 2, lack - lack // 2) for lack in missing]
    return jnp.pad(pictures, [(0, 0), *widths, (0, 0)], mode="reflect")
