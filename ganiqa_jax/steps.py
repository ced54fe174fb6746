"""The training steps and the predictions: pure functions, jitted by the caller.

Random numbers: one root key per run. Augmentation is keyed by a row's global
`index`, so that it follows the picture and not the batch it fell in; dropout and
noise are keyed by the step.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from ganiqa_jax import optim
from ganiqa_jax.config import DistillWeights, NoiseConfig, OptimConfig, TeacherWeights
from ganiqa_jax.errors import InputError
from ganiqa_jax.image.crops import joint_augment
from ganiqa_jax.image.noise import jitter_labels
from ganiqa_jax.models.comparison import z_of_likeness
from ganiqa_jax.models.features import DISTILLED_MAPS
from ganiqa_jax.terms import (
    distillation_terms,
    drop_term,
    score_terms,
    teacher_terms,
)
from ganiqa_jax.types import Batch, Metrics, NetworkOutput, Params


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
      step: steps taken.
      params: `network`, and in distillation `adapters`.
      batch_stats: running statistics of the trainable batch norms.
      opt_state: of the optax chain.
      ema: averaged `params` and `batch_stats` of the network: what scores.
    """

    step: Int[Array, ""]
    params: Params
    batch_stats: Params
    opt_state: Any
    ema: Mapping[str, Params]


def create_state(
    variables: Mapping[str, Params],
    optimizer: optax.GradientTransformation,
    adapters: Params | None = None,
) -> TrainState:
    """The state before the first step.

    Args:
      variables: of the network; its `frozen` collection is not taken up.
      optimizer: whose state is made for network and adapters together.
      adapters: parameters of the training-only maps of distillation.
    """
    params: dict[str, Params] = {"network": variables["params"]}
    if adapters is not None:
        params["adapters"] = adapters
    batch_stats = variables.get("batch_stats", {})
    # Own buffers: a donated state must not hold one array twice.
    average = jax.tree.map(
        jnp.array, {"params": params["network"], "batch_stats": batch_stats}
    )
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        ema=average,
    )


def predict(
    variables: Mapping[str, Params],
    distorted: Float[Array, "B H W 3"],
    *,
    student: nn.Module,
) -> Float[Array, " B"]:
    """z of each picture, without a reference."""
    output = student.apply(variables, distorted, train=False)
    return cast(NetworkOutput, output).z


def predict_pairs(
    variables: Mapping[str, Params],
    reference: Float[Array, "B H W 3"],
    distorted: Float[Array, "B H W 3"],
    *,
    teacher: nn.Module,
) -> Float[Array, " B"]:
    """z of each distorted picture against its reference."""
    output = teacher.apply(variables, reference, distorted, train=False)
    return cast(NetworkOutput, output).z


def teacher_step(
    state: TrainState,
    frozen: Params,
    batch: Batch,
    key: Key[Array, ""],
    *,
    teacher: nn.Module,
    optimizer: optax.GradientTransformation,
    optim_config: OptimConfig,
    weights: TeacherWeights,
    quarter_turns: bool,
) -> tuple[TrainState, Metrics]:
    """Moves the teacher one step towards the opinion scores of its pairs.

    Args:
      state: the teacher's state.
      frozen: the backbone, as loaded; never changed.
      batch: every row must have a reference (P = B).
      key: root key of the run.

    Returns:
      The next state, and scalar metrics, all taken before the update.

    Raises:
      InputError: if a row has no reference.
    """
    if batch.reference.shape[0] != batch.distorted.shape[0]:
        raise InputError("The teacher needs a reference for every row of a batch.")
    augment_key, dropout_key = _step_keys(key, state.step)
    reference, distorted = joint_augment(
        _row_keys(augment_key, batch.index),
        batch.reference,
        batch.distorted,
        quarter_turns=quarter_turns,
    )

    def loss_fn(params: Params) -> tuple[Array, tuple[Metrics, Params]]:
        output, batch_stats = _outputs(
            teacher.apply(
                _variables(params["network"], frozen, state.batch_stats),
                reference,
                distorted,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats"],
            )
        )
        parts = teacher_terms(output, _with_likeness(batch, output), weights)
        total = _weighted_sum(parts, weights)
        return total, (parts, batch_stats)

    return _update(state, loss_fn, optimizer, optim_config)


