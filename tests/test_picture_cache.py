"""Kept pictures: the same as decoded ones, within their bounds, and never damaged."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from ganiqa_jax.data.picture_cache import DiskCache, MemoryCache, Opened
from ganiqa_jax.errors import InputError

SIZE = 3 * 8 * 6
"""Bytes of a picture that `Opener` gives."""
FILE = SIZE + 32


class Opener:
    """Makes pixels of the bytes of a file, and counts how often."""

    def __init__(self):
        self.calls = []

    def __call__(self, path, short_side) -> Opened:
        self.calls.append((path.name, short_side))
        seed = int.from_bytes(path.read_bytes()) + short_side
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        return Opened(pixels, (80, 60))


@pytest.fixture
def opener() -> Opener:
    return Opener()


@pytest.fixture
def paths(tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(6)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    return paths


def assert_right(cache, paths, short_side=0):
    for path in paths:
        found, expected = cache.open(path, short_side), Opener()(path, short_side)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        assert found.size == expected.size and found.pixels.dtype == np.uint8


def kept(folder):
    return sorted(folder.glob("*.pixels"))


def make(kind, opener, tmp_path, capacity=10**6):
    if kind == "memory":
        return MemoryCache(opener, capacity)
    return DiskCache(opener, tmp_path / "cache", capacity)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_picture_is_decoded_once_for_each_size(kind, opener, paths, tmp_path):
    cache = make(kind, opener, tmp_path)
    for _ in range(3):
        assert_right(cache, paths)
        assert_right(cache, paths[:2], short_side=4)
    expected = [(path.name, 0) for path in paths] + [("0.png", 4), ("1.png", 4)]
    assert opener.calls == expected


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_what_does_not_fit_is_decoded_each_time(kind, opener, paths, tmp_path):
    cache = make(kind, opener, tmp_path, capacity=3 * FILE + 5)
    assert_right(cache, paths)
    assert_right(cache, paths)
    assert len(opener.calls) == 9
    if kind == "disk":
        assert sum(path.stat().st_size for path in kept(tmp_path / "cache")) == 3 * FILE
        assert_right(DiskCache(opener, tmp_path / "cache", 4 * FILE), paths)
        assert len(kept(tmp_path / "cache")) == 4


def test_files_serve_the_next_run(opener, paths, tmp_path):
    assert_right(make("disk", opener, tmp_path), paths)
    later = Opener()
    assert_right(make("disk", later, tmp_path), paths)
    assert later.calls == []


def test_a_changed_picture_is_decoded_anew(opener, paths, tmp_path):
    cache = make("disk", opener, tmp_path)
    cache.open(paths[0], 0)
    paths[0].write_bytes(b"\x07")
    os.utime(paths[0], ns=(1, 1))
    assert_right(cache, paths[:1])
    assert len(opener.calls) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data + b"0",
        lambda data: data[:-9] + bytes([data[-9] ^ 4]) + data[-8:],
        lambda data: data[:16] + bytes([data[16] ^ 1]) + data[17:],
        lambda data: b"GANIQA 0" + data[8:],
    ],
)
def test_a_damaged_file_is_noticed_and_made_again(
    damage, opener, paths, tmp_path, caplog
):
    make("disk", opener, tmp_path).open(paths[0], 0)
    (file,) = kept(tmp_path / "cache")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert_right(make("disk", opener, tmp_path), paths[:1])
    assert "was damaged; it is made again" in caplog.text
    assert file.read_bytes() == whole and len(opener.calls) == 2


def test_what_a_kill_left_is_taken_away(opener, paths, tmp_path):
    assert_right(make("disk", opener, tmp_path), paths[:2])
    (tmp_path / "cache" / "half.part").write_bytes(b"0" * 100)
    (tmp_path / "cache" / "bytes").write_text("nonsense")
    assert_right(make("disk", opener, tmp_path, 3 * FILE), paths)
    assert not list((tmp_path / "cache").glob("*.part"))
    assert len(kept(tmp_path / "cache")) == 3


def test_a_folder_that_cannot_be_written_is_refused_or_done_without(
    opener, paths, tmp_path, caplog
):
    with pytest.raises(InputError, match="another data.cache_dir"):
        DiskCache(opener, paths[0] / "below a file", 1000)
    cache = make("disk", opener, tmp_path)
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    (tmp_path / "cache").rmdir()
    assert_right(cache, paths[:2])
    assert "is not kept in" in caplog.text


SHARED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_picture_cache import DiskCache, FILE, Opener, assert_right
folder = Path({folder!r})
cache = DiskCache(Opener(), folder / "cache", 20 * FILE)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(3):
    assert_right(cache, sorted(folder.glob("*.png")))
"""


def test_two_processes_share_a_folder_and_its_bound(tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(bytes([number]))
    tests = os.path.dirname(__file__)
    code = SHARED.format(tests=tests, folder=str(tmp_path))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    two = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, **pipes)
        for _ in range(2)
    ]
    for process in two:
        assert process.stdout.readline() == b"ready\n", process.communicate()
    for process in two:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    for process in two:
        assert process.communicate(timeout=60)[1] == b"" and process.returncode == 0
    assert len(kept(tmp_path / "cache")) == 20
    assert (tmp_path / "cache" / "bytes").read_text() == str(20 * FILE)
    assert not list((tmp_path / "cache").glob("*.part"))
