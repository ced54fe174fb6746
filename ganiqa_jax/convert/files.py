"""Files of weights: NumPy archives, safetensors, and PyTorch's own, read as data.

Nothing in a file runs: NumPy archives and PyTorch files are pickles underneath, and
both are read in the mode that refuses objects. PyTorch itself is needed for `.pth`,
`.pt`, `.ckpt` and `.bin` alone, and imported only then.
"""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ganiqa_jax.arrays import write_arrays
from ganiqa_jax.errors import InputError, IntegrityError

Arrays = dict[str, np.ndarray]

TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
SUFFIXES = (".npz", ".safetensors", *TORCH_SUFFIXES)

STATE_KEYS = ("model_state_dict", "state_dict", "model")
"""Where training scripts put the weights among other things."""

_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    RuntimeError,  # an encrypted archive, or a compression that Python lacks
    zipfile.BadZipFile,
    zlib.error,
)


class Weights(NamedTuple):
    """What a file of weights holds.

    Attributes:
      arrays: name to values, as stored; finite numbers.
      metadata: text beside them (safetensors alone has any).
    """

    arrays: Arrays
    metadata: dict[str, str]


def read_weights(path: str | Path) -> Weights:
    """Reads every array of a file.

    Args:
      path: `.npz`, `.safetensors`, or a PyTorch file (`.pth`, `.pt`, `.ckpt`, `.bin`)
        of a state dict, alone or under one of `STATE_KEYS`.

    Raises:
      InputError: if there is no such file, its kind is not known, or PyTorch is
        needed and not installed.
      IntegrityError: if the file is damaged, holds more than finite numbers, or
        would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"No weights file {path}.")
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        arrays, metadata = _read_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        arrays = _read_torch(path)
    elif path.suffix == ".npz":
        arrays = _read_npz(path)
    else:
        raise InputError(f"{path} is none of {', '.join(SUFFIXES)}.")
    for name, values in arrays.items():
        if values.dtype.kind not in "fiub" or not np.isfinite(values).all():
            raise IntegrityError(f"{path}: {name} does not hold finite numbers.")
    return Weights(arrays, metadata)


def write_weights(
    path: Path, arrays: Arrays, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes arrays, at once or not at all.

    Args:
      path: `.safetensors`; or `.npz`, which has no room for metadata.
      arrays: name to values.
      metadata: text to keep beside them.

    Raises:
      InputError: if the file is of another kind, or its folder is missing.
    """
    if not path.parent.is_dir():
        raise InputError(f"There is no folder {path.parent} to write {path.name} to.")
    if path.suffix == ".safetensors":
        write_arrays(path, arrays, metadata)
    elif path.suffix == ".npz":
        partial = path.with_name(path.name + ".part")
        with partial.open("wb") as file:
            # Typed loosely: an array may be called like an argument of savez.
            savez: Any = np.savez
            savez(file, **arrays)
        partial.replace(path)
    else:
        raise InputError(f"{path} must end in .safetensors or .npz.")


def _read_npz(path: Path) -> Arrays:
    try:
        # Opened here: np.load leaves a damaged archive open.
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise IntegrityError(f"{path} holds a lone array; weights are an .npz.")
            return {name: np.asarray(loaded[name]) for name in loaded.files}
    except _UNREADABLE as error:
        raise IntegrityError(f"{path} is not a readable .npz file: {error}") from error


def _read_safetensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, dict(file.metadata() or {})
    except (SafetensorError, *_UNREADABLE, TypeError) as error:
        raise IntegrityError(
            f"{path} is not a readable safetensors file: {error}"
        ) from error


def _read_torch(path: Path) -> Arrays:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f"Reading {path.name} needs PyTorch: pip install 'ganiqa-jax[torch]', or "
            "save the state dict as safetensors where PyTorch is at hand."
        ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    # What weights_only refuses; the module of that error is imported nowhere here.
    except torch.serialization.pickle.UnpicklingError as error:  # pyright: ignore[reportPrivateImportUsage]
        reason = str(error).partition("\n")[0]
        raise IntegrityError(
            f"{path} holds more than arrays, which is not read because it could run "
            f"code: {reason}"
        ) from error
    except _UNREADABLE as error:
        raise IntegrityError(f"{path} is not a readable PyTorch file.") from error
    return {
        name: values.detach().cpu().float().numpy()
        if values.is_floating_point()
        else values.detach().cpu().numpy()
        for name, values in _state_dict(loaded, path, torch.Tensor).items()
    }


def _state_dict(loaded: Any, path: Path, kind: type) -> dict[str, Any]:
    """The names and tensors of a loaded file, without a wrapper's prefix."""
    if isinstance(loaded, Mapping):
        inner = [loaded[key] for key in STATE_KEYS if key in loaded]
        state = next((i for i in inner if isinstance(i, Mapping)), loaded)
        tensors = {str(k): v for k, v in state.items() if isinstance(v, kind)}
        if tensors and len(tensors) == len(state):
            return {_unwrapped(name): values for name, values in tensors.items()}
    raise IntegrityError(f"{path} holds no state dict of tensors.")


def _unwrapped(name: str) -> str:
    """A name as it was before a model was made parallel."""
    return name.removeprefix("module.").replace(".module.", ".")
