"""Where a picture is cut for scoring: box arithmetic in plain Python.

A box is (top, left) in pixels.
"""

from ganiqa_jax.errors import InputError

_POSITIONS = {
    1: ((0.5, 0.5),),
    5: ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5)),
    9: tuple((down / 2, across / 2) for down in range(3) for across in range(3)),
}
"""Shares of the free height and width that lie above and left of each crop."""


def test_boxes(
    height: int, width: int, crop: int, points: int
) -> list[tuple[int, int]]:
    """Where a picture is cropped for scoring; depends on the sizes alone.

    Args:
      height: of the picture, pixels.
      width: of the picture, pixels.
      crop: side of a crop, pixels.
      points: 1 the centre, 5 the corners and the centre, 9 a grid of 3x3.

    Returns:
      (top, left) of `points` boxes. In a picture that is no larger than the crop
      some of them are the same, so that every picture has as many.

    Raises:
      InputError: if the picture is smaller than the crop, or `points` is another
        number.
    """
    if points not in _POSITIONS:
        raise InputError(f"There are no {points} crop positions; use 1, 5 or 9.")
    check_fits(height, width, crop)
    return [
        (int(down * (height - crop)), int(across * (width - crop)))
        for down, across in _POSITIONS[points]
    ]


def check_fits(height: int, width: int, crop: int) -> None:
    """Refuses a crop larger than the picture.

    Raises:
      InputError: names both sizes.
    """
    if not 0 < crop <= min(height, width):
        raise InputError(
            f"A picture of {width}x{height} pixels cannot be cropped to {crop}x{crop}; "
            "use a smaller crop, or mirror the picture outwards first."
        )
