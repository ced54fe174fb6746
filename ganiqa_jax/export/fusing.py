"""Patterns of a graph in fewer passes over the data: softmax, layer norm, variance.

The first two are one operator of ONNX, whose parts would take five to ten passes.
"""

from typing import TypeGuard

import numpy as np

from ganiqa_jax.export.graph import Graph, Node

_VIEWS = ("Reshape", "Transpose")
"""Operators that a pattern may have anywhere between its parts."""


class Fuser:
    """Finds patterns backwards from the node that ends them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers = {name: node for node in graph.nodes for name in node.outputs}

    def run(self) -> None:
        """Puts one operator in place of every pattern."""
        for node in [*self._graph.nodes]:
            if node.operator == "Div":
                self._softmax(node)
            elif node.operator == "Add":
                self._layer_norm(node)
            elif node.operator == "GlobalAveragePool":
                self._variance(node)
            elif node.operator == "AveragePool":
                self._squares_of_cells(node)
        self._graph.drop_unused()

    def _softmax(self, node: Node) -> None:
        """exp(x - max) over the sum of those."""
        top, bottom = (self._maker(name) for name in node.inputs)
        if not (_is(top, "Exp") and _is(bottom, "ReduceSum")):
            return
        shifted = self._maker(top.inputs[0])
        if bottom.inputs[0] != top.outputs[0] or not _is(shifted, "Sub"):
            return
        highest = self._maker(shifted.inputs[1])
        if _is(highest, "Max"):  # of minus infinity and the maximum
            found = (self._maker(name) for name in highest.inputs)
            highest = next((maker for maker in found if maker), None)
        axis = self._axis(bottom)
        if not _is(highest, "ReduceMax") or axis is None or self._axis(highest) != axis:
            return
        if highest.inputs[0] == shifted.inputs[0]:
            node.operator, node.inputs = "Softmax", [shifted.inputs[0]]
            node.attributes = {"axis": axis}

    def _layer_norm(self, node: Node) -> None:
        """(x - mean) / sqrt(mean of squares - square of mean + epsilon), scaled."""
        bias = self._array(node)
        product = self._maker(self._tensor(node))
        if bias is None or not _is(product, "Mul"):
            return
        sides = [self._maker(name) for name in product.inputs]
        centred = next((side for side in sides if _is(side, "Sub")), None)
        factor = next((side for side in sides if _is(side, "Mul")), None)
        if centred is None or factor is None:
            return
        mean = self._maker(centred.inputs[1])
        scale = self._array(factor)
        root = self._maker(self._tensor(factor))
        if not _is(mean, "ReduceMean") or scale is None or not _is(root, "Reciprocal"):
            return
        axis, source = self._axis(mean), centred.inputs[0]
        epsilon = self._epsilon(root, mean)
        if mean.inputs[0] != source or axis is None or epsilon is None:
            return
        self._put_layer_norm(node, source, axis, (scale, bias), epsilon)

    def _variance(self, node: Node) -> None:
        """Mean of (x - mean)^2 over a map: mean of x^2, less the mean squared.

        Maps then stay in the order in which a runtime lays them out. That costs digits
        where the mean is large beside the deviation, so that maps must have bounds.
        """
        squared = self._makers.get(self._pooled(node))
        found = self._centred(squared)
        if squared is None or found is None or self._pooled(found[1]) != found[0]:
            return
        (source, mean), (result,) = found, node.outputs
        (of_map,) = mean.outputs
        squares, square, difference = (f"{result}_{n}" for n in range(3))
        squared.inputs, node.outputs = [source, source], [squares]
        self._put_after(
            node,
            Node("Mul", [of_map, of_map], [square]),
            Node("Sub", [squares, square], [difference]),
            Node("Relu", [difference], [result]),
        )

    def _squares_of_cells(self, node: Node) -> None:
        """Means of (x - mean)^2 over cells of a map, pooled by columns, then by rows.

        As in `_variance`: of x^2, less mean (2 means of x - mean).
        """
        columns = self._makers.get(node.inputs[0])
        squared = self._makers.get(columns.inputs[0]) if columns else None
        found = self._centred(squared)
        if columns is None or squared is None or found is None:
            return
        (source, mean), (result,) = found, node.outputs
        cells = self._makers.get(self._pooled(mean))
        first = self._makers.get(cells.inputs[0]) if cells else None
        for one, other in ((cells, node), (first, columns)):
            if not _is(one, "AveragePool") or one.attributes != other.attributes:
                return
        if cells is None or first is None or first.inputs[0] != source:
            return
        (of_cells,), (of_map,) = cells.outputs, mean.outputs
        squares, double, rest, taken = (f"{result}_{n}" for n in range(4))
        squared.inputs, node.outputs = [source, source], [squares]
        self._put_after(
            node,
            Node("Add", [of_cells, of_cells], [double]),
            Node("Sub", [double, of_map], [rest]),
            Node("Mul", [rest, of_map], [taken]),
            Node("Sub", [squares, taken], [result]),
        )

    def _centred(self, squared: Node | None) -> tuple[str, Node] | None:
        """For (x - mean)^2 of a map with bounds: the map, and what pools the mean."""
        centred = self._makers.get(squared.inputs[0]) if _is(squared, "Mul") else None
        if not (squared and _is(centred, "Sub") and len(set(squared.inputs)) == 1):
            return None
        source, mean = centred.inputs[0], self._maker(centred.inputs[1])
        bounded = _is(self._makers.get(source), "Clip")
        return (source, mean) if bounded and _is(mean, "GlobalAveragePool") else None

    def _put_after(self, node: Node, *more: Node) -> None:
        after = self._graph.nodes.index(node) + 1
        self._graph.nodes[after:after] = more

    def _pooled(self, node: Node) -> str:
        """The map that a global pool is over, past its tiles."""
        tiles = self._makers.get(node.inputs[0])
        return tiles.inputs[0] if _is(tiles, "AveragePool") else node.inputs[0]

    def _epsilon(self, reciprocal: Node, mean: Node) -> float | None:
        """What is added to the variance around a mean under a reciprocal root."""
        root = self._maker(reciprocal.inputs[0])
        added = self._maker(root.inputs[0]) if _is(root, "Sqrt") else None
        number = self._array(added)
        if not _is(added, "Add") or number is None:
            return None
        variance = self._maker(self._tensor(added))
        if not _is(variance, "Relu"):
            return None
        difference = self._maker(variance.inputs[0])
        if not _is(difference, "Sub"):
            return None
        squares, square = (self._maker(name) for name in difference.inputs)
        if not (_is(squares, "ReduceMean") and _is(square, "Mul")):
            return None
        of_source = self._maker(squares.inputs[0])
        whole = (
            _is(of_source, "Mul")
            and of_source.inputs == [mean.inputs[0]] * 2
            and square.inputs == [mean.outputs[0]] * 2
            and squares.inputs[1] == mean.inputs[1]
        )
        return float(number.reshape(())) if whole else None

    def _put_layer_norm(
        self,
        node: Node,
        source: str,
        axis: int,
        arrays: tuple[np.ndarray, np.ndarray],
        epsilon: float,
    ) -> None:
        """ONNX normalises over the last axes: another one is moved there and back."""
        graph, at = self._graph, self._graph.nodes.index(node)
        rank = arrays[1].ndim
        names = [graph.constant(array.reshape(-1)) for array in arrays]
        norm = Node("LayerNormalization", [source, *names], node.outputs)
        norm.attributes = {"axis": -1, "epsilon": epsilon}
        if axis == rank - 1:
            graph.nodes[at] = norm
            return
        there = [a for a in range(rank) if a != axis] + [axis]
        back = [there.index(a) for a in range(rank)]
        (result,) = node.outputs
        moved, normed = f"{result}_moved", f"{result}_normed"
        norm.inputs[0], norm.outputs = moved, [normed]
        graph.nodes[at : at + 1] = [
            Node("Transpose", [source], [moved], {"perm": there}),
            norm,
            Node("Transpose", [normed], [result], {"perm": back}),
        ]

    def _maker(self, name: str | None) -> Node | None:
        """The node behind a name, past other views of its data."""
        node = self._makers.get(name or "")
        while node is not None and node.operator in _VIEWS:
            node = self._makers.get(node.inputs[0])
        return node

    def _array(self, node: Node | None) -> np.ndarray | None:
        """The constant among a node's inputs."""
        found = (self._graph.constants.get(n) for n in (node.inputs if node else ()))
        return next((array for array in found if array is not None), None)

    def _tensor(self, node: Node) -> str | None:
        """The input that is no constant."""
        known = self._graph.constants
        return next((name for name in node.inputs if name not in known), None)

    def _axis(self, node: Node) -> int | None:
        """The one axis that a node reduces."""
        axes = self._graph.constants[node.inputs[1]]
        return int(axes[0]) if axes.size == 1 else None


def _is(node: Node | None, operator: str) -> TypeGuard[Node]:
    return node is not None and node.operator == operator
