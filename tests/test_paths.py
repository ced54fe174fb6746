"""Paths kept in few bytes: they come back as they were."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganiqa_jax.scoring.find import find_pictures
from ganiqa_jax.scoring.paths import Paths

NAMES = st.binary(max_size=12).map(lambda data: data.replace(b"\0", b"a"))
PATHS = st.lists(NAMES.map(os.fsdecode).map(Path), max_size=20)


@given(PATHS, st.integers(0, 20), st.integers(1, 5))
def test_paths_of_any_bytes_come_back_in_order(paths, start, step):
    kept = Paths[object](paths)
    assert list(kept) == paths
    assert [str(path) for path in kept] == [str(path) for path in paths]
    assert list(kept[start::step]) == paths[start::step]
    assert list(kept[start::step][1:]) == paths[start::step][1:]
    assert list(kept.once()) == list(dict.fromkeys(paths))
    assert list(kept[start:].once()) == list(dict.fromkeys(paths[start:]))


def test_other_things_stay_themselves():
    thing = object()
    kept = Paths[object]([Path("a/b"), thing, Path("a/b"), Path("c")])
    assert kept[1] is thing
    assert kept[-1] == Path("c")
    assert list(kept[1:3]) == [thing, Path("a/b")]
    assert list(kept.once()) == [Path("a/b"), Path("c")]


def test_equal_hashes_of_other_paths_are_told_apart(monkeypatch):
    module = "ganiqa_jax.scoring.paths"
    monkeypatch.setattr(f"{module}.hash", lambda text: 7, raising=False)
    paths = [Path("a"), Path("b"), Path("a"), Path("c/a")]
    assert list(Paths[object](paths).once()) == [Path("a"), Path("b"), Path("c/a")]


def test_a_picture_that_two_patterns_name_comes_once(tmp_path):
    for name in ("b.png", "a.png"):
        (tmp_path / name).touch()
    found = find_pictures([tmp_path / "b.png", tmp_path, tmp_path / "*.png"])
    assert list(found) == [tmp_path / "b.png", tmp_path / "a.png"]


def test_a_hundred_thousand_paths_take_little():
    code = (
        "import tracemalloc\nfrom pathlib import Path\n"
        "from ganiqa_jax.scoring.paths import Paths\n"
        "names = (f'/data/pictures/{n % 50:03}/{n:08}.jpg' for n in range(100_000))\n"
        "tracemalloc.start()\n"
        "kept = Paths(map(Path, names)).once()\n"
        "print(len(kept), tracemalloc.get_traced_memory()[1])"
    )
    # A process of its own: other threads of this one allocate as well.
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    number, peak = map(int, done.stdout.split())
    assert number == 100_000
    assert peak < 12e6


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0"])
@pytest.mark.parametrize("last", [True, False])
def test_a_long_list_is_read_whole(tmp_path, end, last):
    names = [f"{'ä' * (n % 90)}{n}.png" for n in range(4000)]  # several blocks
    text = end.join(names) + (end if last else "")
    (tmp_path / "list.txt").write_bytes(text.encode())
    found = find_pictures([f"@{tmp_path}/list.txt"])
    assert [str(path) for path in found] == names
