"""The ablation changes what a row says, and its table is of the right numbers."""

import csv
import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ganiqa_jax.config_json import config_hash

REPOSITORY = Path(__file__).resolve().parents[1]
SPLITS = ["kfold-5/1+val", "kfold-5/2+val"]


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "scripts"))
        module = importlib.import_module("ablate")
        patch.setattr(module, "DRAWS", 20)
        yield module


@pytest.fixture(scope="module")
def recipe(script):
    return script.load_config(REPOSITORY / "configs" / "distill_agiqa3k.py")


def write(folder, seed):
    """Predictions for 12 prompts of three pictures each, better the higher the seed."""
    random = np.random.default_rng(seed)
    mos = random.uniform(size=36)
    score = mos + random.normal(size=36) / (1 + seed % 100)
    folder.mkdir(parents=True)
    with (folder / "predictions.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "content", "kind", "mos", "score"])
        for i, row in enumerate(zip(mos, score, strict=True)):
            names = f"{i}.png", f"prompt{i // 3}", f"generator{i % 3}"
            rows.writerow([*names, *map(float, row)])
    return srcc(mos, score)


def write_splits(script, options, name, seed, first):
    """Predictions of a row for every split; the mean of their SRCC."""
    folders = [script.place(options, name, seed, split) for split in SPLITS]
    return np.mean([write(folder, first + n) for n, folder in enumerate(folders)])


def srcc(mos, score):
    return stats.spearmanr(mos, score).statistic


def rows_of(script, options, capsys):
    script.table(options, SPLITS)
    lines = capsys.readouterr().out.splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in cells}


def test_each_variant_is_another_recipe_at_both_sizes(script, recipe):
    for base in (recipe, script.smaller(recipe)):
        changed = [config_hash(change(base)) for _, change in script.VARIANTS.values()]
        assert changed[0] == config_hash(base)
        assert len(set(changed)) == len(changed)


def test_the_small_size_is_less_of_everything(script, recipe):
    half = script.smaller(recipe)
    less, view = half.preprocessing, recipe.preprocessing
    for small, large in (
        (less.crop, view.crop),
        (less.short_side, view.short_side),
        (less.detail_side, max(recipe.probe.sides)),
    ):
        assert small * 4 == large * 3
    assert (half.steps, half.probe.pairs) == (
        recipe.steps // 2,
        recipe.probe.pairs // 2,
    )


def test_only_one_term_is_left_where_a_row_says_so(script, recipe):
    for name in ("soft", "feature", "drop"):
        weights = script.VARIANTS[f"{name}-only"][1](recipe).weights
        left = {
            term
            for term in ("score", "soft", "feature", "statistics", "drop")
            if getattr(weights, term)
        }
        assert left == {name}


def test_a_row_is_the_mean_over_folds_and_seeds(script, tmp_path, capsys):
    options = script.Options(out=tmp_path)
    expected = {
        ("base", 0): write_splits(script, options, "base", 0, first=0),
        ("base", 1): write_splits(script, options, "base", 1, first=10),
        ("no-noise", 0): write_splits(script, options, "no-noise", 0, first=100),
    }
    rows = rows_of(script, options, capsys)
    both = (expected["base", 0] + expected["base", 1]) / 2
    seeds, mean, _, gain = rows["everything"]
    assert (seeds, mean.split()[0], gain) == ("2", f"{both:.3f}", "")
    # Against the seed that both have, not against the mean over all of `base`.
    seeds, mean, _, gain = rows["no noise"]
    apart = expected["no-noise", 0] - expected["base", 0]
    assert (seeds, mean.split()[0]) == ("1", f"{expected['no-noise', 0]:.3f}")
    assert gain.split()[0] == f"{apart:.3f}"
    assert f"{apart:.3f}" != f"{expected['no-noise', 0] - both:.3f}"


def test_within_kinds_nothing_is_compared_across_them(script, tmp_path, capsys):
    options = script.Options(out=tmp_path, within_kinds=True)
    write_splits(script, options, "base", 0, first=0)
    expected = []
    for split in SPLITS:
        path = script.place(options, "base", 0, split) / "predictions.csv"
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for kind in {row["kind"] for row in rows}:
            within = [row for row in rows if row["kind"] == kind]
            both = ([float(row[name]) for row in within] for name in ("mos", "score"))
            expected.append(srcc(*both))
    mean = rows_of(script, options, capsys)["everything"][1].split()[0]
    assert mean == f"{np.mean(expected):.3f}"


def test_a_row_equal_to_the_first_is_apart_by_nothing(script, tmp_path, capsys):
    options = script.Options(out=tmp_path)
    write_splits(script, options, "base", 0, first=0)
    shutil.copytree(tmp_path / "base", tmp_path / "svr")
    *_, gain = rows_of(script, options, capsys)["svr"]
    assert gain == "0.000 [0.000, 0.000]"


def test_what_is_not_finished_has_no_row(script, tmp_path, capsys):
    options = script.Options(out=tmp_path)
    write_splits(script, options, "base", 0, first=0)
    write(script.place(options, "no-noise", 0, SPLITS[0]), 2)
    assert list(rows_of(script, options, capsys)) == ["everything"]


def test_draws_take_prompts_whole(script, tmp_path):
    write(tmp_path / "fold", 0)
    fold = script.read(tmp_path / "fold")
    rows = fold.drawn(np.random.default_rng(0))
    times = np.bincount(rows, minlength=len(fold.mos))
    for name in np.unique(fold.content):
        assert len(set(times[fold.content == name])) == 1
    assert len(rows) == len(fold.mos)


def test_does_not_mix_two_recipes_in_one_folder(script, recipe, tmp_path):
    folder = tmp_path / "run"
    write(folder, 0)
    (folder / "config.txt").write_text(config_hash(recipe))
    script.run(recipe, folder, tmp_path / "cache")  # finished: nothing is run
    with pytest.raises(SystemExit, match="another configuration"):
        script.run(script.change(recipe, seed=1), folder, tmp_path / "cache")
