import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_arrays import normal

from ganiqa_jax.models.conformer import (
    ConformerDecoderBlock,
    ConformerEncoderBlock,
    DepthwiseSeparableConv,
    GatedConvolution,
    Transformer,
)


def initialised(module, *maps):
    return jax.jit(lambda *maps: module.init(jax.random.key(1), *maps, train=False))(
        *maps
    )


def run(module, variables, *maps):
    return jax.jit(lambda *maps: module.apply(variables, *maps, train=False))(*maps)


def shapes_of(module, *maps):
    return jax.eval_shape(
        lambda *maps: module.init(jax.random.key(0), *maps, train=False), *maps
    )


def param_count(module, *shapes):
    maps = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    variables = shapes_of(module, *maps)
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("expansion", "encoder", "decoder"),
    [(4, 386_944, 453_248), (2, 255_360, 321_664)],
)
def test_parameter_counts_are_those_of_iqa_conformer(expansion, encoder, decoder):
    shape = (1, 3, 3, 128)
    assert param_count(ConformerEncoderBlock(4, expansion), shape) == encoder
    assert param_count(ConformerDecoderBlock(4, expansion), shape, shape) == decoder


def test_depthwise_separable_convolution_has_the_published_size():
    assert param_count(DepthwiseSeparableConv(), (1, 3, 3, 128)) == 18_048


def test_depthwise_separable_convolution_is_residual():
    module = DepthwiseSeparableConv()
    x = normal(1, 4, 4, 8)
    variables = initialised(module, x)
    assert np.abs(run(module, variables, x) - x).max() > 1e-2
    silent = dict(variables["params"])
    silent["pointwise"] = {"kernel": jnp.zeros((1, 1, 8, 8))}
    out = run(module, {**variables, "params": silent}, x)
    np.testing.assert_array_equal(out, x)


def test_the_first_half_is_gated_by_the_second():
    module = GatedConvolution(kernel=3, dropout=0.0)
    x = normal(1, 4, 4, 8)
    variables = initialised(module, x)
    open_gate = jnp.concatenate([jnp.ones(8), jnp.full(8, 50.0)])
    shut_gate = jnp.concatenate([jnp.ones(8), jnp.full(8, -50.0)])

    def gated(bias):
        expand = {"kernel": jnp.zeros((8, 16)), "bias": bias}
        params = {**variables["params"], "expand": expand}
        return run(module, {**variables, "params": params}, x)

    assert np.abs(gated(open_gate)).max() > 1e-3
    np.testing.assert_allclose(gated(shut_gate), 0, atol=1e-12)


def test_encoded_maps_are_normalised():
    module = ConformerEncoderBlock(heads=2, expansion=2)
    x = 3 + 5 * normal(2, 3, 3, 8)
    out = run(module, initialised(module, x), x)
    np.testing.assert_allclose(out.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=-1), 1, atol=1e-3)


def test_layer_norms_use_the_epsilon_of_the_source(key):
    module = ConformerEncoderBlock(heads=2)
    x = normal(1, 3, 3, 8)
    seen = []

    def record(next_fun, args, kwargs, context):
        if isinstance(context.module, nn.LayerNorm):
            seen.append(context.module.epsilon)
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(record):
        jax.eval_shape(lambda x: module.init(key, x, train=False), x)
    assert len(seen) == 5 and set(seen) == {1e-5}


def test_decoder_reads_the_encoded_map():
    module = ConformerDecoderBlock(heads=2, expansion=2)
    x, encoded = normal(2, 1, 3, 3, 8)
    variables = initialised(module, x, encoded)
    first = run(module, variables, x, encoded)
    second = run(module, variables, x, encoded.at[0, 2, 2].add(1.0))
    assert np.abs(first - second)[0, 0, 0].max() > 1e-5


def test_one_position_table_serves_both_maps_and_every_grid():
    module = Transformer(heads=2, layers=2, expansion=1, embedding_grid=4)
    x = jnp.zeros((1, 4, 4, 8))
    variables = shapes_of(module, x, x)
    assert variables["params"]["embedding"].shape == (4, 4, 8)
    blocks = {name for name in variables["params"] if name != "embedding"}
    assert blocks == {"encoder_0", "encoder_1", "decoder_0", "decoder_1"}
    larger = jnp.zeros((1, 5, 3, 8))
    encoded, decoded = jax.eval_shape(
        lambda v: module.apply(v, larger, larger, train=False), variables
    )
    assert encoded.shape == decoded.shape == larger.shape


def test_the_position_table_starts_small(key):
    module = Transformer(heads=2, expansion=1, embedding_grid=4)
    x = jnp.zeros((1, 4, 4, 8))
    variables = jax.jit(lambda: module.init(key, x, x, train=False))()
    assert 0.01 < variables["params"]["embedding"].std() < 0.03


def test_the_position_table_is_resized_bilinearly():
    module = Transformer(heads=2, expansion=1, embedding_grid=3)
    x = jnp.ones((1, 5, 5, 8))
    variables = jax.tree.map(lambda v: jnp.zeros(v.shape), shapes_of(module, x, x))
    grows = jnp.broadcast_to(jnp.arange(3.0)[:, None, None], (3, 3, 8))
    params = {**variables["params"], "embedding": grows}
    entering = []

    def record(next_fun, args, kwargs, context):
        if isinstance(context.module, ConformerEncoderBlock | ConformerDecoderBlock):
            entering.append(args[0])
        return next_fun(*args, **kwargs)

    @jax.jit
    def inputs():
        with nn.intercept_methods(record):
            module.apply({**variables, "params": params}, x, 2 * x, train=False)
        return entering

    difference, reference = inputs()
    # Pixel centres at (i + 0.5) * 3 / 5 - 0.5, clamped at the border.
    expected = [0, 0.4, 1, 1.6, 2]
    np.testing.assert_allclose(difference[0, :, 0, 0] - 1, expected, atol=1e-6)
    np.testing.assert_allclose(reference[0, :, 0, 0] - 2, expected, atol=1e-6)


def test_dropout_acts_in_training_only_and_statistics_move(key):
    module = Transformer(heads=2, expansion=1, dropout=0.5, embedding_grid=3)
    x = normal(2, 3, 3, 8)
    variables = initialised(module, x, x)

    @jax.jit
    def trained(key):
        return module.apply(
            variables, x, x, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
        )

    (first, _), changed = trained(jax.random.key(1))
    (second, _), _ = trained(jax.random.key(2))
    assert np.abs(first - second).max() > 1e-3
    moved = jax.tree.map(
        lambda a, b: np.abs(np.subtract(a, b)).max() > 0,
        variables["batch_stats"],
        changed["batch_stats"],
    )
    assert all(jax.tree.leaves(moved))


def test_bfloat16_keeps_parameters_in_float32(key):
    module = Transformer(heads=2, expansion=1, embedding_grid=3, dtype=jnp.bfloat16)
    x = jax.ShapeDtypeStruct((1, 3, 3, 8), jnp.bfloat16)
    (encoded, decoded), variables = jax.eval_shape(
        lambda x: module.init_with_output(key, x, x, train=False), x
    )
    assert encoded.dtype == decoded.dtype == jnp.bfloat16
    assert {v.dtype for v in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
