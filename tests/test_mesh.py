import importlib.metadata
import os
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest

from ganiqa_jax import mesh

KNOWN = importlib.metadata.version("jaxlib").startswith(mesh.FLAG_VERSIONS)


@pytest.fixture
def no_flags(monkeypatch):
    """No XLA_FLAGS during the test; afterwards whatever there was before."""
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delenv("XLA_FLAGS")


def run(code: str, **environment: str) -> str:
    """What `code` prints in a fresh interpreter."""
    clean = {k: v for k, v in os.environ.items() if "XLA_FLAGS" not in k}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**clean, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_one_device_takes_any_batch_whole():
    one = mesh.data_mesh(jax.devices()[:1])
    batch = {"x": np.arange(6.0).reshape(3, 2), "none": np.zeros((0, 2)), "n": 4}
    placed = mesh.shard_batch(batch, one)
    np.testing.assert_array_equal(placed["x"], batch["x"])
    assert placed["none"].shape == (0, 2) and placed["n"] == 4


def test_rows_of_the_only_process_are_all_there_are():
    one = mesh.data_mesh(jax.devices()[:1])
    assert mesh.own_rows(5, one) == (0, 1, 2, 3, 4) and mesh.own_rows(0, one) == ()


def test_rows_are_spread_and_the_rest_is_replicated():
    code = """
        import jax, numpy as np
        from jax.sharding import AxisType, PartitionSpec
        from ganiqa_jax import mesh
        from ganiqa_jax.errors import InputError
        four = mesh.data_mesh()
        assert four.shape == {"data": 4} and four.axis_types == (AxisType.Auto,)
        batch = (np.arange(16.0).reshape(8, 2), np.zeros((0, 2)), np.arange(4))
        x, none, p = mesh.shard_batch(batch, four)
        assert [s.data.shape for s in x.addressable_shards] == [(2, 2)] * 4
        assert none.sharding.is_fully_replicated and p.sharding == x.sharding
        weights = mesh.replicate({"w": np.ones(2)}, four)["w"]
        assert weights.sharding.is_fully_replicated
        out = jax.jit(lambda x, w: x @ w)(x, weights)
        assert out.sharding.spec == PartitionSpec("data"), out.sharding
        np.testing.assert_array_equal(out, batch[0].sum(1))
        assert mesh.data_mesh(jax.devices()[:2]).size == 2
        assert mesh.own_rows(8, four) == tuple(range(8)) and not mesh.own_rows(0, four)
        try:
            mesh.shard_batch(np.zeros((6, 2)), four)
        except InputError as error:
            print(error)
    """
    said = run(code, XLA_FLAGS="--xla_force_host_platform_device_count=4")
    assert "6 rows" in said and "4 devices" in said and "such as 8" in said


@pytest.mark.parametrize("rows", [0, 4, 8])
def test_even_rows_pass(rows):
    mesh.check_rows(rows, mesh.data_mesh(jax.devices()[:1]))


@pytest.mark.skipif(not KNOWN, reason="this jaxlib is not known to have the flag")
@pytest.mark.parametrize("purpose", ["infer", "train"])
def test_flags_set_after_the_import_take_effect(purpose):
    code = f"""
        import jax, jax.numpy as jnp
        from ganiqa_jax import mesh
        mesh.set_cpu_flags({purpose!r})
        lowered = jax.jit(
            lambda x, k: jax.lax.conv_general_dilated(
                x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        ).lower(jnp.ones((8, 25, 25, 96)), jnp.ones((3, 3, 96, 96)))
        print("ynn" in lowered.compile().as_text())
    """
    if run(code, GANIQA_XLA_FLAGS="off") == "False":
        pytest.skip("XLA does not use YNNPACK for convolutions on this machine")
    assert run(code) == "False"


@pytest.mark.parametrize("own", ["", "--xla_force_host_platform_device_count=2"])
def test_own_flags_are_never_touched(own, monkeypatch):
    monkeypatch.setattr(mesh.xla_bridge, "backends_are_initialized", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", own)
    mesh.set_cpu_flags("infer")
    assert os.environ["XLA_FLAGS"] == own


@pytest.mark.parametrize(
    ("versions", "started", "expected"),
    [
        ({"jaxlib": "0.10.2"}, False, mesh.CPU_FLAGS["train"]),
        ({"jaxlib": "0.12.0.1"}, False, mesh.CPU_FLAGS["train"]),
        ({"jaxlib": "0.10.2"}, True, None),
        ({"jaxlib": "0.9.2"}, False, None),
        ({"jaxlib": "0.13.0"}, False, None),
        ({"jaxlib": "0.10.2", "libtpu": "0.1"}, False, None),
    ],
)
def test_flags_wait_for_known_versions_and_no_backend(
    versions, started, expected, no_flags, monkeypatch
):
    monkeypatch.setattr(mesh, "_version", versions.get)
    monkeypatch.setattr(mesh.xla_bridge, "backends_are_initialized", lambda: started)
    mesh.set_cpu_flags("train")
    assert os.environ.get("XLA_FLAGS") == expected


def test_flags_can_be_turned_off(no_flags, monkeypatch):
    monkeypatch.setenv("GANIQA_XLA_FLAGS", "off")
    monkeypatch.setattr(mesh.xla_bridge, "backends_are_initialized", lambda: False)
    mesh.set_cpu_flags("infer")
    assert "XLA_FLAGS" not in os.environ
