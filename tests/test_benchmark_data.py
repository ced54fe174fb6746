"""The benchmark of the pipeline compares like with like, and counts rightly."""

import importlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fixtures import make_agiqa3k, make_sr4kiqa

from ganiqa_jax import rundir
from ganiqa_jax.errors import InputError

SCRIPTS = Path(__file__).parents[1] / "scripts"
SIZES = {"steps": 2, "rows": 3, "pairs": 2, "crop": 32}
PASS = 10  # batches: two that are timed, four before them and four after


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("benchmark_data")


@pytest.fixture
def options(script, tmp_path):
    return script.Options(
        agiqa3k=make_agiqa3k(tmp_path / "agiqa3k"),
        sr4kiqa=make_sr4kiqa(tmp_path / "sr4kiqa"),
        **SIZES,
    )


@pytest.mark.parametrize(("data", "shapes"), [("agiqa3k", (3, 0)), ("sr4kiqa", (2, 2))])
def test_plain_pillow_gives_the_batches_of_the_pipeline(script, options, data, shapes):
    contenders = importlib.import_module("data_contenders")
    drawn = options.drawn(data)
    ours = list(contenders.of_ours(drawn)())
    assert [[a.shape for a in own] for own in ours] == [
        [(rows, 32, 32, 3) for rows in shapes]
    ] * PASS
    for own, boxes in zip(ours, contenders.boxes(drawn), strict=True):
        plain = contenders.apart(np.stack([contenders.cut(box) for box in boxes]))
        assert script.digest(*own) == script.digest(*plain)
    assert len({script.digest(*own) for own in ours}) == PASS


@pytest.mark.parametrize("name", ["torch", "grain"])
def test_contender_gives_the_batches_of_the_pipeline(script, options, name):
    pytest.importorskip(name)
    arguments = [f"--{field}={value}" for field, value in SIZES.items()]
    arguments += [f"--agiqa3k={options.agiqa3k}", f"--sr4kiqa={options.sr4kiqa}"]
    child = script.start_child(
        [SCRIPTS / "benchmark_data.py", *arguments, f"--child={name}:sr4kiqa"],
        os.environ | {"PYTHONPATH": str(SCRIPTS.parent)},
    )
    found = script.ask(child, "digests")["digests"]
    assert script.ask(child, "time")["rate"] > 0
    script.end_child(child)
    ours = script.of_ours(options.drawn("sr4kiqa"))()
    assert found == [script.digest(*batch) for batch in ours]


def test_rate_is_that_of_the_midst_of_a_pass(script, options, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(script.time, "perf_counter", lambda: clock[0])

    def batches():
        for seconds in [100.0] * 4 + [1.5, 2.5] + [0.0] * 4:
            clock[0] += seconds
            yield np.zeros((3, 1)), np.zeros((1, 1))

    assert script.rate(batches(), options) == 8 / 4.0


def test_ratio_is_taken_within_a_round(script):
    # The machine was slower in the second round, for both alike.
    rows = script.summary({"ganiqa_jax": [200, 60, 100], "torch": [100, 40, 200]})
    assert rows["torch"] == (100, 1.5, 0.5, 2.0)
    assert rows["ganiqa_jax"] == (100, 1, 1, 1)


def test_largest_difference_is_told(script, monkeypatch):
    values = {"ganiqa_jax": 0.5, "torch": 0.5, "grain": 0.25}

    def ask(name, line):
        purpose, number, file = line.split()
        assert (purpose, number) == ("keep", "1")
        np.save(file, np.array([0.5, values[name]], np.float32))

    monkeypatch.setattr(script, "ask", ask)
    children = {name: name for name in values}
    digests = {"ganiqa_jax": [*"abc"], "torch": [*"abc"], "grain": [*"axc"]}
    told = script.difference(children, digests)
    assert told == "grain differs in 1 of 3 batches, by up to 0.25 in batch 1"
    digests["grain"] = digests["torch"]
    assert script.difference(children, digests).endswith("are equal to the bit")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_the_most_of_a_process_and_its_children(script, monkeypatch):
    looks, memory = [], script.memory
    monkeypatch.setattr(script, "SAMPLED_EVERY", 0.01)
    monkeypatch.setattr(
        script, "memory", lambda process: looks.append(memory(process)) or looks[-1]
    )
    before = memory(os.getpid())
    holds = "held = b'x' * 2**28; print('held'); input(); del held; print('gone')"

    def let_go():
        assert child.stdout.readline() == "held\n"
        seen = len(looks)
        while len(looks) < seen + 2:  # the first look may have begun before
            time.sleep(0.01)
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "gone\n"
        return {"answer": 1}

    with script.start_child(["-u", "-c", holds], os.environ) as child:
        answer, most = script.watched(os.getpid(), let_go)
    assert answer == {"answer": 1} and most > before + 250
    assert memory(os.getpid()) < most - 250
    assert memory(child.pid) == 0


def test_waits_of_a_run_leave_out_the_row_that_compiled(script, tmp_path):
    with rundir.MetricsLog(tmp_path) as log:
        log.write(5, {}, steps_per_second=0.1, data_wait=0.9)
        log.write(10, {}, steps_per_second=5.0, data_wait=0.5)
        log.write(25, {}, steps_per_second=5.0, data_wait=0.1)
    told = script.waits(tmp_path)  # 0.5 of 1 second and 0.1 of 3
    assert "20.0% of 20 steps, 40.0 of 200.0 ms" in told


@pytest.mark.parametrize("rows", [[{"data_wait": 0.5}], [{}, {}]])
def test_run_that_does_not_say_how_long_it_waited_is_refused(script, tmp_path, rows):
    with rundir.MetricsLog(tmp_path) as log:
        for step, row in enumerate(rows):
            log.write(step + 1, row, steps_per_second=1.0)
    with pytest.raises(InputError, match="does not say how long it waited"):
        script.waits(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--agiqa3k", "nowhere"], "nowhere"),
        (["--steps", "3"], "multiple of --workers"),
        (["--waits", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_timed_is_told_in_one_line(
    script, options, monkeypatch, capsys, arguments, says
):
    roots = [f"--agiqa3k={options.agiqa3k}", f"--sr4kiqa={options.sr4kiqa}"]
    monkeypatch.setattr(sys, "argv", ["benchmark_data.py", *roots, *arguments])
    with pytest.raises(SystemExit, match=says) as error:
        script.main()
    assert "\n" not in str(error.value.code) and capsys.readouterr().out == ""


def test_library_that_is_missing_has_a_row_that_says_so(script):
    rates = {"ganiqa_jax": [100.0], "grain": [50.0]}
    head, *rows = script.table(rates, {"ganiqa_jax": 300.0, "grain": 0.0})
    assert rows[0].split() == "ganiqa_jax 100.0 1.00 1.00 to 1.00 300".split()
    assert rows[1].startswith("torch        not installed")
    assert rows[2].split() == "grain 50.0 2.00 2.00 to 2.00 ?".split()
