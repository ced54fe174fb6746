"""A model's predictions for one part of a data set, and how people agree with them.

The pictures go through the scoring engine, so that a reported number is made of
the scores that a user gets. Correlations are taken over the whole part at once. Where
people chose between two versions of a picture, the model is asked for its choice.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ganiqa_jax import choices, metrics
from ganiqa_jax.data import bapps, catalog, protocols
from ganiqa_jax.data.records import Record, read_contents, split_hash
from ganiqa_jax.data.sources import split_path
from ganiqa_jax.errors import InputError
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.computing import Crops
from ganiqa_jax.scoring.engine import create_scorer
from ganiqa_jax.scoring.rows import ScoreRow

Part = Literal["train", "validation", "test", "all"]
COLUMNS = ("name", "content", "kind", "mos", "score", "sigma", "status")


class Evaluation(NamedTuple):
    """One row of a results table.

    Attributes:
      model: name of the run or release, and `model_sha` of its weights.
      prep_sha: preprocessing identity.
      dataset: and `part` of it; `split` is the hash of the split it is a part of, and
        `protocol` the name of that split, empty for one by fractions.
      n: pictures counted, of `contents` scenes or prompts; `failed` had no score. Of
        choices, how many, each a content.
      estimates: metric name to value and interval; scores and MOS in [0, 1]. Of
        choices `2afc`, the share of raters who chose as the model, over all and of
        each kind, and `raters`, the share of others that a rater agrees with.
      fit_converged: False when the logistic fit behind `plcc_fitted` did not.
      difference: SRCC (of choices 2AFC) minus that of the predictions compared with, if
        any.
    """

    model: str
    model_sha: str
    prep_sha: str
    dataset: str
    part: str
    split: str
    protocol: str
    n: int
    contents: int
    failed: int
    estimates: dict[str, metrics.Estimate]
    fit_converged: bool
    difference: metrics.Estimate | None


def evaluate(
    model: Path,
    dataset: str,
    root: Path,
    *,
    part: Part = "test",
    split: str = "",
    out: Path | None = None,
    against: Path | None = None,
    bootstrap: int = 1000,
    batch_size: int = 32,
    workers: int = 2,
    crops: Crops | None = None,
    progress: bool = True,
) -> Evaluation:
    """Scores a part of a data set and compares with its opinion scores.

    Args:
      model: run directory or released folder. A teacher needs references.
      dataset: a name of the catalog.
      root: the folder its archive is unpacked in, or it is prepared in.
      part: of the split that the run directory keeps for this data set. A data
        set that the run never saw has no split there: ask for `all`, or give one.
      split: name or .txt file of another split, as in `SourceConfig.split`.
      out: folder for `predictions.csv` and `metrics.json`.
      against: a `predictions.csv` of the same pictures, for a paired difference.
      bootstrap: draws, over contents.
      crops: of a picture, in place of the model's own number.

    Raises:
      InputError: if the part is unknown, or nothing of it could be scored.
    """
    records, named = part_records(model, dataset, root, part, split)
    scorer = create_scorer(model, batch_size=batch_size, workers=workers, crops=crops)
    if scorer.card.role == "teacher":
        pairs = [(r.reference, r.distorted) for r in records if r.reference]
        if len(pairs) < len(records):
            raise InputError(f"{dataset} has no references; evaluate a student on it.")
        rows = scorer.compare_iter(pairs)
    else:
        rows = scorer.score_iter([r.distorted for r in records])
    rows = list(track(rows, len(records), f"{dataset} {part}", progress))
    result = _measure(records, rows, bootstrap, against)
    evaluation = Evaluation(
        model=scorer.card.name,
        model_sha=scorer.model_sha,
        prep_sha=scorer.card.preprocessing.sha,
        dataset=dataset,
        part=part,
        split=named.hash,
        protocol=named.protocol,
        **result,
    )
    if out is not None:
        write_evaluation(out, evaluation, records, rows)
    return evaluation


def evaluate_choices(
    model: Path,
    root: Path,
    *,
    part: Part = "validation",
    out: Path | None = None,
    against: Path | None = None,
    bootstrap: int = 1000,
    batch_size: int = 32,
    workers: int = 2,
    crops: Crops | None = None,
    progress: bool = True,
) -> Evaluation:
    """Lets a model choose between the versions of BAPPS, and compares with people.

    Args:
      model: run directory or released folder.
      root: the folder that BAPPS is unpacked in.
      part: `train`, `validation`, or `all`: it is split already.
      The others are those of `evaluate`; draws are over triplets.

    Raises:
      InputError: if the part is unknown, or nothing of it could be scored.
    """
    triplets = choices.read(root, part)
    scorer = create_scorer(model, batch_size=batch_size, workers=workers, crops=crops)
    made = choices.choose(scorer, triplets, progress)
    counted = [choice for choice in made if choice.agreement is not None]
    if not counted:
        errors = [row.error for choice in made for row in choice[1:] if row.error]
        raise InputError(
            "No choice could be made"
            + (f"; first error: {errors[0]}" if errors else ": there are no triplets.")
        )
    difference = None
    if against is not None:
        names = [choice.triplet.content for choice in counted]
        other = _read_column(against, "agreement", names)
        own = np.array([choice.agreement for choice in counted], np.float64)
        difference = metrics.mean(own - other, bootstrap=bootstrap)
    evaluation = Evaluation(
        model=scorer.card.name,
        model_sha=scorer.model_sha,
        prep_sha=scorer.card.preprocessing.sha,
        dataset=bapps.FACTS.name,
        part=part,
        split="its own",
        protocol="",
        n=len(counted),
        contents=len(counted),
        failed=len(made) - len(counted),
        estimates=choices.estimates(counted, bootstrap),
        fit_converged=True,
        difference=difference,
    )
    if out is not None:
        cells = (choice.cells() for choice in made)
        _write(out, evaluation, choices.COLUMNS, cells)
    return evaluation


class NamedSplit(NamedTuple):
    """What identifies a split: its hash (`all` for none), and its protocol's name."""

    hash: str
    protocol: str


