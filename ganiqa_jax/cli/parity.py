"""`ganiqa parity`: whether two sets of scores or activations agree."""

import json
import sys
from pathlib import Path
from typing import Annotated

import tyro

from ganiqa_jax.cli.tables import print_table
from ganiqa_jax.errors import CheckError


def parity(
    first: Annotated[Path, tyro.conf.Positional],
    second: Annotated[Path, tyro.conf.Positional],
    atol: float = 1e-4,
    rtol: float = 0.0,
    top: int = 20,
    column: str = "score",
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Compares scores or activations of two files; ends in 4 if they depart.

    Of scores: the largest and the mean difference, the rank correlation, the worst
    pictures. Of activations (.npz or .safetensors by layer): the same of every array,
    and the first that departs.

      ganiqa parity ours.jsonl published.csv --atol 1e-3
      ganiqa parity ours.npz torch.npz --rtol 1e-4 --atol 0

    Args:
        first: .jsonl or .csv with columns path (or name) and score; or arrays.
        second: the same kind.
        atol: largest difference that still agrees.
        rtol: added to it, times the largest number of an array.
        top: how many of the worst cases to show.
        column: which numbers of files of scores, such as mos.
        json_output: print JSON in place of tables.
    """
    from ganiqa_jax import parity as comparison

    found = comparison.compare_files(
        first, second, atol=atol, rtol=rtol, top=top, column=column
    )
    if json_output:
        json.dump(comparison.to_json(found), sys.stdout, indent=2)
        print()
    else:
        _print(found)
    if not found.agrees:
        raise CheckError(_verdict(found))


def _print(found) -> None:
    print_table(
        ("array", "n", "max", "mean", "largest", "rank", ""),
        [
            (
                entry.name,
                str(entry.n),
                f"{entry.max:.3g}",
                f"{entry.mean:.3g}",
                f"{entry.scale:.3g}",
                "" if entry.rank is None else f"{entry.rank:.6f}",
                entry.note or ("departs" if entry.departs else ""),
            )
            for entry in found.arrays
        ],
        numbers=("n", "max", "mean", "largest", "rank"),
    )
    print()
    print_table(
        ("worst", "first", "second", "difference"),
        [
            (c.name, f"{c.first:.6g}", f"{c.second:.6g}", f"{c.difference:.3g}")
            for c in found.worst
        ],
        numbers=("first", "second", "difference"),
    )


def _verdict(found) -> str:
    said = []
    if found.first_departure is not None:
        entry = next(a for a in found.arrays if a.name == found.first_departure)
        by = entry.note or f"by {entry.max:.3g}"
        said.append(
            f"{entry.name} is the first to depart, {by} "
            f"(--atol {found.atol:g} --rtol {found.rtol:g})"
        )
    for names, where in (
        (found.only_first, "first"),
        (found.only_second, "second"),
    ):
        if names:
            said.append(f"{len(names)} in the {where} file alone, such as {names[0]}")
    return "; ".join(said) + "."
