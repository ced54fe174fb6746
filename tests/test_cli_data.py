"""The command data, as a user runs it."""

import csv
import dataclasses
import signal

import numpy as np
import pytest
from fixtures import make_agiqa3k, make_sr4kiqa
from layouts_pairs import make_bapps
from PIL import Image

from ganiqa_jax import cli
from ganiqa_jax.data import agiqa3k, catalog, sr4kiqa
from ganiqa_jax.data.synthetic import embedded_photographs
from ganiqa_jax.report import sheet


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs a command in a folder of its own: status, standard output and error."""

    def call(*arguments):
        try:
            status = cli.main(["data", *map(str, arguments)])
        except SystemExit as end:
            status = end.code
        return status, *capfd.readouterr()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    handler = signal.getsignal(signal.SIGTERM)
    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def prompts(tmp_path):
    return make_agiqa3k(tmp_path / "agiqa3k", prompts=range(10), side=24)


@pytest.fixture
def pairs(tmp_path):
    return make_sr4kiqa(tmp_path / "sr4kiqa", size=(48, 32))


def test_list_has_a_line_for_every_data_set(run):
    status, stdout, _ = run("list")
    assert status == 0
    for facts in catalog.FACTS.values():
        (line,) = [x for x in stdout.splitlines() if x.split()[:1] == [facts.name]]
        assert facts.title in line and facts.kind in line
        assert f"{facts.low:g} to {facts.high:g}" in line


def test_nothing_of_the_list_is_cut_off_in_a_terminal_of_80_columns(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, stdout, _ = run("list")
    shown = set(stdout.split())
    for facts in catalog.FACTS.values():
        assert {*facts.title.split(), *facts.licence.split()} <= shown


def test_info_says_what_to_unpack_and_cite_and_what_is_there(run, prompts):
    status, stdout, _ = run("info", "agiqa3k")
    assert status == 0 and "found" not in stdout
    for text in (agiqa3k.FACTS.licence, agiqa3k.FACTS.address, agiqa3k.FACTS.citation):
        assert text in stdout
    status, stdout, _ = run("info", "agiqa3k", "--root", prompts)
    assert status == 0
    assert "40 pictures, 40 with a score" in stdout
    assert "AttnGAN 10" in stdout and "sd1.5 20" in stdout
    assert "2.06 to 4.4, mean 3.23, on AGIQA-3K mos_quality, 0 to 5" in stdout


def test_sets_of_choices_are_counted_and_verified(run, tmp_path):
    make_bapps(tmp_path / "bapps")
    _, stdout, _ = run("info", "bapps", "--root", "bapps")
    assert "32 pictures, 0 with a score" in stdout and "cnn 16" in stdout
    assert run("verify", "bapps", "--root", "bapps")[0] == 0
    cut = tmp_path / "bapps" / "2afc" / "train" / "mix" / "p1" / "000002.png"
    cut.write_bytes(cut.read_bytes()[:60])
    status, stdout, stderr = run("verify", "bapps", "--root", "bapps")
    assert status == 3 and "000002.png" in stdout + stderr


def test_scores_found_are_on_the_scale_that_rises(run, tmp_path):
    (tmp_path / "dmos").mkdir()
    assert run("info", "live", "--root", "dmos")[0] == 2
    _, stdout, _ = run("info", "live")
    assert "LIVE DMOS" in stdout and "falls" in stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["info", "koniq"], "No data set 'koniq'; there are agiqa3k"),
        (["info", "sr4kiqa", "--root", "nowhere"], "mos.csv"),
        (["info", "bapps", "--root", "."], "2afc"),
        (["preview", "bapps", "--root", "."], "read_triplets"),
        (["verify", "agiqa3k"], "--root"),
        (["verify", "agiqa3k", "--root", "agiqa3k", "--workers", "0"], "workers=0"),
        (["preview", "agiqa3k", "--root", "agiqa3k", "--count", "0"], "sheet of 0"),
        (["preview", "agiqa3k", "--root", "agiqa3k", "--out", "a.jpg"], "no .png"),
        (["preview", "agiqa3k", "--root", "agiqa3k", "--out", "f/a.png"], "f/a.png"),
        (["from-csv", "none.csv"], "none.csv"),
        (["splits", "agiqa3k", "--root", "agiqa3k"], "--protocol"),
        (["lists"], "from-csv"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_says_why(run, prompts, arguments, says):
    (prompts.parent / "f").touch()
    status, stdout, stderr = run(*arguments)
    assert (status, stdout) == (2, "")
    assert says in stderr
    if stderr.startswith("ganiqa: "):
        assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command", ["list", "info", "verify", "splits", "preview", "from-csv"]
)
def test_help_shows_an_example(run, command):
    status, stdout, _ = run(command, "--help")
    assert status == 0 and f"  ganiqa data {command} " in stdout.replace("\n", " \n")


@pytest.mark.parametrize("queue", [7, 1024])
def test_whole_data_set_verifies(run, pairs, monkeypatch, queue):
    monkeypatch.setattr("ganiqa_jax.cli.data.QUEUE", queue)
    status, stdout, _ = run("verify", "sr4kiqa", "--root", pairs)
    assert (status, stdout) == (0, "40 files decode, 40 of 48x32.\n")


def test_broken_files_are_listed_and_the_status_is_3(run, pairs):
    cut = pairs / "Animal1" / "Animal1_NN_x2.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    gone = pairs / "reference" / "Face1_GT.jpg"
    gone.write_bytes(b"")
    other = pairs / "People4" / "People4_NN_x4.jpg"
    Image.new("RGB", (20, 32)).save(other)
    status, stdout, stderr = run("verify", "sr4kiqa", "--root", pairs, "--workers", 3)
    assert status == 3
    lines = stdout.splitlines()
    assert len(lines) == 3
    for path, why in ((cut, ""), (gone, "empty"), (other, "its reference is 48x32")):
        (line,) = [line for line in lines if line.startswith(str(path))]
        assert why in line
    assert "3 of 40 files are broken" in stderr and stderr.count("\n") == 1


def test_long_lists_of_broken_files_are_cut_but_counted(run, prompts, monkeypatch):
    monkeypatch.setattr("ganiqa_jax.cli.data.WORST_SHOWN", 2)
    for path in (prompts / "images").glob("AttnGAN*"):
        path.write_bytes(b"no picture")
    status, stdout, stderr = run("verify", "agiqa3k", "--root", prompts)
    assert status == 3 and "... and 8 more" in stdout
    assert len(stdout.splitlines()) == 3 and "10 of 40 files" in stderr


def test_splits_are_written_once_and_then_checked(run, prompts, tmp_path):
    command = ["splits", "agiqa3k", "--root", prompts, "--protocol", "kfold-5"]
    status, stdout, _ = run(*command)
    assert status == 0
    files = sorted((tmp_path / "splits").iterdir())
    assert [f.name for f in files] == [f"agiqa3k.kfold-5-{n}.txt" for n in range(1, 6)]
    before = [f.read_text() for f in files]
    assert all(text.split()[2] in stdout for text in before)  # the hash
    assert stdout.count("8 (2)") == 5
    assert run(*command)[:2] == (0, stdout)
    assert [f.read_text() for f in files] == before
    files[0].write_text(before[0].replace("test\t", "train\t"))
    status, stdout, stderr = run(*command)
    assert (status, stdout) == (5, "") and "kfold-5-1.txt" in stderr


def test_generator_is_left_out(run, prompts):
    status, stdout, _ = run(
        "splits", "agiqa3k", "--root", prompts, "--protocol", "leave-out/AttnGAN/2"
    )
    assert status == 0 and "2 (2)" in stdout
    status, _, stderr = run(
        "splits", "agiqa3k", "--root", prompts, "--protocol", "leave-out/GAN/2"
    )
    assert status == 2 and "AttnGAN, sd1.5, xl2.2" in stderr
    status, _, stderr = run(
        "splits", "agiqa3k", "--root", prompts, "--protocol", "official"
    )
    assert status == 2 and "content-80-20" in stderr


def test_sheet_shows_the_range_worst_first_with_references(run, pairs, tmp_path):
    out = tmp_path / "deep" / "sheet.png"
    status, stdout, _ = run(
        "preview", "sr4kiqa", "--root", pairs, "--out", out, "--count", 9
    )
    assert (status, stdout) == (0, f"9 of 36 pictures in {out}\n")
    with Image.open(out) as image:
        pixels = np.asarray(image.convert("RGB")).astype(float)
    records = sheet.choose(sr4kiqa.read_records(pairs), 9)
    top = sheet.HEAD
    for record, left in ((records[0], 0), (records[1], 1)):
        left = sheet.GAP + left * (2 * (sheet.TILE + sheet.GAP // 2) + sheet.GAP)
        for path in (record.reference, record.distorted):
            with Image.open(path) as shown:
                wanted = np.asarray(shown).astype(float)
            found = pixels[top : top + 32, left : left + 48]
            np.testing.assert_array_equal(found, wanted)
            left += sheet.TILE + sheet.GAP // 2


def test_chosen_pictures_reach_from_worst_to_best_in_even_steps(prompts):
    records = agiqa3k.read_records(prompts)
    chosen = sheet.choose(records, 6)
    scores = [r.mos for r in chosen]
    assert scores == sorted(scores) and len(set(chosen)) == 6
    assert (scores[0], scores[-1]) == (
        min(r.mos for r in records),
        max(r.mos for r in records),
    )
    assert max(np.diff(scores)) < 2 * (scores[-1] - scores[0]) / 5
    assert len({r.content for r in chosen}) == 6
    assert len(sheet.choose(records, 500)) == len(records)


def test_sheet_has_room_for_a_broken_picture_and_for_no_scores(prompts, tmp_path):
    records = agiqa3k.read_records(prompts)[:3]
    records[0].distorted.write_bytes(b"")

    unscored = [dataclasses.replace(r, mos=None, kind="\u00e9" * 90) for r in records]
    assert sheet.choose(unscored, 2) == [unscored[0], unscored[2]]
    sheet.draw_sheet(unscored, agiqa3k.FACTS, tmp_path / "s.PNG")
    with Image.open(tmp_path / "s.PNG") as image:
        corner = sheet.GAP + 2, sheet.HEAD + sheet.TILE - 2
        assert image.getpixel(corner) == (230, 232, 234)


def write_table(folder, rows):
    for row in rows:
        Image.new("RGB", (20, 20)).save(folder / row["path"])
    with (folder / "mine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_own_table_is_checked_and_described(run, tmp_path):
    parts = ["train", "train", "validation", "test"]
    rows = [
        {"path": f"{n}.png", "mos": n + 1, "group": f"g{n}", "split": part}
        for n, part in enumerate(parts)
    ]
    write_table(tmp_path, rows)
    status, stdout, _ = run("from-csv", "mine.csv", "--low", "1", "--high", "5")
    assert status == 0
    assert "4 pictures, 4 with a score" in stdout and "0 to 0.75" in stdout
    assert "Split: 2 train, 1 validation, 1 test." in stdout
    assert "ganiqa data verify table --root mine.csv" in stdout
    _, turned, _ = run("from-csv", "mine.csv", "--low", "1", "--high", "5", "--falls")
    assert "0.25 to 1" in turned
    status, _, stderr = run("from-csv", "mine.csv", "--low", "2", "--high", "5")
    assert status == 2 and "mine.csv" in stderr
    status, stdout, _ = run(
        "splits", "table", "--root", "mine.csv", "--protocol", "official"
    )
    assert status == 0 and "2 (2)" in stdout


def test_own_table_without_a_split_can_be_read_all_the_same(run, tmp_path):
    write_table(tmp_path, [{"path": f"{n}.png", "mos": n} for n in range(3)])
    status, stdout, _ = run("from-csv", "mine.csv")
    assert status == 0 and "No split of its own" in stdout
    (tmp_path / "1.png").unlink()
    status, _, stderr = run("from-csv", "mine.csv")
    assert status == 2 and "2 of 3 pictures found" in stderr


def test_photographs_are_written_once_and_read_as_pristine(run, tmp_path):
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    out = tmp_path / "photographs"
    status, stdout, _ = run("photographs", out)
    assert status == 0 and stdout.startswith("9 photographs written")
    records = catalog.read("pristine", out)
    assert len(records) == len(list(out.iterdir())) == 9
    for name, pixels in embedded_photographs().items():
        np.testing.assert_array_equal(Image.open(out / f"{name}.png"), pixels)
    (out / "cat.png").write_bytes(b"my own")
    (out / "rocket.png").unlink()
    status, stdout, _ = run("photographs", out)
    assert (
        status == 0 and "1 photographs written" in stdout and "8 were there" in stdout
    )
    assert (out / "cat.png").read_bytes() == b"my own"


def test_photographs_that_cannot_be_written_are_one_line(run, tmp_path):
    pytest.importorskip("skimage")
    pytest.importorskip("sklearn")
    (tmp_path / "taken").write_text("a file")
    status, _, stderr = run("photographs", tmp_path / "taken")
    assert status == 2 and "Cannot write to" in stderr and "Traceback" not in stderr
