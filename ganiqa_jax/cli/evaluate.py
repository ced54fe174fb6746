"""`ganiqa eval`: a model's correlations on one part of a data set."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


def evaluate(
    model: Annotated[Path, tyro.conf.arg(aliases=["-m"])],
    data: str,
    root: Path,
    part: Literal["train", "validation", "test", "all"] = "test",
    split: str = "",
    out: Path | None = None,
    against: Path | None = None,
    bootstrap: int = 1000,
    batch_size: int = 32,
    workers: int = 2,
    crops: Literal[1, 5, 9] | None = None,
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = False,
    markdown: bool = False,
    progress: bool = True,
) -> None:
    """SRCC, PLCC (raw and fitted), KRCC and RMSE with 95 % bootstrap intervals.

    The part is one of the split that the run directory keeps; whole scenes or
    prompts are drawn for the intervals. Scores and MOS are in [0, 1].

      ganiqa eval --model runs/student --data agiqa3k --root data/agiqa3k
      ganiqa eval -m runs/student --data agiqa3k --root data/agiqa3k \\
          --against runs/control/eval/predictions.csv

    Of BAPPS, where people chose between two versions of a patch, 2AFC: the share of
    raters who chose as the model does. RATERS is how often they agree with each other.

      ganiqa eval -m teacher-s --data bapps --root data/bapps --part validation

    Args:
        model: run directory or released folder.
        data: name of the data set, of `ganiqa data list`.
        root: the folder that its archive is unpacked in, or that it is prepared in.
        part: which part of the split; all for a data set that was never trained on,
            validation for BAPPS.
        split: for such a data set: a protocol of `ganiqa data splits` with its number,
            or the .txt file that it wrote.
        out: folder for predictions.csv and metrics.json.
        against: predictions.csv of another model, for the paired difference.
        bootstrap: draws for the intervals.
        batch_size: crops per device call.
        workers: threads that decode.
        crops: of each picture, in place of the model's own number.
        json_output: print JSON in place of a table.
        markdown: print the table as Markdown.
        progress: a progress bar on standard error.
    """
    from ganiqa_jax.mesh import set_cpu_flags

    set_cpu_flags("infer")
    from ganiqa_jax import evaluate as evaluation

    options: dict[str, Any] = dict(
        part=part,
        out=out,
        against=against,
        bootstrap=bootstrap,
        batch_size=batch_size,
        workers=workers,
        crops=crops,
        progress=progress,
    )
    if data == "bapps" and not split:
        result = evaluation.evaluate_choices(model, root, **options)
    else:
        result = evaluation.evaluate(model, data, root, split=split, **options)
    if json_output:
        json.dump(evaluation.to_json(result), sys.stdout, indent=2)
        print()
    elif markdown:
        print(_markdown(_table(result)))
    else:
        _print_table(_table(result), result)


def _table(result) -> list[tuple[str, str]]:
    cells = [
        ("model", f"{result.model} ({result.model_sha})"),
        ("data", f"{result.dataset} {result.part}, split {_split(result)}"),
        ("n", f"{result.n} of {result.contents} contents"),
    ]
    for name, value in result.estimates.items():
        cells.append((name.upper(), _interval(value)))
    if result.difference is not None:
        measure = next(name for name in ("srcc", "2afc") if name in result.estimates)
        cells.append((f"{measure.upper()} difference", _interval(result.difference)))
    return cells


def _split(result) -> str:
    return f"{result.split} ({result.protocol})" if result.protocol else result.split


def _interval(value) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _markdown(cells: list[tuple[str, str]]) -> str:
    rows = [
        " | ".join(name for name, _ in cells),
        " | ".join("---" for _ in cells),
        " | ".join(text for _, text in cells),
    ]
    return "\n".join(f"| {row} |" for row in rows)


def _print_table(cells: list[tuple[str, str]], result) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    for name, text in cells:
        table.add_row(name, text)
    console = Console()
    console.print(table)
    if not result.fit_converged:
        console.print("The logistic fit did not converge; PLCC_FITTED is the raw PLCC.")
    if result.failed:
        console.print(f"{result.failed} pictures had no score and are not counted.")
