"""How far two computations are apart, and all that a Flax module gives out.

Without PyTorch: the tests compare with what it gave out before.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

Arrays = dict[str, np.ndarray]

DROPOUT = "drop"
"""How the names of dropout modules end: in PyTorch dropout is a function."""


KEPT = 24
"""Values that stand for an array where the whole would be large."""


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


def condensed(arrays: Arrays) -> Arrays:
    """Of each array its norm and size, and values evenly spaced over it."""
    return {name: _condensed(array) for name, array in arrays.items()}


def condensed_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """An estimate of `relative_error` of the arrays from what was kept of them."""
    norm, size = theirs[:2]
    kept = len(theirs) - 2
    if ours.shape != theirs.shape or ours[1] != size:
        return float("inf")
    if norm == 0:
        return 0.0 if ours[0] == 0 else float("inf")
    apart = float(np.linalg.norm(ours[2:] - theirs[2:])) / norm * np.sqrt(size / kept)
    return max(apart, abs(float(ours[0]) - norm) / norm)


def _condensed(array: np.ndarray) -> np.ndarray:
    flat = array.astype(np.float64).ravel()
    kept = flat[np.unique(np.linspace(0, flat.size - 1, KEPT).astype(int))]
    return np.array([np.linalg.norm(flat), flat.size, *kept])


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


def _captured(
    tree: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in tree.items():
        if name == "__call__":
            # The first call: dropout has more, and a trunk that sees detail too.
            yield from leaves(value[0], "/".join(path), np.asarray).items()
        elif not name.endswith(DROPOUT):
            yield from _captured(value, (*path, name))


def leaves(value: Any, name: str, convert: Any) -> Arrays:
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
        found |= leaves(item, f"{name}:{key}", convert)
    return found
