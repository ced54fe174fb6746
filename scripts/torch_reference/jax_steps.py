"""Steps of distillation in JAX on weights that anyone can make again.

Without PyTorch: the tests run them too. Pictures are their own mirror images, so that
the mirroring of our step changes nothing; dropout and noise are off. So is the JND,
which has no parameters and is compared by itself: it decides by thresholds, and a pixel
on the other side of one is another picture, whose gradient differs by more than
rounding does.
"""

import dataclasses
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
from torch_reference.agreement import Arrays
from torch_reference.pictures import photographs
from torch_reference.random_variables import random_variables

OFF = JndConfig(strength=0.0)

MOVED = 0.1
"""How far a start lies from a network's own, on the way to random variables.

Weights that are random throughout would leave gradients to chance: rounding puts enough
of the first values on the other side of a ReLU's corner.
"""

NEAR_ZERO = re.compile(r"(out_norm|(before|after)/(depthwise|project)/norm)/scale$")
"""What a network's own start has at zero: the ends of residual branches."""


class Start(NamedTuple):
    """Networks and weights that a run of steps begins with."""

    student: Student
    teacher: Teacher
    adapters: FeatureAdapters
    variables: dict[str, Any]
    teacher_variables: dict[str, Any]
    adapter_variables: dict[str, Any]


def start(student: StudentConfig, teacher: TeacherConfig, batch: Batch) -> Start:
    """Networks on random weights.

    Args:
      student: its dropout and JND are turned off; so is the JND of the teacher.
      teacher: of any kind.
      batch: pictures, of which the shapes count.
    """
    student = dataclasses.replace(student, dropout=0.0, stochastic_depth=0.0, jnd=OFF)
    networks = Student(student), Teacher(dataclasses.replace(teacher, jnd=OFF))
    inputs = [[batch.distorted], [batch.reference, batch.reference]]
    adapters = FeatureAdapters(teacher.width)
    maps = dict.fromkeys(
        ("difference", "reference", "encoded", "decoded"),
        jnp.zeros((1, 1, 1, student.width)),
    )
    variables, teacher_variables = map(near_start, networks, inputs)
    return Start(
        *networks,
        adapters,
        variables,
        teacher_variables,
        near_start(adapters, [maps]),
    )


def near_start(network: Any, given: list[Any]) -> dict[str, Any]:
    """Variables of a network that is called with these, a little off its own start."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), *given)
    variables = random_variables(shapes, seed=len(given), away=MOVED)

    def damped(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return leaf * np.float32(MOVED) if NEAR_ZERO.search(name) else leaf

    return jax.tree_util.tree_map_with_path(damped, variables)


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


def gradient_of(
    start: Start, batch: Batch, weights: DistillWeights
) -> tuple[Arrays, Arrays]:
    """One step that moves nothing.

    Returns:
      The gradient of the loss with respect to every parameter of the student, and
      every term.
    """
    config = OptimConfig(clip_norm=1e9)

    def keep(updates: Any, state: Any, params: Any = None) -> Any:
        return jax.tree.map(jnp.zeros_like, updates), updates

    keeping = optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params), keep
    )
    optimizer = optax.apply_if_finite(keeping, optim.NEVER)
    state, terms = _run(start, batch, weights, config, optimizer, 1)
    return _flat(state.opt_state.inner_state["network"]), terms


def terms_of_steps(
    start: Start, batch: Batch, weights: DistillWeights, config: OptimConfig, count: int
) -> Arrays:
    """Every term of every step of a run, [count] each."""
    params = params_of(start)
    optimizer = optim.optimizer(config, count, params, trunk="trunk")
    return _run(start, batch, weights, config, optimizer, count)[1]


def params_of(start: Start) -> dict[str, Any]:
    """What an optimiser moves."""
    parts = {"network": start.variables, "adapters": start.adapter_variables}
    return {n: jax.tree.map(jnp.asarray, tree["params"]) for n, tree in parts.items()}


def first_state(start: Start, optimizer: optax.GradientTransformation) -> Any:
    """The state that a run begins with."""
    variables = jax.tree.map(jnp.asarray, start.variables)
    return steps.create_state(variables, optimizer, params_of(start)["adapters"])


def compiled_step(
    start: Start,
    weights: DistillWeights,
    config: OptimConfig,
    optimizer: optax.GradientTransformation,
    count: int,
) -> Any:
    """From state, which is taken, and batch to the next state and the terms."""
    frozen = jax.tree.map(jnp.asarray, start.variables.get("frozen", {}))
    teacher_variables = jax.tree.map(jnp.asarray, start.teacher_variables)

    def move(
        state: steps.TrainState, frozen: Any, teacher_variables: Any, batch: Batch
    ) -> Any:
        return steps.distill_step(
            state,
            frozen,
            teacher_variables,
            batch,
            jax.random.key(0),
            student=start.student,
            adapters=start.adapters,
            teacher=start.teacher,
            optimizer=optimizer,
            optim_config=config,
            weights=weights,
            noise=NoiseConfig.off(),
            quarter_turns=False,
            steps=count,
        )

    compiled = jax.jit(move, donate_argnums=0)
    return lambda state, batch: compiled(state, frozen, teacher_variables, batch)


def _run(
    start: Start,
    batch: Batch,
    weights: DistillWeights,
    config: OptimConfig,
    optimizer: optax.GradientTransformation,
    count: int,
) -> tuple[steps.TrainState, Arrays]:
    move = compiled_step(start, weights, config, optimizer, count)
    state, rows = first_state(start, optimizer), jax.tree.map(jnp.asarray, batch)
    seen = []
    for _ in range(count):
        state, metrics = move(state, rows)
        seen.append(metrics)
    names = seen[0].keys() - {"grad_norm", "nonfinite"}
    return state, {n: np.array([float(m[n]) for m in seen]) for n in names}


def _symmetric(pictures: np.ndarray) -> np.ndarray:
    half = pictures[:, :, : pictures.shape[2] // 2]
    return np.concatenate([half, half[:, :, ::-1]], axis=2)


def _flat(tree: Any) -> Arrays:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in leaves
    }
