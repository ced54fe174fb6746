"""Named splits: whole contents, complete, and the same on every call."""

from pathlib import Path

import pytest
from fixtures import make_agiqa3k
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts_pictures import make_koniq10k

from ganiqa_jax.data import catalog, protocols
from ganiqa_jax.data.protocols import (
    members,
    parse,
    read_stored,
    split_records,
    store,
)
from ganiqa_jax.data.records import Record, split_hash
from ganiqa_jax.errors import InputError, IntegrityError

KINDS = ("blur", "gan", "noise")
SINGLE = ["content-80-20/3", "content-50-50/10", "kfold-5/2", "kfold-2/1@7"]
SINGLE += ["cross-train", "cross-test", "cross-train@9"]


def record(content: str, kind: str = "", part: str = "", number: int = 0) -> Record:
    name = f"{content}_{kind}_{number}.png"
    return Record(name, Path(name), None, 0.5, content, kind=kind, part=part)


def of_contents(count: int, kinds=KINDS) -> list[Record]:
    return [record(f"c{n:03d}", kind) for kind in kinds for n in range(count)]


def contents(part) -> set[str]:
    return {r.content for r in part}


def assert_whole_contents(split) -> None:
    train, validation, test = map(contents, split)
    assert not (train & validation or train & test or validation & test)


def names(split) -> list[str]:
    return sorted(r.name for part in split for r in part)


CONTENTS = st.lists(st.text(max_size=3), min_size=8, max_size=40, unique=True)


@settings(max_examples=80, deadline=None)
@given(CONTENTS, st.sampled_from(SINGLE), st.randoms(use_true_random=False))
def test_no_content_is_on_two_sides_and_no_record_is_lost(found, name, random):
    records = [record(c, k) for c in found for k in KINDS if k != "gan" or c > "a"]
    split = split_records(records, parse(name))
    assert_whole_contents(split)
    assert names(split) == sorted(r.name for r in records)
    assert [bool(part) for part in split] == {
        "cross-train": [True, True, False],
        "cross-test": [False, False, True],
    }.get(name.partition("@")[0], [True] * 3)
    random.shuffle(records)
    assert split_hash(split_records(records, parse(name))) == split_hash(split)


@settings(max_examples=40, deadline=None)
@given(CONTENTS, st.integers(2, 6), st.integers(0, 2**40))
def test_folds_test_every_content_exactly_once(found, count, seed):
    records = [record(c) for c in found]
    splits = [
        split_records(records, fold) for fold in members(parse(f"kfold-{count}@{seed}"))
    ]
    assert len(splits) == count
    tested = [r.content for split in splits for r in split.test]
    assert sorted(tested) == sorted(found)
    sizes = {len(split.test) for split in splits}
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(KINDS)), unique=True, min_size=1
    ),
    st.integers(1, 5),
)
def test_leaving_a_kind_out_parts_contents_and_kinds_alike(found, number):
    found = (
        [(c, "gan") for c in range(20, 26)] + [(c, "blur") for c in (30, 31)] + found
    )
    records = [record(f"c{content}", kind) for content, kind in found]
    split = split_records(records, parse(f"leave-out/gan/{number}"))
    assert_whole_contents(split)
    assert {r.kind for r in split.test} == {"gan"}
    assert "gan" not in {r.kind for part in split[:2] for r in part}
    # What is passed over would break one of the two rules wherever it was put.
    tested = contents(split.test)
    for r in set(records) - {r for part in split for r in part}:
        assert (r.kind == "gan") != (r.content in tested)


def test_folds_of_a_left_out_kind_test_each_of_its_pictures_once():
    records = of_contents(23)
    folds = members(parse("leave-out/gan"))
    tested = [r.name for f in folds for r in split_records(records, f).test]
    assert sorted(tested) == sorted(r.name for r in records if r.kind == "gan")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["train", "validation", "test"]), min_size=1))
