"""The BAPPS reader and its 2AFC score."""

import logging

import numpy as np
import pytest
from layouts_pairs import make_bapps
from PIL import Image

from ganiqa_jax.data import bapps
from ganiqa_jax.errors import InputError


def distance(one, other):
    pair = [np.asarray(Image.open(path), np.float64) for path in (one, other)]
    return np.square(pair[0] - pair[1]).mean()


@pytest.mark.parametrize("inside", ["", "dataset"])
def test_reads_the_triplets_of_a_part(tmp_path, inside):
    triplets = bapps.read_triplets(make_bapps(tmp_path, inside=inside))
    assert len(triplets) == 8
    assert {t.kind for t in triplets} == {"cnn", "superres"}
    folder = tmp_path / inside / "2afc" / "val" / "cnn"
    assert triplets[1] == bapps.Triplet(
        reference=folder / "ref" / "000001.png",
        p0=folder / "p0" / "000001.png",
        p1=folder / "p1" / "000001.png",
        share=1.0,
        content="val/cnn/000001",
        kind="cnn",
    )
    train = bapps.read_triplets(tmp_path, part="train", kinds=("mix",))
    assert [t.content for t in train] == [f"train/mix/00000{n}" for n in range(4)]


def test_share_is_that_of_the_picture_that_is_closer(tmp_path):
    triplets = bapps.read_triplets(make_bapps(tmp_path))
    d0 = np.array([distance(t.reference, t.p0) for t in triplets])
    d1 = np.array([distance(t.reference, t.p1) for t in triplets])
    share = np.array([t.share for t in triplets])
    assert ((share > 0.5) == (d1 < d0)).all()
    np.testing.assert_allclose(bapps.agreement(d0, d1, share).mean(), (0.8 + 1) / 2)
    np.testing.assert_allclose(bapps.agreement(d1, d0, share).mean(), (0.2 + 0) / 2)


def test_agreement_counts_a_tie_one_half():
    d0, d1 = np.array([1.0, 1.0, 2.0]), np.array([2.0, 1.0, 1.0])
    share = np.array([0.2, 0.9, 0.9])
    np.testing.assert_allclose(bapps.agreement(d0, d1, share), [0.8, 0.5, 0.9])


@pytest.mark.parametrize("side", ["ref", "p0", "p1"])
def test_triplet_without_a_picture_is_refused_or_left_out(tmp_path, side, caplog):
    make_bapps(tmp_path)
    (tmp_path / "2afc" / "val" / "cnn" / side / "000002.png").unlink()
    with pytest.raises(InputError, match=r"found; .*000002\.png is missing\. Unpack"):
        bapps.read_triplets(tmp_path)
    with caplog.at_level(logging.WARNING, "ganiqa_jax"):
        kept = bapps.read_triplets(tmp_path, allow_missing=True)
    assert len(kept) == 7 and "val/cnn/000002" not in {t.content for t in kept}
    assert "left out" in caplog.text


def test_missing_part_or_kind_is_answered_with_what_there_is(tmp_path):
    with pytest.raises(InputError, match="it has none. Unpack BAPPS"):
        bapps.read_triplets(tmp_path)
    make_bapps(tmp_path)
    with pytest.raises(
        InputError, match="no folder mix in .*val; it has cnn, superres"
    ):
        bapps.read_triplets(tmp_path, kinds=("mix",))


@pytest.mark.parametrize("damage", ["cut", "empty", "two", "range", "names", "pickle"])
def test_damaged_choice_is_refused(tmp_path, damage):
    path = make_bapps(tmp_path) / "2afc" / "val" / "cnn" / "judge" / "000000.npy"
    if damage in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: 20 if damage == "cut" else 0])
    else:
        values = {"two": [0.1, 0.2], "range": [1.5], "names": ["a"], "pickle": [0.5]}
        kind = object if damage == "pickle" else None  # objects are pickles: never run
        np.save(path, np.array(values[damage], kind))
    with pytest.raises(InputError, match=r"000000\.npy does not hold one share"):
        bapps.read_triplets(tmp_path)
