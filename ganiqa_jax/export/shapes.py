"""What moves elements without computing: reshapes, slices, repetition, joining."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ganiqa_jax.export.graph import Const, Graph, Sizes, Tensor, Value, count

_END = np.iinfo(np.int64).max


def transpose(graph: Graph, value: Value, permutation: Sequence[int]) -> Value:
    """Axis `i` of the result is axis `permutation[i]`; no data moves."""
    if isinstance(value, Const):
        return Const(value.array.transpose(permutation))
    permutation = tuple(permutation)
    sizes = tuple(value.sizes[axis] for axis in permutation)
    order = tuple(permutation.index(axis) for axis in value.order)
    return Tensor(value.name, sizes, order)


def broadcast(
    graph: Graph, value: Value, sizes: Sizes, dimensions: Sequence[int]
) -> Value:
    """Puts the axes of a value at `dimensions`; repetition is left to who reads it."""
    if isinstance(value, Const):
        seen = [1] * len(sizes)
        for axis, size in zip(dimensions, value.array.shape, strict=True):
            seen[axis] = size
        array = value.array.reshape(seen)
        return Const(array)
    dimensions = tuple(dimensions)
    seen = tuple(
        value.sizes[dimensions.index(axis)] if axis in dimensions else 1
        for axis in range(len(sizes))
    )
    new = [axis for axis in range(len(sizes)) if axis not in dimensions]
    order = [dimensions[axis] for axis in value.order]
    for axis in new:
        # Where it stands in the network, if that is how the others are stored.
        order.insert(axis if value.is_plain else len(order), axis)
    stored = tuple(seen[axis] for axis in order)
    return graph.reshape(value, stored, seen, tuple(order))


def reshape(graph: Graph, value: Value, sizes: Sizes) -> Value:
    """Other sizes of the same elements, keeping the stored order where that can be."""
    if isinstance(value, Const):
        return Const(value.array.reshape(sizes))
    groups = _common_groups(value.sizes, sizes)
    order: list[int] = []
    left = list(value.order)
    by_first = {old[0]: (old, new) for old, new in groups if old}
    while left:
        old, new = by_first.get(left[0], ((), ()))
        if not old or tuple(left[: len(old)]) != old:
            value = graph.plain(value)  # an axis is split or joined across the order
            return graph.reshape(value, sizes, sizes, tuple(range(len(sizes))))
        order.extend(new)
        left = left[len(old) :]
    stored = tuple(sizes[axis] for axis in order)
    return graph.reshape(value, stored, sizes, tuple(order))


def _common_groups(
    old: Sizes, new: Sizes
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shortest runs of old and of new axes that hold the same elements."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = [], []
        if i < len(old):
            left, i = [i], i + 1
        if j < len(new):
            right, j = [j], j + 1
        while (a := count([old[k] for k in left])) != (
            b := count([new[k] for k in right])
        ):
            if a < b and i < len(old):
                left.append(i)
                i += 1
            elif j < len(new):
                right.append(j)
                j += 1
            else:
                left.append(i)
                i += 1
        groups.append((left, right))
    return _attach_loose_axes(groups)


def _attach_loose_axes(
    groups: list[tuple[list[int], list[int]]],
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Axes of size 1 at the end belong to the run before them."""
    whole: list[tuple[list[int], list[int]]] = []
    for left, right in groups:
        if whole and (not left or not right):
            whole[-1][0].extend(left)
            whole[-1][1].extend(right)
        else:
            whole.append((left, right))
    return [(tuple(left), tuple(right)) for left, right in whole]


def cut(
    graph: Graph,
    tensor: Tensor,
    starts: Sequence[int],
    sizes: Sizes,
    steps: Sequence[int] | None = None,
) -> Tensor:
    """A box out of a tensor; axes that stay whole are not named in the graph.

    Args:
      graph: to add to.
      tensor: to cut.
      starts: of every axis.
      sizes: of the result.
      steps: between elements; -1 turns a whole axis round.
    """
    steps = [1] * len(sizes) if steps is None else steps
    names: list[list[int]] = [[], [], [], []]
    for position, axis in enumerate(tensor.order):
        start, size, step = starts[axis], sizes[axis], steps[axis]
        if size == tensor.sizes[axis] and step == 1:
            continue
        end = start + (size - 1) * step + 1 if step > 0 else -_END
        row = (start, end, position, step)
        for target, number in zip(names, row, strict=True):
            target.append(number)
    if not names[0]:
        return tensor
    begin, end, axes, step = (graph.integers(numbers) for numbers in names)
    inputs = [tensor.name, begin, end, axes, step]
    return graph.run("Slice", inputs, sizes, tensor.order)


