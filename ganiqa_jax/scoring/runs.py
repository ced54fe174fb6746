"""A run over many inputs: each gets its row, in a file of which nothing is lost."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ganiqa_jax.scoring.engine import Scorer
from ganiqa_jax.scoring.loading import SizeMismatch
from ganiqa_jax.scoring.parts import Input, Part, Stamp, stamp_of
from ganiqa_jax.scoring.rows import ScoreRow


def score_inputs(
    scorer: Scorer,
    inputs: Sequence[Input],
    part: Part,
    *,
    pairs: bool = False,
    on_size_mismatch: SizeMismatch = "error",
    stopped: Callable[[], bool] = lambda: False,
    beside: Callable[[Input, ScoreRow], None] | None = None,
) -> Iterator[ScoreRow]:
    """Scores the inputs that have no row yet, and writes each row before it is given.

    Args:
      scorer: of a student; with pairs, of a teacher.
      inputs: all of them, in the order that their rows will have.
      part: file of the rows; nothing was placed in it yet.
      pairs: inputs are (reference, distorted).
      on_size_mismatch: of pairs.
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
    places = iter(numbers.popleft, None)
    rows = rows_of(scorer, feed(), pairs, on_size_mismatch, places)
    for row in rows:
        position, stamp = begun.popleft()
        if beside is not None:
            beside(inputs[position], row)
        part.write(position, stamp, row)
        yield row


def rows_of(
    scorer: Scorer,
    inputs: Iterable[Any],
    pairs: bool,
    on_size_mismatch: SizeMismatch = "error",
    numbers: Iterable[int] | None = None,
) -> Iterator[ScoreRow]:
    """Rows of pictures or of pairs; see `Scorer`."""
    if pairs:
        return scorer.compare_iter(
            inputs, on_size_mismatch=on_size_mismatch, numbers=numbers
        )
    return scorer.score_iter(inputs, numbers=numbers)
