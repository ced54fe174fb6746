"""Gradients and losses of distillation steps in JAX and in PyTorch."""

# pyright: reportMissingImports=false

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from ganiqa_jax.config import DistillWeights, OptimConfig, StudentConfig, TeacherConfig
from ganiqa_jax.types import Batch
from torch_reference.agreement import Arrays, Row, compare
from torch_reference.comparison import settle_norms, to_torch, with_state
from torch_reference.golden_cases import FIXED, NARROW, OPTIM
from torch_reference.jax_steps import (
    Start,
    batch_of,
    gradient_of,
    start,
    terms_of_steps,
)
from torch_reference.quality import FeatureAdapters
from torch_reference.step import Batch as TorchBatch
from torch_reference.step import adamw, distill_step
from torch_reference.student import Student
from torch_reference.teacher import Teacher
from torch_reference.weights import load_flax, to_flax

NOTHING = 5e-5
"""Share of the whole gradient below which an array's is zero but for rounding.

Keys' biases change no attention, biases before a batch norm nothing at all, and scales
before a depthwise convolution with one nothing but for its epsilon.
"""


class Torch(NamedTuple):
    """The counterpart of a start."""

    student: Student
    teacher: Teacher
    adapters: FeatureAdapters


def both(ours: Start, batch: Batch) -> tuple[Start, Torch]:
    """A start with settled batch norms, in both frameworks."""
    theirs = paired(ours)
    settled = []
    vit = ours.student.config.trunk == "efficientvit"
    relu6 = None if vit else theirs.student.trunk
    for network, variables, given, clear in (
        (theirs.student, ours.variables, [batch.distorted], relu6),
        (theirs.teacher, ours.teacher_variables, [batch.reference] * 2, None),
    ):
        load_flax(network, variables)
        settle_norms(network, given, clear=clear)
        settled.append(with_state(variables, network))
    ours = ours._replace(variables=settled[0], teacher_variables=settled[1])
    return ours, theirs


def paired(ours: Start) -> Torch:
    """The counterparts, with the weights of the adapters."""
    config, teacher = ours.student.config, ours.teacher.config
    adapters = FeatureAdapters(config.width, teacher.width)
    load_flax(adapters, ours.adapter_variables)
    return Torch(Student(config), Teacher(teacher), adapters)


def given_of(batch: Batch) -> TorchBatch:
    """A batch as tensors."""
    rows = batch._asdict()
    tensors = [to_torch(rows.pop(name)) for name in ("distorted", "reference")]
    tensors += [torch.from_numpy(np.array(rows[n])) for n in TorchBatch._fields[2:]]
    return TorchBatch(*tensors)


def torch_gradient(
    ours: Start, theirs: Torch, batch: Batch, weights: DistillWeights
) -> tuple[Arrays, Arrays]:
    """What `gradient_of` gives, by autograd; without arrays that have no gradient."""
    terms = _run(ours, theirs, batch, weights, OptimConfig(clip_norm=1e9), 1)
    return _gradients(theirs), terms


def _gradients(theirs: Torch) -> Arrays:
    found: Arrays = {}
    for name, parameter in theirs.student.named_parameters():
        if parameter.grad is not None:
            found |= dict([to_flax(name, parameter.grad.numpy().copy())])
    return found


def torch_terms(
    ours: Start,
    theirs: Torch,
    batch: Batch,
    weights: DistillWeights,
    config: OptimConfig,
    count: int,
) -> Arrays:
    """What `terms_of_steps` gives."""
    return _run(ours, theirs, batch, weights, config, count)


def _run(
    ours: Start,
    theirs: Torch,
    batch: Batch,
    weights: DistillWeights,
    config: OptimConfig,
    count: int,
) -> Arrays:
    given = given_of(batch)
    load_flax(theirs.student, ours.variables)
    load_flax(theirs.adapters, ours.adapter_variables)
    optimizer = adamw(theirs.student, theirs.adapters, config)
    seen = [
        distill_step(
            theirs.student,
            theirs.adapters,
            theirs.teacher,
            optimizer,
            given,
            weights,
            config,
            step,
            count,
        )
        for step in range(count)
    ]
    return {n: np.array([float(m[n]) for m in seen]) for n in seen[0]}


def without_nothing(ours: Arrays, theirs: Arrays) -> tuple[Arrays, Arrays]:
    """Both without arrays whose gradient is zero but for rounding."""
    least = NOTHING * np.sqrt(sum(float(np.sum(g**2)) for g in theirs.values()))
    some = {
        name
        for name in theirs.keys() | ours.keys()
        if max(_norm(ours, name), _norm(theirs, name)) >= least
    }
    return (
        {n: a for n, a in ours.items() if n in some},
        {n: a for n, a in theirs.items() if n in some},
    )


def _norm(arrays: Arrays, name: str) -> float:
    return float(np.linalg.norm(arrays[name])) if name in arrays else 0.0


# Of a pretrained MobileNetV1 the batch statistics stay fixed; its path is not read.
STUDENTS: dict[str, dict[str, Any]] = {
    "EfficientViT, windowed CGA": {"attention_window": 3},
    "EfficientViT, plain attention": {"attention": "mhsa"},
    "MobileNetV1, global CGA": {**FIXED, "attention_window": 0},
    "MobileNetV1, frozen blocks, no semantic branch, no bins": {
        **FIXED,
        "frozen_blocks": 5,
        "semantic": False,
        "bins": 0,
    },
}
STEPS, OF_STEP = 20, 1e-3


def runs() -> Iterator[Row]:
    """Gradients of a step and losses of a run, of students of several kinds."""
    batch, weights = batch_of(6, 3, 96), DistillWeights()
    for name, settings in STUDENTS.items():
        bins = settings.get("bins", 10)
        teacher = TeacherConfig(backbone="mobilenet_v1", bins=bins, **NARROW)
        given = start(StudentConfig(**{**NARROW, **settings}), teacher, batch)
        ours, theirs = both(given, batch)
        gradient, _ = torch_gradient(ours, theirs, batch, weights)
        pair = without_nothing(gradient_of(ours, batch, weights)[0], gradient)
        yield compare(f"gradients: {name}", *pair, OF_STEP)
        yield compare(
            f"losses of {STEPS} steps: {name}",
            terms_of_steps(ours, batch, weights, OPTIM, STEPS),
            torch_terms(ours, theirs, batch, weights, OPTIM, STEPS),
            OF_STEP,
        )
