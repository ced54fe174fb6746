"""What becomes of JAX operations in an ONNX graph."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganiqa_jax.errors import InputError
from ganiqa_jax.export import lowering, onnx_file
from ganiqa_jax.models.backbones.pooling import average_pool, max_pool
from ganiqa_jax.models.conv import ConvNorm
from ganiqa_jax.models.depthwise import depthwise_conv
from ganiqa_jax.models.features import resize_map
from ganiqa_jax.models.quality import moment_pool, moments_of_parts
from ganiqa_jax.scoring.on_onnx import open_session

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RANDOM = np.random.default_rng(0)
CUMULATED = np.cumsum(np.ones((1, 1, 8, 8), np.float32), 2)
KERNEL = jnp.asarray(RANDOM.normal(size=(3, 3, 1, 6)), jnp.float32)
TABLE = RANDOM.normal(size=(8, 6)).astype(np.float32)


def lowered(function, shape):
    """The graph of a function of one array with a symbolic batch, and its session."""
    (batch,) = jax.export.symbolic_shape("b")
    spec = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    graph = lowering.to_graph(function, {"x": spec}, "z")
    # Sizes of the output do not matter here: it is flattened to one axis.
    return graph, open_session(
        onnx_file.to_bytes(graph, dict.fromkeys("xz", "float32"), {})
    )


def depthwise(x):
    return depthwise_conv(x, KERNEL, stride=2, padding=((1, 1), (0, 2)))


def windows(x):
    batch, height, width, channels = x.shape
    cut = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    cut = cut.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, 4, channels)
    scores = jnp.einsum("bmqk,bmnk->bmqn", cut, cut) / 2
    return jnp.einsum("bmqn,bmnc->bmqc", jax.nn.softmax(scores), cut)


def attention(x):
    tokens = x.reshape(x.shape[0], -1, 2, 3)
    return jax.nn.dot_product_attention(tokens, tokens * 2, tokens)


def pair(x):
    both = jnp.concatenate([x, x * 2 + 1])
    first, second = jnp.split(jnp.tanh(both), 2)
    return first - second


def masked(x):
    padded = jnp.pad(x, ((0, 0), (0, 1), (2, 0), (0, 0)), constant_values=3.0)
    mask = np.arange(10)[None, None, :, None] % 3 > 0
    return jnp.where(mask, padded, -1.0)


def broadcast_late(x):
    row = jnp.ones((x.shape[0], 4)) * 2
    return jnp.concatenate([x[:, 0, 0], row], axis=-1)


FUNCTIONS = {
    "depthwise": depthwise,
    "convolution after product": lambda x: depthwise(x @ TABLE.T[:, :6]),
    "windows": windows,
    "attention": attention,
    "split batch": pair,
    "padding and choice": masked,
    "reflection": lambda x: jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect"),
    "maximum pooling": max_pool,
    "average pooling": average_pool,
    "pooling of a convolution": lambda x: max_pool(depthwise(x)),
    "enlarging": lambda x: resize_map(x, 12, 11),
    "reducing": lambda x: resize_map(
        depthwise_conv(x, KERNEL, padding=((1, 1),) * 2), 3, 4
    ),
    "product on the left": lambda x: jnp.einsum("ij,bjwc->biwc", TABLE, x[:, :6]),
    "mean and deviation": lambda x: (x - x.mean((1, 2), keepdims=True)).std(axis=3),
    "layer norm": lambda x: jax.nn.standardize(x, axis=-1) * TABLE[None, None, None, 0],
    "logic": lambda x: jnp.where((x > 0) & ~(x < 1) | (x != x), x**2, jnp.abs(x) ** 3),
    "turned round": lambda x: jnp.flip(x, (1, 2))[..., 1],
    "constant part": broadcast_late,
    "relu6": lambda x: jax.nn.relu6(3 * x) + jnp.minimum(x, 0.5),
    "moments of parts": lambda x: moments_of_parts([depthwise(x), x[:, :7, 2:]]),
    "sums of blocks": lambda x: jax.lax.reduce_window(
        x, 0.0, jax.lax.add, (1, 2, 4, 1), (1, 2, 4, 1), "VALID"
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_graph_computes_what_jax_computes_for_any_batch(name):
    function = FUNCTIONS[name]

    def weighted(x):
        y = function(x)
        y = y.reshape(x.shape[0], -1)
        return y @ np.linspace(-1, 1, y.shape[1], dtype=np.float32)

    session = lowered(weighted, (8, 8, 6))[1]
    for batch in (1, 3):
        x = RANDOM.normal(size=(batch, 8, 8, 6)).astype(np.float32)
        got = session.run(None, {"x": x})[0]
        wanted = jax.jit(weighted)(x)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_depthwise_convolution_is_one_grouped_node_with_its_norm_and_activation():
    unit = ConvNorm(6, kernel=(3, 3), padding=1, depthwise=True, activation="relu6")
    shape = (1, 8, 8, 6)
    variables = unit.init(jax.random.key(0), jnp.zeros(shape))
    variables["batch_stats"]["norm"]["mean"] += 0.3
    graph, _ = lowered(lambda x: unit.apply(variables, x).mean((1, 2, 3)), shape[1:])
    operators = [node.operator for node in graph.nodes]
    assert operators == ["Transpose", "Conv", "Clip", "ReduceMean", "Identity"]
    (conv,) = (node for node in graph.nodes if node.operator == "Conv")
    assert conv.attributes["group"] == 6
    assert len(conv.inputs) == 3


@pytest.mark.parametrize(
    ("height", "width", "tiles"), [(80, 80, 8), (10, 40, 2), (7, 9, 0)]
)
def test_moments_of_maps_are_pooled_as_the_maps_lie(height, width, tiles):
    def moments(x):
        return moment_pool(jnp.minimum(jax.nn.relu(depthwise(x)), 6.0)).reshape(-1)

    graph, session = lowered(moments, (2 * height, 2 * width, 6))
    operators = [node.operator for node in graph.nodes]
    assert operators.count("GlobalAveragePool") == 2
    assert operators.count("AveragePool") == (2 if tiles else 0)
    # Only the numbers that came out are moved: the maps stay as convolutions want.
    assert "ReduceMean" not in operators and operators.count("Transpose") == 1
    x = RANDOM.normal(1, 1e-2, (2, 2 * height, 2 * width, 6)).astype(np.float32)
    got = session.run(None, {"x": x})[0]
    maps = jnp.clip(depthwise(jnp.asarray(x)), 0, 6)
    pooled = np.asarray(maps, np.float64)
    mean, deviation = np.mean(pooled, (1, 2)), np.std(pooled, (1, 2))
    wanted = np.concatenate([mean, np.sqrt(deviation**2 + 1e-6)], axis=1).ravel()
    # Squares of about 30 in float32: a deviation of 0.08 keeps four digits.
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-4)


def test_moments_of_parts_of_maps_are_pooled_as_the_maps_lie():
    def moments(x):
        return moments_of_parts([jnp.minimum(jax.nn.relu(depthwise(x)), 6.0)])

    graph, session = lowered(lambda x: moments(x).reshape(-1), (80, 160, 6))
    operators = [node.operator for node in graph.nodes]
    # By columns and by rows of the map and of its squares, and the cells at last.
    assert operators.count("AveragePool") == 5
    (clip,) = (node for node in graph.nodes if node.operator == "Clip")
    users = [node.operator for node in graph.nodes if clip.outputs[0] in node.inputs]
    assert sorted(users) == ["AveragePool", "Mul"], "the map is moved or shifted"
    x = RANDOM.normal(1, 1, (2, 80, 160, 6)).astype(np.float32)
    got = session.run(None, {"x": x})[0]
    maps = np.clip(np.asarray(depthwise(jnp.asarray(x)), np.float64), 0, 6)
    corner = maps[:, 10:, :60]
    deviation = np.sqrt(corner.var((1, 2)) + 1e-6)
    wanted = np.concatenate([corner.mean((1, 2)), deviation], axis=1)
    got = got.reshape(2, 5, 12)[:, 3]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-4)


def test_deviations_of_maps_without_bounds_keep_their_digits():
    _, session = lowered(lambda x: moment_pool(x).reshape(-1), (40, 40, 6))
    x = RANDOM.normal(1000, 1, (2, 40, 40, 6)).astype(np.float32)
    got = session.run(None, {"x": x})[0].reshape(2, 2, 6)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(got[:, 0], wide.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(got[:, 1], wide.std((1, 2)), rtol=1e-3)


@pytest.mark.parametrize("axis", [3, 1])
def test_norms_and_softmax_become_one_operator_each(axis):
    norm = nn.LayerNorm(epsilon=1e-5)
    variables = {"params": {"scale": TABLE[:, 0], "bias": TABLE[:, 1]}}

    def function(x):
        x = jnp.moveaxis(jax.nn.softmax(x), axis, 3)  # [B, 8, 8, 8]
        return (norm.apply(variables, x) * CUMULATED).sum((1, 2, 3))

    graph, session = lowered(function, (8, 8, 8))
    operators = [node.operator for node in graph.nodes]
    assert operators.count("Softmax") == operators.count("LayerNormalization") == 1
    assert not {"Exp", "Sqrt", "ReduceMean", "ReduceMax"} & set(operators)
    x = RANDOM.normal(size=(2, 8, 8, 8)).astype(np.float32)
    got = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(got, jax.jit(function)(x), rtol=1e-4, atol=1e-4)


def test_scales_before_a_convolution_go_into_its_filters():
    def function(x):
        y = depthwise_conv(x / 255.0 * 2 - 1, KERNEL, padding=((1, 1), (1, 1)))
        return y.sum((1, 2, 3))

    graph, session = lowered(function, (8, 8, 6))
    operators = [node.operator for node in graph.nodes]
    assert operators[:3] == ["Transpose", "Add", "Conv"]
    x = RANDOM.uniform(0, 255, size=(2, 8, 8, 6)).astype(np.float32)
    got = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(got, jax.jit(function)(x), rtol=1e-4, atol=1e-3)


def test_what_onnx_lacks_is_named():
    with pytest.raises(InputError, match="no counterpart of .* sort"):
        lowered(lambda x: jnp.sort(x, axis=1).sum((1, 2, 3)), (4, 4, 2))


def test_sums_over_windows_that_overlap_are_refused():
    def overlapping(x):
        window = (1, 3, 3, 1)
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, (1,) * 4, "SAME")

    with pytest.raises(InputError, match="windows that overlap"):
        lowered(lambda x: overlapping(x).sum((1, 2, 3)), (4, 4, 2))
