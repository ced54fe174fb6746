"""The teacher that comes with the package."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data as photographs

import ganiqa_jax as gq
from ganiqa_jax import cli
from ganiqa_jax.card import WEIGHTS
from ganiqa_jax.data.catalog import FACTS
from ganiqa_jax.data.distortions import distort
from ganiqa_jax.released import find_model
from ganiqa_jax.scoring.cropping import middle


@pytest.fixture(scope="module")
def score():
    scorer = gq.create_scorer("teacher-s", pictures=1)
    coffee = photographs.coffee()

    def run(picture, reference=coffee):
        (row,) = scorer.compare_iter([(reference, np.asarray(picture))])
        return row.score

    return run


def test_a_picture_is_no_worse_than_itself_and_blur_costs_it(score):
    image = Image.fromarray(photographs.coffee())
    blurred = [image.filter(ImageFilter.GaussianBlur(by)) for by in (1, 3, 6)]
    scores = [score(picture) for picture in (image, *blurred)]
    assert scores[0] > 0.9
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("kind", ["jpeg", "gaussian_noise", "texture_smear"])
def test_strong_damage_costs_more_than_weak(score, kind):
    random = np.random.default_rng(0)
    levels = [distort(photographs.coffee(), kind, level, random) for level in (1, 5)]
    weak, strong = map(score, levels)
    assert weak > strong + 0.1


@pytest.mark.parametrize("kind", ["jpeg", "gaussian_noise", "texture_smear"])
def test_damage_costs_a_small_picture_what_it_costs_a_large_one(score, kind):
    random = np.random.default_rng(0)
    pictures = [distort(photographs.coffee(), kind, level, random) for level in (1, 5)]
    small = [middle(pixels, 64, 64) for pixels in (photographs.coffee(), *pictures)]
    weak, strong = (score(pixels, small[0]) for pixels in small[1:])
    assert abs(weak - score(pictures[0])) < 0.2
    assert abs(strong - score(pictures[1])) < 0.2


def test_it_is_as_released_and_says_what_it_was_made_of():
    assert (find_model("teacher-s") / WEIGHTS).stat().st_size < 8_000_000
    assert cli.main(["models", "verify", "teacher-s"]) == 0
    card = gq.load(find_model("teacher-s")).card
    assert set(card.data) <= FACTS.keys() and card.results and card.notes
