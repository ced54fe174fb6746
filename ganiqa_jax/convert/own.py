"""Our own networks as state dicts of PyTorch modules of the same structure, and back.

The rule, one to one: the path of a module joined by dots, then the array:

| ours | theirs |
|---|---|
| `kernel` [h, w, in, out] of a convolution | `weight` [out, in, h, w] |
| `kernel` [in, out] of a dense layer | `weight` [out, in] |
| `scale` of a norm | `weight` |
| `mean`, `var` of a batch norm | `running_mean`, `running_var` |
| anything else (`bias`, `embedding`, `level_weights`, ...) | the same |

The collections (`params`, `batch_stats`, `frozen`) are left out: paths are unique
across them. `num_batches_tracked` of PyTorch's batch norms has no counterpart.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from ganiqa_jax.convert.links import (
    SAME,
    Arrays,
    Layout,
    Link,
    Match,
    kernel,
    match,
    shapes,
    their_shapes,
    to_ours,
    to_theirs,
)
from ganiqa_jax.types import Params

COUNTER = "num_batches_tracked"

_LEAVES = {"scale": "weight", "mean": "running_mean", "var": "running_var"}


def own_links(variables: Mapping[str, Any]) -> list[Link]:
    """The rule above for every array of a network.

    Args:
      variables: its collections; arrays, or shapes alone.
    """
    return [_link(name, leaf.shape) for name, leaf in flat(variables).items()]


def state_of(variables: Mapping[str, Params]) -> Arrays:
    """A state dict of a network's collections."""
    return to_theirs(own_links(variables), flat(variables))


def match_own(state: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> Match:
    """How a state dict fits the network that has these collections."""
    wanted = their_shapes(own_links(variables), shapes(flat(variables)))
    return match(shapes(state), wanted, is_counter)


def variables_of(
    state: Mapping[str, np.ndarray], variables: Mapping[str, Any]
) -> dict[str, Params]:
    """The collections of a network from a state dict that `match_own` found to fit.

    Args:
      state: names of the rule above.
      variables: the network's collections; arrays, or shapes alone.
    """
    return placed(to_ours(own_links(variables), state), variables)


def flat(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays of all collections by their '/'-joined names inside them."""
    return {
        name: leaf
        for tree in variables.values()
        for name, leaf in flatten_dict(tree, sep="/").items()
    }


def placed(arrays: Arrays, variables: Mapping[str, Any]) -> dict[str, Params]:
    """Arrays in the collections that the network keeps their names in."""
    return {
        kind: unflatten_dict(
            {name: arrays[name] for name in flatten_dict(tree, sep="/")}, sep="/"
        )
        for kind, tree in variables.items()
        if tree
    }


def is_counter(name: str) -> bool:
    """Whether this is how often a batch norm was updated, which nothing here reads."""
    return name.rpartition(".")[2] == COUNTER


def _link(name: str, shape: tuple[int, ...]) -> Link:
    module, _, leaf = name.rpartition("/")
    layout: Layout = SAME
    if leaf == "kernel":
        leaf, layout = "weight", kernel(shape)
    theirs = [*module.split("/"), _LEAVES.get(leaf, leaf)]
    return Link(name, ".".join(part for part in theirs if part), layout)
