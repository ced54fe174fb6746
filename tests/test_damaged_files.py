"""Files damaged at random: always a row, never a crash, a hang or a blow-up."""

import io
import resource
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.scoring.loading import LoadRules, load_picture

RULES = LoadRules(Preprocessing(crop=32, points=5), max_pixels=4_000_000)
STATUSES = {"ok", "decode_error", "too_small", "too_large"}
BLOW_UP = 400 * 2**10
"""Kilobytes: many times what the largest allowed picture takes."""


def saved(kind, **options):
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (40, 56, 3), np.uint8)
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    if options.pop("frames", 0):
        frames = [Image.fromarray(pixels[::-1]), Image.fromarray(pixels[:, ::-1])]
        options |= {"save_all": True, "append_images": frames}
    image.save(buffer, kind, **options)
    return buffer.getvalue()


FILES = {
    "png": saved("PNG"),
    "apng": saved("PNG", frames=3),
    "jpeg": saved("JPEG"),
    "progressive": saved("JPEG", progressive=True),
    "gif": saved("GIF", frames=3),
    "bmp": saved("BMP"),
    "ppm": saved("PPM"),
    "tiff": saved("TIFF", compression="tiff_lzw"),
    "tiff_deflate": saved("TIFF", compression="tiff_adobe_deflate"),
    "webp": saved("WEBP", lossless=True),
    "exif": saved("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
}


# Pillow warns of many kinds of damage that it reads past, as `ganiqa score` does.
@pytest.mark.filterwarnings(r"ignore:::PIL\.")
@pytest.mark.parametrize("kind", sorted(FILES))
@settings(max_examples=60, deadline=4000, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_damage_ends_in_a_status(kind, data, tmp_path_factory):
    content = bytearray(FILES[kind])
    # Headers decide most; damage there is the most telling.
    places = st.one_of(st.integers(0, 64), st.integers(0, len(content) - 1))
    damage = data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8))
    for place, value in damage:
        content[min(place, len(content) - 1)] = value
    content = content[: data.draw(st.integers(0, len(content)))] or content
    path = tmp_path_factory.mktemp("damaged") / "x.png"
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = load_picture(path, "x", RULES)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert loaded.status in STATUSES
    assert (loaded.status == "ok") == bool(loaded.crops)
    assert (loaded.status == "ok") or loaded.error
    assert grown < BLOW_UP


def test_a_warning_made_an_error_is_a_row_too(tmp_path):
    # The suite makes warnings errors, and Pillow warns of an EXIF block of nothing.
    path = tmp_path / "x.jpg"
    path.write_bytes(FILES["exif"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_picture(path, "x", RULES)
    assert loaded.status == "decode_error" and loaded.error
