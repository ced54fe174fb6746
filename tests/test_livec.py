"""The LIVE Challenge reader: seven training pictures are dropped."""

import numpy as np
import pytest
from layouts_pictures import make_livec
from scipy.io import savemat

from ganiqa_jax.data import livec
from ganiqa_jax.errors import InputError


def test_first_seven_are_dropped(tmp_path):
    records = livec.read_records(make_livec(tmp_path))
    assert [r.name for r in records][:2] == ["11.bmp", "12.bmp"]
    assert records[0].mos == pytest.approx(0.655)
    assert records[0].std == pytest.approx(0.18)


def test_training_pictures_beside_the_others_are_no_warning(tmp_path, caplog):
    make_livec(tmp_path)
    for path in (tmp_path / "Images" / "trainingImages").iterdir():
        path.rename(tmp_path / "Images" / path.name)
    assert len(livec.read_records(tmp_path)) == 6
    assert caplog.text == ""


def test_deviations_may_be_left_out(tmp_path):
    (make_livec(tmp_path) / "Data" / "AllStdDev_release.mat").unlink()
    assert {r.std for r in livec.read_records(tmp_path)} == {None}


@pytest.mark.parametrize("key", ["AllMOS_release", "AllStdDev_release"])
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, key):
    savemat(make_livec(tmp_path) / "Data" / f"{key}.mat", {key: np.ones((1, 12))})
    with pytest.raises(InputError, match="13 names, .*12 .* do not belong together"):
        livec.read_records(tmp_path)


def test_score_off_the_scale_is_refused(tmp_path):
    scores = np.full((1, 13), 101.0)
    savemat(
        make_livec(tmp_path) / "Data" / "AllMOS_release.mat", {"AllMOS_release": scores}
    )
    with pytest.raises(InputError, match=r"'11\.bmp' is '101\.0'.* 0 to 100"):
        livec.read_records(tmp_path)
