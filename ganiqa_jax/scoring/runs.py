"""A run over many inputs: each gets its row, in a file of which nothing is lost."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ganiqa_jax.scoring.engine import Scorer
from ganiqa_jax.scoring.loading import SizeMismatch
from ganiqa_jax.scoring.parts import Input, Part, Stamp, stamp_of
from ganiqa_jax.scoring.rows import ScoreRow

Rows = Callable[[Iterator[Any], Iterator[int]], Iterator[ScoreRow]]
"""Gives a row for each input, in order; the second iterator has the places of these in
the whole, for `Scorer.score_iter`."""


def rows_by(
    scorer: Scorer, pairs: bool, on_size_mismatch: SizeMismatch = "error"
) -> Rows:
    """Rows of pictures or of pairs by a scorer of this machine."""

    def of_pictures(inputs: Iterator[Any], places: Iterator[int]) -> Iterator[ScoreRow]:
        return scorer.score_iter(inputs, numbers=places)

    def of_pairs(inputs: Iterator[Any], places: Iterator[int]) -> Iterator[ScoreRow]:
        return scorer.compare_iter(
            inputs, on_size_mismatch=on_size_mismatch, numbers=places
        )

    return of_pairs if pairs else of_pictures


def score_inputs(
    rows_of: Rows,
    inputs: Sequence[Input],
    part: Part,
    *,
    stopped: Callable[[], bool] = lambda: False,
    beside: Callable[[Input, ScoreRow], None] | None = None,
) -> Iterator[ScoreRow]:
    """Scores the inputs that have no row yet, and writes each row before it is given.

    Args:
      rows_of: what scores.
      inputs: all of them, in the order that their rows will have.
      part: file of the rows; nothing was placed in it yet.
      stopped: asked before each input; once it says so, no new one is begun, and what
        is under way gets its row.
      beside: called before a row is written, for what goes with it.
    """
    todo = part.place(inputs)
    begun: deque[tuple[int, Stamp]] = deque()
    numbers: deque[int] = deque()

    def feed() -> Iterator[Input]:
        for position in map(int, todo):
            if stopped():
                return
            item = inputs[position]
            stamp = stamp_of(item)  # from before it is read
            if part.stands(position, item):
                continue
            begun.append((position, stamp))
            numbers.append(position)
            yield item

    # A score does not depend, to the last bit, on which inputs have a row already.
    for row in rows_of(feed(), iter(numbers.popleft, None)):
        position, stamp = begun.popleft()
        if beside is not None:
            beside(inputs[position], row)
        part.write(position, stamp, row)
        yield row
