"""Tables on standard output."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType


def print_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
    narrowest: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Prints a table; without a head, keys and values.

    Args:
      head: names of the columns.
      rows: cells of each row.
      numbers: columns that stand to the right and do not wrap.
      whole: other columns that do not wrap.
      narrowest: column to the width that it never goes below.
    """
    from rich.console import Console
    from rich.table import Table

    gap = 1 if head else 2
    table = Table(show_header=bool(head), box=None, padding=(0, gap, 0, 0))
    for name in head:
        right = name in numbers
        table.add_column(
            name,
            justify="right" if right else "left",
            no_wrap=right or name in whole,
            min_width=narrowest.get(name),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*row)
    # A pipe has no width, and what stands in files is text, no markup.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    console.print(table)
