"""What each part of the method is worth: every variant on every fold, as a table.

    python scripts/ablate.py --out runs/ablation
    python scripts/ablate.py --out runs/ablation --rows base no-distillation --seeds 0 1
    python scripts/ablate.py --out runs/ablation --table      # of what is there so far

A variant is the configuration with one thing changed. It is trained anew for each fold
and scores the prompts that it has not seen. What is finished is not run again, so that
the same command goes on after an interruption. The interval is of the mean over the
folds: prompts are drawn with replacement inside each; differences to `base` are paired,
draw by draw and seed by seed. What lies beside the variants in the same layout, a
baseline's predictions, gets a row.
"""

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from ganiqa_jax import metrics
from ganiqa_jax.config import DistillConfig, NoiseConfig, SourceConfig
from ganiqa_jax.config_json import config_hash

CACHE = "cache"
"""Folder below `out` of what variants share; may be deleted when all are done."""
DRAWS = 1000


@dataclass(frozen=True)
class Options:
    """What is run.

    Attributes:
      out: folder of the runs.
      config: file of the configuration that the variants change.
      full: at the size of the configuration; else three quarters of each side, and half
        of steps and pairs.
      rows: names of variants; all without.
      seeds: each is a training of every fold.
      main_seeds: the same for the rows that are about distillation as a whole.
      protocols: of `ganiqa data splits`; without a number all splits of one are run.
      table: run nothing.
      within_kinds: the table is of the mean over correlations within one generator (or
        what else the kinds of a data set are).
    """

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    config: Path = Path("configs/distill_agiqa3k.py")
    full: bool = False
    rows: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    main_seeds: tuple[int, ...] = (0, 1)
    protocols: tuple[str, ...] = ("kfold-5",)
    table: bool = False
    within_kinds: bool = False


def change(config: Any, **changes: Any) -> Any:
    """A configuration with fields replaced; `weights__soft` is a field of a field."""
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        if inner:
            value = change(getattr(config, outer), **{inner: value})
        config = dataclasses.replace(config, **{outer: value})
    return config


def smaller(config: DistillConfig) -> DistillConfig:
    """Three quarters of each side, about half of the pixels; half of steps and pairs.

    A crop of training has whole cells of 32 pixels, and what is seen follows it; also
    in detail, where it has no more pixels than the fit has seen.
    """
    crop = round(config.data.crop / 2**0.5 / 32) * 32
    share = crop / config.data.crop
    sources = tuple(
        dataclasses.replace(source, short_side=round(source.short_side * share))
        for source in config.data.sources
    )
    view = config.preprocessing
    fitted = max(config.probe.sides, default=view.detail_side)
    view = dataclasses.replace(
        view,
        crop=round(view.crop * share),
        short_side=round(view.short_side * share),
        detail_side=round(min(view.detail_side, fitted) * share),
    )
    return change(
        config,
        data__sources=sources,
        data__crop=crop,
        probe__crop=round(config.probe.crop * share),
        probe__sides=tuple(round(side * share) for side in config.probe.sides),
        probe__pairs=config.probe.pairs // 2,
        preprocessing=view,
        steps=config.steps // 2,
    )


def scored_only(config: DistillConfig) -> DistillConfig:
    """Without the rows that nobody scored."""
    sources = tuple(source for source in config.data.sources if source.labelled)
    return change(config, data__sources=sources)


def weighted(**kept: float) -> Callable[[DistillConfig], DistillConfig]:
    """Of the terms of distillation only these."""
    names = ("score", "soft", "feature", "statistics", "drop")
    weights = {f"weights__{name}": 0.0 for name in names if name not in kept}
    return lambda config: change(config, **weights)


def without_detail(config: DistillConfig) -> DistillConfig:
    """The whole picture alone, fitted at the one size at which it is seen."""
    if not config.student.detail:
        return config
    view, probe = config.preprocessing, config.probe
    return dataclasses.replace(
        config,
        student=dataclasses.replace(config.student, detail=False),
        preprocessing=dataclasses.replace(view, detail_side=0),
        probe=dataclasses.replace(
            probe, crop=view.crop, sides=(), pairs=probe.pairs * len(probe.sides)
        ),
    )


def without_branch(config: DistillConfig) -> DistillConfig:
    """Without the branch that all that reads moments is part of."""
    whole = without_detail(config)
    student = dataclasses.replace(whole.student, semantic=False, parts=False)
    return change(whole, student=student)