def test_official_split_is_that_of_the_records(parts):
    records = [record(f"c{n}", part=part) for n, part in enumerate(parts)]
    split = split_records(records, parse("official"))
    assert names(split) == sorted(r.name for r in records)
    for part, found in split._asdict().items():
        assert {r.part for r in found} <= {part}


def test_official_split_of_koniq_is_that_of_its_table(tmp_path):
    root = make_koniq10k(tmp_path)
    split = split_records(catalog.read("koniq10k", root), parse("official"))
    assert [len(part) for part in split] == [4, 1, 1]


def test_official_split_that_parts_a_content_or_lacks_a_part_is_refused():
    twice = [record("a", part="train"), record("a", "x", part="test")]
    with pytest.raises(InputError, match="'a' in train and in test"):
        split_records(twice, parse("official"))
    with pytest.raises(InputError, match="a__0.png is in no part .* content-80-20"):
        split_records([record("a")], parse("official"))


@pytest.mark.parametrize(
    ("references", "trained_on"), [(29, 23), (30, 24), (25, 20), (81, 64), (300, 240)]
)
def test_ten_splits_have_the_sizes_that_papers_report(references, trained_on):
    ten = [split_records(of_contents(references), p) for p in ten_splits()]
    assert len({split_hash(split) for split in ten}) == 10
    for split in ten:
        assert len(contents(split.train) | contents(split.validation)) == trained_on


def ten_splits():
    return members(parse("content-80-20"))


def test_pipal_is_cut_between_references_not_pictures():
    records = [record(f"A{n:04d}", number=i) for n in range(1, 201) for i in range(3)]
    split = split_records(records, parse("pipal-160-40"))
    assert contents(split.test) == {f"A{n:04d}" for n in range(161, 201)}
    assert [len(contents(part)) for part in split] == [140, 20, 40]
    assert_whole_contents(split)
    other = split_records(records, parse("pipal-160-40@5"))
    assert split_hash(other) != split_hash(split) and other.test == split.test
    with pytest.raises(InputError, match="200 references of PIPAL.* have 199"):
        split_records(
            [r for r in records if r.content != "A0007"], parse("pipal-160-40")
        )


def test_prompts_stay_together_over_generators(tmp_path):
    root = make_agiqa3k(tmp_path, prompts=range(10, 20), side=16)
    records = catalog.read("agiqa3k", root)
    split = split_records(records, parse("content-80-20/1"))
    assert_whole_contents(split)
    assert len(contents(split.test)) == 2 and len(split.test) == 8
    # AIGCIQA2023 numbers 6 models of 100 prompts of 4 pictures each.
    records = [
        record(f"{n // 4 % 100:03d}", f"model{n // 400}", number=n) for n in range(2400)
    ]
    split = split_records(records, parse("content-80-20/4"))
    assert_whole_contents(split)
    assert len(split.test) == 480


def test_splits_are_the_same_everywhere():
    # Noted once; a change would silently let old test pictures into training.
    noted = {
        "content-80-20/1": "ed34564ea84f",
        "content-80-20/2": "6abfaedcfcb0",
        "kfold-5/2": "f15cc718ffa9",
        "leave-out/gan/1": "02285c5278e0",
    }
    found = {n: split_hash(split_records(of_contents(20), parse(n))) for n in noted}
    assert found == noted


def test_leaving_out_a_content_moves_few_others():
    protocol = parse("content-80-20/1")
    full, less = (split_records(of_contents(n), protocol) for n in (100, 99))
    assert len(contents(full.test) ^ contents(less.test)) <= 2


@pytest.mark.parametrize("name", [*SINGLE, "leave-out/gan", "leave-out/a/b/3@4"])
def test_name_and_protocol_say_the_same(name):
    assert parse(name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "content-80-30/1", "content-80-20/11", "content-80-20/0", "content-100-0/1",
        "kfold-1/1", "kfold-5/6", "kfold", "official/2", "pipal", "leave-out/", "",
        "kfold-5/1@", "kfold-5/1@x", "leave-out/gan/6", "leave-out/KIND@",
    ],
)  # fmt: skip
def test_unknown_protocol_is_refused_with_what_there_is(name):
    with pytest.raises(InputError, match="No protocol .* kfold-5/1"):
        parse(name)


