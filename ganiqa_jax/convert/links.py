"""Which array of ours is which array of theirs, and in what layout.

A conversion is a list of links, one an array. Names and shapes are checked on both
sides before a value moves: no key unused, none missing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ganiqa_jax.errors import InputError

Arrays = dict[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


class Layout(NamedTuple):
    """How the axes of an array of ours lie in theirs.

    Attributes:
      name: for the report.
      to_ours: their array to ours.
      to_theirs: the inverse.
    """

    name: str
    to_ours: Callable[[np.ndarray], np.ndarray]
    to_theirs: Callable[[np.ndarray], np.ndarray]


class Link(NamedTuple):
    """One array on both sides.

    Attributes:
      ours: '/'-joined name inside the collections.
      theirs: name in the state dict.
      layout: between them.
    """

    ours: str
    theirs: str
    layout: Layout


class Match(NamedTuple):
    """How names and shapes of a file compare with what is wanted.

    Attributes:
      used: names of the file that have a place.
      left_out: names that are known and have none here, such as a classifier.
      unknown: names that nothing here accounts for.
      missing: wanted names that the file lacks.
      wrong: one phrase for each array of another shape.
    """

    used: list[str]
    left_out: list[str]
    unknown: list[str]
    missing: list[str]
    wrong: list[str]

    @property
    def complete(self) -> bool:
        return not (self.unknown or self.missing or self.wrong)


SAME = Layout("same", lambda a: a, lambda a: a)
CONV = Layout(
    "HWIO = OIHW",
    lambda a: a.transpose(2, 3, 1, 0),
    lambda a: a.transpose(3, 2, 0, 1),
)
DENSE = Layout("IO = OI", lambda a: a.T, lambda a: a.T)
POINTWISE = Layout(
    "IO = OI11", lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None]
)
LINE = Layout("IO = OI1", lambda a: a[:, :, 0].T, lambda a: a.T[:, :, None])


def reshaped(ours: tuple[int, ...], theirs: tuple[int, ...]) -> Layout:
    """The same values in the same order, in arrays of these two shapes."""
    return Layout(
        "reshaped", lambda a: np.reshape(a, ours), lambda a: np.reshape(a, theirs)
    )


def kernel(shape: tuple[int, ...]) -> Layout:
    """Of a convolution's kernel or a dense layer's, by its number of axes."""
    return CONV if len(shape) == 4 else DENSE


def match(
    there: Shapes,
    wanted: Shapes,
    left_out: Callable[[str], bool] = lambda name: False,
) -> Match:
    """Compares the names and shapes of a file with those that are wanted.

    Args:
      there: of the file.
      wanted: of the network, under the names that the file should have.
      left_out: whether a name without a place is to be expected.
    """
    stray = [name for name in there if name not in wanted]
    return Match(
        used=[name for name in there if name in wanted],
        left_out=[name for name in stray if left_out(name)],
        unknown=[name for name in stray if not left_out(name)],
        missing=[name for name in wanted if name not in there],
        wrong=[
            f"{name} (has {there[name]}, needs {shape})"
            for name, shape in wanted.items()
            if name in there and there[name] != shape
        ],
    )


def refuse(found: Match, what: str) -> None:
    """Raises unless every name and shape has its counterpart.

    Raises:
      InputError: names the first few that do not.
    """
    for names, says in (
        (found.unknown, "has arrays that it does not account for"),
        (found.missing, "lacks arrays"),
        (found.wrong, "has arrays of other shapes"),
    ):
        if names:
            raise InputError(f"{what} {says}: {few(names)}.")


def few(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def their_shapes(links: Iterable[Link], ours: Shapes) -> dict[str, tuple[int, ...]]:
    """Shapes of theirs by their names, from the shapes of ours."""
    return {
        link.theirs: link.layout.to_theirs(_hollow(ours[link.ours])).shape
        for link in links
    }


def to_ours(links: Iterable[Link], theirs: Mapping[str, np.ndarray]) -> Arrays:
    """Values of theirs under our names, float32, in our layout."""
    return {
        link.ours: np.ascontiguousarray(
            link.layout.to_ours(theirs[link.theirs]), np.float32
        )
        for link in links
    }


def to_theirs(links: Iterable[Link], ours: Mapping[str, Any]) -> Arrays:
    """Values of ours under their names, float32, in their layout."""
    return {
        link.theirs: np.ascontiguousarray(
            link.layout.to_theirs(np.asarray(ours[link.ours])), np.float32
        )
        for link in links
    }


def shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name to shape."""
    return {name: tuple(values.shape) for name, values in arrays.items()}


def _hollow(shape: tuple[int, ...]) -> np.ndarray:
    """An array of this shape that takes no memory."""
    return np.broadcast_to(np.float32(0), shape)
