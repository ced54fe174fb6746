"""From a traced JAX program to an ONNX graph.

What depends on no input (weights, folded batch norms, resizing matrices) is computed
here and now by JAX; the rest becomes nodes, operator by operator. Of formulations
that depend on the platform the general one is taken: grouped convolutions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from ganiqa_jax.errors import InputError
from ganiqa_jax.export import elementwise, folding, products, shapes
from ganiqa_jax.export.graph import Const, Graph, Sizes, Tensor, Value

INLINED = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2")
UNCHANGED = ("copy", "copy_p", "stop_gradient", "optimization_barrier")


def to_graph(
    function: Callable[..., Any], inputs: dict[str, jax.ShapeDtypeStruct], output: str
) -> Graph:
    """The graph of a function of arrays with a symbolic batch.

    Args:
      function: from arrays to one array; weights are closed over.
      inputs: name to shape and type; the first size is the symbolic batch.
      output: name of the result.

    Raises:
      InputError: if ONNX has no counterpart of something that it does.
    """
    program = jax.make_jaxpr(function)(*inputs.values())
    batch = next(iter(inputs.values())).shape[0]
    graph = Graph()
    walk = _Walk(graph, batch)
    given = [graph.input(name, walk.sizes(spec.shape)) for name, spec in inputs.items()]
    # Pictures are turned while they are bytes: convolutions want them so.
    arguments: list[Value] = [
        graph.in_order(value, elementwise.MAPS) if len(value.sizes) == 4 else value
        for value in given
    ]
    (result,) = walk.run(program.jaxpr, program.consts, arguments)
    graph.run_as("Identity", [graph.plain(result).name], output)
    folding.fold(graph)
    return graph


class _Walk:
    """Goes through a program, equation by equation."""

    def __init__(self, graph: Graph, batch: Any) -> None:
        self._graph = graph
        self._batch = batch

    def sizes(self, shape: Sequence[Any]) -> Sizes:
        """Sizes in which a batch axis is negative."""
        return tuple(self._size(size) for size in shape)

    def _size(self, size: Any) -> int:
        if isinstance(size, int | np.integer):
            return int(size)
        times, rest = divmod(size, self._batch)
        if rest != 0 or not isinstance(times, int):
            raise InputError(f"ONNX export knows no axis of {size} elements.")
        return -times

    def run(
        self, program: Jaxpr, constants: Sequence[Any], arguments: Sequence[Value]
    ) -> list[Value]:
        """The values that a program returns."""
        known: dict[Any, Value] = {}
        known.update(zip(program.invars, arguments, strict=True))
        arrays = [Const(np.asarray(constant)) for constant in constants]
        known.update(zip(program.constvars, arrays, strict=True))

        def read(variable: Any) -> Value:
            if isinstance(variable, Literal):
                return Const(np.asarray(variable.val, _dtype(variable)))
            return known[variable]

        for equation in program.eqns:
            values = [read(variable) for variable in equation.invars]
            known.update(
                zip(equation.outvars, self._equation(equation, values), strict=True)
            )
        return [read(variable) for variable in program.outvars]

    def _equation(self, equation: Any, values: list[Value]) -> list[Value]:
        name, settings = equation.primitive.name, equation.params
        if name in INLINED:
            inner = _program_in(settings)
            return self.run(inner.jaxpr, inner.consts, values)
        if name == "cond" and isinstance(values[0], Const):
            chosen = settings["branches"][int(values[0].array)]
            return self.run(chosen.jaxpr, chosen.consts, values[1:])
        if name == "platform_index":
            return [Const(np.array(_general(settings["platforms"])))]
        if name in UNCHANGED:
            return values
        sizes = [self.sizes(variable.aval.shape) for variable in equation.outvars]
        if all(isinstance(value, Const) for value in values):
            ready = _computed(equation, values, sizes)
            if ready is not None:
                return ready
        try:
            return self._lower(equation, values, sizes)
        except NotImplementedError as error:
            raise InputError(
                f"This network cannot be written as ONNX: no counterpart of {error} "
                f"({name}); export it to stablehlo."
            ) from error

    def _lower(
        self, equation: Any, values: list[Value], sizes: list[Sizes]
    ) -> list[Value]:
        name, graph = equation.primitive.name, self._graph
        settings = {key: _plain(value) for key, value in equation.params.items()}
        if name == "broadcast_in_dim":
            places = settings["broadcast_dimensions"]
            return [shapes.broadcast(graph, values[0], sizes[0], places)]
        if name == "transpose":
            return [shapes.transpose(graph, values[0], settings["permutation"])]
        if name in elementwise.SPECIAL:
            return [elementwise.SPECIAL[name](graph, values)]
        if name in elementwise.SAME_NAME:
            operator = elementwise.SAME_NAME[name]
            return [elementwise.elementwise(graph, operator, values)]
        if name == "integer_pow":
            return [elementwise.integer_power(graph, values[0], settings["y"])]
        whole = [
            graph.expanded(value, self.sizes(variable.aval.shape))
            for value, variable in zip(values, equation.invars, strict=True)
        ]
        return self._lower_whole(name, settings, whole, sizes)

    def _lower_whole(
        self, name: str, settings: Any, values: list[Value], sizes: list[Sizes]
    ) -> list[Value]:
        """Operators that need every element in its place."""
        graph = self._graph
        match name:
            case "conv_general_dilated":
                return [products.convolution(graph, values, sizes[0], settings)]
            case "dot_general":
                numbers = settings["dimension_numbers"]
                return [products.product(graph, values, numbers, sizes[0])]
            case "concatenate":
                axis = settings["dimension"]
                return [shapes.concatenate(graph, values, axis)]
            case "reshape" | "squeeze":
                return [shapes.reshape(graph, values[0], sizes[0])]
        tensor = _tensor(values[0], name)
        match name:
            case "convert_element_type":
                return [elementwise.convert(graph, tensor, str(settings["new_dtype"]))]
            case "reduce_sum" | "reduce_max":
                operator = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax"}[name]
                axes = settings["axes"]
                return [elementwise.reduce(graph, operator, tensor, axes)]
            case "reduce_window_sum":
                return [elementwise.sum_over_windows(graph, tensor, sizes[0], settings)]
            case "slice":
                starts = settings["start_indices"]
                steps = settings["strides"]
                return [shapes.cut(graph, tensor, starts, sizes[0], steps)]
            case "gather" if isinstance(values[1], Const):
                numbers = settings["dimension_numbers"]
                taken = self.sizes(settings["slice_sizes"])
                indices = values[1].array
                return [shapes.gather(graph, tensor, indices, numbers, taken)]
            case "split":
                pieces = self.sizes(settings["sizes"])
                return [*shapes.split(graph, tensor, pieces, settings["axis"])]
            case "pad":
                config = settings["padding_config"]
                return [shapes.pad(graph, tensor, values[1], config)]
            case "rev":
                turned = settings["dimensions"]
                steps = [-1 if a in turned else 1 for a in range(len(sizes[0]))]
                starts = [-1 if a in turned else 0 for a in range(len(sizes[0]))]
                return [shapes.cut(graph, tensor, starts, sizes[0], steps)]
        raise NotImplementedError(f"the operation {name}")


def _dtype(variable: Any) -> np.dtype:
    return variable.aval.dtype


def _plain(setting: Any) -> Any:
    """Numbers of NumPy, which JAX mixes in, as those of Python."""
    if isinstance(setting, np.integer):
        return int(setting)
    return tuple(map(_plain, setting)) if type(setting) is tuple else setting


def _tensor(value: Value, name: str) -> Tensor:
    if isinstance(value, Const):
        raise NotImplementedError(f"{name} of a repeated constant")
    return value


def _program_in(settings: Any) -> ClosedJaxpr:
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        if name in settings:
            return settings[name]
    raise NotImplementedError("a call without a program")


def _general(platforms: Sequence[Any]) -> int:
    """The branch for platforms that are not named."""
    (index,) = (i for i, names in enumerate(platforms) if names is None)
    return index


def _computed(
    equation: Any, values: Sequence[Any], sizes: Sequence[Sizes]
) -> list[Value] | None:
    """What an equation without inputs gives, or None if it depends on the batch.

    Element by element, arrays that are still to be repeated stay small.
    """
    name = equation.primitive.name
    free = name in elementwise.SAME_NAME or name in elementwise.SPECIAL
    free = free or name in ("integer_pow", "convert_element_type")
    arrays = [value.array for value in values]
    if free and arrays:
        arrays = np.broadcast_arrays(*arrays)
    elif min((min(s, default=1) for s in sizes), default=1) < 0:
        return None
    else:
        arrays = [
            np.broadcast_to(array, variable.aval.shape)
            for array, variable in zip(arrays, equation.invars, strict=True)
        ]
    with jax.default_device(jax.devices("cpu")[0]):
        results = equation.primitive.bind(*map(jnp.asarray, arrays), **equation.params)
    results = results if equation.primitive.multiple_results else [results]
    return [Const(np.asarray(result)) for result in results]
