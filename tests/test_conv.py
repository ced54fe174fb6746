"""Depthwise formulations, convolution units, batch normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError
from random_arrays import normal

from ganiqa_jax.models.conv import BatchNorm, Conv, ConvNorm
from ganiqa_jax.models.depthwise import depthwise_conv

# Rows, columns, taps, stride and padding; odd and even sides, a last row that no stride
# reaches, and one-sided zeros as TensorFlow's "SAME" has them.
CASES = [
    (6, 7, 3, 1, ((1, 1), (1, 1))),
    (7, 8, 3, 2, ((1, 1), (0, 1))),
    (8, 8, 3, 2, ((1, 1), (1, 1))),
    (6, 6, 5, 1, ((2, 2), (2, 2))),
    (9, 7, 5, 2, ((2, 2), (1, 2))),
    (8, 7, 7, 1, ((3, 3), (3, 3))),
    (9, 9, 7, 2, ((3, 3), (3, 3))),
    (8, 7, 3, 2, ((0, 0), (0, 0))),
    (1, 2, 5, 2, ((2, 2), (2, 2))),  # outer taps see nothing but zeros
]


def _inputs(height, width, taps, channels=4):
    return normal(2, height, width, channels), normal(taps, taps, 1, channels, seed=1)


@pytest.mark.parametrize("height,width,taps,stride,padding", CASES)
def test_formulations_agree_in_values_and_gradients(
    height, width, taps, stride, padding
):
    x, kernel = _inputs(height, width, taps)

    def loss(x, kernel, formulation):
        y = depthwise_conv(
            x, kernel, stride=stride, padding=padding, formulation=formulation
        )
        return jnp.sum(jnp.sin(y)), y

    def run(formulation):
        grad = jax.grad(loss, argnums=(0, 1), has_aux=True)
        return jax.jit(grad, static_argnums=2)(x, kernel, formulation)

    shift, grouped = run("shift"), run("grouped")
    for ours, theirs in zip(
        jax.tree.leaves(shift), jax.tree.leaves(grouped), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("platform,grouped", [("cpu", False), ("cuda", True)])
def test_auto_lowers_to_the_formulation_of_each_platform(platform, grouped):
    x, kernel = _inputs(6, 6, 3)

    def loss(x, kernel):
        return jnp.sum(depthwise_conv(x, kernel, padding=((1, 1), (1, 1))) ** 2)

    traced = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).trace(x, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in text) is grouped


def test_sums_of_many_taps_keep_float32_precision_in_bfloat16():
    x, kernel = _inputs(9, 9, 7)
    x, kernel = jnp.abs(x).astype(jnp.bfloat16), jnp.abs(kernel).astype(jnp.bfloat16)
    padding = ((3, 3), (3, 3))
    narrow = depthwise_conv(x, kernel, padding=padding, formulation="shift")
    wide = depthwise_conv(
        x.astype(jnp.float32),
        kernel.astype(jnp.float32),
        padding=padding,
        formulation="grouped",
    )
    assert narrow.dtype == jnp.bfloat16
    # Rounding once to 8 bits of mantissa; summing in them would be several times off.
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, rtol=2**-8)


def test_gradients_have_the_types_of_their_arguments():
    x, kernel = _inputs(5, 5, 3)

    def loss(x, kernel):
        y = depthwise_conv(x, kernel, padding=((1, 1), (1, 1)), formulation="shift")
        return jnp.sum(y.astype(jnp.float32))

    grads = jax.grad(loss, argnums=(0, 1))(x.astype(jnp.bfloat16), kernel)
    assert [g.dtype for g in grads] == [jnp.bfloat16, jnp.float32]


@pytest.mark.parametrize("frozen,home", [(False, "params"), (True, "frozen")])
def test_arrays_live_where_the_optimiser_looks_or_not(frozen, home, key):
    unit = ConvNorm(4, kernel=(3, 3), frozen=frozen)
    variables = unit.init(key, jnp.zeros((1, 5, 5, 3)))
    assert set(variables) == ({home} if frozen else {home, "batch_stats"})
    assert set(variables[home]) == {"conv", "norm"}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_fixed_statistics_train_scale_and_bias_only(key):
    x = normal(2, 3, 3, 4)
    norm = BatchNorm(fixed_statistics=True)
    variables = norm.init(key, x, train=True)
    assert set(variables["params"]) == {"scale", "bias"}
    assert set(variables["frozen"]) == {"mean", "var"}
    moved = {
        "params": variables["params"],
        "frozen": {"mean": jnp.full(4, 2.0), "var": jnp.full(4, 3.0)},
    }
    y, changed = norm.apply(moved, x, train=True, mutable=["frozen", "batch_stats"])
    np.testing.assert_allclose(y, (x - 2.0) / jnp.sqrt(3.0 + 1e-5), rtol=1e-5)
    np.testing.assert_array_equal(changed["frozen"]["mean"], 2.0)


def test_frozen_norm_ignores_the_batch(key):
    x = normal(2, 3, 3, 4)
    norm = BatchNorm(frozen=True)
    variables = norm.init(key, x, train=True)
    apart = norm.apply(variables, x[:1], train=True)
    together = norm.apply(variables, x, train=True)
    np.testing.assert_allclose(together[:1], apart, rtol=1e-6)


@pytest.mark.parametrize("train", [True, False])
def test_trainable_norm_is_flax_batch_norm(train):
    x = 3.0 + 2.0 * normal(4, 5, 5, 3)
    params = {"scale": jnp.array([0.5, 1.0, 2.0]), "bias": jnp.array([0.1, 0.0, -1.0])}
    stats = {"mean": jnp.full(3, 0.3), "var": jnp.full(3, 1.7)}
    variables = {"params": params, "batch_stats": stats}
    theirs = nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)

    def both(x):
        ours = BatchNorm().apply(variables, x, train=train, mutable=["batch_stats"])
        return ours, theirs.apply(variables, x, mutable=["batch_stats"])

    (y, stats), (expected, expected_stats) = both(x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    for name, value in expected_stats["batch_stats"].items():
        np.testing.assert_allclose(stats["batch_stats"][name], value, rtol=1e-5)

    grads = [
        jax.grad(lambda x, i=i: jnp.sum(jnp.sin(both(x)[i][0])))(x) for i in (0, 1)
    ]
    np.testing.assert_allclose(*grads, rtol=1e-4, atol=1e-5)


def test_statistics_are_float32_in_bfloat16_compute(key):
    # Means near 40 with a deviation of 1: lost if squares are summed in bfloat16.
    x = 40.0 + normal(8, 6, 6, 2)
    norm = BatchNorm(dtype=jnp.bfloat16)
    narrow = x.astype(jnp.bfloat16)
    variables = norm.init(key, narrow, train=True)
    y, changed = norm.apply(variables, narrow, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    var = changed["batch_stats"]["var"]
    assert var.dtype == jnp.float32
    exact = np.var(np.asarray(narrow, np.float64), axis=(0, 1, 2))
    np.testing.assert_allclose(var, 0.9 + 0.1 * exact, rtol=1e-3)


def test_residual_branch_can_start_at_zero(key):
    unit = ConvNorm(3, activation="none", gamma_init=0.0)
    y, _ = unit.init_with_output(key, jnp.ones((1, 4, 4, 3)), train=False)
    np.testing.assert_array_equal(y, 0.0)


def test_kernels_keep_the_variance_of_a_relu_network(key):
    x = nn.relu(normal(1, 12, 12, 64))
    y, _ = Conv(64, kernel=(3, 3)).init_with_output(key, x)
    assert 0.7 < float(jnp.mean(jnp.square(y))) < 1.4


def test_depthwise_needs_one_filter_a_channel(key):
    with pytest.raises(ValueError, match="C=3 .* features=4"):
        Conv(4, depthwise=True).init(key, jnp.zeros((1, 2, 2, 3)))


def test_a_kernel_of_another_shape_is_refused(key):
    variables = Conv(4, kernel=(3, 3)).init(key, jnp.zeros((1, 2, 2, 3)))
    with pytest.raises(ScopeParamShapeError, match="kernel"):
        Conv(4, kernel=(5, 5)).apply(variables, jnp.zeros((1, 2, 2, 3)))
