"""The list of data sets."""

import pytest
from fixtures import make_agiqa3k, make_sr4kiqa

from ganiqa_jax.data import catalog
from ganiqa_jax.errors import InputError


@pytest.mark.parametrize(
    ("name", "make"), [("agiqa3k", make_agiqa3k), ("sr4kiqa", make_sr4kiqa)]
)
def test_reads_a_data_set_by_name(tmp_path, name, make):
    records = catalog.read(name, make(tmp_path))
    assert records == catalog.READERS[name](tmp_path)
    assert all(record.mos is not None and 0 <= record.mos <= 1 for record in records)


def test_every_data_set_has_a_scale():
    assert set(catalog.MOS_SCALES) == set(catalog.READERS)
    assert catalog.MOS_SCALES["agiqa3k"][1:] == (0.0, 5.0)
    assert catalog.MOS_SCALES["sr4kiqa"][1:] == (1.0, 5.0)
    assert all(low < high for _, low, high in catalog.MOS_SCALES.values())


def test_unknown_data_set_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match="agiqa3k, .*kadid10k, .*tid2013"):
        catalog.read("kadid", tmp_path)
