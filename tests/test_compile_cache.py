"""What is kept from one start to the next, and when it is not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ganiqa_jax import compile_cache, home
from ganiqa_jax.compile_cache import kept_program, use_compile_cache


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A home of its own, and JAX's settings as they were afterwards."""
    monkeypatch.setenv("GANIQA_HOME", str(tmp_path / "home"))
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_a_private_folder_of_the_user():
    use_compile_cache()
    folder = home.cache_folder("jax")
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert oct(folder.stat().st_mode)[-3:] == "700"


def test_switch_and_a_folder_of_the_user_are_respected(monkeypatch):
    monkeypatch.setenv("GANIQA_COMPILE_CACHE", "off")
    use_compile_cache()
    assert jax.config.jax_compilation_cache_dir is None
    monkeypatch.delenv("GANIQA_COMPILE_CACHE")
    jax.config.update("jax_compilation_cache_dir", "/elsewhere")
    use_compile_cache()
    assert jax.config.jax_compilation_cache_dir == "/elsewhere"


def test_folder_that_others_can_write_is_not_used(caplog):
    folder = home.cache_folder("jax")
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    use_compile_cache()
    assert jax.config.jax_compilation_cache_dir is None
    assert "run code as you" in caplog.text


class Counted:
    """A program that counts how often it is traced."""

    def __init__(self):
        self.traced = 0

    def __call__(self, x):
        self.traced += 1
        return x * 2 + 1


def call(name="net", shape=(3,), counted=None):
    counted = counted or Counted()
    x = np.ones(shape, np.float32)
    program = kept_program(name, jax.jit(counted), (jnp.asarray(x),))
    np.testing.assert_array_equal(program(x), 3.0)
    return counted.traced


def test_network_is_traced_once_for_each_name_and_shape():
    use_compile_cache()
    assert call() == 1
    assert call() == 0
    assert call(shape=(4,)) == 1
    assert call(name="other") == 1


def test_changed_code_and_damaged_files_are_traced_again(monkeypatch):
    use_compile_cache()
    call()
    for path in home.cache_folder("jax").glob("traced-*"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    assert call() == 1
    monkeypatch.setattr(compile_cache, "_code", lambda: "changed")
    assert call() == 1


def test_nothing_is_kept_unless_asked():
    assert call() == call() == 1
    assert not home.cache_folder("jax").exists()
