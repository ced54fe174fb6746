"""The same computation in JAX and in PyTorch, and how far the results are apart."""

# pyright: reportMissingImports=false

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import torch

from torch_reference.agreement import Arrays, Row, compare, jax_intermediates, leaves
from torch_reference.layers import BatchNorm
from torch_reference.random_variables import random_variables
from torch_reference.weights import load_flax, to_flax

CLEAR, OFF_SHARE = 2.5, 0.3
"""By how many deviations, and the share of channels that are mostly zero then."""


def compare_modules(
    what: str,
    ours: nn.Module,
    theirs: torch.nn.Module,
    inputs: Sequence[Any],
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


def settle_norms(
    module: torch.nn.Module,
    inputs: Sequence[Any],
    seed: int = 0,
    clear: torch.nn.Module | None = None,
) -> None:
    """Gives batch norms random statistics near those of what they see.

    By statistics without any relation to the features, values would grow from block to
    block until attention picked single cells, and rounding decided which.

    Args:
      module: whose norms are settled, while it sees the inputs.
      inputs: in our layout.
      seed: of the statistics.
      clear: a part whose channels are put above zero, or below, by `CLEAR` deviations,
        so that rounding puts few values on the other side of a ReLU's corner.
    """
    random = torch.Generator().manual_seed(seed)
    cleared = [] if clear is None else list(clear.modules())

    def settle(norm: BatchNorm, inputs: Any) -> None:
        var, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), unbiased=False)
        shift, factor = torch.rand((2, len(mean)), generator=random)
        shift = shift - 0.5
        if any(norm is part for part in cleared):
            shift = torch.where(shift < OFF_SHARE - 0.5, CLEAR, -CLEAR)
        norm.running_mean.copy_(mean + shift * var.sqrt())
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


def torch_intermediates(module: torch.nn.Module, inputs: Sequence[Any]) -> Arrays:
    """The same of a PyTorch module, in our layout, by our names."""
    seen: Arrays = {}

    def hook(name: str) -> Any:
        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            # The first call, as of ours: a trunk that sees detail too has two.
            seen.update(leaves(output, name.replace(".", "/"), to_ours) | seen)

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
