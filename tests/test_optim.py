import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from random_arrays import normal

from ganiqa_jax import optim
from ganiqa_jax.config import OptimConfig

CONFIG = OptimConfig(
    peak_lr=1e-2, end_lr=1e-4, warmup=0.1, weight_decay=0.1, clip_norm=1.0
)


def make_params() -> dict:
    return {
        "trunk": {"conv": {"kernel": jnp.ones((2, 2))}},
        "head": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
        "norm": {"scale": jnp.ones(2)},
        "position": {"table": jnp.ones((2, 2))},
        "token": {"embedding": jnp.ones((2, 2))},
        "gate": {"kernel": jnp.ones(2)},
    }


def step(config, grads, params, trunk=None, state=None, steps=10):
    rule = optim.optimizer(config, steps, params, trunk=trunk)
    state = rule.init(params) if state is None else state
    updates, state = rule.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def moved(before, after):
    change = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), before, after)
    return {"/".join(k): v for k, v in _flat(change)}


def _flat(tree, path=()):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, (*path, name))
        else:
            yield (*path, name), value


def test_schedule_rises_peaks_and_falls_to_the_end():
    rate = np.array([optim.learning_rate(CONFIG, 100, s) for s in range(101)])
    assert 0 < rate[0] < rate[5] < rate[10]
    np.testing.assert_allclose(rate[10], CONFIG.peak_lr, rtol=1e-6)
    assert np.all(np.diff(rate[10:]) < 0)
    np.testing.assert_allclose(rate[[55, 100]], [5.05e-3, 1e-4], rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 10])
@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.5, 0.99])
def test_schedule_is_usable_for_any_number_of_steps(steps, warmup):
    config = dataclasses.replace(CONFIG, warmup=warmup)
    rate = [float(optim.learning_rate(config, steps, s)) for s in range(steps + 1)]
    assert all(config.end_lr * 0.999 <= r <= config.peak_lr * 1.001 for r in rate)
    np.testing.assert_allclose(rate[-1], config.end_lr, rtol=1e-4)


def test_decay_moves_kernels_only():
    params = make_params()
    grads = jax.tree.map(jnp.zeros_like, params)
    after, _ = step(CONFIG, grads, params, trunk="trunk")
    change = moved(params, after)
    assert {name for name, size in change.items() if size > 0} == {
        "trunk/conv/kernel",
        "head/kernel",
    }


@pytest.mark.parametrize("scale", [0.0, 0.1])
def test_trunk_rate_is_scaled_wherever_the_trunk_stands(scale):
    config = dataclasses.replace(CONFIG, trunk_lr_scale=scale)
    params = {"student": make_params(), "trunk_like": {"kernel": jnp.ones((2, 2))}}
    grads = jax.tree.map(jnp.ones_like, params)
    change = moved(params, step(config, grads, params, trunk="trunk")[0])
    new = change["student/head/kernel"]
    np.testing.assert_allclose(
        change["student/trunk/conv/kernel"], scale * new, rtol=1e-4
    )
    np.testing.assert_allclose(change["trunk_like/kernel"], new, rtol=1e-5)
    alone = moved(params, step(config, grads, params, trunk=None)[0])
    np.testing.assert_allclose(alone["student/trunk/conv/kernel"], new, rtol=1e-5)


def test_clip_is_over_all_groups_together():
    # Adam divides a constant factor out, so the clip shows in the first moment.
    config = dataclasses.replace(CONFIG, trunk_lr_scale=0.5)
    params = make_params()
    grads = jax.tree.map(lambda p: 100.0 * jnp.ones_like(p), params)
    _, state = step(config, grads, params, trunk="trunk")
    moments = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if ".mu" in jax.tree_util.keystr(path)
    ]
    norm = optax.tree.norm(moments) / 0.1  # Adam's first moment is 0.1 * gradient
    np.testing.assert_allclose(norm, CONFIG.clip_norm, rtol=1e-5)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_no_bad_gradient_is_ever_applied_and_the_run_is_counted(bad):
    params = make_params()
    good = jax.tree.map(jnp.ones_like, params)
    grads = {**good, "norm": {"scale": jnp.array([1.0, bad])}}
    rule = optim.optimizer(CONFIG, 10, params, trunk=None)
    state = rule.init(params)
    update = jax.jit(rule.update)
    for count in range(1, CONFIG.max_nonfinite + 4):
        updates, state = update(grads, state, params)
        assert all(jnp.all(leaf == 0) for leaf in jax.tree.leaves(updates))
        assert optim.nonfinite_steps(state) == count
        assert not optim.step_applied(state)
    updates, state = update(good, state, params)
    fresh, _ = update(good, rule.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, updates, fresh)
    assert optim.nonfinite_steps(state) == 0 and optim.step_applied(state)


def test_ema_warms_up_then_keeps_its_decay():
    zero, one = {"w": jnp.zeros(2)}, {"w": jnp.ones(2)}
    early = optim.ema_update(zero, one, 0.999, 0)["w"]
    np.testing.assert_allclose(early, 0.9, rtol=1e-6)
    late = optim.ema_update(zero, one, 0.999, jnp.asarray(10**6))["w"]
    np.testing.assert_allclose(late, 1e-3, rtol=1e-4)


def test_ema_leaves_still_weights_untouched():
    weights = {"w": normal(50)}
    average = optim.ema_update(weights, weights, 0.999, 5)
    np.testing.assert_array_equal(average["w"], weights["w"])
