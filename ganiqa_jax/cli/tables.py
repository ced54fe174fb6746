"""Tables on standard output."""

import os
import sys
from collections.abc import Iterable, Sequence


def print_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> None:
    """Prints a table; without a head, keys and values.

    Columns of `numbers` stand to the right; they and those of `whole` do not wrap.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=bool(head), box=None, padding=(0, 2, 0, 0))
    for name in head:
        right = name in numbers
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=right or name in whole,
            min_width={"title": 11, "licence": 14}.get(name),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    # A pipe has no width, and what stands in files is text, no markup.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    console.print(table)
