"""Gradients and losses of distillation steps in JAX and in PyTorch.

Pictures are their own mirror images, so that the mirroring of our step changes nothing;
dropout and noise are off. So is the JND, which has no parameters and is compared by
itself: it decides by thresholds, and a pixel on the other side of one is another
picture, whose gradient differs by more than rounding does.
"""

# pyright: reportMissingImports=false

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from ganiqa_jax import optim, steps
from ganiqa_jax.config import (
    DistillWeights,
    JndConfig,
    NoiseConfig,
    OptimConfig,
    StudentConfig,
    TeacherConfig,
)
from ganiqa_jax.models import Student, Teacher
from ganiqa_jax.models.features import FeatureAdapters
from ganiqa_jax.types import Batch
from torch_reference.comparison import (
    Arrays,
    Row,
    compare,
    settle_norms,
    to_torch,
    with_state,
)
from torch_reference.pictures import photographs
from torch_reference.quality import FeatureAdapters as TorchAdapters
from torch_reference.random_variables import random_variables
from torch_reference.step import Batch as TorchBatch
from torch_reference.step import adamw
from torch_reference.step import distill_step as torch_step
from torch_reference.student import Student as TorchStudent
from torch_reference.teacher import Teacher as TorchTeacher
from torch_reference.weights import load_flax, to_flax

OFF = JndConfig(strength=0.0)

MOVED = 0.1
"""How far a start lies from the network's own, on the way to random variables."""

NOTHING = 1e-6
"""Share of the whole gradient below which an array's is rounding of zero."""


class Both(NamedTuple):
    """One start of a run in both frameworks."""

    student: Student
    teacher: Teacher
    adapters: FeatureAdapters
    variables: dict[str, Any]
    adapter_params: Any
    teacher_variables: dict[str, Any]
    torch_student: TorchStudent
    torch_adapters: TorchAdapters
    torch_teacher: TorchTeacher


def start(student: StudentConfig, teacher: TeacherConfig, batch: Batch) -> Both:
    """Both networks and adapters on the same random weights.

    Args:
      student: its dropout and JND are turned off; so is the JND of the teacher.
      batch: pictures for shapes and for the statistics of norms.
    """
    student = dataclasses.replace(
        student, dropout=0.0, stochastic_depth=0.0, jnd=OFF
    )
    teacher = dataclasses.replace(teacher, jnd=OFF)
    networks = Student(student), Teacher(teacher)
    inputs = [[batch.distorted], [batch.reference, batch.reference]]
    torch_networks = TorchStudent(student), TorchTeacher(teacher)
    settled = []
    for ours, theirs, given in zip(networks, torch_networks, inputs, strict=True):
        variables = _started(ours, given)
        load_flax(theirs, variables)
        settle_norms(theirs, given)
        settled.append(with_state(variables, theirs))
    adapters = FeatureAdapters(teacher.width)
    maps = dict.fromkeys(
        ("difference", "reference", "encoded", "decoded"),
        jnp.zeros((1, 1, 1, student.width)),
    )
    shapes = jax.eval_shape(adapters.init, jax.random.key(0), maps)
    adapter_variables = random_variables(shapes, seed=3)
    torch_adapters = TorchAdapters(student.width, teacher.width)
    load_flax(torch_adapters, adapter_variables)
    return Both(
        *networks,
        adapters,
        settled[0],
        adapter_variables["params"],
        settled[1],
        torch_networks[0],
        torch_adapters,
        torch_networks[1],
    )


def _started(network: Any, given: list[np.ndarray]) -> dict[str, Any]:
    """The network's own start, moved a little so that no zero hides what is behind it.

    Weights that are random throughout would leave gradients to chance: rounding puts
    enough of the first values on the other side of a ReLU's corner.
    """
    variables = jax.jit(network.init)(jax.random.key(0), *given)
    moves = random_variables(variables, seed=len(given))
    return jax.tree.map(lambda a, b: np.asarray(a + MOVED * (b - a)), variables, moves)


def batch_of(rows: int, pairs: int, side: int) -> Batch:
    """Photographs with made-up scores of two sources; one row is padding."""
    reference, distorted = (_symmetric(p) for p in photographs(rows, side))
    number = np.arange(rows)
    arrays: dict[str, Any] = dict(
        distorted=distorted,
        reference=reference[:pairs],
        mos=np.sin(2.5 * number).astype(np.float32),
        mask=number != rows - 1,
        labelled=number % 3 != 1,
        confidence=np.where(number % 3 != 1, 1, 0.7).astype(np.float32),
        source=np.where(number < pairs, 0, 1).astype(np.int32),
        content=(number // 2).astype(np.int32),
        index=number.astype(np.int32),
    )
    return Batch(**arrays)


def gradients(both: Both, batch: Batch, weights: DistillWeights) -> tuple[Row, int]:
    """The gradient of the loss, array by array; how many arrays have none."""
    config = OptimConfig(clip_norm=1e9)

    def keep(updates: Any, state: Any, params: Any = None) -> Any:
        return jax.tree.map(jnp.zeros_like, updates), updates

    keeping = optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params), keep
    )
    optimizer = optax.apply_if_finite(keeping, optim.NEVER)
    state, _ = _jax_run(both, batch, weights, config, optimizer, 1)
    ours = _flat(state.opt_state.inner_state["network"])
    optimizer = adamw(both.torch_student, both.torch_adapters, config)
    _torch_run(both, batch, weights, config, optimizer, 1)
    theirs: Arrays = {}
    for name, parameter in both.torch_student.named_parameters():
        if parameter.grad is not None:
            theirs |= dict([to_flax(name, parameter.grad.numpy())])
    least = NOTHING * np.sqrt(sum(float(np.sum(g**2)) for g in theirs.values()))
    none = {
        name
        for name in theirs.keys() & ours.keys()
        if max(np.linalg.norm(ours[name]), np.linalg.norm(theirs[name])) < least
    }
    ours, theirs = (
        {n: a for n, a in s.items() if n not in none} for s in (ours, theirs)
    )
    return compare("gradients", ours, theirs, 1e-3), len(none)


