"""Shares of a job, and the proof that together they are the whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganiqa_jax.errors import CheckError, InputError
from ganiqa_jax.scoring.rows import RowsHeader, ScoreRow, open_rows, read_rows
from ganiqa_jax.scoring.shards import merge, shard_of, shard_path

HEADER = RowsHeader(
    model="m", model_sha="1", prep_sha="2", scale="five", mos_low=1.0, mos_high=5.0
)


def row(path, **values):
    facts = {"status": "ok", "score": 0.5, "model": "m", "model_sha": "1"}
    return ScoreRow(path=path, prep_sha="2", **{**facts, **values})


def write(path, names, header=HEADER, **values):
    with open_rows(path, header) as writer:
        for name in names:
            writer.write(row(name, **values))
    return path


@given(
    inputs=st.lists(st.text(), max_size=50),
    count=st.integers(1, 60),
)
def test_shares_are_the_whole_in_order_and_of_even_size(inputs, count):
    shares = [shard_of(inputs, f"{i}/{count}") for i in range(1, count + 1)]
    assert sum(shares, []) == inputs
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "shard", ["", "3", "0/4", "5/4", "a/b", "1/0", "-1/3", "1/2/3"]
)
def test_other_shards_are_refused(shard):
    with pytest.raises(InputError, match="--shard"):
        shard_of([1], shard)


def test_a_share_has_its_number_in_its_name(tmp_path):
    assert shard_path(tmp_path / "r.jsonl", "3/12").name == "r.03-of-12.jsonl"


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_shares_merge_in_the_order_of_their_numbers(suffix, tmp_path):
    out = tmp_path / f"all{suffix}"
    files = [
        write(shard_path(out, f"{i}/11"), [f"{i}.png", f"{i}b.png"])
        for i in (11, 2, 1, *range(3, 11))
    ]
    found = merge(files, out)
    assert found.rows == 22
    assert [r.path for r in read_rows(out)][:4] == [
        "1.png",
        "1b.png",
        "2.png",
        "2b.png",
    ]
    assert [r.path for r in read_rows(out)][-1] == "11b.png"


def test_what_is_missing_double_or_of_another_model_is_told(tmp_path):
    a = write(tmp_path / "a.jsonl", ["1.png", "2.png"])
    b = write(tmp_path / "b.jsonl", ["2.png", "3.png"])
    c = write(tmp_path / "c.jsonl", ["3.png"])
    out = tmp_path / "out.jsonl"
    with pytest.raises(CheckError, match=r"scored more than once: 2\.png"):
        merge([a, b], out)
    with pytest.raises(CheckError, match=r"not scored: 9\.png"):
        merge([a, c], out, ["1.png", "2.png", "3.png", "9.png"])
    with pytest.raises(CheckError, match=r"not expected: 3\.png"):
        merge([a, c], out, ["1.png", "2.png"])
    other = RowsHeader(**{**vars(HEADER), "model_sha": "9"})
    with pytest.raises(CheckError, match=r"model_sha 1 and 9"):
        merge([a, write(tmp_path / "d.jsonl", ["5.png"], other)], out)
    assert not out.exists()
    assert merge([a, c], out, ["1.png", "2.png", "3.png"]).rows == 3


def test_a_missing_share_is_told_by_the_names(tmp_path):
    out = tmp_path / "r.jsonl"
    files = [write(shard_path(out, f"{i}/4"), [f"{i}.png"]) for i in (1, 2, 4)]
    with pytest.raises(CheckError, match="these are missing: 3"):
        merge(files, out)


def test_pairs_are_inputs_of_their_own(tmp_path):
    header = RowsHeader(**{**vars(HEADER), "pairs": True})
    a = write(tmp_path / "a.jsonl", ["x.png"], header, reference="r1.png")
    b = write(tmp_path / "b.jsonl", ["x.png"], header, reference="r2.png")
    assert merge([a, b], None).rows == 2


def test_rows_without_a_header_or_of_an_unfinished_run_do_not_count(tmp_path):
    a = write(tmp_path / "a.jsonl", ["1.png"])
    bare = tmp_path / "b.jsonl"
    bare.write_text(json.dumps({"path": "x"}) + "\n")
    with pytest.raises(InputError, match="header"):
        merge([a, bare], None)
    part = tmp_path / "c.jsonl.part"
    part.write_bytes(a.read_bytes())
    with pytest.raises(CheckError, match="not ended"):
        merge([a, part], None)
