"""`ganiqa rank`: which generator is better."""

import json
import math
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


def rank(
    rows: tyro.conf.Positional[
        Annotated[tuple[Path, ...], tyro.conf.arg(metavar="ROWS...")]
    ],
    /,
    pair: Literal["auto", "path", "name", "stem", "none"] = "auto",
    key: str = "",
    ci: float = 0.95,
    bootstrap: int = 2000,
    seed: int = 0,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Which generator is better: mean difference, win rate, effect size, intervals.

    A file of rows a generator, scored by one model. Pictures of the same name are
    paired; give --key if the prompt is a part of the name.

      ganiqa rank model_a.jsonl model_b.jsonl
      ganiqa rank a.jsonl b.jsonl c.jsonl --key 'prompt(\\d+)' --json

    Args:
        rows: .jsonl or .csv files of ganiqa score, one a generator.
        pair: what pictures that belong together share: path, name, name without
            suffix (stem); none compares independent lots; auto is stem where half of
            the pictures have a partner, else none.
        key: pattern in the path whose first group pictures of one prompt share.
        ci: confidence of the intervals and of the verdict.
        bootstrap: draws.
        seed: of the draws.
        json_output: print JSON in place of tables.
    """
    from ganiqa_jax import ranking
    from ganiqa_jax.errors import InputError
    from ganiqa_jax.report.scores import check_one_model, unique_names
    from ganiqa_jax.scoring.rows import read_rows

    if len(set(rows)) < len(rows):
        raise InputError("A file is named twice; give a file of rows a generator.")
    tables = [read_rows(path) for path in rows]
    check_one_model([row for table in tables for row in table])
    found = ranking.rank(
        dict(zip(unique_names(rows), tables, strict=True)),
        pair=pair,
        key=key,
        bootstrap=bootstrap,
        seed=seed,
        confidence=ci,
    )
    if json_output:
        json.dump(_plain(found), sys.stdout, indent=2)
        print()
    else:
        _print(found, ci)


def _print(found, ci: float) -> None:
    from ganiqa_jax.cli.tables import print_table

    print_table(
        ["generator", "pictures", "no score", "mean", "interval", "median"],
        [
            [
                one.name,
                str(one.n),
                str(one.failed),
                f"{one.mean.value:.3f}",
                _range(one.mean),
                f"{one.median:.3f}",
            ]
            for one in found.standings
        ],
        numbers=["pictures", "no score", "mean", "interval", "median"],
    )
    print()
    head = "duel,compared,difference,interval,win rate,interval,effect,p,better"
    print_table(
        head.split(","),
        [
            [
                f"{duel.a} - {duel.b}",
                f"{duel.n} pairs" if duel.paired else "unpaired",
                f"{duel.difference.value:+.3f}",
                _range(duel.difference),
                f"{duel.win_rate.value:.3f}",
                _range(duel.win_rate),
                "none" if math.isnan(duel.effect) else f"{duel.effect:+.2f}",
                f"{duel.p_value:.2g}",
                duel.better or "cannot tell",
            ]
            for duel in found.duels
        ],
        numbers=["compared", "difference", "interval", "win rate", "effect", "p"],
    )
    print(
        f"\nIntervals: {100 * ci:g} % bootstrap. p: two-sided, Holm's correction for "
        f"{len(found.duels)} comparison{'s' if len(found.duels) > 1 else ''}."
    )


def _range(value) -> str:
    return f"[{value.low:.3f}, {value.high:.3f}]"


def _plain(found) -> dict[str, Any]:
    """The ranking as JSON values: nan becomes null."""
    from ganiqa_jax.metrics import to_json

    return {
        "standings": [to_json(one._asdict()) for one in found.standings],
        "duels": [to_json(duel._asdict()) for duel in found.duels],
    }
