"""One step of distillation with autograd, deterministic: no augmentation, no noise."""

# pyright: reportMissingImports=false

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganiqa_jax.config import DistillWeights, OptimConfig
from torch_reference import losses
from torch_reference.quality import DISTILLED_MAPS, Output

MATCHED_STATISTICS = ("difference", "encoded")


class Batch(NamedTuple):
    """Rows of a step; the first P have a reference. Fields as in `ganiqa_jax.types`."""

    distorted: Tensor
    reference: Tensor
    mos: Tensor
    mask: Tensor
    labelled: Tensor
    confidence: Tensor
    source: Tensor
    content: Tensor


def distillation_terms(
    student: Output,
    adapted: dict[str, Tensor],
    teacher: Output | None,
    batch: Batch,
    weights: DistillWeights,
    ramp: float = 1.0,
) -> dict[str, Tensor]:
    """Every term of the student's loss by name, before its weight.

    Args:
      student: of all rows.
      adapted: its maps of the first P rows, through the adapters.
      teacher: of the first P rows; None without a teacher.
      ramp: what unlabelled rows count at this step, at most 1.
    """
    unlabelled = weights.unlabelled * ramp * batch.confidence
    rows = torch.where(batch.labelled, torch.ones_like(unlabelled), unlabelled)
    rows = rows * batch.mask
    of_rows = (student.z, batch.mos, rows, batch.source)
    hard = losses.smooth_l1(student.z, batch.mos)
    parts = {
        "hard": losses.masked_mean(hard, rows * batch.labelled),
        "rank": losses.rank_loss(*of_rows, batch.content),
        "plcc": losses.plcc_loss(*of_rows),
    }
    if teacher is None:
        return parts
    pairs = len(teacher.z)
    rows, mask = rows[:pairs], batch.mask[:pairs]

    def mean(values: Tensor) -> Tensor:
        return (values * rows)[mask].sum() / max(int(mask.sum()), 1)

    parts["score"] = mean(losses.smooth_l1(student.z[:pairs], teacher.z.detach()))
    if student.logits is not None and teacher.logits is not None:
        soft = losses.soft_label_loss(
            student.logits[:pairs], teacher.logits, weights.temperature
        )
        parts["soft"] = mean(soft)
    parts["feature"] = torch.stack(
        [
            scale * mean(losses.feature_loss(adapted[name], teacher.features[name]))
            for name, scale in zip(DISTILLED_MAPS, weights.feature_maps, strict=True)
        ]
    ).sum()
    parts["statistics"] = torch.stack(
        [
            losses.statistics_loss(adapted[name], teacher.features[name], rows)
            for name in MATCHED_STATISTICS
        ]
    ).sum()
    return parts


def total_of(parts: dict[str, Tensor], weights: DistillWeights) -> Tensor:
    """The loss: every term by its weight."""
    return torch.stack([getattr(weights, n) * parts[n] for n in parts]).sum()


def distill_step(
    student: nn.Module,
    adapters: nn.Module,
    teacher: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    weights: DistillWeights,
    config: OptimConfig,
    step: int,
    steps: int,
) -> dict[str, Tensor]:
    """Moves student and adapters once; gives the terms and the loss before that.

    Gradients stay in the parameters, clipped.

    Args:
      step: its number, from 0.
      steps: length of the run.
    """
    pairs = len(batch.reference)
    with torch.no_grad():
        aim = teacher.eval()(batch.reference, batch.distorted[:pairs])
    output = student.train()(batch.distorted)
    adapted = adapters({name: output.features[name][:pairs] for name in DISTILLED_MAPS})
    ramp = min(1.0, (step + 1) / max(1.0, weights.ramp * steps))
    parts = distillation_terms(output, adapted, aim, batch, weights, ramp)
    loss = total_of(parts, weights)

    optimizer.zero_grad()
    loss.backward()
    _clip(_trained((student, adapters)), config.clip_norm)
    rate = learning_rate(config, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_scale"]
    optimizer.step()
    return {"loss": loss.detach(), **{n: v.detach() for n, v in parts.items()}}


def adamw(
    student: nn.Module, adapters: nn.Module, config: OptimConfig
) -> torch.optim.Optimizer:
    """AdamW that decays kernels alone, with a scaled rate for the trunk."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for module in (student, adapters):
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            kernel = name.endswith("weight") and parameter.ndim >= 2
            decay = config.weight_decay if kernel else 0.0
            scale = config.trunk_lr_scale if name.startswith("trunk.") else 1.0
            groups.setdefault((decay, scale), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "rate_scale": scale}
            for (decay, scale), parameters in groups.items()
        ],
        lr=config.peak_lr,
        betas=(0.9, 0.999),
        eps=1e-8,
    )


def learning_rate(config: OptimConfig, step: int, steps: int) -> float:
    """Linear rise over the first steps, then one cosine."""
    warmup = min(round(config.warmup * steps), steps - 1)
    if step < warmup:
        first = config.peak_lr / (warmup + 1)
        return first + (config.peak_lr - first) * step / warmup
    done = min((step - warmup) / (steps - warmup), 1.0)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return config.end_lr + (config.peak_lr - config.end_lr) * cosine


def _trained(modules: Iterable[nn.Module]) -> list[Tensor]:
    return [p for m in modules for p in m.parameters() if p.grad is not None]


def _clip(parameters: list[Tensor], largest: float) -> None:
    """Scales gradients down together to a norm of at most `largest`."""
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = torch.sqrt(torch.stack([grad.square().sum() for grad in grads]).sum())
    if norm > largest:
        for grad in grads:
            grad.mul_(largest / norm)
