"""An ONNX graph while it is built: tensors that know how their axes are stored.

A network says NHWC, ONNX convolutions want NCHW. So a tensor carries the order in
which its axes are stored, and a transposition only changes that order; nodes that
move data appear where an operator needs another order, and there alone.

A size of -k stands for k times the batch, which is known when the graph is run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Sizes = tuple[int, ...]

_ANY_BATCH = 1_000_003
"""Stands in for the batch where sizes are compared: a prime larger than any side."""


@dataclass(frozen=True)
class Const:
    """An array known before the graph runs, or one to be repeated along axes of 1."""

    array: np.ndarray

    @property
    def sizes(self) -> Sizes:
        return self.array.shape


@dataclass(frozen=True)
class Tensor:
    """What a node puts out.

    Attributes:
      name: in the graph.
      sizes: in the order of the network's axes; 1 also where the network has it
        repeated and no operator needed that done.
      order: stored axis to axis of the network.
    """

    name: str
    sizes: Sizes
    order: Sizes

    @property
    def stored(self) -> Sizes:
        return tuple(self.sizes[axis] for axis in self.order)

    @property
    def is_plain(self) -> bool:
        return self.order == tuple(range(len(self.order)))


Value = Const | Tensor


@dataclass
class Node:
    """One operator; names of constants and of other nodes' outputs go in.

    Attributes:
      joined: sizes of the stored axes that a reduction joins to one.
    """

    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    joined: Sizes = ()


class Graph:
    """Nodes in the order in which they run, and the arrays that they use."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: list[Tensor] = []
        self.outputs: list[str] = []
        self._names: dict[tuple, str] = {}
        self._moved: dict[tuple[str, Sizes], Tensor] = {}
        self._numbers = iter(range(10**9))

    def input(self, name: str, sizes: Sizes) -> Tensor:
        """Declares an input, stored as the network has it."""
        tensor = Tensor(name, sizes, tuple(range(len(sizes))))
        self.inputs.append(tensor)
        return tensor

    def constant(self, array: Any, dtype: Any = None) -> str:
        """The name of an array; equal arrays have one name."""
        array = np.asarray(array, dtype, order="C")
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._names:
            self._names[key] = f"c{next(self._numbers)}"
            self.constants[self._names[key]] = array
        return self._names[key]

    def integers(self, values: Sequence[int]) -> str:
        """The name of a list of numbers, such as axes."""
        return self.constant(list(map(int, values)), np.int64)

    def run(
        self,
        operator: str,
        inputs: Sequence[str],
        sizes: Sizes,
        order: Sizes | None = None,
        **attributes: Any,
    ) -> Tensor:
        """Appends a node of one output.

        Args:
          operator: of ONNX.
          inputs: names.
          sizes: of the output, as the network has its axes.
          order: how they are stored; None as the network has them.
          attributes: of the operator.
        """
        order = tuple(range(len(sizes))) if order is None else order
        tensor = Tensor(f"t{next(self._numbers)}", sizes, order)
        self.nodes.append(Node(operator, [*inputs], [tensor.name], attributes))
        return tensor

    def run_many(
        self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        """Appends a node of several outputs; returns their names."""
        names = [f"t{next(self._numbers)}" for _ in range(outputs)]
        self.nodes.append(Node(operator, [*inputs], names, attributes))
        return names

    def run_as(self, operator: str, inputs: Sequence[str], output: str) -> None:
        """Appends the node that gives an output of the graph its name."""
        self.nodes.append(Node(operator, [*inputs], [output]))
        self.outputs.append(output)

    def in_order(self, tensor: Tensor, order: Sequence[int]) -> Tensor:
        """The same tensor stored in another order."""
        order = tuple(order)
        if tensor.order == order:
            return tensor
        key = (tensor.name, order)
        if key not in self._moved:
            self._moved[key] = self._move(tensor, order)
        return self._moved[key]

    def _move(self, tensor: Tensor, order: Sizes) -> Tensor:
        sizes = tensor.sizes
        if [a for a in order if sizes[a] != 1] == [
            a for a in tensor.order if sizes[a] != 1
        ]:  # the data lies as it should
            stored = tuple(sizes[axis] for axis in order)
            return self.reshape(tensor, stored, sizes, order)
        permutation = [tensor.order.index(axis) for axis in order]
        return self.run("Transpose", [tensor.name], sizes, order, perm=permutation)

    def plain(self, value: Value) -> Tensor:
        """A value as a tensor that is stored as the network has it."""
        if isinstance(value, Const):
            axes = tuple(range(value.array.ndim))
            return Tensor(self.constant(value.array), value.array.shape, axes)
        return self.in_order(value, range(len(value.sizes)))

    def name_in_order(self, value: Value, order: Sizes) -> str:
        """The name of a value for an operator that works in a stored order.

        Scalars have no order.
        """
        if not value.sizes:
            return self.plain(value).name
        if isinstance(value, Const):
            return self.constant(value.array.transpose(order))
        return self.in_order(value, order).name

    def reshape(
        self, tensor: Tensor, stored: Sizes, sizes: Sizes, order: Sizes
    ) -> Tensor:
        """Another view of the same stored data.

        Args:
          tensor: whose data it is.
          stored: sizes in storage.
          sizes: as the network has them.
          order: stored axis to axis of the network.
        """
        if stored == tensor.stored:
            return Tensor(tensor.name, sizes, order)
        unknown = [size < 0 for size in stored]
        if sum(unknown) > 1:
            raise NotImplementedError(f"A shape with two batch axes: {stored}.")
        target = [-1 if size < 0 else size for size in stored]
        names = [tensor.name, self.integers(target)]
        return self.run("Reshape", names, sizes, order)

    def expanded(self, value: Value, sizes: Sizes) -> Value:
        """A value with what was left unrepeated repeated."""
        if value.sizes == sizes:
            return value
        if isinstance(value, Const) and min(sizes) >= 0:
            return Const(np.broadcast_to(value.array, sizes))
        tensor = value if isinstance(value, Tensor) else self.plain(value)
        target = tuple(sizes[axis] for axis in tensor.order)
        names = [tensor.name, self._sizes_at_run(target)]
        return self.run("Expand", names, sizes, tensor.order)

    def _sizes_at_run(self, sizes: Sizes) -> str:
        """A list of sizes in which the batch is that of the first input."""
        if min(sizes) >= 0:
            return self.integers(sizes)
        (batch_of,) = {-size for size in sizes if size < 0}
        rows = self.run("Shape", [self.inputs[0].name], (1,), start=0, end=1).name
        many = self.run("Mul", [rows, self.integers([batch_of])], (1,)).name
        parts = [many if size < 0 else self.integers([size]) for size in sizes]
        return self.run("Concat", parts, (len(sizes),), axis=0).name

    def producer(self, tensor: Value) -> Node | None:
        """The node whose output this is."""
        if isinstance(tensor, Const):
            return None
        found = (node for node in reversed(self.nodes) if tensor.name in node.outputs)
        return next(found, None)

    def drop_unused(self) -> None:
        """Takes away nodes and arrays that no output depends on."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {n: a for n, a in self.constants.items() if n in needed}
        self._names = {key: n for key, n in self._names.items() if n in needed}

    def users(self) -> Mapping[str, list[Node]]:
        """Nodes by the names that they read; outputs of the graph count as a node."""
        found: dict[str, list[Node]] = {}
        ends = [Node("", [name], []) for name in self.outputs]
        for node in [*self.nodes, *ends]:
            for name in node.inputs:
                found.setdefault(name, []).append(node)
        return found


def count(sizes: Sequence[int]) -> int:
    """A number of elements in which the batch stands as a large prime."""
    return math.prod(size if size >= 0 else -size * _ANY_BATCH for size in sizes)
