"""The AIGCIQA2023 reader: the number of a picture tells model and prompt."""

import numpy as np
import pytest
from layouts_pictures import aigciqa2023_rank, make_aigciqa2023
from scipy.io import savemat

from ganiqa_jax.data import aigciqa2023
from ganiqa_jax.data.records import split_by_content
from ganiqa_jax.errors import InputError


def test_number_tells_model_and_prompt(tmp_path):
    records = aigciqa2023.read_records(make_aigciqa2023(tmp_path))
    for number in (0, 3, 4, 399, 400, 407, 1999, 2399):
        record = records[number]
        assert record.name == f"{number}.png"
        assert record.content == f"{(number // 4) % 100:03d}"
        assert record.kind == f"model{number // 400}"
        quality = 75 - 15 * aigciqa2023_rank(number)
        assert record.mos == pytest.approx(quality / 100)  # quality, not the others
    of_prompt = [r for r in records if r.content == "017"]
    assert len(of_prompt) == 24 and {r.kind for r in of_prompt} == {
        f"model{number}" for number in range(6)
    }


def test_split_never_shows_a_prompt_twice(tmp_path):
    records = aigciqa2023.read_records(make_aigciqa2023(tmp_path))
    split = split_by_content(records, fractions=(0.8, 0.0, 0.2), seed=0)
    assert len(split.test) == 480
    assert not {r.content for r in split.train} & {r.content for r in split.test}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((2399, 1), 50.0), "2399 scores, not 2400"),
        (np.full((2400, 1), 100.5), r"'0\.png' is '100\.5'.* 0 to 100"),
        (np.full((2400, 1), np.nan), r"'0\.png' is 'nan'"),
    ],
)
def test_scores_of_another_length_or_scale_are_refused(tmp_path, values, message):
    table = make_aigciqa2023(tmp_path) / "DATA" / "MOS" / "mosz1.mat"
    savemat(table, {"MOSz": values})
    with pytest.raises(InputError, match=message):
        aigciqa2023.read_records(tmp_path)
