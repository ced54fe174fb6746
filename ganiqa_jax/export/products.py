"""Convolutions and matrix products, in the order that moves the least data."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ganiqa_jax.export import shapes
from ganiqa_jax.export.graph import Const, Graph, Sizes, Tensor, Value

Dimensions = tuple[
    tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]
]


def convolution(
    graph: Graph, values: Sequence[Value], sizes: Sizes, settings: dict[str, Any]
) -> Tensor:
    """A convolution of a tensor with known filters.

    Args:
      graph: to add to.
      values: the map and the filters.
      sizes: of the result.
      settings: of `lax.conv_general_dilated`.

    Raises:
      NotImplementedError: if the filters are computed, or the map is spread out.
    """
    tensor, kernel = values
    numbers = settings["dimension_numbers"]
    if not isinstance(kernel, Const) or not isinstance(tensor, Tensor):
        raise NotImplementedError("a convolution with filters that are computed")
    if any(step != 1 for step in settings["lhs_dilation"]):
        raise NotImplementedError("a transposed convolution")
    filters = kernel.array.transpose(numbers.rhs_spec)
    low, high = zip(*settings["padding"], strict=True)
    inputs = [
        graph.in_order(tensor, numbers.lhs_spec).name,
        graph.constant(np.ascontiguousarray(filters)),
    ]
    return graph.run(
        "Conv",
        inputs,
        sizes,
        tuple(numbers.out_spec),
        kernel_shape=[int(side) for side in filters.shape[2:]],
        strides=[int(step) for step in settings["window_strides"]],
        dilations=[int(step) for step in settings["rhs_dilation"]],
        pads=[int(side) for side in (*low, *high)],
        group=int(settings["feature_group_count"]),
    )


def product(
    graph: Graph, values: Sequence[Value], dimensions: Dimensions, sizes: Sizes
) -> Tensor:
    """`lax.dot_general` over one axis, as one MatMul.

    Args:
      graph: to add to.
      values: left and right.
      dimensions: contracted and batch axes of both, as JAX has them.
      sizes: of the result: batch axes, free axes of the left, then of the right.

    Raises:
      NotImplementedError: if several axes are contracted.
    """
    (left_sum, right_sum), (left_batch, right_batch) = dimensions
    if len(left_sum) != 1:
        raise NotImplementedError("a product over several axes")
    left, right = values
    a = _Side(left, left_sum[0], tuple(left_batch))
    b = _Side(right, right_sum[0], tuple(right_batch))
    if not a.batch and isinstance(right, Const):
        return _by_known(graph, a, b, sizes, known_first=False)
    if not a.batch and isinstance(left, Const):
        return _by_known(graph, b, a, sizes, known_first=True)
    batch = len(a.batch)
    free_a = a.places(batch)
    free_b = b.places(batch + len(a.free))
    turned = _moves(b, a) < _moves(a, b)
    first, second = (b, a) if turned else (a, b)
    rows, columns = (free_b, free_a) if turned else (free_a, free_b)
    names = [
        _stored_as(graph, first, (*first.batch, *first.free, first.over), -2),
        _stored_as(graph, second, (*second.batch, second.over, *second.free), -1),
    ]
    order = (*range(batch), *rows, *columns)
    seen = [sizes[axis] for axis in range(batch)]
    seen += [_times(sizes, rows), _times(sizes, columns)]
    flat = graph.run("MatMul", names, tuple(seen))
    return graph.reshape(flat, tuple(sizes[axis] for axis in order), sizes, order)


class _Side:
    """One factor: what it is summed over, its batch axes, its free ones."""

    def __init__(self, value: Value, over: int, batch: Sizes) -> None:
        self.value, self.over, self.batch = value, over, batch
        taken = (over, *batch)
        order = value.order if isinstance(value, Tensor) else range(len(value.sizes))
        self.free = tuple(axis for axis in order if axis not in taken)

    def places(self, first: int) -> Sizes:
        """Axes of a result that the free axes become, in the order they are stored."""
        ascending = sorted(self.free)
        return tuple(first + ascending.index(axis) for axis in self.free)


def _moves(first: _Side, second: _Side) -> int:
    """How many factors must be stored anew for `first @ second`."""
    wanted = (
        (first, (*first.batch, *first.free, first.over)),
        (second, (*second.batch, second.over, *second.free)),
    )
    return sum(
        isinstance(side.value, Tensor) and side.value.order != order
        for side, order in wanted
    )


def _stored_as(graph: Graph, side: _Side, order: Sizes, free_at: int) -> str:
    """A factor with its free axes joined to one, which stands at `free_at`."""
    plain = shapes.transpose(graph, side.value, order)
    sizes = plain.sizes
    batch, one = (
        sizes[: len(side.batch)],
        sizes[-1 if free_at == -2 else len(side.batch)],
    )
    joined = _times(side.value.sizes, side.free)
    matrix = (joined, one) if free_at == -2 else (one, joined)
    return graph.plain(
        shapes.reshape(graph, graph.plain(plain), (*batch, *matrix))
    ).name


def _times(sizes: Sizes, axes: Sequence[int]) -> int:
    """Elements along some axes, at most one of which is the batch."""
    return math.prod(sizes[axis] for axis in axes)


def _by_known(
    graph: Graph, side: _Side, known: _Side, sizes: Sizes, *, known_first: bool
) -> Tensor:
    """A tensor times an array without batch axes."""
    tensor, factor = side.value, known.value
    assert isinstance(tensor, Tensor) and isinstance(factor, Const)
    array = factor.array
    matrix = np.moveaxis(array, known.over, 0).reshape(array.shape[known.over], -1)
    own = side.places(len(known.free) if known_first else 0)
    place = dict(zip(side.free, own, strict=True))
    new = known.places(0 if known_first else len(side.free))
    stored = [*tensor.order]
    if len(new) == 1 and len(stored) > 2 and stored[-2] == side.over:
        # Summed over the last but one stored axis: nothing has to move.
        inputs = [graph.constant(matrix.T), tensor.name]
        order = [place[a] if a != side.over else new[0] for a in stored]
        return graph.run("MatMul", inputs, sizes, tuple(order))
    others = [axis for axis in stored if axis != side.over]
    moved = graph.in_order(tensor, [*others, side.over])
    order = [place[axis] for axis in others]
    seen = {place[axis]: tensor.sizes[axis] for axis in others}
    flat = graph.run(
        "MatMul",
        [moved.name, graph.constant(matrix)],
        (*(seen[axis] for axis in order), matrix.shape[1]),
    )
    order = (*order, *new)
    return graph.reshape(flat, tuple(sizes[axis] for axis in order), sizes, order)
