"""The LIVE reader: order of folders, undistorted copies, realigned labels."""

import numpy as np
import pytest
from layouts_pairs import LIVE_COPIES, LIVE_FOLDERS, cells, make_live
from scipy.io import loadmat, savemat

from ganiqa_jax.data import live
from ganiqa_jax.errors import InputError


def test_undistorted_copies_are_skipped_and_order_is_kept(tmp_path):
    records = live.read_records(make_live(tmp_path))
    assert len(records) == sum(LIVE_FOLDERS.values()) - LIVE_COPIES == 779
    # Label 227 + 2 is the third of the second folder, and odd ones are of scene 2.
    record = next(r for r in records if r.name == "jpeg/img3.bmp")
    assert records[0].name == "jp2k/img2.bmp"
    assert record.reference == tmp_path / "refimgs" / "sailing1.bmp"
    assert (record.kind, record.content) == ("jpeg", "sailing1")
    copies = loadmat(tmp_path / "dmos_realigned.mat")["orgs"].ravel()
    assert all(copies[: 4 * LIVE_COPIES : 4]) and copies.sum() == LIVE_COPIES


def test_realigned_labels_are_preferred_and_may_leave_0_to_100(tmp_path):
    records = live.read_records(make_live(tmp_path))
    assert {round(r.mos, 6) for r in records} == {
        round(1 - (dmos + 5) / 120, 6) for dmos in (-2.6, 55.0, 111.7)
    }
    assert records[0].std == pytest.approx(6 / 120)
    (tmp_path / "dmos_realigned.mat").unlink()
    records = live.read_records(tmp_path)
    assert max(r.mos for r in records) == pytest.approx(1 - 5 / 120)
    assert records[0].std is None


def test_scale_of_scores_rises_though_the_labels_fall():
    name, low, high = live.FACTS.mos_scale
    assert (low, high) == (-5, 115)
    assert name == "LIVE DMOS, turned round"


def test_label_off_the_scale_is_refused_with_its_picture(tmp_path):
    table = make_live(tmp_path) / "dmos_realigned.mat"
    arrays = {k: v for k, v in loadmat(table).items() if k[0] != "_"}
    arrays["dmos_new"][0, 1] = 130.0
    savemat(table, arrays)
    with pytest.raises(InputError, match=r"'jp2k/img2\.bmp' is '130\.0'.*-5 to 115"):
        live.read_records(tmp_path)


@pytest.mark.parametrize(
    ("file", "arrays", "message"),
    [
        ("refnames_all.mat", {"refnames_all": cells(["a.bmp"])}, "has 1 entries, not"),
        ("refnames_all.mat", {"refnames_all": np.zeros(982)}, "does not hold names"),
        ("refnames_all.mat", {"names": np.zeros(982)}, "no array refnames_all; it has"),
        ("dmos_realigned.mat", {"dmos_new": np.zeros(981)}, "981 entries, not the 982"),
        ("dmos_realigned.mat", {"dmos_new": np.zeros(982)}, "no array orgs"),
        ("dmos_realigned.mat", {"dmos_new": cells(["a"])}, "does not hold numbers"),
    ],
)
def test_label_file_of_another_shape_is_refused(tmp_path, file, arrays, message):
    savemat(make_live(tmp_path) / file, arrays)
    with pytest.raises(InputError, match=message):
        live.read_records(tmp_path)
