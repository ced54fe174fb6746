"""The student that comes with the package."""

import io

import jax
import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data as photographs

import ganiqa_jax as gq
from ganiqa_jax import cli
from ganiqa_jax.card import WEIGHTS
from ganiqa_jax.data.catalog import FACTS
from ganiqa_jax.data.distortions import distort
from ganiqa_jax.export.program import crop_shapes
from ganiqa_jax.released import find_model
from ganiqa_jax.scoring.cropping import middle
from ganiqa_jax.scoring.forward import forward


@pytest.fixture(scope="module")
def scorer():
    return gq.create_scorer(pictures=3)


def scores(scorer, images):
    """Of pictures of one size, in one batch."""
    return scorer.score_batch(np.stack([np.asarray(image) for image in images]))


def jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def smaller_and_back(image, factor):
    small = image.resize([side // factor for side in image.size], Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC)


def noisy(image, deviation):
    noise = np.random.default_rng(0).normal(0, deviation, np.asarray(image).shape)
    pixels = (np.asarray(image) + noise).round().clip(0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def made(kind):
    """One of our own kinds of damage, by level."""

    def damage(image, level):
        random = np.random.default_rng(0)
        return Image.fromarray(distort(np.asarray(image), kind, level, random))

    return damage


DAMAGE = {
    "blur": (lambda image, by: image.filter(ImageFilter.GaussianBlur(by)), (2, 5)),
    "noise": (noisy, (12, 40)),
    "jpeg": (jpeg, (20, 4)),
    "down-scaling": (smaller_and_back, (3, 7)),
    "checkerboard": (made("checkerboard"), (2, 5)),
    "smearing": (made("texture_smear"), (2, 5)),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_lowers_the_score(scorer, kind):
    damage, levels = DAMAGE[kind]
    image = Image.fromarray(photographs.astronaut())
    pictures = [image, *(damage(image, level) for level in levels)]
    before, some, more = scores(scorer, pictures)
    assert before > some > more


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_lowers_the_score_of_a_small_picture(scorer, kind):
    """Enlarged to 320 pixels, all of them were as bad as blurred ones."""
    damage, levels = DAMAGE[kind]
    image = Image.fromarray(photographs.chelsea())
    pictures = [image, *(damage(image, level) for level in levels)]
    small = [middle(np.asarray(picture), 64, 64) for picture in pictures]
    before, some, more = scores(scorer, small)
    assert before > 0.5 and before > some > more


@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket", "chelsea"])
def test_compression_finer_than_the_whole_view_shows_is_seen(scorer, name):
    """By 320 pixels alone, a rocket as JPEG of quality 50 scored more than before."""
    image = Image.fromarray(getattr(photographs, name)())
    before, at_50, at_30 = scores(scorer, [image, jpeg(image, 50), jpeg(image, 30)])
    assert before > max(at_50, at_30)


def test_it_is_light():
    assert (find_model("student-s") / WEIGHTS).stat().st_size < 8_000_000
    _, variables, _ = gq.load(find_model("student-s"))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) < 3_500_000


def test_it_is_as_released_and_says_what_it_was_made_of(capfd):
    assert cli.main(["models", "verify", "student-s"]) == 0
    card = gq.load(find_model("student-s")).card
    assert card.data and set(card.data) <= FACTS.keys() and card.results
    assert cli.main(["models", "info", "student-s"]) == 0
    assert "MIT" in capfd.readouterr().out


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_products_are_in_full_precision_on_every_device(platform):
    model = gq.load("student-s")
    crops = crop_shapes(model, 1).values()
    traced = jax.jit(forward(model.network)).trace(model.variables, *crops)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    products = [
        line
        for line in text.splitlines()
        if "stablehlo.convolution" in line or "stablehlo.dot_general" in line
    ]
    assert len(products) > 70
    assert [line for line in products if "HIGHEST" not in line] == []


def test_its_name_is_enough_to_convert_it(tmp_path):
    assert cli.main(["convert", "student-s", str(tmp_path / "state.safetensors")]) == 0
    assert (tmp_path / "state.safetensors").stat().st_size > 13e6
