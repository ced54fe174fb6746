"""The engine: any pictures in, one row each, in order, whatever they are."""

import dataclasses
import itertools
import os
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_models import CROP, SCALE, FakeStudent, fake_model
from PIL import Image

from ganiqa_jax import release
from ganiqa_jax.errors import InputError
from ganiqa_jax.release import Scale
from ganiqa_jax.scoring import batching
from ganiqa_jax.scoring.engine import Scorer, create_scorer
from ganiqa_jax.scoring.find import find_pairs, find_pictures
from ganiqa_jax.scoring.on_jax import JaxCompute


def make_scorer(role="student", *, points=5, scale=SCALE, batch_size=4, **options):
    model = fake_model(role, points=points, scale=scale)
    return Scorer(JaxCompute(*model, batch_size=batch_size), **options)


def picture(seed, height=40, width=56):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (height, width, 3), np.uint8)
    pixels[..., 2] //= 2
    return pixels


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return path


def expected_z(pixels, boxes):
    crops = [pixels[y : y + CROP, x : x + CROP] / 255 for y, x in boxes]
    return np.array([crop[..., 0].mean() - crop[..., 1].mean() for crop in crops])


def test_score_is_the_mean_over_crops_on_the_public_scale():
    row = make_scorer().score(picture(0))
    boxes = [(0, 0), (0, 40), (24, 0), (24, 40), (12, 20)]
    z = expected_z(picture(0), boxes)
    assert row.status == "ok"
    assert row.score == pytest.approx(0.5 + 0.25 * z.mean(), abs=1e-6)
    assert row.sigma == pytest.approx(0.25 * z.std(), abs=1e-6)
    assert row.mos == pytest.approx(1 + 9 * row.score)
    assert (row.crops, row.width, row.height, row.mode) == (5, 56, 40, "RGB")


@pytest.mark.parametrize("crops", [1, 9])
def test_another_number_of_crops_is_another_preprocessing(monkeypatch, crops):
    monkeypatch.setattr(release, "load_model", lambda folder: fake_model())
    pictures = [picture(seed) for seed in range(3)]
    asked = create_scorer("student", crops=crops)
    wanted = make_scorer(points=crops)
    for row, same in zip(
        asked.score_iter(pictures), wanted.score_iter(pictures), strict=True
    ):
        assert row.crops == crops and row.prep_sha == same.prep_sha
        np.testing.assert_allclose(row.score, same.score, atol=1e-6)
    assert row.prep_sha != create_scorer("student").score(pictures[0]).prep_sha


