"""Scoring by onnxruntime: the rows of the jax backend, without JAX."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_models import fake_model
from PIL import Image

from ganiqa_jax import home, release
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.export import exporters, kept
from ganiqa_jax.export.exporters import export_model
from ganiqa_jax.scoring import on_onnx
from ganiqa_jax.scoring.engine import Scorer, create_scorer
from ganiqa_jax.scoring.on_jax import JaxCompute
from ganiqa_jax.scoring.on_onnx import OnnxCompute

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A file of each role."""
    folder = tmp_path_factory.mktemp("exported")
    return {
        role: export_model(fake_model(role), "onnx", folder / f"{role}.onnx").path
        for role in ("student", "teacher")
    }


def pictures(number):
    random = np.random.default_rng(1)
    sizes = [(17 + 5 * i, 60 - 4 * i) for i in range(number)]
    found = [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    for pixels in found:
        pixels[..., 2] //= 2
    return found


def facts(row):
    """A row without what may differ: times, and scores in the last digits."""
    values = {**vars(row)}
    scores = [values.pop(name) for name in ("score", "sigma", "mos")]
    del values["time_ms"]
    return values, np.array([np.nan if s is None else s for s in scores])


def test_rows_are_those_of_the_jax_backend(exported, tmp_path):
    white = np.full((40, 40, 3), 255, np.uint8)  # whose score is not finite
    sources = [*pictures(7), white, tmp_path / "missing.png", *pictures(2)]
    wanted = list(Scorer(JaxCompute(*fake_model())).score_iter(sources))
    scorer = create_scorer(exported["student"], backend="onnx")
    for row, reference in zip(scorer.score_iter(sources), wanted, strict=True):
        (values, scores), (same, close) = facts(row), facts(reference)
        assert values == same
        np.testing.assert_allclose(scores, close, atol=1e-5)
    assert scorer.header().backend == "onnx"
    assert Scorer(JaxCompute(*fake_model())).header().backend == "jax"


def test_another_number_of_crops_is_that_of_the_jax_backend(exported):
    wanted = Scorer(JaxCompute(*fake_model(points=1)))
    scorer = create_scorer(exported["student"], backend="onnx", crops=1)
    assert scorer.header().prep_sha == wanted.header().prep_sha
    for source in pictures(3):
        row, same = scorer.score(source), wanted.score(source)
        assert row.crops == 1
        np.testing.assert_allclose(row.score, same.score, atol=1e-5)


def test_pairs_are_compared_alike(exported):
    sources = list(zip(pictures(5), [p // 2 for p in pictures(5)], strict=True))
    wanted = Scorer(JaxCompute(*fake_model("teacher"))).compare_iter(sources)
    got = create_scorer(exported["teacher"], backend="onnx").compare_iter(sources)
    for row, reference in zip(got, wanted, strict=True):
        assert row.score == pytest.approx(reference.score, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_score_is_the_same_to_the_bit_in_any_batch(exported, batch_size):
    alone = [
        create_scorer(exported["student"], backend="onnx").score(p).score
        for p in pictures(6)
    ]
    compute = OnnxCompute(exported["student"], batch_size=batch_size, threads=3)
    assert [row.score for row in Scorer(compute).score_iter(pictures(6))] == alone


def test_damaged_file_is_refused(exported, tmp_path):
    data = bytearray(exported["student"].read_bytes())
    path = tmp_path / "m.onnx"
    record = exported["student"].with_name("student.onnx.json").read_text()
    (tmp_path / "m.onnx.json").write_text(record)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="sha256"):
        OnnxCompute(path)
    path.write_bytes(data[:200])
    (tmp_path / "m.onnx.json").unlink()
    with pytest.raises(IntegrityError, match="no whole ONNX file"):
        OnnxCompute(path)


def test_card_changed_by_hand_is_refused(exported, tmp_path):
    import onnx

    model = onnx.load(exported["student"])
    (entry,) = (p for p in model.metadata_props if p.key == on_onnx.CARD_KEY)
    entry.value = entry.value.replace('"std": 0.25', '"std": 0.35')
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(IntegrityError, match="not as it was written"):
        OnnxCompute(tmp_path / "m.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(InputError, match="has no card"):
        OnnxCompute(tmp_path / "m.onnx")


def test_file_needs_the_backend_and_the_backend_the_library(exported, monkeypatch):
    with pytest.raises(InputError, match="--backend onnx"):
        create_scorer(exported["student"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r'pip install "ganiqa-jax\[onnx\]"'):
        create_scorer(exported["student"], backend="onnx")


def test_scoring_a_file_loads_no_jax(exported, tmp_path):
    picture = tmp_path / "a.png"
    Image.fromarray(pictures(1)[0]).save(picture)
    code = (
        "import sys\nfrom ganiqa_jax.cli import main\n"
        "_, picture, model = sys.argv\n"
        "status = main(f'score {picture} -m {model} --backend onnx --json'.split())\n"
        "print([m for m in ('jax', 'flax', 'onnx', 'scipy') if m in sys.modules])\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(picture), str(exported["student"])],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    header, row, loaded = done.stdout.splitlines()
    assert json.loads(header)["header"]["backend"] == "onnx"
    assert json.loads(row)["status"] == "ok"
    assert loaded == "[]"


def test_arithmetic_of_the_process_stays_as_it_was(exported):
    """Libraries may switch a thread to rounding the smallest numbers to zero."""
    code = (
        "import sys, numpy as np\nfrom ganiqa_jax import create_scorer\n"
        "scorer = create_scorer(sys.argv[1], backend='onnx')\n"
        "scorer.score_batch(np.zeros((1, 40, 40, 3), np.uint8))\n"
        "sys.exit(int(np.float32(1e-40) * np.float32(0.5) == 0))"
    )
    command = [sys.executable, "-c", code, str(exported["student"])]
    subprocess.run(command, cwd=Path(__file__).parents[1], timeout=60, check=True)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A folder whose card is that of the fake student, and a home of its own."""
    monkeypatch.setenv(home.VARIABLE, str(tmp_path / "home"))
    monkeypatch.setattr(release, "load_model", lambda folder: fake_model())
    (tmp_path / "run").mkdir()
    release.write_card(tmp_path / "run", fake_model().card)
    return tmp_path / "run"


def test_folder_is_exported_once_and_again_when_it_changes(run, monkeypatch):
    calls = []
    original = exporters.export_model
    monkeypatch.setattr(
        exporters, "export_model", lambda *a: calls.append(a) or original(*a)
    )
    first = kept.kept_onnx(run)
    assert kept.kept_onnx(run) == first
    assert len(calls) == 1
    assert oct(first.parent.stat().st_mode)[-3:] == "700"
    record = json.loads(on_onnx.record_beside(first).read_text())
    assert record["sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()
    step = run / "checkpoints" / "5"
    step.mkdir(parents=True)
    (step / "integrity.json").write_text("{}")  # another step: loaded again
    kept.kept_onnx(run)
    assert len(calls) == 1  # of the same weights
    monkeypatch.setattr(release, "model_sha", lambda variables: "0" * 12)
    (step / "integrity.json").write_text("{ }")
    assert kept.kept_onnx(run) != first


def test_cache_that_others_can_write_is_refused(run):
    folder = home.cache_folder("onnx")
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(InputError, match="chmod go-w"):
        create_scorer(run, backend="onnx")
