"""What lies between scene and camera: air with haze in it, and water.

Light of the scene fades with the way that it goes, and light of the medium comes in
for it: a share exp(-a d) of the one and the rest of the other, at distance d, with an
attenuation a of each colour. Source: Narasimhan, Nayar, "Vision and the Atmosphere",
IJCV 2002, for air; Jaffe, "Computer Modeling and the Design of Optimal Underwater
Imaging Systems", IEEE Journal of Oceanic Engineering 1990, for water, without forward
scattering, which is a blur. Both speak of light; here the shares are of grey levels, as
is common for training data, and strengths and colours are chosen by eye. The distance
is a plane, nearest at a side that chance decides: pictures have no depth.
"""

import numpy as np
from jaxtyping import Float

from ganiqa_jax.data.distortions_pixels import Pixels, floats, rounded

HAZE_DEPTH = (0.12, 0.22, 0.38, 0.65, 1.2)
"""Mean distance over the length at which 1 / e is left."""
WATER_DEPTH = (0.16, 0.3, 0.52, 0.9, 1.7)
"""The same for red light, which water takes first."""
NEAR, FAR = 0.6, 1.4
"""Distance at the near and the far side, over the mean."""
AIR_LIGHT = (190.0, 240.0)
"""Grey level of haze, from and to."""
WATER_FADING = ((1.0, 0.4, 0.25), (1.0, 0.3, 0.5))
"""Attenuation over that of red, in blue water of the sea and in green of coasts."""
WATER_LIGHT = ((15.0, 95.0, 140.0), (30.0, 120.0, 95.0))
"""Its light in grey levels."""


def haze(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Mixes with the grey light of the air, more so further away."""
    light = np.full(3, random.uniform(*AIR_LIGHT), np.float32)
    depth = HAZE_DEPTH[level - 1] * _plane(pixels, random)
    return _through(pixels, depth, np.ones(3, np.float32), light)


def underwater(pixels: Pixels, level: int, random: np.random.Generator) -> Pixels:
    """Fades red before the other colours, and adds the light of blue or green water."""
    green = random.uniform()
    between = np.array([1 - green, green], np.float32)
    fading, light = (
        between @ np.array(waters, np.float32) for waters in (WATER_FADING, WATER_LIGHT)
    )
    depth = WATER_DEPTH[level - 1] * _plane(pixels, random)
    return _through(pixels, depth, fading, light)


def _through(
    pixels: Pixels,
    depth: Float[np.ndarray, "H W"],
    fading: Float[np.ndarray, "3"],
    light: Float[np.ndarray, "3"],
) -> Pixels:
    left = np.exp(-depth[..., None] * fading)
    return rounded(left * floats(pixels) + (1 - left) * light)


def _plane(pixels: Pixels, random: np.random.Generator) -> Float[np.ndarray, "H W"]:
    """From `NEAR` on one side of the picture to `FAR` on the other."""
    height, width = pixels.shape[:2]
    angle = random.uniform(0, 2 * np.pi)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.sin(angle)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * np.cos(angle)
    most = abs(np.sin(angle)) + abs(np.cos(angle))
    middle = (NEAR + FAR) / 2
    plane = middle + (FAR - NEAR) / 2 * (down + across) / most
    return plane.astype(np.float32)