def test_too_few_contents_and_unknown_kinds_are_named():
    with pytest.raises(InputError, match="the test part would be empty"):
        split_records(of_contents(3), parse("kfold-4/4"))
    with pytest.raises(InputError, match="1 contents are left to train"):
        split_records(of_contents(2), parse("kfold-2/1"))
    with pytest.raises(InputError, match="kind 'vae'; there are blur, gan, noise"):
        split_records(of_contents(9), parse("leave-out/vae/1"))
    with pytest.raises(InputError, match="there are no kinds"):
        split_records(of_contents(9, [""]), parse("leave-out/vae/1"))
    with pytest.raises(InputError, match="'kfold-5' is 5 splits"):
        split_records(of_contents(9), parse("kfold-5"))


@pytest.mark.parametrize("name", ["kfold-5/2", "leave-out/gan/2", "cross-test"])
def test_stored_split_is_used_again(tmp_path, name):
    records = of_contents(20)
    path = tmp_path / "deep" / protocols.manifest_name("set", parse(name))
    first = store(path, records, parse(name))
    text = path.read_text()
    assert text.startswith(f"# split {split_hash(first)}\n# protocol {name}\n")
    assert store(path, records, parse(name)) == first
    assert path.read_text() == text
    with pytest.raises(IntegrityError, match="pictures came or went"):
        store(path, records[:-1] + [record("c001", "gan2")], parse(name))


def test_stored_split_of_another_protocol_or_a_damaged_name_is_refused(tmp_path):
    path, records = tmp_path / "split.txt", of_contents(20)
    store(path, records, parse("kfold-5/2"))
    with pytest.raises(InputError, match="of protocol kfold-5/2, not of kfold-5/3"):
        store(path, records, parse("kfold-5/3"))
    path.write_text(path.read_text().replace("kfold", "fold"))
    with pytest.raises(IntegrityError, match="damaged: No protocol"):
        protocols.read_stored(path, records)


@pytest.mark.parametrize("name", ["kfold-5/2", "leave-out/gan/2"])
def test_a_split_is_chosen_by_name_or_by_file(tmp_path, name):
    records = of_contents(20)
    by_name = protocols.choose(name, records)
    assert by_name == (split_records(records, parse(name)), name)
    store(tmp_path / "a.txt", records, parse(name))
    assert protocols.choose(str(tmp_path / "a.txt"), records) == by_name
    with pytest.raises(InputError, match="Cannot read the split"):
        protocols.choose(str(tmp_path / "b.txt"), records)


def test_manifest_names_are_file_names_of_their_own():
    found = {
        protocols.manifest_name("a", p)
        for name in ("content-80-20", "kfold-5", "leave-out/x y/z", "kfold-5@3")
        for p in members(parse(name))
    }
    assert len(found) == 25 and not any("/" in name for name in found)
    assert "a.content-80-20-3.txt" in found and "a.kfold-5-1@3.txt" in found


@pytest.mark.parametrize("name", ["kfold-5/2", "content-80-20/3@7", "leave-out/b/1"])
def test_what_would_decide_can_be_trained_on(name, tmp_path):
    records = [
        Record(f"{kind}{n}", Path(f"{kind}{n}"), None, 0.5, f"{n:02}", kind=kind)
        for n in range(20)
        for kind in "ab"
    ]
    apart = split_records(records, parse(name))
    protocol = parse(name + "+val")
    whole = split_records(records, protocol)
    assert protocol.name == name + "+val" and apart.validation
    assert set(whole.train) == {*apart.train, *apart.validation}
    assert whole.test == apart.test and not whole.validation
    assert [r.name for r in whole.train] == [
        r.name for r in records if r in whole.train
    ]
    store(tmp_path / "split.txt", records, protocol)
    assert read_stored(tmp_path / "split.txt", records) == (whole, protocol.name)
