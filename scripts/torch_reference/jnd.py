"""Just-noticeable difference and the minimum-JND picture, [B, 3, H, W] in [0, 1].

Sources: Chou and Li 1995; Yang et al., Signal Processing: Image Communication 2005;
Wu et al., IEEE TIP 2017. Edges of the latter are steep gradients, not a Canny map; the
bins of orientation begin an eighth of a bin below 0 degrees, so that no bin ends where
pictures have most edges.
"""

# pyright: reportMissingImports=false

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ganiqa_jax.network_config import JndConfig

Rows = Sequence[Sequence[float]]

AROUND: Rows = (
    (1, 1, 1, 1, 1),
    (1, 2, 2, 2, 1),
    (1, 2, 0, 2, 1),
    (1, 2, 2, 2, 1),
    (1, 1, 1, 1, 1),
)
G1: Rows = (
    (0, 0, 0, 0, 0),
    (1, 3, 8, 3, 1),
    (0, 0, 0, 0, 0),
    (-1, -3, -8, -3, -1),
    (0, 0, 0, 0, 0),
)
G2: Rows = (
    (0, 0, 1, 0, 0),
    (0, 8, 3, 0, 0),
    (1, 3, 0, -3, -1),
    (0, 0, -3, -8, 0),
    (0, 0, -1, 0, 0),
)
G3: Rows = (
    (0, 0, 1, 0, 0),
    (0, 0, 3, 8, 0),
    (-1, -3, 0, 3, 1),
    (0, -8, -3, 0, 0),
    (0, 0, -1, 0, 0),
)
G4: Rows = tuple(zip(*G1, strict=True))
PREWITT: Rows = ((-1, 0, 1), (-1, 0, 1), (-1, 0, 1))
BINS = 15


def mjnd(pictures: Tensor, config: JndConfig) -> Tensor:
    """Every channel shrinks towards its surroundings by `strength` times the JND."""
    if config.strength == 0:
        return pictures
    red, green, blue = pictures.split(1, dim=1)
    luma = 255 * (0.299 * red + 0.587 * green + 0.114 * blue)
    threshold = config.strength * jnd_map(luma, config.form) / 255
    surroundings = _filter(pictures, AROUND, 32)
    residue = pictures - surroundings
    kept = torch.sign(residue) * F.relu(residue.abs() - threshold)
    return surroundings + kept


def jnd_map(luma: Tensor, form: str) -> Tensor:
    """[B, 1, H, W] of grey levels, for luma in 0..255."""
    background = _filter(luma, AROUND, 32)
    if form == "yang":
        light = luminance_adaptation(background)
        masking = texture_masking(luma, background)
    else:
        lifted = 32 + background * (127 - 32) / 127
        lifted = torch.where(background <= 127, lifted, background)
        light = 0.7 * luminance_adaptation(lifted)
        masking = pattern_masking(luma)
    return light + masking - 0.3 * torch.minimum(light, masking)


def luminance_adaptation(background: Tensor) -> Tensor:
    """20 on black, 3 at 127, 6 on white."""
    dark = 17 * (1 - torch.sqrt(background.clamp(min=0) / 127)) + 3
    bright = 3 / 128 * (background - 127) + 3
    return torch.where(background <= 127, dark, bright)


def texture_masking(luma: Tensor, background: Tensor) -> Tensor:
    steep = steepest(luma)
    masking = steep * (0.0001 * background + 0.115) + (0.5 - 0.01 * background)
    return masking.clamp(min=0)


def steepest(luma: Tensor) -> Tensor:
    """The largest of four directional gradients, without its sign."""
    found = [_filter(luma, rows, 16).abs() for rows in (G1, G2, G3, G4)]
    return torch.cat(found, dim=1).amax(dim=1, keepdim=True)


def pattern_masking(luma: Tensor) -> Tensor:
    """The larger of contrast masking and pattern masking away from edges."""
    windows = F.unfold(F.pad(luma, (2, 2, 2, 2), mode="reflect"), 5)
    deviation = windows.std(dim=1, unbiased=False).view_as(luma)
    contrast = 1.84 * deviation**2.4 / (deviation**2 + 26**2)
    complexity = pattern_complexity(luma)
    pattern = 0.3 * complexity**2.7 / (complexity**2 + 1)
    edges = (steepest(luma) > 60).to(luma.dtype)
    near = F.max_pool2d(edges, 7, stride=1, padding=3)
    protection = 1 - _filter(near, _gaussian(5, 0.8))
    return torch.maximum(contrast, deviation * pattern * protection)


@torch.no_grad()
def pattern_complexity(luma: Tensor) -> Tensor:
    """Distinct orientations of 3x3 pixels, smoothed; 1 in plain places and at borders.

    Plain pixels, whose gradient is below 5, are an orientation of their own.
    """
    across = _filter(luma, PREWITT, 3)
    down = _filter(luma, tuple(zip(*PREWITT, strict=True)), 3)
    plain = across**2 + down**2 < 5**2
    turn = BINS * torch.atan2(down, across) / math.pi + 0.125
    orientation = turn.floor().long() % BINS
    orientation = orientation.masked_fill(plain, BINS)
    present = F.one_hot(orientation[:, 0], BINS + 1).movedim(-1, 1).to(luma.dtype)
    count = F.max_pool2d(present, 3, stride=1, padding=1).sum(dim=1, keepdim=True)
    inner = torch.zeros_like(plain)
    inner[:, :, 1:-1, 1:-1] = True
    count = torch.where(plain | ~inner, torch.ones_like(count), count)
    return _filter(count, _gaussian(3, 1.0))


def _gaussian(side: int, sigma: float) -> Rows:
    line = [math.exp(-((i - side // 2) ** 2) / (2 * sigma**2)) for i in range(side)]
    total = sum(line)
    return [[a * b / total**2 for b in line] for a in line]


def _filter(x: Tensor, rows: Rows, divisor: float = 1) -> Tensor:
    """Correlates every channel with a square kernel; borders are reflected."""
    side, channels = len(rows), x.shape[1]
    kernel = torch.tensor(rows, dtype=x.dtype) / divisor
    kernel = kernel.expand(channels, 1, side, side)
    padded = F.pad(x, (side // 2,) * 4, mode="reflect")
    return F.conv2d(padded, kernel, groups=channels)
