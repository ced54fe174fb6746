"""The commands score and compare, as a user runs them."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from fake_models import fake_model
from PIL import Image

from ganiqa_jax import cli, release
from ganiqa_jax.scoring.rows import read_header, read_rows

# The command line with a model of one parameter in place of a trained one: the
# folder's name says which.
LAUNCH = """
import sys
from pathlib import Path
from ganiqa_jax import release
from fake_models import fake_model
release.load_model = lambda folder: fake_model(Path(folder).name)
from ganiqa_jax.cli import main
sys.exit(main())
"""


def start(*arguments, cwd, flags="", before="", **options):
    environment = os.environ | {
        "XLA_FLAGS": flags,
        "PYTHONPATH": str(Path(__file__).parent),
        "JAX_PLATFORMS": "cpu",
        "COLUMNS": "200",
    }
    return subprocess.Popen(
        [sys.executable, "-c", before + LAUNCH, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run_process(*arguments, cwd, **options):
    process = start(*arguments, cwd=cwd, **options)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


@pytest.fixture
def run(folder, monkeypatch, capfd):
    """The same without a process of its own: status, standard output and error."""

    def call(*arguments, stdin=""):
        text = io.TextIOWrapper(io.BytesIO(stdin.encode()))
        monkeypatch.setattr(sys, "stdin", text)
        try:
            status = cli.main(list(map(str, arguments)))
        except SystemExit as end:
            status = end.code
        return status, *capfd.readouterr()

    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("GANIQA_XLA_FLAGS", "off")
    monkeypatch.setattr(
        release, "load_model", lambda model: fake_model(Path(model).name)
    )
    handler = signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings():
        yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def folder(tmp_path):
    """Three pictures, the second of them cut short."""
    (tmp_path / "pictures").mkdir()
    for seed, name in enumerate("abc"):
        save(tmp_path / "pictures" / f"{name}.png", seed)
    broken = tmp_path / "pictures" / "b.png"
    broken.write_bytes(broken.read_bytes()[:500])
    return tmp_path


def save(path, seed, side=24):
    pixels = np.random.default_rng(seed).integers(0, 200, (side, side, 3), np.uint8)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["score", "pictures", "-m", "student", "--crops", "3"], "crops"),
        (["scores"], "score, compare"),
        (["score", "empty", "-m", "student"], "No pictures in empty"),
        (["score", "nowhere", "-m", "student"], "nowhere"),
        (["score", "pictures", "-m", "student", "-o", "rows.xlsx"], ".parquet"),
        (["score", "pictures", "-m", "student", "--shard", "1/2"], "--out"),
        (
            ["score", "pictures", "-m", "student", "-o", "r.csv", "--shard", "3/2"],
            "3/2",
        ),
        (["score", "pictures", "-m", "student", "--maps", "maps"], "--out"),
        (["score", "pictures", "-m", "student", "--batch-size", "0"], "batch_size"),
        (["score", "pictures", "-m", "teacher"], "use compare"),
        (["score", "pictures", "-m", "student", "-o", "taken.csv"], "taken.csv"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_says_why(run, folder, arguments, says):
    (folder / "empty").mkdir()
    (folder / "taken.csv").mkdir()
    status, stdout, stderr = run(*arguments)
    assert (status, stdout) == (2, "")
    assert says in stderr


def test_the_program_itself_ends_with_those_statuses(folder):
    (folder / "empty").mkdir()
    for name, flag, expected in (
        ("pictures", "--colour", 2),
        ("empty", "--json", 2),
        ("pictures", "--json", 3),
    ):
        status, stdout, stderr = run_process(
            "score", name, "-m", "student", flag, cwd=folder
        )
        assert status == expected
        assert "Traceback" not in stderr
        assert stdout.count('"ok"') == (2 if expected == 3 else 0)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_broken_file_costs_its_own_score_alone(run, folder, suffix):
    out = folder / "new" / f"rows{suffix}"
    status, stdout, stderr = run(
        "score", "pictures", "--model", "student", "--out", out
    )
    assert (status, stdout) == (3, "")
    rows = read_rows(out)
    assert [row.path for row in rows] == [f"pictures/{name}.png" for name in "abc"]
    assert [row.status for row in rows] == ["ok", "decode_error", "ok"]
    header = read_header(out)
    assert header and (header.model, header.scale) == ("fake", "ten")
    assert "higher is better" in stderr and "2 ok, 1 decode_error" in stderr
    assert "1 of 3 inputs have no score" in stderr.splitlines()[-1]
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(
        {out.name, *([f"{out.name}.header.json"] if suffix == ".csv" else [])}
    )


def test_on_error_fail_ends_at_the_first_and_keeps_the_rows(run, folder):
    status, _, stderr = run(
        "score", "pictures", "-m", "student", "-o", "r.csv", "--on-error", "fail"
    )
    assert status == 3
    assert "b.png" in stderr.splitlines()[-1]
    assert not (folder / "r.csv").exists()
    rows = read_rows(folder / "r.csv.part")
    assert [row.status for row in rows] == ["ok", "decode_error"]


def test_several_devices_share_a_batch_and_give_the_same_scores(run, folder):
    run("score", "pictures", "-m", "student", "-o", "one.jsonl")
    run_process(
        *["score", "pictures", "-m", "student", "-o", "two.jsonl"],
        *["--batch-size", "3"],
        cwd=folder,
        flags="--xla_force_host_platform_device_count=2",
    )
    one, two = (
        [row.score or 0.0 for row in read_rows(folder / name)]
        for name in ("one.jsonl", "two.jsonl")
    )
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_scores_are_printed_for_people_and_for_programs(run, folder):
    (folder / "pictures" / "b.png").unlink()
    status, text, _ = run("score", "pictures", "-m", "student")
    assert status == 0
    assert [line.split()[-1] for line in text.splitlines()] == [
        "pictures/a.png",
        "pictures/c.png",
    ]
    status, lines, stderr = run(
        "score", "-", "-m", "student", "--json", stdin="pictures/a.png\n"
    )
    header, row = map(json.loads, lines.splitlines())
    assert header["header"]["direction"] == "higher_better"
    assert f"{row['score']:.4f}" == text.split()[0]
    assert "1 ok" in stderr
    status, lines, _ = run(
        "score", "pictures/a.png", "-m", "student", "--json", "--crops", "1"
    )
    _, middle = map(json.loads, lines.splitlines())
    assert (status, middle["crops"], row["crops"]) == (0, 1, 5)
    assert middle["prep_sha"] != row["prep_sha"]


def test_crops_of_a_model_that_sees_the_whole(run, monkeypatch):
    monkeypatch.setattr(release, "load_model", lambda path: fake_model(whole=True))
    model = ("score", "pictures/a.png", "-m", "student", "--json")
    status, lines, _ = run(*model)
    assert (status, run(*model, "--crops", "1")[0]) == (0, 0)
    assert json.loads(lines.splitlines()[1])["crops"] == 1
    status, out, stderr = run(*model, "--crops", "5")
    assert (status, out) == (2, "")
    assert len(stderr.strip().splitlines()) == 1 and "no crops to choose" in stderr


def test_names_that_are_no_text_come_through(run, folder):
    name = os.fsencode(folder / "pictures") + b"/n\xff\n\x1b[31m.png"
    os.rename(folder / "pictures" / "b.png", name)
    status, text, _ = run("score", "pictures", "-m", "student")
    assert status == 3 and "\x1b" not in text and len(text.splitlines()) == 3
    for out in ("r.csv", "r.jsonl"):
        run("score", "pictures", "-m", "student", "-o", out)
        paths = [os.fsencode(row.path) for row in read_rows(folder / out)]
        assert os.path.relpath(name, os.fsencode(folder)) in paths


def test_compare_writes_the_reference_and_refuses_unequal_sizes(run, folder):
    for name in "ac":
        save(folder / "clean" / f"{name}.png", 9)
    save(folder / "clean" / "b.png", 9)
    save(folder / "pictures" / "b.png", 1, side=30)
    arguments = ["compare", "--ref", "clean", "--dist", "pictures", "-m", "teacher"]
    status, _, _ = run(*arguments, "-o", "r.jsonl")
    assert status == 3
    rows = read_rows(folder / "r.jsonl")
    assert [row.reference for row in rows] == [f"clean/{name}.png" for name in "abc"]
    assert [row.status for row in rows] == ["ok", "decode_error", "ok"]
    status, _, _ = run(*arguments, "-o", "r.csv", "--on-size-mismatch", "resize-ref")
    assert status == 0
    assert read_rows(folder / "r.csv")[1].error == "warning: reference resized"


COUNT = 400
SCORE = ("score", "many", "-m", "student", "--batch-size", "8")


@pytest.fixture
def many(folder):
    """Hundreds of pictures of several sizes, two of them broken."""
    (folder / "many").mkdir()
    for seed in range(8):
        save(folder / "source" / f"{seed}.png", seed, side=20 + 3 * seed)
    for number in range(COUNT):
        source = folder / "source" / f"{number * 5 % 8}.png"
        os.link(source, folder / "many" / f"{number:05}.png")
    for number in (7, 300):
        (folder / "many" / f"{number:05}.png").unlink()
        (folder / "many" / f"{number:05}.png").write_bytes(b"no picture")
    return folder


def untimed(path):
    """A file of rows without the times in it."""
    return re.sub(rb'"time_ms": [^,]+', b"", path.read_bytes())


def wait_for_rows(process, part, number):
    deadline = time.monotonic() + 60
    while not (part.exists() and part.read_bytes().count(b"\n") > number):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.002)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_drains_and_is_gone_on_with(sent, many):
    part = many / "r.jsonl.part"
    process = start(*SCORE, "-o", "r.jsonl", cwd=many)
    wait_for_rows(process, part, 10)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in stderr and "r.jsonl.part" in stderr
    assert "Traceback" not in stderr and len(stderr.splitlines()) == 1
    assert not (many / "r.jsonl").exists()
    done = len(read_rows(part))
    assert f"{done} of {COUNT}" in stderr
    status, _, stderr = run_process(*SCORE, "-o", "r.jsonl", cwd=many)
    assert status == 3 and f"{COUNT - 2} ok" in stderr
    assert not part.exists()
    run_process(*SCORE, "-o", "whole.jsonl", cwd=many)
    assert untimed(many / "r.jsonl") == untimed(many / "whole.jsonl")


def test_killed_at_any_moment_a_run_ends_with_the_same_bytes(many):
    run_process(*SCORE, "-o", "whole.jsonl", cwd=many)
    random = np.random.default_rng(5)
    part = many / "r.jsonl.part"
    for kill in range(4):
        process = start(*SCORE, "-o", "r.jsonl", "--fsync-every", "3", cwd=many)
        if kill:
            before = part.read_bytes().count(b"\n") if part.exists() else 0
            wait_for_rows(process, part, before + 20)
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        process.communicate(timeout=60)
        assert not (many / "r.jsonl").exists()
        if part.exists():  # as a loss of power would leave it
            with part.open("ab") as file:
                file.write(b'{"row": {"path": "many/0')
    status, _, _ = run_process(*SCORE, "-o", "r.jsonl", cwd=many)
    assert status == 3
    assert untimed(many / "r.jsonl") == untimed(many / "whole.jsonl")
    assert [row.path for row in read_rows(many / "r.jsonl")] == [
        f"many/{number:05}.png" for number in range(COUNT)
    ]


def test_a_file_that_may_not_grow_keeps_whole_rows(many):
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000,) * 2)"
    )
    process = start(*SCORE, "-o", "r.jsonl", cwd=many, before=limited)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "r.jsonl.part" in stderr and "Traceback" not in stderr
    kept = len(read_rows(many / "r.jsonl.part"))
    assert 10 < kept < COUNT
    status, _, _ = run_process(*SCORE, "-o", "r.jsonl", cwd=many)
    assert status == 3 and len(read_rows(many / "r.jsonl")) == COUNT


def test_what_has_a_row_is_not_scored_again_until_it_changes(run, folder):
    arguments = ("score", "pictures", "-m", "student", "-o", "r.jsonl")
    assert run(*arguments)[0] == 3
    first = read_rows(folder / "r.jsonl")
    save(folder / "pictures" / "c.png", 77)
    save(folder / "pictures" / "d.png", 78)
    assert run(*arguments)[0] == 3
    second = read_rows(folder / "r.jsonl")
    assert [row.path[-5:] for row in second] == ["a.png", "b.png", "c.png", "d.png"]
    assert second[0] == first[0]  # its time as well
    assert second[2].sha256 != first[2].sha256
    assert run(*arguments, "--no-resume")[0] == 3
    assert read_rows(folder / "r.jsonl")[0].time_ms != first[0].time_ms


def test_shares_of_a_job_merge_into_the_whole(run, many):
    for i in (1, 2, 3):
        run(*SCORE, "-o", "r.jsonl", "--shard", f"{i}/3")
    files = sorted(map(str, many.glob("r.*-of-3.jsonl")))
    status, stdout, _ = run("merge", *files, "--expect", "many", "-o", "all.parquet")
    assert status == 0 and f"{COUNT} inputs in 3 files" in stdout
    run(*SCORE, "-o", "whole.jsonl")
    merged, whole = (read_rows(many / n) for n in ("all.parquet", "whole.jsonl"))
    assert [row.path for row in merged] == [row.path for row in whole]
    for a, b in zip(merged, whole, strict=True):
        assert a.score == pytest.approx(b.score, abs=1e-6)
    status, _, stderr = run("merge", *files[:2], "-o", "some.jsonl")
    assert status == 4 and "missing: 3" in stderr


def test_archives_are_scored_from_the_command_line(run, folder):
    with tarfile.open(folder / "a.tar", "w") as tar:
        tar.add(folder / "pictures", arcname="p")
    status, _, stderr = run("score", "a.tar", "-m", "student", "-o", "r.csv")
    assert status == 3 and "2 ok" in stderr
    paths = [row.path for row in read_rows(folder / "r.csv")]
    assert paths == [f"a.tar::p/{name}.png" for name in "abc"]


def test_maps_of_scored_pictures_are_written(run, folder):
    status, _, _ = run(
        "score", "pictures", "-m", "student", "-o", "r.jsonl", "--maps", "maps"
    )
    assert status == 3
    rows = [row for row in read_rows(folder / "r.jsonl") if row.status == "ok"]
    names = sorted(f"{row.sha256}.png" for row in rows)
    assert sorted(path.name for path in (folder / "maps").iterdir()) == names
    with Image.open(folder / "maps" / names[0]) as shown:
        assert shown.size == (24, 24)


def test_a_reader_that_leaves_is_no_error_of_ours(folder):
    process = start("score", *["pictures"], "-m", "student", cwd=folder)
    process.stdout.close()
    process.stdout = None
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr and "Broken" not in stderr


@pytest.mark.parametrize(
    ("group", "command"), [([], "distill"), (["data"], "verify"), (["models"], "info")]
)
def test_a_group_of_commands_alone_lists_them(run, group, command):
    status, text, _ = run(*group)
    assert status == 0 and command in text


def test_help_teaches_by_examples(run):
    status, text, _ = run("score", "--help")
    assert status == 0
    assert "ganiqa score pictures/ --model runs/student --out scores.jsonl" in text
    status, text, _ = run("--help")
    assert status == 0
    for command in ("score", "compare", "train", "distill", "eval"):
        assert command in text
    assert run("--version")[1].startswith("ganiqa ")
