"""Two files of scores or activations: how far they agree, and where they part."""

import csv
import json
import math

import numpy as np
import pytest

from ganiqa_jax.cli import main
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.parity import (
    compare_activations,
    compare_files,
    compare_scores,
    read_scores,
)
from ganiqa_jax.scoring.rows import RowsHeader, ScoreRow, open_rows

SCORES = {"a.png": 0.1, "b.png": 0.5, "c.png": 0.9, "d.png": 0.2}


def table(path, scores, name="name"):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([(name, "score"), *scores.items()])
    return path


def row(path, score, reference=None):
    known = dict(model="m", model_sha="s", prep_sha="p", reference=reference)
    status = "ok" if score is not None else "decode_error"
    return ScoreRow(path=path, status=status, score=score, **known)


def rows(path, scores):
    header = RowsHeader(
        model="m", model_sha="s", prep_sha="p", scale="x", mos_low=0.0, mos_high=1.0
    )
    with open_rows(path, header) as writer:
        for name, score in scores.items():
            writer.write(row(name, score))
    return path


def moved(**changes):
    return {**SCORES, **{f"{k}.png": v for k, v in changes.items()}}


def test_statistics_are_those_of_the_differences():
    found = compare_scores(SCORES, moved(b=0.54, c=0.88), atol=0.03)
    (agreement,) = found.arrays
    assert agreement.n == 4
    assert agreement.max == pytest.approx(0.04)
    assert agreement.mean == pytest.approx(0.015)
    assert agreement.rank == pytest.approx(1.0)
    assert [case.name for case in found.worst[:2]] == ["b.png", "c.png"]
    assert (found.worst[0].first, found.worst[0].second) == (0.5, 0.54)
    assert found.first_departure == "score"
    assert compare_scores(SCORES, moved(b=0.54), atol=0.05).agrees


def test_rank_correlation_sees_an_order_that_turned():
    found = compare_scores(SCORES, {k: 1 - v for k, v in SCORES.items()}, atol=2.0)
    assert found.arrays[0].rank == pytest.approx(-1.0)


def test_tolerance_may_grow_with_the_scale_of_the_second():
    second = {k: 1000 * v + 0.5 for k, v in SCORES.items()}
    first = {k: 1000 * v for k, v in SCORES.items()}
    assert not compare_scores(first, second, atol=1e-4).agrees
    assert compare_scores(first, second, atol=0.0, rtol=1e-3).agrees


def test_pictures_scored_on_one_side_alone_are_no_agreement():
    second = {k: v for k, v in SCORES.items() if k != "a.png"} | {"e.png": 0.3}
    found = compare_scores(SCORES, second, atol=1.0)
    assert (found.only_first, found.only_second) == (["a.png"], ["e.png"])
    assert not found.agrees
    unscored = {**SCORES, "a.png": None}
    assert not compare_scores(SCORES, unscored, atol=1.0).agrees
    assert compare_scores(unscored, unscored, atol=1.0).agrees


def test_other_folders_do_not_hinder_if_file_names_tell_pictures_apart():
    second = {f"/elsewhere/{k}": v for k, v in SCORES.items()}
    assert compare_scores(SCORES, second, atol=0.0).agrees
    twice = {"x/a.png": 0.1, "y/a.png": 0.2}
    with pytest.raises(InputError, match="No picture"):
        compare_scores(twice, {"z/a.png": 0.1}, atol=0.0)


def test_rows_and_plain_tables_are_read_alike(tmp_path):
    as_lines = rows(tmp_path / "a.jsonl", SCORES)
    as_cells = rows(tmp_path / "a.csv", SCORES)
    plain = table(tmp_path / "b.csv", SCORES)
    assert read_scores(as_lines) == read_scores(as_cells) == read_scores(plain)
    assert compare_files(as_lines, plain, atol=0.0).agrees


def test_rows_without_a_score_have_none(tmp_path):
    path = rows(tmp_path / "a.jsonl", {**SCORES, "a.png": None})
    assert read_scores(path)["a.png"] is None
    path = table(tmp_path / "b.csv", {**SCORES, "a.png": ""}, name="path")
    assert read_scores(path)["a.png"] is None


@pytest.mark.parametrize(
    "text,says",
    [
        ("path,quality\na,1\n", "column path or name and one 'score'"),
        ("", "it has none"),
        ("path,score\na,good\n", "could not convert"),
        ("path,score\na,1\na,2\n", "has a more than once"),
    ],
)
def test_tables_that_cannot_be_compared_say_why(text, says, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_scores(path)


def test_first_layer_that_departs_is_named_in_the_order_of_the_first():
    first = {"stem": np.zeros((2, 3)), "z": np.ones(2), "block": np.arange(4.0)}
    second = {k: v.copy() for k, v in reversed(first.items())}
    second["block"][2] += 0.5
    second["z"][1] += 2
    found = compare_activations(first, second, atol=1e-3)
    assert [entry.departs for entry in found.arrays] == [False, True, True]
    assert found.first_departure == "z"
    assert [case.name for case in found.worst[:2]] == ["z[1]", "block[2]"]


def test_worst_cells_are_named_by_their_place():
    a = np.zeros((2, 3, 4))
    b = a.copy()
    b[1, 2, 3] = -7
    (case,) = compare_activations({"x": a}, {"x": b}, atol=1.0, top=1).worst
    assert case == ("x[1, 2, 3]", 0.0, -7.0, 7.0)


def test_another_shape_departs_and_says_both():
    found = compare_activations(
        {"x": np.zeros((2, 3))}, {"x": np.zeros((3, 2))}, atol=9.0
    )
    assert found.arrays[0].departs and found.arrays[0].max == math.inf
    assert found.arrays[0].note == "(2, 3) against (3, 2)"


def test_layers_of_one_side_alone_are_no_agreement():
    layer = {"x": np.zeros(2)}
    found = compare_activations({**layer, "y": np.zeros(1)}, layer, atol=1.0)
    assert found.only_first == ["y"] and not found.agrees
    with pytest.raises(InputError, match="No array"):
        compare_activations(layer, {"y": np.zeros(2)}, atol=1.0)


def test_command_ends_in_4_beyond_the_tolerance_and_in_0_within(tmp_path, capsys):
    a = table(tmp_path / "a.csv", SCORES)
    b = table(tmp_path / "b.csv", moved(c=0.95))
    assert main(["parity", str(a), str(b), "--atol", "0.1"]) == 0
    capsys.readouterr()
    assert main(["parity", str(a), str(b)]) == 4
    out, err = capsys.readouterr()
    assert "c.png" in out
    assert "score is the first to depart, by 0.05" in err


def test_json_has_the_whole_comparison(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", x=np.zeros(3), y=np.zeros(2))
    np.savez(tmp_path / "b.npz", x=np.zeros(3), y=np.zeros(3))
    files = [str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]
    assert main(["parity", *files, "--json"]) == 4
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert said["first_departure"] == "y" and not said["agrees"]
    assert said["arrays"][1]["max"] is None
    assert "(2,) against (3,)" in err


def test_files_of_different_kinds_are_refused(tmp_path):
    a = table(tmp_path / "a.csv", SCORES)
    np.savez(tmp_path / "b.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="activations"):
        compare_files(a, tmp_path / "b.npz")
    with pytest.raises(InputError, match="no file"):
        compare_files(a, tmp_path / "none.csv")
    (tmp_path / "c.npz").write_bytes(b"PK nothing")
    with pytest.raises(IntegrityError):
        compare_files(tmp_path / "b.npz", tmp_path / "c.npz")