def part_records(
    model: Path, dataset: str, root: Path, part: Part, split: str = ""
) -> tuple[tuple[Record, ...], NamedSplit]:
    """The records of one part, and the split it belongs to.

    Raises:
      InputError: if the run keeps no split of this data set and a part is asked, or
        trained on contents of the part that is asked of another split.
    """
    records = catalog.read(dataset, root)
    if part == "all":
        return tuple(records), NamedSplit("all", "")
    manifest = split_path(model, dataset)
    if split:
        parts, protocol = protocols.choose(split, records)
    elif manifest.exists():
        parts, protocol = protocols.read_stored(manifest, records)
    else:
        raise InputError(
            f"{model} was not trained on {dataset}, so it keeps no split of it; "
            "evaluate on part 'all', or give a split."
        )
    chosen = getattr(parts, part)
    if not chosen:
        raise InputError(f"The {part} part of {protocol or manifest} is empty.")
    if split and part != "train":
        _check_unseen(manifest, chosen)
    return chosen, NamedSplit(split_hash(parts), protocol)


def _check_unseen(manifest: Path, records: Sequence[Record]) -> None:
    if not manifest.exists():
        return
    seen = read_contents(manifest, "train") & {r.content for r in records}
    if seen:
        raise InputError(
            f"The model was trained on {len(seen)} contents of that part, such as "
            f"{min(seen)!r}; leave the split out to use that of its run, {manifest}."
        )


def write_evaluation(
    out: Path,
    evaluation: Evaluation,
    records: Sequence[Record],
    rows: Sequence[ScoreRow],
) -> None:
    """Writes `predictions.csv` and `metrics.json`."""
    cells = (
        (
            record.name,
            record.content,
            record.kind,
            record.mos,
            row.score,
            row.sigma,
            row.status,
        )
        for record, row in zip(records, rows, strict=True)
    )
    _write(out, evaluation, COLUMNS, cells)


def _write(
    out: Path, evaluation: Evaluation, columns: Sequence[str], rows: Iterable[Sequence]
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    (out / "metrics.json").write_text(json.dumps(to_json(evaluation), indent=2) + "\n")


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as plain values, intervals as [value, low, high]."""
    values = evaluation._asdict()
    values["estimates"] = {k: list(v) for k, v in evaluation.estimates.items()}
    if evaluation.difference is not None:
        values["difference"] = list(evaluation.difference)
    return values


def _measure(
    records: Sequence[Record],
    rows: Sequence[ScoreRow],
    bootstrap: int,
    against: Path | None,
) -> dict[str, Any]:
    counted = [
        (record, row.score)
        for record, row in zip(records, rows, strict=True)
        if row.score is not None and record.mos is not None
    ]
    if len(counted) < 3:
        errors = [row.error for row in rows if row.error]
        raise InputError(
            f"Only {len(counted)} of {len(rows)} pictures have both a score and a MOS"
            + (f"; first error: {errors[0]}" if errors else ".")
        )
    score = np.array([s for _, s in counted])
    mos = np.array([r.mos for r, _ in counted])
    groups = [r.content for r, _ in counted]
    estimates = metrics.summary(score, mos, groups=groups, bootstrap=bootstrap)
    difference = None
    if against is not None:
        other = _read_column(against, "score", [r.name for r, _ in counted])
        difference = metrics.difference(
            score, other, mos, groups=groups, bootstrap=bootstrap
        )
    return {
        "n": len(counted),
        "contents": len(set(groups)),
        "failed": len(rows) - len(counted),
        "estimates": {
            name: value
            for name, value in estimates.items()
            if isinstance(value, metrics.Estimate)
        },
        "fit_converged": bool(estimates["fit_converged"]),
        "difference": difference,
    }


def _read_column(path: Path, column: str, names: Sequence[str]) -> np.ndarray:
    if not path.exists():
        raise InputError(f"No {path}; give a predictions.csv that eval --out wrote.")
    with path.open(newline="") as file:
        values = {row["name"]: row.get(column) for row in csv.DictReader(file)}
    missing = [name for name in names if not values.get(name)]
    if missing:
        raise InputError(
            f"{path} has no {column} for {len(missing)} of {len(names)} pictures, such "
            f"as {missing[0]}; it must be of the same part of the same data set."
        )
    return np.array([values[name] for name in names], np.float64)
