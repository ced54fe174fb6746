import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_arrays import normal

from ganiqa_jax.errors import InputError
from ganiqa_jax.models.attention import (
    CascadedGroupAttention,
    MultiHeadAttention,
    Windows,
    position_bias,
)


def small(**changes):
    settings = {"heads": 2, "key_dim": 3, "kernels": (3, 3), "grid": 6}
    return CascadedGroupAttention(**{**settings, "gamma_init": 1.0, **changes})


def run(module, variables, *maps):
    return jax.jit(lambda *maps: module.apply(variables, *maps, train=False))(*maps)


def random_variables(module, *maps):
    """Every array at random, so that no zero start hides a path; variances are 1."""
    shapes = jax.eval_shape(
        lambda *maps: module.init(jax.random.key(0), *maps, train=False), *maps
    )
    generator = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key == "var":
            return jnp.asarray(np.ones(leaf.shape, np.float32))
        return jnp.asarray(generator.normal(0, 0.5, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def with_params(variables, **changes):
    """Variables with some '/'-joined entries of `params` replaced."""
    flat = flax.traverse_util.flatten_dict(variables["params"], sep="/")
    assert set(changes) <= set(flat)
    params = flax.traverse_util.unflatten_dict({**flat, **changes}, sep="/")
    return {**variables, "params": params}


def head_outputs_visible(variables, channels):
    """The closing 1x1 convolution and norm become the identity."""
    return with_params(
        variables,
        **{
            "out/kernel": jnp.eye(channels)[None, None],
            "out_norm/scale": jnp.full(channels, jnp.sqrt(1 + 1e-5)),
            "out_norm/bias": jnp.zeros(channels),
        },
    )


def param_count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_parameter_count_is_that_of_the_paper(key):
    module = CascadedGroupAttention(heads=4, key_dim=16, kernels=(7, 5, 3, 3))
    x = jax.ShapeDtypeStruct((1, 5, 5, 128), jnp.float32)
    params = jax.eval_shape(lambda k, x: module.init(k, x, train=False), key, x)[
        "params"
    ]
    table = params.pop("position_bias")
    assert param_count(params) == 26_944
    assert table.shape == (4, 35, 35)


def test_windowed_table_has_one_entry_per_offset_in_a_window(key):
    x = jnp.zeros((1, 5, 5, 8))
    module = small(window=3)
    params = jax.eval_shape(lambda x: module.init(key, x, train=False), x)["params"]
    assert params["position_bias"].shape == (2, 3, 3)


@pytest.mark.parametrize("window", [0, 2, 3])
def test_keeps_shape_and_computes_in_bfloat16(window, key):
    module = small(window=window, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((2, 5, 4, 8), jnp.bfloat16)
    out, variables = jax.eval_shape(
        lambda k, x: module.init_with_output(k, x, train=False), key, x
    )
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_starts_as_nothing_beside_the_residual(key):
    x = normal(1, 4, 4, 8)
    module = small(gamma_init=0.0)
    start = jax.jit(lambda x: module.init_with_output(key, x, train=False))
    out, variables = start(x)
    np.testing.assert_array_equal(out, 0)
    np.testing.assert_array_equal(variables["params"]["position_bias"], 0)


def test_a_channel_group_reaches_only_its_own_and_later_heads():
    module = small()
    x = normal(1, 2, 2, 8)
    variables = random_variables(module, x)
    variables = head_outputs_visible(variables, 8)

    slopes = jax.jacobian(lambda x: module.apply(variables, x, train=False))
    jacobian = jax.jit(slopes)(x)
    influence = np.abs(jacobian).sum(axis=(0, 1, 2, 4, 5, 6))  # [C out, C in]

    np.testing.assert_array_equal(influence[:4, 4:], 0)
    assert influence[4:, :4].max() > 1e-3
    assert influence[4:, 4:].max() > 1e-3


def test_a_silent_first_head_leaves_the_second_its_own_group():
    module = small()
    x = normal(1, 3, 3, 8)
    variables = random_variables(module, x)
    variables = head_outputs_visible(variables, 8)
    head = variables["params"]["head_0"]
    silent = with_params(
        variables,
        **{
            "head_0/qkv/kernel": head["qkv"]["kernel"].at[..., 6:].set(0),
            "head_0/qkv_norm/bias": head["qkv_norm"]["bias"].at[6:].set(0),
        },
    )
    stats = dict(silent["batch_stats"])
    mean = stats["head_0"]["qkv_norm"]["mean"].at[6:].set(0)
    norm = {**stats["head_0"]["qkv_norm"], "mean": mean}
    stats["head_0"] = {**stats["head_0"], "qkv_norm": norm}
    silent["batch_stats"] = stats

    both = run(module, silent, x)

    alone = small(heads=1, kernels=(3,))
    params, stats = silent["params"], silent["batch_stats"]
    second = {
        "params": {
            "head_0": params["head_1"],
            "position_bias": params["position_bias"][1:],
            "out": {"kernel": params["out"]["kernel"][..., 4:, 4:]},
            "out_norm": jax.tree.map(lambda v: v[4:], params["out_norm"]),
        },
        "batch_stats": {
            "head_0": stats["head_1"],
            "out_norm": jax.tree.map(lambda v: v[4:], stats["out_norm"]),
        },
    }
    own = run(alone, second, x[..., 4:])
    np.testing.assert_allclose(both[..., 4:], own, atol=1e-6)


def test_position_bias_is_symmetric_with_one_entry_per_absolute_offset():
    table = jnp.arange(36.0).reshape(1, 6, 6)
    bias = position_bias(table, 4, 4)[0]
    np.testing.assert_array_equal(bias, bias.T)
    assert len(np.unique(bias)) == 16
    rows, columns = np.divmod(np.arange(16), 4)
    drow, dcolumn = abs(rows[:, None] - rows), abs(columns[:, None] - columns)
    np.testing.assert_array_equal(bias, drow * 6 + dcolumn)


def test_one_window_equals_the_whole_map():
    x = normal(2, 4, 3, 8)
    variables = random_variables(small(grid=4), x)
    whole = run(small(grid=4), variables, x)
    window = run(small(window=4), variables, x)
    np.testing.assert_array_equal(window, whole)


def test_each_window_of_a_padded_map_equals_the_same_cells_alone():
    x = normal(2, 5, 5, 8)
    module, alone = small(window=3), small(grid=3)
    variables = random_variables(module, x)
    out = run(module, variables, x)
    for rows in (slice(0, 3), slice(3, 5)):
        for columns in (slice(0, 3), slice(3, 5)):
            own = run(alone, variables, x[:, rows, columns])
            np.testing.assert_allclose(out[:, rows, columns], own, atol=1e-5)


def test_padding_does_not_count_in_the_batch_statistics():
    x = normal(2, 5, 5, 8)
    variables = random_variables(small(window=3), x)

    def new_mean(masked):
        module = small(window=3, mask_padding=masked)
        train = functools.partial(module.apply, train=True, mutable=["batch_stats"])
        _, changed = jax.jit(train)(variables, x)
        return changed["batch_stats"]["head_0"]["qkv_norm"]["mean"]

    kernel = variables["params"]["head_0"]["qkv"]["kernel"][0, 0]
    expected = (x[..., :4] @ kernel).mean(axis=(0, 1, 2))
    old = variables["batch_stats"]["head_0"]["qkv_norm"]["mean"]
    np.testing.assert_allclose(new_mean(True), 0.9 * old + 0.1 * expected, atol=1e-6)
    np.testing.assert_allclose(
        new_mean(False), 0.9 * old + 0.1 * expected * 25 / 36, atol=1e-6
    )


def test_unmasked_padding_takes_part_like_zero_cells_of_a_larger_map():
    x = normal(1, 5, 4, 8)
    original = small(window=3, mask_padding=False)
    variables = random_variables(original, x)
    larger = jnp.pad(x, ((0, 0), (0, 1), (0, 2), (0, 0)))
    expected = run(small(window=3), variables, larger)[:, :5, :4]
    out = run(original, variables, x)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    masked = run(small(window=3), variables, x)
    assert np.abs(out - masked).max() > 1e-3


@pytest.mark.parametrize(("height", "width"), [(5, 7), (6, 3), (2, 2)])
def test_windows_come_back_as_the_map(height, width):
    x = normal(2, height, width, 3)
    windows = Windows(height, width, 3)
    split = windows.split(x)
    np.testing.assert_array_equal(windows.merge(split), x)
    flat = split.reshape(2, split.shape[1], -1, 3)
    real = windows.real()
    assert real.sum() == height * width
    np.testing.assert_array_equal(flat[:, ~real], 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3, "kernels": (3, 3, 3)}, "D=8 .* heads=3"),
        ({"kernels": (3,)}, "kernels=.* heads=2"),
        ({"kernels": (3, 4)}, "odd"),
        ({"grid": 2}, "3x3 map .* grid=2"),
    ],
)
def test_settings_that_cannot_work_name_both_numbers(changes, message, key):
    with pytest.raises(InputError, match=message):
        small(**changes).init(key, jnp.zeros((1, 3, 3, 8)), train=False)


def test_a_query_alike_to_one_key_reads_its_value():
    width = 4
    module = MultiHeadAttention(heads=2)
    tokens = 40 * jax.nn.one_hot(jnp.array([[0, 3]]), width)
    variables = random_variables(module, tokens, tokens)
    same = {"kernel": jnp.eye(width), "bias": jnp.zeros(width)}
    params = dict.fromkeys(variables["params"], same)
    keys = 40 * jnp.eye(width)[None]
    out = run(module, {"params": params}, tokens, keys)
    # Each head has two channels; a head whose query is zero averages its values.
    np.testing.assert_allclose(out[0, 0], [40, 0, 10, 10], atol=1e-3)
    np.testing.assert_allclose(out[0, 1], [10, 10, 0, 40], atol=1e-3)


def test_dropout_acts_in_training_only(key):
    module = MultiHeadAttention(heads=2, dropout=0.5)
    tokens = normal(1, 6, 4)
    variables = random_variables(module, tokens, tokens)
    first = run(module, variables, tokens, tokens)
    noisy = module.apply(variables, tokens, tokens, train=True, rngs={"dropout": key})
    assert (first != 0).all()
    assert (noisy == 0).any() and (noisy != 0).any()
