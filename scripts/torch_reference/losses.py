"""The terms of both objectives, in plain PyTorch.

Scores are z values [B]. `weights` are floats of rows, 0 for rows that do not count.
Sources: Hinton et al. 2015, arXiv:1503.02531 (soft labels); Li et al., ACM MM 2020
(norm-in-norm).
"""

# pyright: reportMissingImports=false

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_reference.layers import area_resize

LOWEST, HIGHEST = -3.0, 3.0
"""Range of z that the score bins divide."""


def masked_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over the rows that count; 0 without any."""
    counted = weights > 0
    if not counted.any():
        return values.new_zeros(())
    return (values[counted] * weights[counted]).sum() / weights.sum()


def smooth_l1(pred: Tensor, target: Tensor) -> Tensor:
    """Per row, with beta 0.5."""
    return F.smooth_l1_loss(pred, target, reduction="none", beta=0.5)


def plcc_loss(pred: Tensor, target: Tensor, weights: Tensor, source: Tensor) -> Tensor:
    """(1 - r) / 2, the mean over sources of three rows or more."""
    return _mean_over_sources(_correlation_distance, pred, target, weights, source)


def norm_in_norm_loss(
    pred: Tensor, target: Tensor, weights: Tensor, source: Tensor
) -> Tensor:
    """L1 distance of centred unit vectors over 2 sqrt(n), the mean over sources."""
    return _mean_over_sources(_unit_distance, pred, target, weights, source)


def rank_loss(
    pred: Tensor,
    target: Tensor,
    weights: Tensor,
    source: Tensor,
    content: Tensor,
    margin: float = 0.0,
    min_gap: float = 0.1,
) -> Tensor:
    """Hinge on the order of every pair of one source; twice within one content."""
    cost, total = pred.new_zeros(()), pred.new_zeros(())
    for i in range(len(pred)):
        for j in range(i):
            gap = target[i] - target[j]
            weight = weights[i] * weights[j]
            if source[i] != source[j] or gap.abs() < min_gap or weight == 0:
                continue
            if content[i] == content[j]:
                weight = 2 * weight
            wrong = margin * gap.abs() - (pred[i] - pred[j]) * gap.sign()
            cost = cost + weight * F.relu(wrong)
            total = total + weight
    return cost / total if total > 0 else cost


def soft_targets(z: Tensor, bins: int) -> Tensor:
    """[B, K]: a Gaussian, one bin wide, about each score."""
    width = (HIGHEST - LOWEST) / bins
    centres = LOWEST + width * (torch.arange(bins) + 0.5)
    return (-((z[:, None] - centres) ** 2) / (2 * width**2)).softmax(dim=1)


def bin_cross_entropy(logits: Tensor, z: Tensor) -> Tensor:
    """Per row, against `soft_targets` of the score."""
    return F.cross_entropy(logits, soft_targets(z, logits.shape[1]), reduction="none")


def soft_label_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)), per row."""
    aim = (teacher.detach() / temperature).softmax(dim=1)
    guess = (student / temperature).log_softmax(dim=1)
    return temperature**2 * F.kl_div(guess, aim, reduction="none").sum(dim=1)


def feature_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of layer-normalised tokens of [B, D, n, n], per row."""
    difference = _normalised(student) - _aim(student, teacher)
    return difference.square().mean(dim=(1, 2, 3))


def statistics_loss(student: Tensor, teacher: Tensor, weights: Tensor) -> Tensor:
    """Squared differences of channel means and deviations over tokens and rows."""
    if not (weights > 0).any():
        return student.new_zeros(())
    share = weights / weights.sum()
    moments = []
    for maps in (_normalised(student), _aim(student, teacher)):
        mean = torch.einsum("b,bdhw->d", share, maps) / maps[0, 0].numel()
        squares = (maps - mean[:, None, None]) ** 2
        var = torch.einsum("b,bdhw->d", share, squares) / maps[0, 0].numel()
        moments.append((mean, torch.sqrt(var + 1e-6)))
    (mean_s, std_s), (mean_t, std_t) = moments
    return ((mean_s - mean_t) ** 2 + (std_s - std_t) ** 2).mean()


def _aim(student: Tensor, teacher: Tensor) -> Tensor:
    return _normalised(area_resize(teacher.detach(), *student.shape[2:]))


def _normalised(maps: Tensor) -> Tensor:
    channels_last = maps.movedim(1, -1)
    normal = F.layer_norm(channels_last, channels_last.shape[-1:], eps=1e-6)
    return normal.movedim(-1, 1)


def _mean_over_sources(
    distance, pred: Tensor, target: Tensor, weights: Tensor, source: Tensor
) -> Tensor:
    found = []
    for number in source.unique():
        rows = (source == number) & (weights > 0)
        if rows.sum() >= 3 and target[rows].std() > 0:
            found.append(distance(pred[rows], target[rows], weights[rows]))
    return torch.stack(found).mean() if found else pred.new_zeros(())


def _correlation_distance(pred: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    r = (weights * _unit(pred, weights) * _unit(target, weights)).sum()
    return (1 - r) / 2


def _unit_distance(pred: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    apart = (_unit(pred, weights) - _unit(target, weights)).abs()
    return (weights * apart).sum() / (2 * math.sqrt(weights.sum()))


def _unit(values: Tensor, weights: Tensor) -> Tensor:
    """Centred, and divided by the weighted L2 norm; 0 where all are equal."""
    centred = values - (weights * values).sum() / weights.sum()
    if (centred.abs() < 1e-7).all():
        return torch.zeros_like(values)
    return centred / torch.sqrt((weights * centred**2).sum())
