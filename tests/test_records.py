"""Records: rescaling, and splits that keep a content whole."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganiqa_jax.data.records import (
    Record,
    check_records,
    read_split,
    rescale,
    split_by_content,
    split_hash,
    write_split,
)
from ganiqa_jax.errors import InputError, IntegrityError

FRACTIONS = [(0.7, 0.1, 0.2), (0.8, 0.0, 0.2), (1.0, 0.0, 0.0), (0.98, 0.01, 0.01)]


def make_records(contents: list[str], *, each: int = 2) -> list[Record]:
    return [
        Record(
            name=f"{content}_{i}.png",
            distorted=Path(f"{content}_{i}.png"),
            reference=None,
            mos=0.5,
            content=content,
        )
        for i in range(each)
        for content in contents
    ]


def test_rescales_the_ends_of_the_scale_to_zero_and_one():
    assert rescale(1.0, (1.0, 5.0)) == 0.0
    assert rescale(5.0, (1.0, 5.0)) == 1.0
    assert rescale(2.0, (1.0, 5.0)) == 0.25


@pytest.mark.parametrize("value", [0.99, 5.01, float("nan"), float("inf")])
def test_refuses_a_score_off_its_scale(value):
    with pytest.raises(InputError, match=r"not on its scale of 1\.0 to 5\.0"):
        rescale(value, (1.0, 5.0))


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(st.text(max_size=4), min_size=3, max_size=40),
    fractions=st.sampled_from(FRACTIONS),
    seed=st.integers(0, 2**31),
)
def test_no_content_is_on_two_sides_and_no_record_is_lost(contents, fractions, seed):
    records = make_records(contents)
    if len(set(contents)) < sum(f > 0 for f in fractions):
        with pytest.raises(InputError, match="cannot fill"):
            split_by_content(records, fractions=fractions, seed=seed)
        return
    split = split_by_content(records, fractions=fractions, seed=seed)
    sides = [{record.content for record in part} for part in split]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert sorted(r.name for part in split for r in part) == sorted(
        r.name for r in records
    )
    assert [bool(side) for side in sides] == [f > 0 for f in fractions]


def test_shares_are_of_contents():
    records = make_records([f"c{i}" for i in range(240)])
    split = split_by_content(records, fractions=(0.7, 0.1, 0.2), seed=0)
    assert [len(part) // 2 for part in split] == [168, 24, 48]


def test_split_is_the_same_everywhere():
    # Noted once; a change would silently let old test pictures into training.
    records = make_records([f"c{i}" for i in range(10)])
    split = split_by_content(records, fractions=(0.6, 0.2, 0.2), seed=7)
    assert split_hash(split) == "298c49878d46"
    reordered = split_by_content(records[::-1], fractions=(0.6, 0.2, 0.2), seed=7)
    assert split_hash(reordered) == split_hash(split)


def test_seed_changes_the_split():
    records = make_records([f"c{i}" for i in range(10)])
    splits = [
        split_by_content(records, fractions=(0.6, 0.2, 0.2), seed=seed)
        for seed in range(4)
    ]
    assert len({split_hash(split) for split in splits}) == 4


@pytest.mark.parametrize("fractions", [(0.5, 0.6, -0.1), (0.5, 0.2, 0.2), (1.0,)])
def test_refuses_fractions_that_are_none(fractions):
    with pytest.raises(InputError, match="three shares that sum to 1"):
        split_by_content(make_records(["a", "b", "c"]), fractions=fractions, seed=0)


def test_manifest_gives_the_same_split_back(tmp_path):
    records = make_records(["a b", "ü", "003", "d"])
    split = split_by_content(records, fractions=(0.5, 0.25, 0.25), seed=1)
    write_split(tmp_path / "s.txt", split)
    assert read_split(tmp_path / "s.txt", records) == split
    lines = (tmp_path / "s.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == f"# split {split_hash(split)}"
    assert sorted(line.split("\t")[1] for line in lines[1:]) == sorted(
        ["a b", "ü", "003", "d"]
    )


def test_manifest_of_other_contents_is_refused(tmp_path):
    records = make_records(["a", "b", "c"])
    split = split_by_content(records, fractions=(0.4, 0.3, 0.3), seed=1)
    write_split(tmp_path / "s.txt", split)
    with pytest.raises(InputError, match=r"1 contents are new \(such as 'z'\)"):
        read_split(tmp_path / "s.txt", make_records(["a", "b", "c", "z"]))
    with pytest.raises(InputError, match=r"1 are missing \(such as 'c'\)"):
        read_split(tmp_path / "s.txt", make_records(["a", "b"]))
    with pytest.raises(InputError, match="Cannot read the split"):
        read_split(tmp_path / "none.txt", records)


@pytest.mark.parametrize(
    ("old", "new"),
    [("test\t", "train\t"), ("# split", "# spilt"), ("test\t", "tset\t"), ("\n", "")],
)
def test_changed_manifest_is_refused(tmp_path, old, new):
    records = make_records(["a", "b", "c"])
    path = tmp_path / "s.txt"
    write_split(path, split_by_content(records, fractions=(0.4, 0.3, 0.3), seed=1))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(IntegrityError, match=r"s\.txt"):
        read_split(path, records)


def test_lost_picture_of_a_known_content_is_noticed(tmp_path):
    records = make_records(["a", "b", "c"])
    split = split_by_content(records, fractions=(0.4, 0.3, 0.3), seed=1)
    write_split(tmp_path / "s.txt", split)
    with pytest.raises(IntegrityError, match="pictures came or went"):
        read_split(tmp_path / "s.txt", records[1:])


def test_content_of_two_lines_is_not_written(tmp_path):
    records = make_records(["a\nb", "b", "c"])
    split = split_by_content(records, fractions=(0.4, 0.3, 0.3), seed=1)
    with pytest.raises(InputError, match="single line"):
        write_split(tmp_path / "s.txt", split)


def on_disk(folder: Path, names: str, *, missing: str = "") -> list[Record]:
    """Records of pictures `<letter>.png`, some of which are not there."""
    for name in set(names) - set(missing):
        (folder / f"{name}.png").touch()
    return [Record(n, folder / f"{n}.png", None, 0.5, n) for n in names]


def test_nothing_but_missing_pictures_is_refused_even_if_some_may_miss(tmp_path):
    records = on_disk(tmp_path, "ab", missing="ab")
    with pytest.raises(InputError, match=r"D: 0 of 2 pictures found; .*a\.png"):
        check_records(records, dataset="D", advice="Do.", allow_missing=True)


def test_records_are_kept_in_their_order(tmp_path, caplog):
    records = on_disk(tmp_path, "dbac", missing="b")
    kept = check_records(records, dataset="D", advice="Do.", allow_missing=True)
    assert [r.name for r in kept] == ["d", "a", "c"]
    assert "D: 1 of 4 scored pictures left out" in caplog.text


def test_pictures_skipped_on_purpose_and_other_files_are_no_warning(tmp_path, caplog):
    records = on_disk(tmp_path, "ab")
    for name in ("c.PNG", "notes.txt"):
        (tmp_path / name).touch()
    check_records(records, dataset="D", advice="", skipped=[tmp_path / "c.PNG"])
    assert caplog.text == ""
    check_records(records, dataset="D", advice="")
    assert "D: 1 unlabelled pictures are not read, such as c.PNG" in caplog.text


def test_linked_picture_is_there_and_a_broken_link_is_not(tmp_path):
    records = on_disk(tmp_path, "ab")
    (tmp_path / "b.png").unlink()
    os.symlink(tmp_path / "a.png", tmp_path / "b.png")
    assert check_records(records, dataset="D", advice="") == records
    (tmp_path / "a.png").rename(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match="0 of 2 pictures"):
        check_records(records, dataset="D", advice="")


def test_each_folder_is_listed_once_whatever_it_holds(tmp_path, monkeypatch):
    records = on_disk(tmp_path, "abcdef")
    listed, scandir = [], os.scandir
    monkeypatch.setattr(
        os, "scandir", lambda path: listed.append(path) or scandir(path)
    )
    monkeypatch.setattr(Path, "is_file", lambda path: pytest.fail(f"asked for {path}"))
    check_records(records, dataset="D", advice="")
    assert listed == [tmp_path]