def without_axes(graph: Graph, tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """A tensor without some of its axes of size 1."""
    kept = [axis for axis in range(len(tensor.sizes)) if axis not in axes]
    order = tuple(kept.index(axis) for axis in tensor.order if axis in kept)
    sizes = tuple(tensor.sizes[axis] for axis in kept)
    stored = tuple(sizes[axis] for axis in order)
    return graph.reshape(tensor, stored, sizes, order)


def gather(
    graph: Graph, tensor: Tensor, indices: np.ndarray, numbers: Any, taken: Sizes
) -> Tensor:
    """A gather that is a slice in disguise, as indexing with a symbolic batch makes.

    Args:
      graph: to add to.
      tensor: to take from.
      indices: first element of each piece, [..., axes].
      numbers: `GatherDimensionNumbers` of JAX.
      taken: sizes of a piece.

    Raises:
      NotImplementedError: if it takes anything but evenly spaced boxes.
    """
    axes = numbers.start_index_map
    grid = indices.reshape(*indices.shape[:-1], len(axes))
    if grid.ndim not in (1, 1 + len(axes)):
        raise NotImplementedError("gather of places that form no grid")
    starts, steps, sizes = [0] * len(taken), [1] * len(taken), list(taken)
    for place, axis in enumerate(axes):
        spread = _along_one_axis(grid[..., place], place)
        starts[axis] = int(spread[0])
        if len(spread) > 1:
            steps[axis], sizes[axis] = int(spread[1] - spread[0]), len(spread)
    pieces = cut(graph, tensor, starts, tuple(sizes), steps)
    if grid.ndim == 1:
        return without_axes(graph, pieces, numbers.collapsed_slice_dims)
    outside = [a for a in range(len(taken)) if a not in numbers.offset_dims]
    if not outside == list(axes) == list(numbers.collapsed_slice_dims):
        raise NotImplementedError("gather of boxes at many places")
    return pieces


def _along_one_axis(grid: np.ndarray, axis: int) -> np.ndarray:
    """The indices of one axis, which must be the same along every other and even."""
    if grid.ndim == 0:
        return grid.reshape(1)
    line = np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)
    if (line != line[:, :1]).any() or len(set(np.diff(line[:, 0]))) > 1:
        raise NotImplementedError("gather of places that are not evenly spaced")
    return line[:, 0]


def split(
    graph: Graph, tensor: Tensor, sizes: Sequence[int], axis: int
) -> list[Tensor]:
    """Pieces along one axis; the batch only into equal ones."""
    position = tensor.order.index(axis)
    inputs, attributes = [tensor.name], {"axis": position}
    if min(sizes) < 0:
        attributes["num_outputs"] = len(sizes)
    else:
        inputs.append(graph.integers(sizes))
    names = graph.run_many("Split", inputs, len(sizes), **attributes)
    before, after = tensor.sizes[:axis], tensor.sizes[axis + 1 :]
    return [
        Tensor(name, (*before, size, *after), tensor.order)
        for name, size in zip(names, sizes, strict=True)
    ]


def concatenate(graph: Graph, values: Sequence[Value], axis: int) -> Tensor:
    """Values joined along an axis, stored as most of them are."""
    orders = [value.order for value in values if isinstance(value, Tensor)]
    order = max(orders, key=orders.count)
    names = [graph.name_in_order(value, order) for value in values]
    lengths = [value.sizes[axis] for value in values]
    first = values[0].sizes
    sizes = (*first[:axis], sum(lengths), *first[axis + 1 :])
    return graph.run("Concat", names, sizes, order, axis=order.index(axis))


def pad(
    graph: Graph, tensor: Tensor, fill: Value, config: Sequence[tuple[int, int, int]]
) -> Tensor:
    """Elements put around a tensor.

    Raises:
      NotImplementedError: if elements are put between those of the tensor.
    """
    if any(interior for _, _, interior in config):
        raise NotImplementedError("padding between elements")
    low = [int(config[axis][0]) for axis in tensor.order]
    high = [int(config[axis][1]) for axis in tensor.order]
    sizes = tuple(
        size + int(a) + int(b) if a or b else size
        for size, (a, b, _) in zip(tensor.sizes, config, strict=True)
    )
    around = graph.integers(list(itertools.chain(low, high)))
    inputs = [tensor.name, around, graph.plain(fill).name]
    return graph.run("Pad", inputs, sizes, tensor.order)
