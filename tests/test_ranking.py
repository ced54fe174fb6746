"""Which generator is better: pairs, independent lots, and what chance allows to say."""

import json

import numpy as np
import pytest
from report_cases import row, write_rows

from ganiqa_jax import cli
from ganiqa_jax.errors import InputError
from ganiqa_jax.ranking import rank


def lot(scores, name="{:03d}.png", folder="a"):
    """Rows of one generator, named by number."""
    return [
        row(f"{folder}/{name.format(i)}", None if s is None else float(s))
        for i, s in enumerate(scores)
    ]


def test_pairs_tell_what_independent_lots_cannot():
    random = np.random.default_rng(0)
    hard = random.uniform(0.1, 0.9, 40)  # how hard each prompt is
    a = lot(hard + 0.02 + random.normal(0, 0.01, 40))
    b = lot(hard, folder="b")
    (paired,) = rank({"b": b, "a": a}).duels
    (apart,) = rank({"b": b, "a": a}, pair="none").duels
    assert (paired.paired, paired.n, paired.better) == (True, 40, "a")
    assert 0.01 < paired.difference.low < 0.02 < paired.difference.high < 0.03
    assert paired.effect > 1 and paired.win_rate.value > 0.9
    assert (apart.paired, apart.better) == (False, None)
    assert apart.difference.low < 0 < apart.difference.high
    assert apart.effect < 0.3


def test_win_rate_counts_every_pair_and_ties_as_half():
    a, b = [0.1, 0.5, 0.9], [0.5, 0.2]
    (duel,) = rank({"a": lot(a), "b": lot(b)}, pair="none").duels
    wins = np.mean([(x > y) + (x == y) / 2 for x in a for y in b])
    assert duel.win_rate.value == pytest.approx(wins)
    (same,) = rank({"a": lot(a), "b": lot(a)}).duels
    assert same.win_rate == (0.5, 0.5, 0.5)
    assert np.isnan(same.effect) and same.p_value == 1 and same.better is None


def test_effect_size_of_lots_is_in_pooled_deviations():
    a, b = np.array([0.2, 0.4, 0.6, 0.5]), np.array([0.1, 0.3, 0.35])
    (duel,) = rank({"a": lot(a), "b": lot(b)}, pair="none").duels
    pooled = np.sqrt((3 * a.var(ddof=1) + 2 * b.var(ddof=1)) / 5)
    assert duel.effect == pytest.approx((a.mean() - b.mean()) / pooled)


def test_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = 0
    for seed in range(60):
        a, b = random.normal(0.6, 0.1, 30), random.normal(0.5, 0.1, 30)
        settings = {"pair": "none", "bootstrap": 200, "seed": seed}
        (duel,) = rank({"a": lot(a), "b": lot(b)}, **settings).duels
        sign = 1 if duel.a == "a" else -1
        held += duel.difference.low <= sign * 0.1 <= duel.difference.high
    assert 50 <= held <= 60


def test_a_key_gathers_the_pictures_of_a_prompt():
    # Ten prompts, ten pictures each: 100 names, but ten draws.
    means = np.linspace(0.2, 0.8, 10)
    a = lot(np.repeat(means, 10) + 0.1, "prompt{:03d}.png")
    b = lot(np.repeat(means, 10), "prompt{:03d}.png", "b")
    found = rank({"a": a, "b": b}, key=r"prompt(\d\d)")
    assert found.duels[0].n == 10 and found.duels[0].better == "a"
    assert np.isnan(found.duels[0].effect)  # the same difference for every prompt
    assert rank({"a": a, "b": b}, key=r"prompt\d\d(?=\d)").duels[0].n == 10
    wide = found.standings[0].mean
    narrow = rank({"a": a, "b": b}).standings[0].mean
    assert wide.value == narrow.value
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)


def test_auto_pairs_by_stem_only_where_partners_are_many():
    scores = np.linspace(0.1, 0.9, 20)
    a = lot(scores)
    assert rank({"a": a, "b": lot(scores, "{:03d}.jpg", "b")}).duels[0].paired
    other = lot(scores, "x{:03d}.png")[:-2] + a[:2]
    assert not rank({"a": a, "b": other}).duels[0].paired
    doubled = a + lot(scores, folder="again")
    assert not rank({"a": a, "b": doubled}).duels[0].paired


def test_pictures_without_a_score_count_nowhere_and_are_told():
    a = lot([0.5, None, 0.7, 0.6])
    b = lot([0.4, 0.9, None, 0.5])
    found = rank({"a": a, "b": b})
    assert found.duels[0].n == 2
    assert found.duels[0].difference.value == pytest.approx(0.1)
    assert [one.failed for one in found.standings] == [1, 1]


def test_many_comparisons_need_more_evidence():
    random = np.random.default_rng(3)
    lots = {
        str(i): lot(random.normal(0.5 + 0.05 * (i == 0), 0.1, 30)) for i in range(6)
    }
    two = rank({name: lots[name] for name in "01"}, pair="none")
    six = rank(lots, pair="none")
    alone = two.duels[0]
    among = next(d for d in six.duels if {d.a, d.b} == {"0", "1"})
    assert len(six.duels) == 15
    assert among.p_value > 2 * alone.p_value
    assert [s.name for s in six.standings][0] == "0"


@pytest.mark.parametrize(
    ("lots", "settings", "message"),
    [
        ({"a": lot([0.5])}, {}, "two generators"),
        ({"a": lot([0.5]), "b": lot([None])}, {}, "b has no picture with a score"),
        ({"a": lot([0.5]), "b": lot([0.5])}, {"pair": "name"}, "share 1 keys"),
        ({"a": lot([0.5]), "b": lot([0.5])}, {"key": "("}, "is no pattern"),
        ({"a": lot([0.5]), "b": lot([0.5])}, {"key": "q"}, "'q' is not found"),
        ({"a": lot([0.5]), "b": lot([0.5])}, {"confidence": 1.0}, "between 0 and 1"),
        ({"a": lot([0.5]), "b": lot([0.5])}, {"bootstrap": 0}, "at least 1"),
    ],
)
def test_says_what_cannot_be_ranked(lots, settings, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        rank(lots, **settings)


def test_command_prints_a_table_or_json(tmp_path, capsys):
    names = [f"{i}.png" for i in range(20)]
    low = np.linspace(0.1, 0.5, 20)
    a = str(write_rows(tmp_path / "a.jsonl", names, (low + 0.1).tolist()))
    b = str(write_rows(tmp_path / "b.csv", names, low.tolist()))
    assert cli.main(["rank", a, b]) == 0
    said = capsys.readouterr().out
    assert "20 pairs" in said and "+0.100" in said and "Holm" in said
    assert cli.main(["rank", a, b, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["standings"]] == ["a", "b"]
    assert found["duels"][0]["better"] == "a"
    assert found["duels"][0]["win_rate"]["value"] == 1.0


def test_command_refuses_files_that_do_not_compare(tmp_path, capsys):
    a = str(write_rows(tmp_path / "a.jsonl", ["1.png"], [0.5]))
    b = str(write_rows(tmp_path / "b.jsonl", ["1.png"], [0.5], model_sha="other"))
    assert cli.main(["rank", a, b]) == 2
    assert "do not compare" in capsys.readouterr().err
    assert cli.main(["rank", a, a]) == 2
    assert "named twice" in capsys.readouterr().err
