"""Tiny models, of which the tests compare all results with those of PyTorch.

Without PyTorch. Weights are made anew from a seed; of a golden file come the pictures
and the statistics of batch norms.
"""

from collections.abc import Mapping
from typing import Any

from ganiqa_jax.config import DistillWeights, OptimConfig, StudentConfig, TeacherConfig
from ganiqa_jax.types import Batch
from torch_reference.agreement import Arrays
from torch_reference.jax_steps import Start, batch_of, start

NARROW: dict[str, Any] = {
    "width": 16,
    "heads": 2,
    "attention_key_dim": 4,
    "attention_kernels": (3, 3),
}
FIXED: dict[str, Any] = {"trunk": "mobilenet_v1", "trunk_weights": "fixed"}
LITE: dict[str, Any] = {
    "trunk": "efficientnet_lite0",
    "trunk_weights": "fixed",
    "frozen_blocks": 16,
    "neck_level": 2,
}

STUDENTS: dict[str, StudentConfig] = {
    "efficientvit": StudentConfig(**NARROW, attention_window=3),
    "mobilenet": StudentConfig(**NARROW, **FIXED, frozen_blocks=11),
    "efficientnet_lite": StudentConfig(**NARROW, **LITE),
    "parts": StudentConfig(**NARROW, **LITE, parts=True),
    "detail": StudentConfig(**NARROW, **LITE, parts=True, detail=True),
}
"""Every one with the teacher below."""

TEACHER = TeacherConfig(backbone="mobilenet_v1", attention_window=3, **NARROW)
WEIGHTS = DistillWeights()
OPTIM = OptimConfig(peak_lr=3e-5, weight_decay=0.02, trunk_lr_scale=0.5)
ROWS, PAIRS, SIDE = 6, 3, 96
WITH_STEP = "mobilenet"
"""The student whose terms and gradients of a step are kept."""


def batch() -> Batch:
    """Photographs and scores."""
    return batch_of(ROWS, PAIRS, SIDE)


def begin(name: str, batch: Batch) -> Start:
    """Networks of a case, batch norms not yet settled."""
    return start(STUDENTS[name], TEACHER, batch)


def statistics(variables: Mapping[str, Any]) -> Arrays:
    """Means and variances of batch norms by path, all collections."""
    return {
        name: value
        for name, value in _flat(variables).items()
        if name.rpartition("/")[2] in ("mean", "var")
    }


def with_statistics(variables: Mapping[str, Any], kept: Arrays) -> dict[str, Any]:
    """The same with the means and variances that were kept."""

    def replaced(tree: Mapping[str, Any], path: str) -> dict[str, Any]:
        return {
            name: replaced(value, f"{path}{name}/")
            if isinstance(value, Mapping)
            else kept.get(path + name, value)
            for name, value in tree.items()
        }

    return replaced(variables, "")


def _flat(tree: Mapping[str, Any], path: str = "") -> Arrays:
    found: Arrays = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{path}{name}/")
        else:
            found[path + name] = value
    return found
