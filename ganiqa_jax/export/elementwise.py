"""What is computed element by element, and along axes."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ganiqa_jax.export.graph import Const, Graph, Node, Sizes, Tensor, Value, count

MAPS = (0, 3, 1, 2)
"""How ONNX stores maps: channels before rows."""

SAME_NAME = {
    "abs": "Abs",
    "add": "Add",
    "and": "And",
    "div": "Div",
    "eq": "Equal",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}
"""Primitives of JAX that ONNX has as they are."""

TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "bool": 9}
"""Numbers that ONNX gives to types."""


def elementwise(graph: Graph, operator: str, values: Sequence[Value]) -> Tensor:
    """An operator on values of one shape, up to axes that are still to be repeated."""
    order = _largest(values).order
    names = [graph.name_in_order(value, order) for value in values]
    return graph.run(operator, names, _together(values), order)


def _largest(values: Sequence[Value]) -> Tensor:
    """The tensor whose stored order the others take over; maps stay as they are."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    return max(tensors, key=lambda t: (count(t.sizes), not t.is_plain))


def _together(values: Sequence[Value]) -> Sizes:
    rank = max(len(value.sizes) for value in values)
    shapes = [value.sizes for value in values if len(value.sizes) == rank]
    return tuple(
        next((size for size in sizes if size != 1), 1)
        for sizes in zip(*shapes, strict=True)
    )


def maximum(graph: Graph, values: Sequence[Value]) -> Tensor:
    """Max; Relu where one side is zero, which runtimes fuse with a convolution."""
    for one, other in (values, values[::-1]):
        if isinstance(one, Const) and isinstance(other, Tensor) and not one.array.any():
            return graph.run("Relu", [other.name], other.sizes, other.order)
    return elementwise(graph, "Max", values)


def minimum(graph: Graph, values: Sequence[Value]) -> Tensor:
    """Min; Clip where it follows a Relu, as in ReLU6."""
    for one, other in (values, values[::-1]):
        maker = graph.producer(other)
        if isinstance(one, Const) and one.array.size and maker is not None:
            assert isinstance(other, Tensor)
            high = one.array.reshape(-1)[0]
            if maker.operator == "Relu" and (one.array == high).all() and high > 0:
                bounds = [graph.constant(x, np.float32) for x in (0.0, high)]
                names = [maker.inputs[0], *bounds]
                return graph.run("Clip", names, other.sizes, other.order)
    return elementwise(graph, "Min", values)


def divide(graph: Graph, values: Sequence[Value]) -> Tensor:
    """Div; a sum over axes divided by how many elements they have is a mean."""
    top, bottom = values
    maker = graph.producer(top)
    if maker is not None and maker.joined and isinstance(bottom, Const):
        assert isinstance(top, Tensor)
        if (bottom.array == math.prod(maker.joined)).all():
            if maker.operator == "ReduceSum":
                return _mean(graph, maker, top)
            if maker.operator == "Mul":
                return dataclasses.replace(top, name=maker.inputs[0])
    return elementwise(graph, "Div", values)


