"""The same computation in JAX and in PyTorch, and how far the results are apart."""

# pyright: reportMissingImports=false

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import torch

from torch_reference.layers import BatchNorm
from torch_reference.random_variables import random_variables
from torch_reference.weights import load_flax, to_flax

Arrays = dict[str, np.ndarray]

DROPOUT = "drop"
"""How the names of dropout modules end: in PyTorch dropout is a function."""


class Row(NamedTuple):
    """One comparison.

    Attributes:
      what: was compared.
      arrays: number of arrays.
      error: the largest relative error of any of them.
      where: the name of that one.
      tolerance: the largest error that is agreement.
    """

    what: str
    arrays: int
    error: float
    where: str
    tolerance: float

    @property
    def agrees(self) -> bool:
        """False for errors that are not numbers as well."""
        return self.error <= self.tolerance


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Norm of the difference over the norm; infinite if shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    difference = float(np.linalg.norm(ours - theirs))
    norm = float(np.linalg.norm(theirs))
    if difference == 0:
        return 0.0
    return difference / norm if norm else float("inf")


def compare(what: str, ours: Arrays, theirs: Arrays, tolerance: float) -> Row:
    """The worst of arrays that have one name.

    Raises:
      ValueError: if one side has a name that the other has not.
    """
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())
        raise ValueError(f"{what}: only one side has {', '.join(odd[:5])}.")
    errors = {name: relative_error(ours[name], theirs[name]) for name in ours}
    # A NaN is the worst error there is, and `max` alone could pass over it.
    where = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    return Row(what, len(errors), errors[where], where, tolerance)


def compare_modules(
    what: str,
    ours: nn.Module,
    theirs: torch.nn.Module,
    inputs: Sequence[np.ndarray],
    tolerance: float,
    *,
    seed: int = 0,
    **settings: Any,
) -> Row:
    """Runs both on the same random weights; compares what every submodule gives out.

    Args:
      ours: of Flax, called with the inputs and the settings.
      theirs: its counterpart, called with the inputs in its own layout.
      inputs: [B, H, W, C] maps or [B, N] rows, lists of them too.
      settings: keywords of our call alone, such as `train=False`.
    """
    shapes = jax.eval_shape(lambda: ours.init(jax.random.key(0), *inputs, **settings))
    variables = random_variables(shapes, seed)
    load_flax(theirs, variables)
    settle_norms(theirs, inputs, seed)
    variables = with_state(variables, theirs)
    return compare(
        what,
        jax_intermediates(ours, variables, inputs, **settings),
        torch_intermediates(theirs.eval(), inputs),
        tolerance,
    )


def settle_norms(module: torch.nn.Module, inputs: Sequence[Any], seed: int = 0) -> None:
    """Gives batch norms random statistics near those of what they see.

    By statistics without any relation to the features, values would grow from block to
    block until attention picked single cells, and rounding decided which.
    """
    random = torch.Generator().manual_seed(seed)

    def settle(norm: BatchNorm, inputs: Any) -> None:
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), unbiased=False)
        shift, factor = torch.rand((2, len(mean)), generator=random)
        norm.running_mean.copy_(mean + (shift - 0.5) * var.sqrt())
        # A channel that happens to be constant is not blown up to the size of others.
        least = 0.1 * (mean**2 + var).mean()
        norm.running_var.copy_((var + least) * (0.5 + factor))

    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    handles = [norm.register_forward_pre_hook(settle) for norm in norms]
    with torch.no_grad():
        module.eval()(*to_torch(inputs))
    for handle in handles:
        handle.remove()


def with_state(variables: Mapping[str, Any], module: torch.nn.Module) -> dict[str, Any]:
    """The same collections with the values that the PyTorch module has.

    Raises:
      KeyError: if the module lacks one of the arrays.
    """
    state = module.state_dict()
    named = dict(to_flax(name, value.numpy().copy()) for name, value in state.items())

    def replaced(tree: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        return {
            name: replaced(value, (*path, name))
            if isinstance(value, Mapping)
            else named["/".join((*path, name))]
            for name, value in tree.items()
        }

    return {kind: replaced(tree, ()) for kind, tree in variables.items()}


def jax_intermediates(
    module: nn.Module,
    variables: Mapping[str, Any],
    inputs: Sequence[Any],
    **settings: Any,
) -> Arrays:
    """What every submodule gives out in a forward pass, by its path."""

    def run(variables: Any, inputs: Any) -> Any:
        return module.apply(
            variables,
            *inputs,
            **settings,
            capture_intermediates=True,
            mutable=["intermediates"],
        )

    _, seen = jax.jit(run)(variables, list(inputs))
    return dict(_captured(seen["intermediates"], ()))


def torch_intermediates(module: torch.nn.Module, inputs: Sequence[Any]) -> Arrays:
    """The same of a PyTorch module, in our layout, by our names."""
    seen: Arrays = {}

    def hook(name: str) -> Any:
        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            seen.update(_leaves(output, name.replace(".", "/"), to_ours))

        return keep

    handles = [
        part.register_forward_hook(hook(name)) for name, part in module.named_modules()
    ]
    with torch.no_grad():
        module(*to_torch(inputs))
    for handle in handles:
        handle.remove()
    return seen


def to_torch(value: Any) -> Any:
    """Arrays, or lists of them, as tensors; maps with their channels second."""
    if isinstance(value, list | tuple):
        return [to_torch(item) for item in value]
    array = np.array(value, dtype=np.float32)
    array = array.transpose(0, 3, 1, 2) if array.ndim == 4 else array
    return torch.from_numpy(np.ascontiguousarray(array))


def to_ours(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as an array; maps with their channels last."""
    array = tensor.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _captured(
    tree: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if name == "__call__":
            # Only dropout is called more than once.
            yield from _leaves(value[0], "/".join(path), np.asarray).items()
        elif not name.endswith(DROPOUT):
            yield from _captured(value, (*path, name))


def _leaves(value: Any, name: str, convert: Any) -> Arrays:
    """Arrays of an output by the name of the module and their place in it."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        fields = getattr(value, "_fields", range(len(value)))
        items = list(zip(fields, value, strict=True))
    else:
        return {name: convert(value)}
    found: Arrays = {}
    for key, item in items:
        found |= _leaves(item, f"{name}:{key}", convert)
    return found
