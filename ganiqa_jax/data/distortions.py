"""Kinds of damage to a picture, each in five levels.

Every function takes a uint8 RGB picture, a level from 1 (slight) to 5 (severe) and a
generator, and returns a new picture of the same shape. It is a function of these
three alone, and each level is worse than the last.

25 kinds are those of Lin, Hosu, Saupe, "KADID-10k: A Large-scale Artificially
Distorted IQA Database", QoMEX 2019, under the names that its reader gives them. What
each of them does follows the paper; how strongly does not: the strengths, and the
denoiser, are chosen here. They were set by eye and by PSNR so that level 1 is just
visible and level 5 is plainly bad. Where the paper has a change in either direction
(`mean_shift`, `contrast_change`), the generator decides which.

The others imitate what generators and upscalers do, and what haze and water do to
what is seen through them.
"""

from collections.abc import Mapping

import numpy as np

from ganiqa_jax.data import distortions_blurs as blurs
from ganiqa_jax.data import distortions_brightness as brightness
from ganiqa_jax.data import distortions_colour as colour
from ganiqa_jax.data import distortions_compression as compression
from ganiqa_jax.data import distortions_contrast as contrast
from ganiqa_jax.data import distortions_generators as generators
from ganiqa_jax.data import distortions_medium as medium
from ganiqa_jax.data import distortions_noise as noise
from ganiqa_jax.data import distortions_spatial as spatial
from ganiqa_jax.data import kadid10k
from ganiqa_jax.data.distortions_pixels import LEVELS as LEVELS
from ganiqa_jax.data.distortions_pixels import Distortion, Pixels
from ganiqa_jax.errors import InputError

DISTORTIONS: Mapping[str, Distortion] = {
    "gaussian_blur": blurs.gaussian_blur,
    "gaussian_noise": noise.gaussian_noise,
    "jpeg": compression.jpeg,
    "down_up_scale": spatial.down_up_scale,
    "checkerboard": generators.checkerboard,
    "ringing": generators.ringing,
    "texture_smear": generators.texture_smear,
    "colour_banding": colour.colour_banding,
    "local_warp": generators.local_warp,
    "lens_blur": blurs.lens_blur,
    "motion_blur": blurs.motion_blur,
    "color_diffusion": colour.color_diffusion,
    "color_shift": colour.color_shift,
    "color_quantization": colour.color_quantization,
    "saturation_hsv": colour.saturation_hsv,
    "saturation_lab": colour.saturation_lab,
    "jpeg2000": compression.jpeg2000,
    "white_noise": noise.gaussian_noise,
    "color_noise": noise.color_noise,
    "impulse_noise": noise.impulse_noise,
    "multiplicative_noise": noise.multiplicative_noise,
    "denoise": noise.denoise,
    "brighten": brightness.brighten,
    "darken": brightness.darken,
    "mean_shift": brightness.mean_shift,
    "jitter": spatial.jitter,
    "patch_shift": spatial.patch_shift,
    "pixelate": spatial.pixelate,
    "quantization": spatial.quantization,
    "color_block": spatial.color_block,
    "sharpen": contrast.sharpen,
    "contrast_change": contrast.contrast_change,
    "haze": medium.haze,
    "underwater": medium.underwater,
}
"""Every kind there is. `white_noise` is `gaussian_noise` under KADID-10k's name."""

GRADED_KINDS = tuple(DISTORTIONS)[:9]
"""Kinds that the grade of `synthetic`, which looks at luma alone, does justice to.

Their order is part of what a seed decides there.
"""

GENERATOR_KINDS = (
    "down_up_scale",
    "checkerboard",
    "ringing",
    "texture_smear",
    "colour_banding",
    "local_warp",
)
"""What generators and upscalers do to a picture."""

MEDIUM_KINDS = ("haze", "underwater")
"""What air and water do to what is seen through them."""

KADID_KINDS = tuple(kadid10k.KINDS.values())
"""The kinds of KADID-10k in the order of its paper."""


def distort(
    pixels: Pixels, kind: str, level: int, random: np.random.Generator
) -> Pixels:
    """Applies a distortion by name.

    Raises:
      InputError: if there is no such kind or level.
    """
    if kind not in DISTORTIONS:
        raise InputError(f"No distortion {kind!r}; there are {', '.join(DISTORTIONS)}.")
    if level not in LEVELS:
        raise InputError(f"Distortion level {level} must be one of {LEVELS}.")
    return DISTORTIONS[kind](pixels, level, random)
