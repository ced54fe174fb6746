"""The benchmark of the pipeline compares like with like."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from fixtures import make_agiqa3k, make_sr4kiqa

SCRIPT = Path(__file__).parents[1] / "scripts" / "benchmark_data.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("benchmark_data", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("data", "pictures"), [("agiqa3k", 1), ("sr4kiqa", 2)])
def test_plain_pillow_gives_the_pixels_of_the_pipeline(
    script, tmp_path, data, pictures
):
    options = script.Options(
        agiqa3k=make_agiqa3k(tmp_path / "agiqa3k"),
        sr4kiqa=make_sr4kiqa(tmp_path / "sr4kiqa"),
        steps=2,
        rows=3,
        crop=32,
    )
    plain = [
        np.stack([script.cut(box) for box in batch])
        for batch in script.boxes(options, data)
    ]
    found = list(script.ours(options, data)())
    assert len(found) == len(plain) == 2
    for (distorted, reference), rows in zip(found, plain, strict=True):
        assert rows.shape == (3, pictures, 32, 32, 3)
        for own, cut in zip((distorted, reference), script.apart(rows), strict=True):
            np.testing.assert_array_equal(own, cut)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_the_process(script):
    before = script.memory(os.getpid())
    held = np.ones(2**25)
    assert 200 < script.memory(os.getpid()) - before < 300 and held[0] == 1