def test_a_model_of_whole_pictures_has_no_crops_to_choose(monkeypatch):
    model = fake_model(whole=True)
    monkeypatch.setattr(release, "load_model", lambda folder: model)
    own, one = create_scorer("student"), create_scorer("student", crops=1)
    assert one.card == own.card == model.card
    wide = picture(0, 20, 160)
    row = own.score(wide)
    assert (row.status, row.crops, row.width, row.height) == ("ok", 1, 160, 20)
    z = wide[..., 0].mean() / 255 - wide[..., 1].mean() / 255
    assert row.score == pytest.approx(0.5 + 0.25 * z, abs=0.01)
    for crops in (5, 9):
        with pytest.raises(InputError, match="fake looks at whole pictures") as caught:
            create_scorer("student", crops=crops)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sides", "shown"),
    [((20, 160), (16, 128)), ((160, 16), (160, 16)), ((400, 300), (21, 16))],
)
def test_the_map_of_a_whole_picture_has_its_shape(sides, shown):
    scorer = Scorer(JaxCompute(*fake_model(whole=True), batch_size=1))
    pixels = np.zeros((*sides, 3), np.uint8)
    pixels[:, sides[1] // 2 :, 0] = 200
    found = scorer.quality_map(pixels)
    assert found.pixels.shape == (*shown, 3) and found.scores.shape == shown
    half = 0.5 + 0.25 * 200 / 255
    np.testing.assert_allclose(found.scores[:, 0], 0.5, atol=0.01)
    np.testing.assert_allclose(found.scores[:, -1], half, atol=0.01)


@pytest.mark.parametrize("sides", [(12, 10), (9, 40)])
def test_the_map_of_a_small_picture_is_of_its_own_pixels(sides, monkeypatch):
    monkeypatch.setattr("ganiqa_jax.scoring.decode.MIN_SIDE", 9)
    network, variables, card = fake_model(whole=True)
    view = dataclasses.replace(card.preprocessing, reflect=True)
    card = dataclasses.replace(card, preprocessing=view)
    scorer = Scorer(JaxCompute(network, variables, card, batch_size=1))
    pixels = np.zeros((*sides, 3), np.uint8)
    pixels[:, sides[1] // 2 :, 0] = 200
    found = scorer.quality_map(pixels)
    np.testing.assert_array_equal(found.pixels, pixels)
    half = 0.5 + 0.25 * 200 / 255
    np.testing.assert_allclose(found.scores[:, 0], 0.5, atol=0.01)
    np.testing.assert_allclose(found.scores[:, -1], half, atol=0.01)
    (row,) = scorer.score_iter([pixels])
    assert (row.status, row.crops) == ("ok", 1)


def test_pairs_are_seen_whole_alike():
    scorer = Scorer(JaxCompute(*fake_model("teacher", whole=True), batch_size=2))
    wide, tall = picture(0, 20, 160), picture(1, 160, 20)
    (same, other) = scorer.compare_iter([(wide, wide), (wide, tall)])
    assert (same.status, same.crops, same.score) == ("ok", 1, pytest.approx(0.5))
    assert other.status != "ok" and "Sizes differ" in other.error


def test_score_is_clipped_and_mos_with_it():
    scale = Scale(name="ten", low=1.0, high=10.0, mean=0.9, std=5.0)
    red, green = np.zeros((2, 20, 20, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    rows = list(make_scorer(scale=scale).score_iter([red, green]))
    assert [(row.score, row.mos) for row in rows] == [(1.0, 10.0), (0.0, 1.0)]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 7, 64])
def test_score_does_not_depend_on_neighbours_or_batch_size(batch_size):
    pictures = [picture(i, 20 + 3 * i, 64 - 5 * i) for i in range(8)]
    alone = [make_scorer(batch_size=1).score(p).score for p in pictures]
    rows = list(make_scorer(batch_size=batch_size).score_iter(pictures))
    np.testing.assert_allclose([r.score for r in rows], alone, atol=1e-6)
    rows = list(make_scorer(batch_size=batch_size).score_iter(pictures[::-1]))
    np.testing.assert_allclose([r.score for r in rows], alone[::-1], atol=1e-6)


def test_compiles_once_for_all_sizes_and_numbers():
    scorer = make_scorer(batch_size=7)  # of which no other test has had a program
    before = next(FakeStudent.calls)
    for number in (1, 5, 2):
        sides = [(17 + 9 * i, 16 + i) for i in range(number)]
        list(scorer.score_iter([picture(0, *side) for side in sides]))
    assert next(FakeStudent.calls) - before == 2


def test_rows_of_a_bad_folder_come_in_order_with_their_reasons(tmp_path):
    save(tmp_path / "0.png", picture(0))
    (tmp_path / "1.png").write_bytes(b"")
    save(tmp_path / "2.png", picture(2, 8, 8))
    save(tmp_path / "3.png", picture(3, 200, 200))
    (tmp_path / "4.png").symlink_to("nowhere")
    os.mkfifo(tmp_path / "5.png")
    white = np.full((40, 40, 3), 255, np.uint8)
    save(tmp_path / "6.png", white)
    save(tmp_path / "7.png", picture(7))
    rows = list(make_scorer(max_pixels=30_000).score_iter(find_pictures([tmp_path])))
    assert [os.path.basename(row.path) for row in rows] == [
        f"{i}.png" for i in range(8)
    ]
    assert [row.status for row in rows] == [
        "ok",
        "decode_error",
        "too_small",
        "too_large",
        "decode_error",
        "decode_error",
        "nonfinite",
        "ok",
    ]
    for row in rows:
        assert (row.score is None) == (row.status != "ok") == bool(row.error)
        assert (row.crops == 0) == (row.score is None)
    assert (rows[3].width, rows[3].height) == (200, 200)
    assert rows[0].sha256 and not rows[4].sha256
    assert rows[0].score == pytest.approx(make_scorer().score(picture(0)).score)


def test_conversions_are_told_in_an_ok_row(tmp_path):
    Image.new("CMYK", (32, 32), (0, 0, 0, 255)).save(tmp_path / "a.jpg")
    row = make_scorer().score(tmp_path / "a.jpg")
    assert (row.status, row.error) == ("ok", "warning: cmyk")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_does_not_change_the_score(tmp_path, orientation):
    upright = picture(0)
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation)
    operations = [None, None, *[Image.Transpose(i) for i in (0, 3, 1, 5, 4, 6, 2)]]
    image = Image.fromarray(upright)
    if back:
        image = image.transpose(operations[back])
    tags = image.getexif()
    tags[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=tags)
    assert make_scorer().score(tmp_path / "a.png").score == pytest.approx(
        make_scorer().score(upright).score, abs=1e-7
    )


def test_memory_is_bounded_and_input_is_drawn_as_needed():
    drawn = itertools.count()

    def endless():
        while True:
            next(drawn)
            yield picture(0)

    rows = make_scorer(workers=1).score_iter(endless())
    for _ in range(3):
        next(rows)
    assert next(drawn) < 20


def test_failures_do_not_pile_up_behind_a_half_filled_batch(tmp_path):
    drawn = itertools.count()

    def sources():
        yield picture(0)
        while True:
            next(drawn)
            yield tmp_path / "none.png"

    rows = make_scorer(batch_size=64, workers=1).score_iter(sources())
    assert next(rows).status == "ok"
    assert next(drawn) < 400


def test_closing_early_ends_the_threads():
    def decoders():
        return [t for t in threading.enumerate() if t.name.startswith("ganiqa-decode")]

    rows = make_scorer().score_iter(picture(0) for _ in range(50))
    next(rows)
    assert decoders()
    rows.close()
    assert not decoders()


def test_pairs_are_scored_in_order_with_reference_and_distorted(tmp_path):
    reference, distorted = picture(0), picture(1)
    left, right = (
        save(tmp_path / "r.png", reference),
        save(tmp_path / "d.png", distorted),
    )
    row = next(make_scorer("teacher", points=1).compare_iter([(left, right)]))
    centre = np.s_[12:28, 20:36, 0]
    z = (distorted[centre].astype(float) - reference[centre]).mean() / 255
    assert row.score == pytest.approx(0.5 + 0.25 * z, abs=1e-6)
    assert (row.path, row.reference) == (str(right), str(left))
    assert row.sigma is None
    z_of_crops = list(make_scorer("teacher").crop_z_pairs([(left, right)] * 3))
    assert [len(z) for z in z_of_crops] == [5, 5, 5]


@pytest.mark.parametrize("choice", ["resize-ref", "center-crop"])
def test_unequal_sizes_need_a_choice_that_the_row_tells(choice):
    pair = (picture(0, 60, 60), picture(0, 40, 40))
    scorer = make_scorer("teacher")
    row = next(scorer.compare_iter([pair]))
    assert row.status == "decode_error"
    assert "60x60" in row.error and "40x40" in row.error
    row = next(scorer.compare_iter([pair], on_size_mismatch=choice))
    assert row.status == "ok"
    assert row.error.startswith("warning: ")


def test_common_centre_of_a_cut_pair_is_the_same_place():
    whole = picture(0, 60, 60)
    pair = (whole, np.ascontiguousarray(whole[10:50, 10:50]))
    scorer = make_scorer("teacher")
    row = next(scorer.compare_iter([pair], on_size_mismatch="center-crop"))
    assert row.score == pytest.approx(0.5, abs=1e-7)


def test_a_missing_reference_is_named(tmp_path):
    pair = (tmp_path / "none.png", picture(0))
    row = next(make_scorer("teacher").compare_iter([pair]))
    assert row.status == "decode_error"
    assert "Reference" in row.error and "none.png" in row.error
    with pytest.raises(InputError, match=r"none\.png"):
        list(make_scorer("teacher").crop_z_pairs([pair]))


def test_a_teacher_needs_pairs_and_a_student_none():
    with pytest.raises(InputError, match="use compare"):
        make_scorer("teacher").score_iter([])
    with pytest.raises(InputError, match="use score"):
        make_scorer("student").compare_iter([])


def test_batches_in_memory_score_like_files(tmp_path):
    images = np.stack([picture(i) for i in range(3)])
    paths = [save(tmp_path / f"{i}.png", image) for i, image in enumerate(images)]
    files = [row.score for row in make_scorer().score_iter(paths)]
    np.testing.assert_array_equal(make_scorer().score_batch(images), files)
    floats = (images / 255).astype(np.float32)
    np.testing.assert_array_equal(make_scorer().score_batch(floats), files)
    white = np.full((1, 20, 20, 3), 255, np.uint8)
    assert np.isnan(make_scorer().score_batch(white)).tolist() == [True]
    assert make_scorer().score_batch(images[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (np.zeros((20, 20, 3), np.uint8), r"\[N, H, W, 3\]"),
        (np.zeros((1, 3, 20, 20), np.uint8), "shape"),
        (np.zeros((1, 20, 20, 3), np.int32), "int32"),
        (np.full((1, 20, 20, 3), 1.5), "1.5"),
        (np.full((1, 20, 20, 3), np.nan), "nan"),
        (np.zeros((1, 8, 8, 3), np.uint8), "8x8"),
    ],
)
def test_other_arrays_are_refused(images, match):
    with pytest.raises(InputError, match=match):
        make_scorer().score_batch(images)


def test_header_and_rows_name_the_model_by_its_weights():
    scorer = make_scorer()
    zeros = {"params": {"weight": jnp.zeros(())}}
    other = Scorer(JaxCompute(FakeStudent(), zeros, scorer.card))
    header = scorer.header()
    assert header.model_sha == scorer.score(picture(0)).model_sha != other.model_sha
    assert header.prep_sha == scorer.card.preprocessing.sha
    assert (header.scale, header.mos_low, header.mos_high) == ("ten", 1.0, 10.0)
    assert header.direction == "higher_better"
    assert make_scorer("teacher").header().pairs


@pytest.mark.parametrize("setting", ["batch_size", "workers", "max_pixels"])
def test_settings_must_be_positive(setting):
    with pytest.raises(InputError, match=f"{setting}=0"):
        make_scorer(**{setting: 0})


def test_a_batch_is_shared_evenly_by_the_devices():
    scorer = make_scorer(batch_size=5)
    devices = len(jax.local_devices())
    assert scorer.batch_size % devices == 0 and scorer.batch_size >= 5


def test_device_time_is_counted(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(batching.time, "perf_counter", lambda: float(next(clock)))
    assert make_scorer().score(picture(0)).time_ms >= 1000


def test_folders_are_searched_for_pictures_in_order(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt", ".d.png", "sub/e.webp", ".git/f.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)  # a loop
    names = [str(p.relative_to(tmp_path)) for p in find_pictures([tmp_path])]
    assert names == ["a.jpg", "b.PNG", "sub/e.webp"]
    flat = find_pictures([tmp_path], recursive=False)
    assert [p.name for p in flat] == ["a.jpg", "b.PNG"]


def test_patterns_lists_and_single_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("1.png", "2.png", "3.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "list.txt").write_bytes(b"1.png\r\n\nmissing.png\nn\xff.png\n")
    assert [str(p) for p in find_pictures(["*.png"])] == ["1.png", "2.png"]
    assert [str(p) for p in find_pictures(["3.txt", "1.png", "1.png"])] == [
        "3.txt",
        "1.png",
    ]
    listed = [str(p) for p in find_pictures(["@list.txt"])]
    assert listed == ["1.png", "missing.png", "n\udcff.png"]
    (tmp_path / "nul.txt").write_bytes(b"a\nb.png\x001.png\0")
    assert [str(p) for p in find_pictures(["@nul.txt"])] == ["a\nb.png", "1.png"]


def test_finding_nothing_is_an_error_that_names_the_path(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in ("empty", "none.png", "*.png", "@list.txt"):
        with pytest.raises(InputError, match=path.strip("*@")):
            find_pictures([tmp_path / path if path[0] != "@" else path])
    with pytest.raises(InputError, match="give files"):
        find_pictures([])


def make_files(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_pairs_by_name_and_by_stem(tmp_path):
    clean, noisy = tmp_path / "clean", tmp_path / "noisy"
    make_files(clean, "a.png", "s/b.png", "c.png")
    make_files(noisy, "a.png", "s/b.jpg")
    by_name = find_pairs(clean, noisy)
    assert by_name[0] == (clean / "a.png", noisy / "a.png")
    assert by_name[1] == (clean / "s/b.jpg", noisy / "s/b.jpg")  # gets a row
    by_stem = find_pairs(clean, noisy, match="stem")
    assert by_stem[1] == (clean / "s/b.png", noisy / "s/b.jpg")
    one = find_pairs(clean / "a.png", noisy)
    assert [pair[0] for pair in one] == [clean / "a.png"] * 2


def test_pairs_that_cannot_be_matched_are_an_error(tmp_path):
    clean, noisy = tmp_path / "clean", tmp_path / "noisy"
    make_files(clean, "a.png", "a.jpg")
    make_files(noisy, "z.png")
    with pytest.raises(InputError, match="same name"):
        find_pairs(clean, noisy)
    with pytest.raises(InputError, match="one stem"):
        find_pairs(clean, noisy, match="stem")
    with pytest.raises(InputError, match="order"):
        find_pairs(clean, noisy, match="order")


def test_pairs_from_a_table(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text("distorted,reference,mos\nd.png,r.png,3\n")
    pairs = find_pairs(tmp_path / "r", tmp_path / "d", match=str(table))
    assert pairs == [(tmp_path / "r" / "r.png", tmp_path / "d" / "d.png")]
    for text, match in (("a,b\n", "no column"), ("reference,distorted\n", "no pairs")):
        table.write_text(text)
        with pytest.raises(InputError, match=match):
            find_pairs(tmp_path, tmp_path, match=str(table))
