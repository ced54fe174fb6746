"""Passes over a finished graph: fewer nodes, same numbers."""

import numpy as np

from ganiqa_jax.export.graph import Graph, Node


def fold(graph: Graph) -> None:
    """Takes out what is not used, and scales and shifts into convolutions."""
    graph.drop_unused()
    while _fold_scales(graph):
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
