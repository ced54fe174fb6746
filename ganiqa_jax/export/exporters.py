"""Writes a model as ONNX, StableHLO or a released folder, each proven equal first."""

import dataclasses
import hashlib
import importlib.metadata
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from ganiqa_jax import release
from ganiqa_jax.card import ModelCard, card_values
from ganiqa_jax.errors import InputError
from ganiqa_jax.export import lowering, onnx_file
from ganiqa_jax.export.parity import (
    HALF_TOLERANCE,
    TOLERANCE,
    Crops,
    Parity,
    prove,
)
from ganiqa_jax.export.program import (
    crop_shapes,
    network_function,
    reference_compute,
)
from ganiqa_jax.release import LoadedModel
from ganiqa_jax.rundir import (
    disk_full,
    package_version,
    replace_bytes,
    write_json,
)
from ganiqa_jax.scoring.on_onnx import CARD_KEY, open_session, record_beside

Format = Literal["onnx", "stablehlo", "safetensors"]

PLATFORMS = ("cpu", "cuda", "tpu")
"""What a StableHLO file runs on."""

OUTPUT = "z"


class Exported(NamedTuple):
    """What was written, and the proof that came first."""

    path: Path
    parity: Parity
    sha256: str


def export_model(
    model: LoadedModel,
    to: Format,
    out: Path,
    pictures: Sequence[Path] = (),
    *,
    half: bool = False,
) -> Exported:
    """Writes a model; nothing is written unless it gives the same z.

    Args:
      model: from `release.load_model`.
      to: `onnx` and `stablehlo` make a file with a record beside it, `NAME.json`;
        `safetensors` makes a released folder.
      out: file or folder; for a file, an existing folder gets one named after the
        model.
      pictures: to prove it on, beside drawn ones.
      half: keep the weights of a released folder in float16.

    Raises:
      CheckError: if z differs; see `prove`.
      InputError: if `half` for another form, a library is missing, or the format has
        no counterpart of something in the network.
    """
    if to == "safetensors":
        return _export_folder(model, out, pictures, half)
    if half:
        raise InputError(f"float16 weights are for safetensors, not for {to}.")
    data, parity = {"onnx": onnx_bytes, "stablehlo": stablehlo_bytes}[to](
        model, pictures
    )
    path = out / f"{model.card.name}.{to}" if out.is_dir() else out
    if path.suffix != f".{to}":
        raise InputError(f"{path} should end in .{to}.")
    sha256 = hashlib.sha256(data).hexdigest()
    record = _about(model, parity) | {"file": path.name, "sha256": sha256}
    _write(path, data)
    write_json(record_beside(path), card_values(model.card, record))
    return Exported(path, parity, sha256)


def onnx_bytes(
    model: LoadedModel, pictures: Sequence[Path] = ()
) -> tuple[bytes, Parity]:
    """An ONNX file of any number of crops, with its card inside, and its proof."""
    (batch,) = jax.export.symbolic_shape("batch")
    graph = lowering.to_graph(
        network_function(model), crop_shapes(model, batch), OUTPUT
    )
    names = model.card.inputs
    dtypes = {**dict.fromkeys(names, "uint8"), OUTPUT: "float32"}
    session = open_session(onnx_file.to_bytes(graph, dtypes, {}))

    def run(crops: Crops) -> np.ndarray:
        return session.run(None, dict(zip(names, crops, strict=True)))[0]

    parity = prove(reference_compute(model), run, model.card, pictures)
    card = card_values(model.card, _about(model, parity))
    facts = {CARD_KEY: json.dumps(card), **_for_people(model.card)}
    return onnx_file.to_bytes(graph, dtypes, facts), parity


def stablehlo_bytes(
    model: LoadedModel, pictures: Sequence[Path] = ()
) -> tuple[bytes, Parity]:
    """What `jax.export.deserialize` reads, and its proof on the CPU."""
    (batch,) = jax.export.symbolic_shape("batch")
    program = jax.jit(network_function(model))
    shapes = crop_shapes(model, batch).values()
    exported = jax.export.export(program, platforms=PLATFORMS)(*shapes)
    try:
        data = bytes(exported.serialize())
    except ImportError as error:
        raise InputError(
            "StableHLO export needs flatbuffers; install it with: "
            "pip install flatbuffers"
        ) from error
    again = jax.jit(jax.export.deserialize(bytearray(data)).call)

    def run(crops: Crops) -> np.ndarray:
        cpu = jax.local_devices(backend="cpu")[0]
        return np.asarray(again(*jax.device_put(crops, cpu)))

    return data, prove(reference_compute(model), run, model.card, pictures)


def _export_folder(
    model: LoadedModel, out: Path, pictures: Sequence[Path], half: bool
) -> Exported:
    """A released folder, read back before it gets its place."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; a released model is a folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export-") as folder:
        release.save_model(Path(folder), model.card, model.variables, half=half)
        again = release.load_model(Path(folder))
        pair = reference_compute(model), reference_compute(again)
        tolerance = HALF_TOLERANCE if half else TOLERANCE
        parity = prove(*pair, model.card, pictures, tolerance)
    release.save_model(out, model.card, model.variables, half=half)
    sha256 = hashlib.sha256((out / release.WEIGHTS).read_bytes()).hexdigest()
    return Exported(out, parity, sha256)


def _about(model: LoadedModel, parity: Parity) -> dict[str, Any]:
    return {
        "model_sha": release.model_sha(model.variables),
        "parity": json.loads(json.dumps(dataclasses.asdict(parity))),
        "made_with": made_with(),
    }


def made_with() -> dict[str, str]:
    """Versions that an exported file depends on."""
    packages = ("jax", "flax", "onnx")
    return {"ganiqa-jax": package_version()} | {
        name: _version(name) for name in packages
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _for_people(card: ModelCard) -> dict[str, str]:
    """What other readers of an ONNX file should know."""
    scale = card.scale
    view = card.preprocessing
    kind = "whole pictures, stretched," if view.whole else "crops"
    if view.reflect:
        kind = "whole pictures, made smaller or mirrored outwards,"
    return {
        "input": f"uint8 RGB {kind} [batch, side, side, 3]; "
        + ("reference, distorted" if card.role == "teacher" else "distorted"),
        "output": "z; higher is better",
        "score": f"clip(mean z of the crops * {scale.std!r} + {scale.mean!r}, 0, 1)",
        "mos": f"{scale.low!r} + score * {scale.high - scale.low!r} on {scale.name}",
        "prep_sha": view.sha,
    }


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_full(error, path) from error
    replace_bytes(path, data)
