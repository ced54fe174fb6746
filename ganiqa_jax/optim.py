"""Learning-rate schedule, AdamW and the averaged weights, from `OptimConfig`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from ganiqa_jax.config import OptimConfig
from ganiqa_jax.types import Params

NEVER = int(np.iinfo(np.int32).max)


def schedule(config: OptimConfig, steps: int) -> optax.Schedule:
    """Linear warm-up to `peak_lr`, then one cosine down to `end_lr` at `steps`.

    The first step of the warm-up is not zero, so that no step is spent on nothing.
    Runs too short for a whole warm-up step start at the peak.
    """
    warmup = min(round(config.warmup * steps), steps - 1)
    if warmup == 0:
        return optax.schedules.cosine_decay_schedule(
            config.peak_lr, steps, alpha=config.end_lr / config.peak_lr
        )
    return optax.schedules.warmup_cosine_decay_schedule(
        init_value=config.peak_lr / (warmup + 1),
        peak_value=config.peak_lr,
        warmup_steps=warmup,
        decay_steps=steps,
        end_value=config.end_lr,
    )


def learning_rate(
    config: OptimConfig, steps: int, step: int | Int[Array, ""]
) -> Float[Array, ""]:
    """Rate of new layers at `step`, for the log.

    The optimizer counts applied updates only: after skipped steps it runs this many
    steps behind the value given here.
    """
    return jnp.asarray(schedule(config, steps)(step), jnp.float32)


def optimizer(
    config: OptimConfig, steps: int, params: Params, *, trunk: str | None
) -> optax.GradientTransformation:
    """AdamW under a global norm clip that passes over non-finite gradients.

    A step whose gradients hold a NaN or an infinity leaves parameters and moments as
    they were, however many such steps follow each other: optax's own limit, after
    which it lets a bad update through, is set out of reach. The caller stops when
    `nonfinite_steps` exceeds `config.max_nonfinite`; looking at it only now and then
    harms nothing.

    Args:
      config: rates, decay and clip.
      steps: length of the whole run.
      params: the parameters that will be trained, for their paths.
      trunk: key of the subtree whose rate is scaled by `trunk_lr_scale`, wherever it
        stands in a path; None for none.
    """
    rate = schedule(config, steps)
    rule = _adamw(rate, config)
    if trunk is not None and config.trunk_lr_scale != 1:
        scale = config.trunk_lr_scale
        slow = _adamw(lambda step: scale * rate(step), config)
        rule = optax.multi_transform(
            {"trunk": slow, "new": rule}, _labels(params, trunk)
        )
    chain = optax.chain(optax.clip_by_global_norm(config.clip_norm), rule)
    return optax.apply_if_finite(chain, max_consecutive_errors=NEVER)


def nonfinite_steps(opt_state: optax.ApplyIfFiniteState) -> Int[Array, ""]:
    """How many steps in a row, up to now, were passed over."""
    return opt_state.notfinite_count


def step_applied(opt_state: optax.ApplyIfFiniteState) -> Bool[Array, ""]:
    """Whether the last step was applied; if not, its batch statistics are bad too."""
    return opt_state.last_finite


def decays(params: Params) -> Any:
    """Which leaves weight decay pulls at: kernels; no bias, scale, table, embedding."""

    def is_kernel(path: Any, leaf: Array) -> bool:
        return _names(path)[-1] == "kernel" and leaf.ndim >= 2

    return jax.tree_util.tree_map_with_path(is_kernel, params)


def ema_update(
    average: Params, new: Params, decay: float, step: int | Int[Array, ""]
) -> Params:
    """Moves averaged weights towards new ones.

    The decay is `min(decay, (1 + step) / (10 + step))`: the average forgets the random
    start quickly, and short runs are averaged over a share of their length.

    Args:
      average: the average so far; the starting weights before step 0.
      new: weights after the step.
      decay: the decay of a long run, below 1.
      step: number of the step, from 0.
    """
    step = jnp.asarray(step, jnp.float32)
    keep = jnp.minimum(decay, (1 + step) / (10 + step))
    # In this form weights that do not move stay equal to the last bit.
    return jax.tree.map(
        lambda a, n: a + (1 - keep).astype(a.dtype) * (n - a), average, new
    )


def _adamw(rate: optax.Schedule, config: OptimConfig) -> optax.GradientTransformation:
    """Loshchilov and Hutter, arXiv:1711.05101, decay on kernels only."""
    return optax.adamw(rate, weight_decay=config.weight_decay, mask=decays)


def _labels(params: Params, trunk: str) -> Any:
    def label(path: Any, leaf: Array) -> str:
        del leaf
        return "trunk" if trunk in _names(path) else "new"

    return jax.tree_util.tree_map_with_path(label, params)


def _names(path: Any) -> list[str]:
    return jax.tree_util.keystr(path, simple=True, separator="/").split("/")
