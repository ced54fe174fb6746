"""Bad and unusual picture files: scored rightly, or refused with a reason."""

import io
import os
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from ganiqa_jax.scoring import decode
from ganiqa_jax.scoring.decode import (
    DecodeError,
    decode_picture,
)

SIZE = (40, 24)  # width, height


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)


def encode(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, depth, colour, rows, extra=b""):
    """A PNG by hand, for what Pillow does not write."""

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def status_of(source, **options):
    with pytest.raises(DecodeError) as caught:
        decode_picture(source, **options)
    assert "\n" not in str(caught.value)
    return caught.value.status


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_pixels(kind, rgb, tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(encode(rgb, kind))
    picture = decode_picture(path)
    np.testing.assert_array_equal(picture.pixels, rgb)
    assert (picture.width, picture.height, picture.mode) == (40, 24, "RGB")
    assert picture.warnings == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated_files_are_refused(kind, share, rgb):
    data = encode(rgb.repeat(8, 0).repeat(8, 1), kind)
    assert status_of(data[: int(len(data) * share)]) == "decode_error"


def test_flipped_byte_of_a_png_is_noticed(rgb):
    data = bytearray(encode(rgb))
    data[len(data) // 2] ^= 1
    assert status_of(bytes(data)) == "decode_error"


def test_bomb_is_refused_undecoded(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(20_000, 20_000, 1, 0, bytes(20_000 * 2_501)))
    assert path.stat().st_size < 100_000
    began = time.perf_counter()
    with pytest.raises(DecodeError, match="20000x20000") as caught:
        decode_picture(path)
    assert time.perf_counter() - began < 0.5
    assert caught.value.status == "too_large"
    assert (caught.value.width, caught.value.mode) == (20_000, "1")
    assert Image.MAX_IMAGE_PIXELS is not None


def test_larger_than_pillows_own_limit_when_asked():
    data = png(10_000, 10_000, 1, 0, bytes(10_000 * 1_251))
    assert status_of(data) == "too_large"
    assert decode_picture(data, max_pixels=100_000_000).pixels.shape[0] == 10_000


def test_file_size_has_a_limit(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(bytes(100))
    with pytest.raises(DecodeError, match="100 bytes") as caught:
        decode.read_file(path, max_bytes=99)
    assert caught.value.status == "too_large"


@pytest.mark.parametrize("size", [(15, 400), (400, 15), (1, 1)])
def test_tiny_pictures_are_refused(size):
    assert status_of(encode(Image.new("RGB", size))) == "too_small"
    assert decode_picture(encode(Image.new("RGB", (16, 16)))).width == 16


def test_no_kind_of_entry_blocks_or_escapes(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    paths = [*tmp_path.iterdir(), tmp_path / "none.png", tmp_path / "a\0b.png"]
    statuses = []
    worker = threading.Thread(
        target=lambda: statuses.extend(status_of(path) for path in paths), daemon=True
    )
    worker.start()
    worker.join(10)
    assert statuses == ["decode_error"] * 7


@pytest.mark.parametrize("kind", ["PDF", "ICO", "TGA", "ICNS", "DDS", "PCX"])
def test_other_formats_are_refused_whatever_their_name(kind, rgb, tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encode(rgb, kind))
    assert status_of(path) == "decode_error"


def test_content_decides_not_the_suffix(rgb, tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(rgb))
    np.testing.assert_array_equal(decode_picture(path).pixels, rgb)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_and_not_clipped(kind):
    grey = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    pixels = decode_picture(encode(grey, kind)).pixels
    np.testing.assert_array_equal(pixels[..., 1], np.round(grey / 257))
    assert (pixels[0, 0, 0], pixels[-1, -1, 2]) == (0, 255)


def test_big_endian_16_bit_grey_is_the_same():
    grey = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    image = Image.frombytes("I;16B", (32, 32), grey.astype(">u2").tobytes())
    pixels = decode_picture(encode(image, "TIFF")).pixels
    np.testing.assert_array_equal(pixels[..., 0], np.round(grey / 257))


def test_16_bit_rgb_is_within_one_level():
    values = np.linspace(0, 65535, 32 * 32 * 3).astype(np.uint16).reshape(32, 32, 3)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    pixels = decode_picture(png(32, 32, 16, 2, rows)).pixels
    assert np.abs(pixels - values / 257).max() <= 1


def test_pictures_without_a_known_range_are_refused_with_a_hint():
    wide = Image.fromarray(np.full((32, 32), 70_000, np.int32))
    negative = Image.fromarray(np.full((32, 32), -1, np.int32))
    floating = Image.fromarray(np.ones((32, 32), np.float32))
    for image in (wide, negative, floating):
        with pytest.raises(DecodeError, match="save .* as 8- or 16-bit") as caught:
            decode_picture(encode(image, "TIFF"))
        assert caught.value.status == "decode_error"
        assert caught.value.width == 32


@pytest.mark.parametrize(("alpha", "level"), [("white", 255), ("black", 0)])
def test_hidden_colour_does_not_count(alpha, level):
    red = Image.new("RGBA", SIZE, (255, 0, 0, 0))
    grey = Image.new("LA", SIZE, (77, 0))
    palette = Image.new("P", SIZE, 1)
    palette.putpalette([0, 0, 0, 9, 99, 9])
    keyed = Image.new("RGB", SIZE, (9, 99, 9))
    wide = Image.fromarray(np.full((24, 40), 4000, np.uint16))
    pictures = [
        encode(red),
        encode(grey),
        encode(palette, transparency=1),
        encode(palette, "GIF", transparency=1),
        encode(keyed, transparency=(9, 99, 9)),
        encode(wide, transparency=4000),
        encode(red, "WEBP", lossless=True, exact=True),
    ]
    for data in pictures:
        pixels = decode_picture(data, alpha=alpha).pixels
        assert np.unique(pixels).tolist() == [level]


def test_half_transparent_is_halfway_to_the_ground():
    data = encode(Image.new("RGBA", SIZE, (0, 0, 0, 128)))
    assert abs(int(decode_picture(data).pixels[0, 0, 0]) - 127) <= 1


def test_opaque_palette_and_one_bit_pictures():
    palette = Image.new("P", SIZE, 1)
    palette.putpalette([0, 0, 0, 9, 99, 8])
    assert decode_picture(encode(palette)).pixels[0, 0].tolist() == [9, 99, 8]
    bits = np.indices((24, 40)).sum(0) % 2 == 0
    pixels = decode_picture(encode(Image.fromarray(bits))).pixels
    np.testing.assert_array_equal(pixels[..., 0], np.where(bits, 255, 0))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_and_noted(kind):
    picture = decode_picture(encode(Image.new("CMYK", SIZE, (255, 0, 0, 0)), kind))
    assert picture.warnings == ("cmyk",)
    assert picture.mode == "CMYK"
    assert np.abs(picture.pixels[0, 0].astype(int) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind):
    frames = [Image.new("RGB", SIZE, (level,) * 3) for level in (0, 128, 255)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    picture = decode_picture(data)
    assert picture.warnings == ("animated",)
    assert picture.pixels.max() == 0


def test_a_phone_picture_with_a_second_image_is_no_animation(rgb):
    data = encode(rgb, "MPO", save_all=True, append_images=[Image.fromarray(rgb)])
    assert decode_picture(data).warnings == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_upright_picture(kind, orientation):
    # Blocks of 8 pixels survive JPEG; no two of the eight views are alike.
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16, 0] = 240
    upright[16:, :8, 1] = 240
    upright[:8, 40:, 2] = 240
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright.swapaxes(0, 1)[::-1],
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: upright.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored))
    tags = image.getexif()
    tags[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    data = encode(image, kind, exif=tags, **options.get(kind, {}))
    picture = decode_picture(data)
    assert np.abs(picture.pixels.astype(int) - upright).max() <= 4
    if kind != "TIFF":  # which Pillow always turns
        raw = decode_picture(data, exif=False)
        assert raw.pixels.shape == stored.shape
        assert (raw.height, raw.width) == stored.shape[:2]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_cost_the_score(rgb):
    data = encode(rgb, "JPEG", exif=b"Exif\0\0MM\0*garbage")
    assert decode_picture(data).pixels.shape == rgb.shape


def test_broken_dimensions_in_a_header(rgb):
    data = bytearray(encode(rgb))
    data[16:24] = struct.pack(">II", 0, 0)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    assert status_of(bytes(data)) == "decode_error"


def test_the_same_bytes_get_the_same_message():
    """So that a run which was cut off and went on writes what one run writes."""
    errors = []
    for _ in range(2):
        with pytest.raises(DecodeError) as caught:
            decode_picture(bytes(bytearray(b"no picture at all")))
        errors.append(str(caught.value))
    assert errors[0] == errors[1] and "0x" not in errors[0]
