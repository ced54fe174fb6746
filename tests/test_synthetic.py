"""Distortions, their grades, and the data set made of them."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganiqa_jax.data.distortions import GRADED_KINDS, LEVELS, distort
from ganiqa_jax.data.synthetic import (
    embedded_photographs,
    grade,
    read_records,
    write_pairs,
)
from ganiqa_jax.errors import InputError, IntegrityError


@pytest.fixture(scope="module")
def photographs() -> dict[str, np.ndarray]:
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    return embedded_photographs()


@pytest.fixture(scope="module")
def windows(photographs) -> list[np.ndarray]:
    return [
        photographs["astronaut"][60:220, 100:280],
        photographs["coffee"][60:220, 100:280],
    ]


def scenes(count: int = 3) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :48]
    return {
        f"scene{n}": (
            128
            + 70 * np.sin(rows / (2 + n))[..., None] * np.cos(columns / 5)[..., None]
            + random.normal(0, 8, (40, 48, 3))
        )
        .clip(0, 255)
        .astype(np.uint8)
        for n in range(count)
    }


def psnr(reference: np.ndarray, distorted: np.ndarray) -> float:
    error = np.mean((reference.astype(float) - distorted) ** 2)
    return 10 * np.log10(255**2 / error)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


@pytest.mark.parametrize("kind", GRADED_KINDS)
def test_each_level_is_worse_than_the_last(kind, windows):
    damaged = [
        [distort(w, kind, level, np.random.default_rng(3)) for level in LEVELS]
        for w in windows
    ]
    for measure in (psnr, grade):
        by_level = np.mean(
            [[measure(windows[i], d) for d in damaged[i]] for i in range(2)], axis=0
        )
        assert (np.diff(by_level) < 0).all(), (measure.__name__, by_level)


def test_pristine_picture_has_grade_one(windows):
    assert grade(windows[0], windows[0]) == pytest.approx(1.0, abs=1e-9)
    assert 0 <= grade(windows[0], 255 - windows[0]) < 0.2


def test_grades_of_all_kinds_share_one_range(windows):
    grades = {
        kind: [
            np.mean(
                [
                    grade(w, distort(w, kind, n, np.random.default_rng(1)))
                    for w in windows
                ]
            )
            for n in (1, 5)
        ]
        for kind in GRADED_KINDS
    }
    assert min(slight for slight, _ in grades.values()) > 0.8
    assert max(severe for _, severe in grades.values()) < 0.9


def test_embedded_photographs_are_many_and_in_colour(photographs):
    assert len(photographs) >= 8
    for picture in photographs.values():
        assert picture.dtype == np.uint8 and picture.shape[2] == 3
        assert min(picture.shape[:2]) >= 256
    assert len({p.tobytes() for p in photographs.values()}) == len(photographs)


def test_missing_demo_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(InputError, match=r"pip install 'ganiqa-jax\[demo\]'"):
        embedded_photographs()


def test_writes_every_kind_and_level_and_reads_them_back(tmp_path):
    folder = tmp_path / "deep" / "pairs"
    records = write_pairs(scenes(), folder, seed=0, kinds=["jpeg", "ringing"])
    assert records == read_records(folder)
    assert len({r.name for r in records}) == len(records) == 3 * 2 * 5
    for record in records:
        with Image.open(record.distorted) as worse, Image.open(record.reference) as ref:
            pair = np.asarray(ref), np.asarray(worse)
        np.testing.assert_array_equal(pair[0], scenes()[record.content])
        assert record.mos == pytest.approx(grade(*pair), abs=1e-6)
    assert {(r.kind, r.level) for r in records} == {
        (kind, level) for kind in ("jpeg", "ringing") for level in LEVELS
    }


def test_same_seed_gives_the_same_files_and_another_seed_others(tmp_path):
    made = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folder = tmp_path / name
        write_pairs(scenes(), folder, seed=seed, crop=24, per_picture=4)
        made[name] = contents(folder)
    assert made["a"] == made["b"] != made["c"]
    assert set(made["a"]) != set(made["c"])  # other kinds and levels were drawn


def test_a_picture_is_damaged_alike_whatever_others_there_are(tmp_path):
    everything = write_pairs(scenes(), tmp_path / "all", seed=0, per_picture=3)
    one = {"scene1": scenes()["scene1"]}
    alone = write_pairs(one, tmp_path / "one", seed=0, per_picture=3)
    same = [r for r in everything if r.content == "scene1"]
    assert [r.name for r in alone] == [r.name for r in same]
    for a, b in zip(alone, same, strict=True):
        assert a.distorted.read_bytes() == b.distorted.read_bytes()


def test_crop_and_per_picture_bound_what_is_written(tmp_path):
    records = write_pairs(scenes(), tmp_path / "p", seed=0, crop=44, per_picture=2)
    assert len(records) == 6
    with Image.open(records[0].distorted) as picture:
        assert picture.size == (44, 40)  # as much as a picture of 48x40 has


def test_second_call_makes_nothing(tmp_path):
    folder = tmp_path / "pairs"
    steps: list[tuple[int, int]] = []
    options = dict(seed=0, per_picture=2, progress=lambda *step: steps.append(step))
    first = write_pairs(scenes(), folder, **options)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert write_pairs(scenes(), folder, **options) == first
    assert len(steps) == 3


@pytest.mark.parametrize("change", [dict(seed=1), dict(levels=(1,)), dict(crop=20)])
def test_other_settings_do_not_overwrite_what_is_there(tmp_path, change):
    folder = tmp_path / "pairs"
    write_pairs(scenes(), folder, seed=0, kinds=["jpeg"])
    before = contents(folder)
    with pytest.raises(InputError, match="holds something else"):
        write_pairs(scenes(), folder, **(dict(seed=0, kinds=["jpeg"]) | change))
    changed = scenes() | {"scene0": scenes()["scene1"]}
    with pytest.raises(InputError, match="holds something else"):
        write_pairs(changed, folder, seed=0, kinds=["jpeg"])
    assert contents(folder) == before


def test_foreign_folder_is_left_alone_and_an_empty_one_is_used(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "settings.json").write_text("{")
    with pytest.raises(InputError, match="holds something else"):
        write_pairs(scenes(), folder, seed=0)
    assert contents(folder) == {"settings.json": b"{"}
    (folder / "settings.json").unlink()
    assert write_pairs(scenes(1), folder, seed=0, per_picture=1)


def test_interruption_leaves_no_data_set_and_can_be_made_good(tmp_path):
    folder = tmp_path / "pairs"

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pairs(scenes(), folder, seed=0, per_picture=1, progress=interrupt)
    assert not folder.exists()
    assert len(write_pairs(scenes(), folder, seed=0, per_picture=1)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_missing_picture_and_missing_manifest_are_told_apart(tmp_path):
    folder = tmp_path / "pairs"
    records = write_pairs(scenes(), folder, seed=0, per_picture=1)
    records[0].distorted.unlink()
    with pytest.raises(IntegrityError, match="lacks 1 of 6 pictures"):
        read_records(folder)
    with pytest.raises(InputError, match="ganiqa synthesize"):
        read_records(tmp_path)


@pytest.mark.parametrize(("column", "value"), [("grade", "1.5"), ("level", "x")])
def test_damaged_manifest_is_named(tmp_path, column, value):
    folder = tmp_path / "pairs"
    write_pairs(scenes(1), folder, seed=0, per_picture=1)
    header, row = (folder / "pairs.csv").read_text().splitlines()
    cells = dict(zip(header.split(","), row.split(","), strict=True)) | {column: value}
    (folder / "pairs.csv").write_text(header + "\n" + ",".join(cells.values()) + "\n")
    with pytest.raises(InputError, match=f"pairs.csv: {column}"):
        read_records(folder)


def test_files_are_taken_by_their_stems(tmp_path):
    paths = []
    for name, pixels in scenes(2).items():
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(pixels).save(paths[-1])
    from_files = write_pairs(paths, tmp_path / "a", seed=0, per_picture=2)
    from_arrays = write_pairs(scenes(2), tmp_path / "b", seed=0, per_picture=2)
    strip = dict(distorted=Path(), reference=None)
    assert [dataclasses.replace(r, **strip) for r in from_files] == [
        dataclasses.replace(r, **strip) for r in from_arrays
    ]
    with pytest.raises(InputError, match="Two pristine pictures are named 'scene0'"):
        write_pairs([paths[0], paths[0]], tmp_path / "c", seed=0)


def test_unreadable_picture_is_named(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match="broken.png cannot be read"):
        write_pairs([broken], tmp_path / "a", seed=0)
    with pytest.raises(InputError, match="Cannot read .*gone.png"):
        write_pairs([tmp_path / "gone.png"], tmp_path / "a", seed=0)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(kinds=["smudge"]), "No distortion 'smudge'"),
        (dict(kinds=[]), "at least one kind"),
        (dict(levels=[0]), "Levels"),
        (dict(crop=0), "crop=0"),
        (dict(per_picture=0), "per_picture=0"),
    ],
)
def test_impossible_settings_fail_before_anything_is_written(
    tmp_path, settings, message
):
    with pytest.raises(InputError, match=message):
        write_pairs(scenes(1), tmp_path / "pairs", seed=0, **settings)
    with pytest.raises(InputError, match="No pristine pictures"):
        write_pairs({}, tmp_path / "pairs", seed=0)
    with pytest.raises(InputError, match="cannot be named '../up'"):
        write_pairs({"../up": scenes(1)["scene0"]}, tmp_path / "pairs", seed=0)
    assert not list(tmp_path.iterdir())
