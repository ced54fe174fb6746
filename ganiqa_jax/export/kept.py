"""ONNX files of models that are scored by onnxruntime, made once and kept."""

import hashlib
import json
from pathlib import Path

from ganiqa_jax import home
from ganiqa_jax.card import CARD, ModelCard, card_values, read_whole_card
from ganiqa_jax.rundir import package_version, read_json, write_json
from ganiqa_jax.scoring.on_onnx import record_beside

# As `ganiqa_jax.checkpoint` names them, which would bring JAX along.
FOLDER, INTEGRITY, FROZEN_HASH = "checkpoints", "integrity.json", "frozen.json"


def kept_onnx(folder: Path) -> Path:
    """The ONNX file of the model in a folder; exported if it is not kept yet.

    Kept under a name made of the weights, the card and the version. What the records
    of the folder say leads there, so that a second call reads no weights.

    Raises:
      InputError: if a library is missing, or the cache folder is not the user's.
      IntegrityError: if the model is damaged.
      CheckError: if the export does not give the same scores.
    """
    kept = home.private_folder(home.cache_folder("onnx"))
    alias = kept / f"{_recorded(folder)}.json"
    if alias.is_file():
        path = kept / str(read_json(alias).get("file"))
        if _whole(path):
            return path
    from ganiqa_jax import release
    from ganiqa_jax.export.exporters import export_model

    model = release.load_model(folder)
    path = kept / _name(model.card, release.model_sha(model.variables))
    if not _whole(path):
        export_model(model, "onnx", path)
    write_json(alias, {"file": path.name})
    return path


def _recorded(folder: Path) -> str:
    """A name for what the records of a model say: its card, and what they hash."""
    read_whole_card(folder)  # tells if there is no model, or its card is damaged
    digest = hashlib.sha256(package_version().encode())
    records = [folder / CARD, folder / FROZEN_HASH]
    records += sorted(folder.glob(f"{FOLDER}/*/{INTEGRITY}"))
    for path in records:
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _whole(path: Path) -> bool:
    """Both files are there; the record is written last."""
    return path.is_file() and record_beside(path).is_file()


def _name(card: ModelCard, model_sha: str) -> str:
    """A file name for weights, card and version."""
    text = json.dumps([card_values(card), package_version()], sort_keys=True)
    return f"{model_sha}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.onnx"