VARIANTS: dict[str, tuple[str, Callable[[DistillConfig], DistillConfig]]] = {
    "base": ("everything", lambda config: config),
    "fit-only": (
        "the fit of the head alone, one step after it",
        partial(change, steps=1),
    ),
    "no-distillation": (
        "no teacher: scores of people alone",
        partial(change, teacher=""),
    ),
    "no-unlabelled": (
        "no semi-supervised part: no pairs that nobody scored",
        scored_only,
    ),
    "soft-only": ("of distillation, soft labels alone", weighted(soft=1)),
    "feature-only": ("of distillation, feature difference alone", weighted(feature=1)),
    "drop-only": ("of distillation, what damage costs alone", weighted(drop=1)),
    "no-drop": (
        "without what damage costs",
        partial(change, weights__drop=0.0),
    ),
    "no-noise": (
        "no noise",
        partial(change, noise=NoiseConfig.off()),
    ),
    "no-detail": (
        "the whole picture alone, no detail at full size",
        without_detail,
    ),
    "no-parts": (
        "score of the whole picture alone, not the mean over it and its corners",
        partial(change, student__parts=False),
    ),
    "moment-noise": (
        "noise on the moments too, of one deviation",
        partial(change, student__moment_noise=1.0),
    ),
    "plain-attention": (
        "plain attention for CGA",
        partial(change, student__attention="mhsa"),
    ),
    "no-attention": (
        "no attention before the transformer",
        partial(change, student__attention="none"),
    ),
    "jnd-half": (
        "JND input layer, lambda 0.5",
        partial(change, student__jnd__strength=0.5),
    ),
    "jnd": (
        "JND input layer, lambda 1",
        partial(change, student__jnd__strength=1.0),
    ),
    "single-tap": (
        "single tap",
        partial(change, student__taps="single"),
    ),
    "no-semantic": (
        "no semantic branch, and so no fitted start",
        without_branch,
    ),
    "no-probe": (
        "semantic branch, but no fitted start",
        partial(change, probe__steps=0),
    ),
}
MAIN = ("base", "no-distillation", "no-unlabelled", "soft-only", "feature-only")


def load_config(path: Path) -> DistillConfig:
    from ganiqa_jax.cli.train import load_config as load

    return load(path, DistillConfig)


def scored_source(config: DistillConfig) -> SourceConfig:
    """The source on whose scale the student is, and on whose folds it is tested."""
    return next(s for s in config.data.sources if s.dataset == config.data.scale)


def on_split(config: DistillConfig, split: str, seed: int) -> DistillConfig:
    """The configuration for a fold."""
    public = scored_source(config).dataset
    sources = tuple(
        dataclasses.replace(
            source, split=split if source.dataset == public else source.split
        )
        for source in config.data.sources
    )
    return change(config, data__sources=sources, seed=seed)


def run(config: DistillConfig, folder: Path, cache: Path) -> None:
    """Trains one variant on one fold and scores the pictures of its test part.

    Variants that see the same pictures through the same trunk share what is in the
    cache, which changes no result.
    """
    import jax

    from ganiqa_jax.evaluate import evaluate
    from ganiqa_jax.train import distill

    if (folder / "predictions.csv").exists():
        if (folder / "config.txt").read_text() == config_hash(config):
            return
        raise SystemExit(f"{folder} is of another configuration; give another --out.")
    work = folder / "run"
    shutil.rmtree(work, ignore_errors=True)
    cached = change(config, data__cache_dir=str(cache), data__cache="disk")
    distill(cached, work, command="scripts/ablate.py")
    public = scored_source(config)
    evaluate(work, public.dataset, Path(public.root), out=folder, bootstrap=0)
    (folder / "config.txt").write_text(config_hash(config))
    shutil.rmtree(work)
    jax.clear_caches()


