"""Training and scoring see the same bits of every kind of picture file.

So a student is asked about the pixels that it learned from: what the input pipeline
yields, from the archive's files and from a prepared data set, is compared with the
crops that the scorer takes, where a crop holds the whole picture.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from fixtures import draw_scene
from PIL import Image, features
from test_decode import encode, png

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.data import prepared, tfds_builder
from ganiqa_jax.data.pipeline import SourceData, epoch
from ganiqa_jax.data.records import Record
from ganiqa_jax.scoring.decode import decode_picture
from ganiqa_jax.scoring.loading import LoadRules, load_picture

WIDTH, HEIGHT = 48, 40
SCENE = draw_scene(1, height=HEIGHT, width=WIDTH)
RGB = Image.fromarray(SCENE)
GREY = RGB.convert("L")
ALPHA = Image.fromarray(np.tile(np.arange(WIDTH, dtype=np.uint8) * 5, (HEIGHT, 1)))
PALETTE = RGB.quantize(16)
WIDE = np.asarray(GREY).astype(np.uint16) * 257 + 100


class Kind(NamedTuple):
    """A kind of file: its bytes and the mode in which Pillow must find its pixels."""

    data: bytes
    mode: str


def with_alpha(image: Image.Image) -> Image.Image:
    copy = image.copy()
    copy.putalpha(ALPHA)
    return copy


def turned(orientation: int, kind: str = "JPEG") -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return encode(RGB, kind, exif=tags)


def animated(kind: str, **options) -> bytes:
    rest = [Image.fromarray(255 - SCENE), Image.fromarray(SCENE[::-1].copy())]
    return encode(RGB, kind, save_all=True, append_images=rest, **options)


def wide_rgb() -> bytes:
    rows = (SCENE.astype(np.uint16) * 257 + 100).astype(">u2")
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return png(WIDTH, HEIGHT, 16, 2, data)


def jpegs() -> Mapping[str, Kind]:
    grey, cmyk = encode(GREY, "JPEG"), encode(RGB.convert("CMYK"), "JPEG")
    kinds = {
        "jpeg 4:4:4": Kind(encode(RGB, "JPEG", subsampling=0), "RGB"),
        "jpeg 4:2:2": Kind(encode(RGB, "JPEG", subsampling=1), "RGB"),
        "jpeg 4:2:0": Kind(encode(RGB, "JPEG", subsampling=2), "RGB"),
        "jpeg progressive": Kind(encode(RGB, "JPEG", progressive=True), "RGB"),
        "jpeg of low quality": Kind(encode(RGB, "JPEG", quality=10), "RGB"),
        "jpeg grey": Kind(grey, "L"),
        "jpeg cmyk": Kind(cmyk, "CMYK"),
        "jpeg of two pictures": Kind(animated("MPO"), "RGB"),
    }
    return kinds | {
        f"jpeg orientation {n}": Kind(turned(n), "RGB") for n in range(1, 9)
    }


def pngs() -> Mapping[str, Kind]:
    some = encode(PALETTE, "PNG", transparency=3)
    return {
        "png": Kind(encode(RGB), "RGB"),
        "png 16 bits": Kind(wide_rgb(), "RGB"),
        "png turned": Kind(turned(6, "PNG"), "RGB"),
        "png one colour transparent": Kind(
            encode(RGB, transparency=tuple(map(int, SCENE[7, 7]))), "RGB"
        ),
        "png rgba": Kind(encode(with_alpha(RGB)), "RGBA"),
        "png grey": Kind(encode(GREY), "L"),
        "png grey 16 bits": Kind(encode(WIDE), "I;16"),
        "png grey 16 bits, one transparent": Kind(
            encode(WIDE, transparency=int(WIDE[7, 7])), "I;16"
        ),
        "png grey with alpha": Kind(encode(with_alpha(GREY)), "LA"),
        "png 1 bit": Kind(encode(GREY.convert("1")), "1"),
        "png palette": Kind(encode(PALETTE), "P"),
        "png palette, one transparent": Kind(some, "P"),
        "png palette with alpha": Kind(
            encode(PALETTE, transparency=bytes(range(0, 256, 16))), "P"
        ),
        "apng": Kind(animated("PNG"), "RGB"),
    }


def others() -> Mapping[str, Kind]:
    kinds = {
        "bmp": Kind(encode(RGB, "BMP"), "RGB"),
        "bmp palette": Kind(encode(PALETTE, "BMP"), "P"),
        "bmp grey": Kind(encode(GREY, "BMP"), "L"),
        "tiff": Kind(encode(RGB, "TIFF"), "RGB"),
        "tiff turned": Kind(turned(8, "TIFF"), "RGB"),
        "tiff rgba": Kind(encode(with_alpha(RGB), "TIFF"), "RGBA"),
        "tiff cmyk": Kind(encode(RGB.convert("CMYK"), "TIFF"), "CMYK"),
        "tiff grey 16 bits": Kind(encode(WIDE, "TIFF"), "I;16"),
        "gif": Kind(encode(PALETTE, "GIF"), "P"),
        "gif, one transparent": Kind(encode(PALETTE, "GIF", transparency=3), "P"),
        "gif animated": Kind(animated("GIF"), "P"),
        "ppm": Kind(encode(RGB, "PPM"), "RGB"),
    }
    if features.check("webp"):
        kinds |= {
            "webp": Kind(encode(RGB, "WEBP", quality=60), "RGB"),
            "webp lossless": Kind(encode(RGB, "WEBP", lossless=True), "RGB"),
            "webp rgba": Kind(encode(with_alpha(RGB), "WEBP"), "RGBA"),
            "webp turned": Kind(turned(3, "WEBP"), "RGB"),
            "webp animated": Kind(animated("WEBP", lossless=True), "RGB"),
        }
    return kinds


KINDS = {**jpegs(), **pngs(), **others()}


class Shown(NamedTuple):
    """Of every kind, what training sees and the path of what scoring is given."""

    pictures: dict[str, np.ndarray]
    paths: dict[str, Path]


SIZES = {"as it is": (0, 48), "resized": (36, 44)}
"""Shorter side, and a crop that holds all of a picture, mirrored out."""


def feed(records: list[Record], short_side: int, crop: int) -> Shown:
    source = SourceData(tuple(records), "pictures", 1, short_side=short_side)
    (batch,) = epoch(source, rows=len(records), crop=crop)
    return Shown(
        dict(zip(KINDS, batch.distorted, strict=True)),
        {kind: r.distorted for kind, r in zip(KINDS, records, strict=True)},
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Mapping[str, list[Record]]:
    """Of the archive, whose files have no suffix, and of the same prepared."""
    folder = tmp_path_factory.mktemp("kinds")
    archive = []
    for number, kind in enumerate(KINDS.values()):
        path = folder / str(number)
        path.write_bytes(kind.data)
        archive.append(Record(path.name, path, None, 0.5, path.name))
    target = tfds_builder.prepare("table", archive, folder / "out")
    return {"archive": archive, "prepared": prepared.read_records(target, "table")}


@pytest.fixture(scope="module", params=["archive", "prepared"])
def stored(request, records) -> list[Record]:
    return records[request.param]


@pytest.fixture(scope="module", params=SIZES.values(), ids=SIZES.keys())
def shown(request, stored) -> tuple[Shown, Preprocessing]:
    short_side, crop = request.param
    rules = Preprocessing(short_side=short_side, crop=crop, points=1)
    return feed(stored, short_side, crop), rules


@pytest.mark.parametrize("kind", KINDS)
def test_training_sees_the_bits_that_are_scored(shown, kind):
    (pictures, paths), preprocessing = shown
    loaded = load_picture(paths[kind], "name", LoadRules(preprocessing, 10**6))
    assert loaded.status == "ok", loaded.error
    assert loaded.mode == KINDS[kind].mode
    scored = loaded.crops[0][0]
    assert scored.shape == (preprocessing.crop, preprocessing.crop, 3)
    np.testing.assert_array_equal(pictures[kind], scored / np.float32(255))


@pytest.mark.parametrize("kind", KINDS)
def test_file_in_memory_gives_the_bits_of_the_file_on_disk(records, kind):
    expected = decode_picture(KINDS[kind].data)
    place = [*KINDS].index(kind)
    for stored in records.values():
        found = decode_picture(stored[place].distorted)
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        assert found.warnings == expected.warnings
    assert sorted(expected.pixels.shape) == [3, HEIGHT, WIDTH]