def distill_step(
    state: TrainState,
    frozen: Params,
    teacher_variables: Mapping[str, Params],
    batch: Batch,
    key: Key[Array, ""],
    *,
    student: nn.Module,
    adapters: nn.Module,
    teacher: nn.Module | None,
    optimizer: optax.GradientTransformation,
    optim_config: OptimConfig,
    weights: DistillWeights,
    noise: NoiseConfig,
    quarter_turns: bool,
    steps: int,
) -> tuple[TrainState, Metrics]:
    """Moves the student one step towards the opinion scores and the teacher.

    The teacher sees the same augmented crop as the student, clean; the student
    sees it noised, and the references too if `weights.drop` is not 0. Rows without a
    reference take part in the hard, rank and PLCC terms alone.

    Args:
      state: the student's state; `params` holds `network` and `adapters`.
      frozen: fixed arrays of the student's trunk.
      teacher_variables: of the teacher; no gradient reaches them. Empty when
        `teacher` is None.
      batch: its first P rows have references.
      key: root key of the run.
      teacher: None trains the control, on opinion scores alone.
      steps: length of the run, over which unlabelled rows are ramped up.

    Returns:
      The next state, and scalar metrics, all taken before the update.
    """
    augment_key, step_key = _step_keys(key, state.step)
    dropout_key, noise_key, label_key = jax.random.split(step_key, 3)
    reference, distorted = joint_augment(
        _row_keys(augment_key, batch.index),
        batch.reference,
        batch.distorted,
        quarter_turns=quarter_turns,
    )
    rows, pairs = len(distorted), len(reference)
    aim, undamaged, pictures = None, None, distorted
    if teacher is not None and pairs:
        compared = reference, distorted[:pairs]
        if weights.drop:  # what a pair without damage is worth
            compared = tuple(jnp.concatenate([side, reference]) for side in compared)
            pictures = jnp.concatenate([distorted, reference])
        seen = teacher.apply(teacher_variables, *compared, train=False)
        seen = cast(NetworkOutput, jax.lax.stop_gradient(seen))
        aim, undamaged = _first(seen, pairs), seen.z[pairs:]
    row_weights = _row_weights(batch, weights, state.step, steps)
    targets = _targets(batch, aim)
    mos = jnp.where(
        batch.labelled,
        targets,
        jitter_labels(label_key, targets, noise.label_std),
    )

    def loss_fn(params: Params) -> tuple[Array, tuple[Metrics, Params]]:
        output, batch_stats = _outputs(
            student.apply(
                _variables(params["network"], frozen, state.batch_stats),
                pictures,
                train=True,
                noise=noise,
                rngs={"dropout": dropout_key, "noise": noise_key},
                mutable=["batch_stats"],
            )
        )
        of_references = output.z[rows:]
        output = _first(output, rows)
        parts = score_terms(output, mos, batch, row_weights, weights)
        if aim is not None and undamaged is not None:
            counted = row_weights[:pairs], batch.mask[:pairs]
            head = _first(output, pairs)
            adapted = adapters.apply(
                {"params": params["adapters"]},
                {name: head.features[name] for name in DISTILLED_MAPS},
            )
            head = head._replace(features=cast(dict[str, Array], adapted))
            parts |= distillation_terms(head, aim, *counted, weights)
            if weights.drop:
                student_z, teacher_z = (of_references, head.z), (undamaged, aim.z)
                parts["drop"] = drop_term(
                    student_z, teacher_z, *counted, weights.drop_share
                )
        total = _weighted_sum(parts, weights)
        return total, (parts, batch_stats)

    return _update(state, loss_fn, optimizer, optim_config)


def _first(output: NetworkOutput, rows: int) -> NetworkOutput:
    return jax.tree.map(lambda values: values[:rows], output)


def _with_likeness(batch: Batch, output: NetworkOutput) -> Batch:
    """The batch with a z for pairs that were made as they were read, by their likeness.

    A comparison that nothing was learned for agrees with people better than a teacher
    that learned structural similarity.
    """
    if "likeness" not in output.features:
        return batch
    said = z_of_likeness(output.features["likeness"])
    return batch._replace(mos=jnp.where(jnp.isnan(batch.mos), said, batch.mos))


def _targets(batch: Batch, aim: NetworkOutput | None) -> Float[Array, " B"]:
    """The score that each row is held against, in z units.

    A pair that was made as it was read comes without one: the teacher's is taken, or 0
    where there is no teacher, and then the row has no weight.
    """
    pairs = batch.reference.shape[0]
    said = jnp.zeros((pairs,)) if aim is None else aim.z
    said = jnp.pad(said, (0, batch.mos.shape[0] - pairs))
    return jnp.where(jnp.isnan(batch.mos), said, batch.mos)


def _row_weights(
    batch: Batch, weights: DistillWeights, step: Int[Array, ""], steps: int
) -> Float[Array, " B"]:
    ramp = jnp.minimum(1.0, (step + 1) / max(1.0, weights.ramp * steps))
    unlabelled = weights.unlabelled * ramp * batch.confidence
    return batch.mask * jnp.where(batch.labelled, 1.0, unlabelled)


def _weighted_sum(parts: Metrics, weights: TeacherWeights | DistillWeights) -> Array:
    terms = (getattr(weights, name) * value for name, value in parts.items())
    return sum(terms, start=jnp.zeros(()))


def _outputs(applied: Any) -> tuple[NetworkOutput, Params]:
    """What `apply` returns with mutable batch statistics, by name."""
    output, mutated = applied
    return output, mutated.get("batch_stats", {})


def _variables(
    params: Params, frozen: Params, batch_stats: Params
) -> dict[str, Params]:
    return {"params": params, "frozen": frozen, "batch_stats": batch_stats}


def _step_keys(
    key: Key[Array, ""], step: Int[Array, ""]
) -> tuple[Key[Array, ""], Key[Array, ""]]:
    augment_key, step_key = jax.random.split(key)
    return augment_key, jax.random.fold_in(step_key, step)


def _row_keys(key: Key[Array, ""], index: Int[Array, " B"]) -> Key[Array, " B"]:
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(index)


def _update(
    state: TrainState,
    loss_fn: Any,
    optimizer: optax.GradientTransformation,
    optim_config: OptimConfig,
) -> tuple[TrainState, Metrics]:
    (loss, (parts, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params
    )
    grad_norm = optax.tree.norm(grads)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = cast(Params, optax.apply_updates(state.params, updates))
    skipping = cast(optax.ApplyIfFiniteState, opt_state)
    # The optimiser skips a non-finite update; the running statistics must too.
    applied = optim.step_applied(skipping)
    batch_stats = jax.tree.map(
        lambda new, old: jnp.where(applied, new, old), batch_stats, state.batch_stats
    )
    ema = optim.ema_update(
        state.ema,
        {"params": params["network"], "batch_stats": batch_stats},
        optim_config.ema_decay,
        state.step,
    )
    next_state = TrainState(state.step + 1, params, batch_stats, opt_state, ema)
    metrics = {
        "loss": loss,
        "grad_norm": grad_norm,
        "nonfinite": optim.nonfinite_steps(skipping),
        **parts,
    }
    return next_state, metrics
