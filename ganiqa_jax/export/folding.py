"""Passes over a finished graph: fewer nodes, same numbers."""

import numpy as np

from ganiqa_jax.export.fusing import Fuser
from ganiqa_jax.export.graph import Graph, Node


def fold(graph: Graph) -> None:
    """Takes out what is not used, and scales and shifts into convolutions."""
    graph.drop_unused()
    Fuser(graph).run()
    while _fold_scales(graph):
        graph.drop_unused()
    _fold_inputs(graph)
    graph.drop_unused()


def _fold_scales(graph: Graph) -> bool:
    """Multiplies and adds what stands behind a convolution into its arrays."""
    users = graph.users()
    makers = {name: node for node in graph.nodes for name in node.outputs}
    for node in graph.nodes:
        if node.operator not in ("Mul", "Add", "Sub", "Div") or len(node.inputs) != 2:
            continue
        conv, array = _operands(graph, node, makers)
        if conv is None or array is None or len(users[conv.outputs[0]]) != 1:
            continue
        _absorb(graph, conv, node.operator, array)
        conv.outputs = node.outputs
        node.outputs = []
        return True
    return False


def _fold_inputs(graph: Graph) -> None:
    """Scales before a convolution go into its filters, as far as they are numbers.

    What comes before, such as x / 255 * 2 - 1, becomes one addition. Padding is with
    zeros, so that a shift must stay where it is.
    """
    users = graph.users()
    makers = {name: node for node in graph.nodes for name in node.outputs}
    for conv in [node for node in graph.nodes if node.operator == "Conv"]:
        scale, shift, source, chain = 1.0, 0.0, conv.inputs[0], []
        while (node := makers.get(source)) is not None and len(users[source]) == 1:
            number = graph.constants.get(node.inputs[-1], np.zeros(2))
            if node.operator not in ("Mul", "Div", "Add", "Sub") or number.size != 1:
                break
            value = float(number.reshape(()))
            if node.operator in ("Mul", "Div"):
                scale *= value if node.operator == "Mul" else 1 / value
            else:
                shift += scale * (value if node.operator == "Add" else -value)
            chain.append(node)
            source = node.inputs[0]
        if len(chain) > 1 and scale != 0:
            kernel = graph.constants[conv.inputs[1]].astype(np.float64) * scale
            conv.inputs[1] = graph.constant(kernel, np.float32)
            shifted = graph.constant(shift / scale, np.float32)
            chain[0].operator, chain[0].inputs = "Add", [source, shifted]


def _operands(
    graph: Graph, node: Node, makers: dict[str, Node]
) -> tuple[Node | None, np.ndarray | None]:
    """The convolution before a node, and what each channel is joined with."""
    first, second = node.inputs
    pairs = [(first, second)]
    if node.operator in ("Mul", "Add"):
        pairs.append((second, first))
    for tensor, constant in pairs:
        conv, array = makers.get(tensor), graph.constants.get(constant)
        if conv is None or conv.operator != "Conv" or array is None:
            continue
        channels = graph.constants[conv.inputs[1]].shape[0]
        if array.ndim == 0 or array.shape in ((1, channels, 1, 1), (1, 1, 1, 1)):
            return conv, np.broadcast_to(array.reshape(-1), (channels,))
    return None, None


def _absorb(graph: Graph, conv: Node, operator: str, array: np.ndarray) -> None:
    kernel = graph.constants[conv.inputs[1]].astype(np.float64)
    bias = np.zeros(len(kernel))
    if len(conv.inputs) == 3:
        bias = graph.constants[conv.inputs[2]].astype(np.float64)
    wide = array.astype(np.float64)
    if operator in ("Mul", "Div"):
        factor = wide if operator == "Mul" else 1 / wide
        kernel, bias = kernel * factor[:, None, None, None], bias * factor
    else:
        bias = bias + (wide if operator == "Add" else -wide)
    conv.inputs = [
        conv.inputs[0],
        graph.constant(kernel, np.float32),
        graph.constant(bias, np.float32),
    ]
