"""The bytes of an ONNX file from a graph."""

from collections.abc import Mapping

from ganiqa_jax.errors import InputError
from ganiqa_jax.export.elementwise import TYPES
from ganiqa_jax.export.graph import Graph, Sizes

OPSET = 18
"""The first that splits a batch evenly; onnxruntime has it since 1.14."""

IR_VERSION = 8
"""The file format of that opset, so that runtimes of its time read the file."""

INSTALL = 'install them with: pip install "ganiqa-jax[onnx]"'


def to_bytes(
    graph: Graph, dtypes: Mapping[str, str], facts: Mapping[str, str]
) -> bytes:
    """The file.

    Args:
      graph: whole; its first axis of inputs and outputs is called `batch`.
      dtypes: of its inputs and outputs.
      facts: what readers find as the file's metadata.

    Raises:
      InputError: if the library onnx is missing.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError as error:
        raise InputError(
            f"ONNX export needs onnx and onnxruntime; {INSTALL}."
        ) from error

    def described(name: str, sizes: Sizes) -> onnx.ValueInfoProto:
        shape = [size if size >= 0 else "batch" for size in sizes]
        return helper.make_tensor_value_info(name, TYPES[dtypes[name]], shape)

    proto = helper.make_graph(
        [
            helper.make_node(
                node.operator, node.inputs, node.outputs, **node.attributes
            )
            for node in graph.nodes
        ],
        "ganiqa_jax",
        [described(tensor.name, tensor.sizes) for tensor in graph.inputs],
        [described(name, (-1,)) for name in graph.outputs],
        [numpy_helper.from_array(array, n) for n, array in graph.constants.items()],
    )
    model = helper.make_model(
        proto,
        producer_name="ganiqa_jax",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
