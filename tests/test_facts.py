"""Facts of a data set, and labels turned into scores."""

import dataclasses
from pathlib import Path

import pytest

from ganiqa_jax.data import csiq, tid2013
from ganiqa_jax.errors import InputError

TABLE = Path("labels.txt")


@pytest.mark.parametrize(("label", "score"), [("0", 0.0), (" 9\n", 1.0), (4.5, 0.5)])
def test_label_that_rises_is_rescaled(label, score):
    assert tid2013.FACTS.score(label, name="x", table=TABLE) == score


@pytest.mark.parametrize(("label", "score"), [("0", 1.0), ("1", 0.0), (0.25, 0.75)])
def test_label_that_falls_is_turned_round(label, score):
    assert csiq.FACTS.score(label, name="x", table=TABLE) == score


def test_deviation_keeps_its_direction():
    facts = dataclasses.replace(csiq.FACTS, low=-5.0, high=115.0)
    assert facts.deviation("30", name="x", table=TABLE) == 0.25


@pytest.mark.parametrize("label", ["", "nan", "1e999", "9.1", "-0.1", "five"])
def test_label_off_the_scale_is_refused_with_its_place(label):
    with pytest.raises(InputError, match=r"labels\.txt: the score of 'x' .* 0 to 9"):
        tid2013.FACTS.score(label, name="x", table=TABLE)


def test_scale_of_scores_rises_and_says_so():
    assert tid2013.FACTS.mos_scale == ("TID2013 MOS", 0, 9)
    assert csiq.FACTS.mos_scale == ("CSIQ DMOS, turned round", 0, 1)
