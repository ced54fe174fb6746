"""How unlike both pictures of a pair are in each channel of a network's maps.

Sources: Zhang et al. 2018, arXiv:1801.03924 (distance of unit vectors); Ding et al.
2020, arXiv:2004.07728 (means and covariances).
"""

# pyright: reportMissingImports=false

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

EQUAL, DARK = 1e-2, 1e-3


def compare(taps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[2 B, C, H, W] maps, references first, to [B, 3 C ...] and the likeness [B]."""
    channels, likeness = [], []
    for tap in taps:
        a, b = tap.chunk(2)
        apart = F.normalize(a, eps=1e-3) - F.normalize(b, eps=1e-3)
        distance = (apart.square().mean((2, 3)) + 1e-8).sqrt()
        mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
        means = (mean_a - mean_b).square() / (mean_a**2 + mean_b**2 + DARK)
        # The variance of the difference is what the covariance lacks, twice.
        variances = [x.var((2, 3), unbiased=False) for x in (a - b, a, b)]
        rest = variances[0] / (variances[1] + variances[2] + DARK)
        unlike = [torch.log(x + EQUAL) for x in (distance, means, rest)]
        channels += unlike
        likeness.append((unlike[1] + unlike[2]).mean(1) / (2 * math.log(EQUAL)))
    return torch.cat(channels, dim=1), torch.stack(likeness).mean(0)