def _mean(graph: Graph, summing: Node, summed: Tensor) -> Tensor:
    """The mean for a sum; of whole maps by pooling, which runtimes do as they lie.

    Tiles first, then over them: thousands of numbers added one after the other lose
    the digits that a variance is made of.
    """
    name, axes = summing.inputs
    if len(summed.sizes) != 2 or list(graph.constants[axes]) != [2, 3]:
        names, order = summing.inputs, summed.order
        return graph.run("ReduceMean", names, summed.sizes, order, keepdims=0)
    channels = summed.stored
    side = _tile(*summing.joined)
    if side > 1:
        tiles = tuple(size // side for size in summing.joined)
        tile = [side, side]
        of_tiles = graph.run(
            "AveragePool",
            [name],
            (*channels, *tiles),
            kernel_shape=tile,
            strides=tile,
        )
        name = of_tiles.name
    pooled = graph.run("GlobalAveragePool", [name], (*channels, 1, 1))
    return graph.reshape(pooled, channels, summed.sizes, summed.order)


def _tile(height: int, width: int) -> int:
    """Side of the tiles that divide a map, about as many as each has cells."""
    most = math.isqrt(max(height, width)) + 4
    return max(k for k in range(1, most) if height % k == 0 and width % k == 0)


def square(graph: Graph, value: Value) -> Tensor:
    return elementwise(graph, "Mul", [value, value])


def integer_power(graph: Graph, value: Value, power: int) -> Tensor:
    if power == 2:
        return square(graph, value)
    return elementwise(graph, "Pow", [value, Const(np.array(power, np.float32))])


def reciprocal_root(graph: Graph, value: Value) -> Tensor:
    root = elementwise(graph, "Sqrt", [value])
    return elementwise(graph, "Reciprocal", [root])


def not_equal(graph: Graph, values: Sequence[Value]) -> Tensor:
    return elementwise(graph, "Not", [elementwise(graph, "Equal", values)])


def select(graph: Graph, values: Sequence[Value]) -> Tensor:
    """`lax.select_n` of two cases: the first where the condition is false.

    Raises:
      NotImplementedError: if there are more cases.
    """
    if len(values) != 3:
        raise NotImplementedError("a choice between more than two cases")
    condition, when_false, when_true = values
    return elementwise(graph, "Where", [condition, when_true, when_false])


def convert(graph: Graph, value: Tensor, dtype: str) -> Tensor:
    """Another type.

    Raises:
      NotImplementedError: if it is one that networks here do not compute in.
    """
    if dtype not in TYPES:
        raise NotImplementedError(f"numbers of type {dtype}")
    order = value.order
    return graph.run("Cast", [value.name], value.sizes, order, to=TYPES[dtype])


def reduce(graph: Graph, operator: str, tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """ReduceSum or ReduceMax over axes of the network, which go."""
    positions = [tensor.order.index(axis) for axis in axes]
    kept = [axis for axis in range(len(tensor.sizes)) if axis not in axes]
    order = tuple(kept.index(axis) for axis in tensor.order if axis not in axes)
    sizes = tuple(tensor.sizes[axis] for axis in kept)
    names = [tensor.name, graph.integers(positions)]
    reduced = graph.run(operator, names, sizes, order, keepdims=0)
    graph.nodes[-1].joined = tuple(
        tensor.sizes[axis] for axis in tensor.order if axis in axes
    )
    return reduced


def sum_over_windows(
    graph: Graph, tensor: Tensor, sizes: Sizes, settings: dict[str, Any]
) -> Tensor:
    """Sums over windows of rows and columns that do not overlap: means times a number.

    Args:
      graph: to add to.
      tensor: maps.
      sizes: of the result.
      settings: of `lax.reduce_window`.

    Raises:
      NotImplementedError: if the windows are not such.
    """
    window = settings["window_dimensions"]
    plain = (
        len(window) == 4
        and window[0] == window[3] == 1
        and window == settings["window_strides"]
        and not np.any(settings["padding"])
        and {*settings["base_dilation"], *settings["window_dilation"]} == {1}
    )
    if not plain:
        raise NotImplementedError("a sum over windows that overlap or are padded")
    name = graph.in_order(tensor, MAPS).name
    sides = [int(side) for side in window[1:3]]
    means = graph.run(
        "AveragePool", [name], sizes, MAPS, kernel_shape=sides, strides=sides
    )
    summed = elementwise(
        graph, "Mul", [means, Const(np.array(math.prod(sides), np.float32))]
    )
    graph.nodes[-1].joined = tuple(sides)
    return summed


SPECIAL: dict[str, Callable[[Graph, Sequence[Value]], Value]] = {
    "div": divide,
    "max": maximum,
    "min": minimum,
    "ne": not_equal,
    "rsqrt": lambda graph, values: reciprocal_root(graph, values[0]),
    "select_n": select,
    "square": lambda graph, values: square(graph, values[0]),
}