def losses_of_steps(
    both: Both, batch: Batch, weights: DistillWeights, config: OptimConfig, count: int
) -> Row:
    """Every term of every step of a run from one start."""
    params = {"network": both.variables["params"], "adapters": both.adapter_params}
    optimizer = optim.optimizer(config, count, params, trunk="trunk")
    _, ours = _jax_run(both, batch, weights, config, optimizer, count)
    adam = adamw(both.torch_student, both.torch_adapters, config)
    theirs = _torch_run(both, batch, weights, config, adam, count)
    return compare(f"losses of {count} steps", ours, theirs, 1e-3)


def _jax_run(
    both: Both,
    batch: Batch,
    weights: DistillWeights,
    config: OptimConfig,
    optimizer: optax.GradientTransformation,
    count: int,
) -> tuple[steps.TrainState, Arrays]:
    """The state after the steps, and every term, [count] each."""

    @jax.jit
    def move(state: steps.TrainState) -> Any:
        return steps.distill_step(
            state,
            both.variables.get("frozen", {}),
            both.teacher_variables,
            jax.tree.map(jnp.asarray, batch),
            jax.random.key(0),
            student=both.student,
            adapters=both.adapters,
            teacher=both.teacher,
            optimizer=optimizer,
            optim_config=config,
            weights=weights,
            noise=NoiseConfig.off(),
            quarter_turns=False,
            steps=count,
        )

    variables = jax.tree.map(jnp.asarray, both.variables)
    state = steps.create_state(variables, optimizer, both.adapter_params)
    seen = []
    for _ in range(count):
        state, metrics = move(state)
        seen.append(metrics)
    names = seen[0].keys() - {"grad_norm", "nonfinite"}
    return state, {n: np.array([float(m[n]) for m in seen]) for n in names}


def _torch_run(
    both: Both,
    batch: Batch,
    weights: DistillWeights,
    config: OptimConfig,
    optimizer: torch.optim.Optimizer,
    count: int,
) -> Arrays:
    rows = batch._asdict()
    given = TorchBatch(
        *(to_torch(rows.pop(name)) for name in ("distorted", "reference")),
        *(torch.from_numpy(np.array(rows[n])) for n in TorchBatch._fields[2:]),
    )
    load_flax(both.torch_student, both.variables)
    load_flax(both.torch_adapters, {"params": both.adapter_params})
    seen = []
    for step in range(count):
        seen.append(
            torch_step(
                both.torch_student,
                both.torch_adapters,
                both.torch_teacher,
                optimizer,
                given,
                weights,
                config,
                step,
                count,
            )
        )
    return {n: np.array([float(m[n]) for m in seen]) for n in seen[0]}


def _symmetric(pictures: np.ndarray) -> np.ndarray:
    half = pictures[:, :, : pictures.shape[2] // 2]
    return np.concatenate([half, half[:, :, ::-1]], axis=2)


def _flat(tree: Any) -> Arrays:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
    }


# Of a pretrained MobileNetV1 the batch statistics stay fixed, and the path is not read
# here. Without, its ReLU6 corners make gradients of six rows a matter of rounding: those
# of PyTorch in float32 and float64 differ by a hundredth then.
FIXED: dict[str, Any] = {"trunk": "mobilenet_v1", "trunk_weights": "fixed"}

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
NARROW: dict[str, Any] = {
    "width": 16,
    "heads": 2,
    "attention_key_dim": 4,
    "attention_kernels": (3, 3),
}
STEPS = 20


def runs() -> Iterator[Row]:
    """Gradients of a step and losses of a run, of students of several kinds."""
    batch, weights = batch_of(6, 3, 96), DistillWeights()
    config = OptimConfig(peak_lr=1e-4, weight_decay=0.02, trunk_lr_scale=0.5)
    for name, settings in STUDENTS.items():
        bins = settings.get("bins", 10)
        teacher = TeacherConfig(backbone="mobilenet_v1", bins=bins, **NARROW)
        both = start(StudentConfig(**{**NARROW, **settings}), teacher, batch)
        row, _ = gradients(both, batch, weights)
        yield row._replace(what=f"gradients: {name}")
        row = losses_of_steps(both, batch, weights, config, STEPS)
        yield row._replace(what=f"{row.what}: {name}")