@dataclass(frozen=True)
class Fold:
    """What was predicted for the test part of a fold."""

    content: np.ndarray
    kind: np.ndarray
    mos: np.ndarray
    score: np.ndarray

    def correlations(self, rows: np.ndarray, within_kinds: bool = False) -> np.ndarray:
        """SRCC and PLCC."""
        if within_kinds:
            kinds = self.kind[rows]
            each = [self.correlations(rows[kinds == k]) for k in np.unique(kinds)]
            return np.mean(each, axis=0)
        pair = self.score[rows], self.mos[rows]
        return np.array([metrics.srcc(*pair), metrics.plcc(*pair)])

    def drawn(self, random: np.random.Generator) -> np.ndarray:
        """Rows of prompts that are drawn with replacement."""
        names, which = np.unique(self.content, return_inverse=True)
        rows = np.argsort(which, kind="stable")
        ends = np.searchsorted(which[rows], np.arange(len(names) + 1))
        drawn = random.integers(0, len(names), len(names))
        return np.concatenate([rows[ends[i] : ends[i + 1]] for i in drawn])


def read(folder: Path) -> Fold:
    with (folder / "predictions.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["name"])
    return Fold(
        np.array([row["content"] for row in rows]),
        np.array([row["kind"] for row in rows]),
        np.array([float(row["mos"]) for row in rows]),
        np.array([float(row["score"]) for row in rows]),
    )


def curves(folds: list[Fold], within_kinds: bool) -> np.ndarray:
    """Mean SRCC and PLCC over folds: of all rows first, then of each draw, [1 + N, 2].

    The draws are the same for every list of the same folds.
    """
    random = np.random.default_rng(0)
    rows = [[np.arange(len(fold.mos)) for fold in folds]]
    rows += [[fold.drawn(random) for fold in folds] for _ in range(DRAWS)]
    found = []
    for draw in rows:
        each = zip(folds, draw, strict=True)
        found.append([fold.correlations(some, within_kinds) for fold, some in each])
    return np.mean(found, axis=1)


def interval(values: np.ndarray) -> str:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.3f} [{low:.3f}, {high:.3f}]"


def table(options: Options, splits: list[str]) -> None:
    """Prints what is finished in full; a row is the mean over its seeds.

    It is compared with the first row on the seeds that both have.
    """
    print("| variant | seeds | SRCC | PLCC | SRCC against the first row |")
    print("|---|---|---|---|---|")
    first: dict[int, np.ndarray] = {}
    beside = sorted(path.name for path in options.out.iterdir() if path.is_dir())
    named = {name: what for name, (what, _) in VARIANTS.items()}
    for name, what in (named | {n: n for n in beside if n not in named}).items():
        found = {}
        for seed in sorted({*options.seeds, *options.main_seeds}):
            folders = [place(options, name, seed, split) for split in splits]
            if all((folder / "predictions.csv").exists() for folder in folders):
                folds = [read(folder) for folder in folders]
                found[seed] = curves(folds, options.within_kinds)
        if not found:
            continue
        each = np.mean(list(found.values()), axis=0)
        gains = [found[seed] - first[seed] for seed in found.keys() & first.keys()]
        gain = interval(np.mean(gains, axis=0)[:, 0]) if gains else ""
        first = first or found
        cells = (what, len(found), interval(each[:, 0]), interval(each[:, 1]), gain)
        print(f"| {' | '.join(map(str, cells))} |")


def place(options: Options, name: str, seed: int, split: str) -> Path:
    return options.out / name / f"seed{seed}" / split.replace("/", "-")


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    from ganiqa_jax.mesh import set_cpu_flags

    set_cpu_flags("train")
    from ganiqa_jax.compile_cache import use_compile_cache
    from ganiqa_jax.data import protocols

    use_compile_cache()
    base = load_config(options.config)
    base = base if options.full else smaller(base)
    parsed = [protocols.parse(name) for name in options.protocols]
    splits = [each.name for one in parsed for each in protocols.members(one)]
    chosen = options.rows or tuple(VARIANTS)
    if unknown := set(chosen) - VARIANTS.keys():
        raise SystemExit(f"No variant {sorted(unknown)}; there are {list(VARIANTS)}.")
    for name in () if options.table else chosen:
        for seed in options.main_seeds if name in MAIN else options.seeds:
            for split in splits:
                folder = place(options, name, seed, split)
                folder.mkdir(parents=True, exist_ok=True)
                config = on_split(VARIANTS[name][1](base), split, seed)
                run(config, folder, options.out / CACHE)
                done = json.loads((folder / "metrics.json").read_text())
                print(name, seed, split, done["estimates"]["srcc"][0], flush=True)
    table(options, splits)


if __name__ == "__main__":
    main()
