"""Files of weights: what is read, and that nothing in them runs."""

import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from ganiqa_jax.convert.files import read_weights, write_weights
from ganiqa_jax.errors import InputError, IntegrityError

ARRAYS = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a.bias": np.array([0.5, -1.0], np.float32),
    "n": np.array(7, np.int64),
}


def same(found, wanted=ARRAYS):
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == values.dtype


class Intruder:
    """Makes a file where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def malicious(path, marker, kind):
    """A PyTorch file, of the newer or the older form, that would run `os.mkdir`."""
    pickled = pickle.dumps({"a.weight": Intruder(marker)}, protocol=2)
    if kind == "plain":
        path.write_bytes(pickled)
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_is_written_is_read(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    write_weights(path, ARRAYS)
    same(read_weights(path).arrays)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_safetensors_keep_text_beside_the_arrays(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_weights(path, ARRAYS, {"card": '{"é": 1}'})
    assert read_weights(path).metadata == {"card": '{"é": 1}'}


@pytest.mark.parametrize("kind", ["plain", "archive"])
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
def test_code_in_a_file_of_pytorch_does_not_run(kind, suffix, tmp_path):
    path, marker = tmp_path / f"weights{suffix}", tmp_path / "marker"
    malicious(path, marker, kind)
    # Without PyTorch the file is not opened at all.
    with pytest.raises((IntegrityError, InputError)):
        read_weights(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Intruder(marker)))
    assert marker.exists(), "the fixture is harmless"


def test_code_in_a_file_of_numpy_does_not_run(tmp_path):
    path, marker = tmp_path / "weights.npz", tmp_path / "marker"
    np.savez(path, a=np.array([Intruder(marker)], dtype=object))
    with pytest.raises(IntegrityError):
        read_weights(path)
    assert not marker.exists()


def test_missing_pytorch_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'ganiqa-jax\[torch\]'"):
        read_weights(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": None},
        lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
    ],
)
def test_state_dicts_of_pytorch_are_found_where_scripts_put_them(wrap, tmp_path):
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(values) for name, values in ARRAYS.items()}
    torch.save(wrap(state), tmp_path / "weights.ckpt")
    same(read_weights(tmp_path / "weights.ckpt").arrays)


def test_half_precision_of_pytorch_is_read_as_floats(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.tensor([1.5], dtype=torch.bfloat16)}, tmp_path / "a.pt")
    same(read_weights(tmp_path / "a.pt").arrays, {"a": np.array([1.5], np.float32)})


@pytest.mark.parametrize("what", [{"a": "text"}, ["list"], {}])
def test_files_of_pytorch_without_a_state_dict_are_refused(what, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(what, tmp_path / "a.pt")
    with pytest.raises(IntegrityError, match="no state dict"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_damaged_and_infinite_numbers_are_refused(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    write_weights(path, {**ARRAYS, "bad": np.array([np.inf], np.float32)})
    with pytest.raises(IntegrityError, match="bad does not hold finite"):
        read_weights(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(IntegrityError, match="not a readable"):
        read_weights(path)


def test_files_of_other_kinds_and_places_are_refused(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(InputError, match="none of .npz"):
        read_weights(tmp_path / "weights.h5")
    with pytest.raises(InputError, match="No weights file"):
        read_weights(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"\.safetensors or \.npz"):
        write_weights(tmp_path / "weights.pth", ARRAYS)
    with pytest.raises(InputError, match="no folder"):
        write_weights(tmp_path / "none" / "weights.npz", ARRAYS)


def test_reading_our_own_files_imports_no_pytorch(tmp_path):
    write_weights(tmp_path / "a.safetensors", ARRAYS)
    code = (
        "import sys; from ganiqa_jax.convert.files import read_weights; "
        f"read_weights({str(tmp_path / 'a.safetensors')!r}); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
