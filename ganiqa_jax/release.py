"""A model with all that scoring a picture needs: card and verified weights.

A run directory holds `card.json`, `checkpoints/` and, for a network with frozen
parts, `frozen.safetensors`. A released folder holds `card.json` and
`weights.safetensors`, whose sha256 is in the card; it may hold float16, which is
float32 again when it is loaded.
"""

import contextlib
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganiqa_jax import checkpoint, home, models
from ganiqa_jax.arrays import (
    by_name,
    first_difference,
    halved,
    in_single,
    json_hash,
    read_arrays,
    write_arrays,
)
from ganiqa_jax.card import (
    CARD,
    WEIGHTS,
    ModelCard,
    Scale,
    card_from_json,
    card_values,
    read_card,
    read_whole_card,
    write_card,
)
from ganiqa_jax.config import StudentConfig, TeacherConfig
from ganiqa_jax.errors import CheckError, GanIqaError, InputError, IntegrityError
from ganiqa_jax.released import find_model
from ganiqa_jax.rundir import read_json, write_json
from ganiqa_jax.types import Params

__all__ = [
    "CARD",
    "WEIGHTS",
    "LoadedModel",
    "ModelCard",
    "Scale",
    "build_network",
    "card_from_json",
    "load_model",
    "model_sha",
    "network_shapes",
    "read_card",
    "save_model",
    "write_card",
]


class LoadedModel(NamedTuple):
    """A model ready to be applied.

    Attributes:
      network: `Teacher` or `Student`.
      variables: its collections `params`, `batch_stats` and `frozen` (those of them
        that it has), on the default device: the averaged weights of the run.
      card: what it is.
    """

    network: nn.Module
    variables: dict[str, Params]
    card: ModelCard


def save_model(
    folder: Path,
    network_card: ModelCard,
    variables: Mapping[str, Params],
    *,
    half: bool = False,
) -> None:
    """Writes the released form of a model.

    Args:
      folder: is made if it is not there; a model in it is replaced.
      network_card: what the model is.
      variables: collections `params`, `batch_stats`, `frozen` of its network.
      half: keep them in float16, which halves the file and rounds each value.

    Raises:
      CheckError: if `half` and a value is too large for it.
      IntegrityError: if the arrays are not those of the card's network.
    """
    variables = {name: tree for name, tree in variables.items() if tree}
    _check_arrays(variables, network_card, folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored = halved(variables) if half else variables
    sha256 = write_arrays(folder / WEIGHTS, stored)
    identity = {"weights_sha256": sha256, "model_sha": model_sha(in_single(stored))}
    write_json(folder / CARD, card_values(network_card, identity))


def load_model(folder: str | Path) -> LoadedModel:
    """Loads and verifies a model.

    Args:
      folder: run directory, released folder, or name of a released model.

    Raises:
      InputError: if the folder holds no model; says what was looked for.
      IntegrityError: if the card or an array is damaged or of another network.
    """
    folder = find_model(folder)
    card, identity = read_whole_card(folder)
    sha256 = identity.get("weights_sha256")
    if sha256 is not None:
        variables = in_single(read_arrays(folder / WEIGHTS, sha256))
    else:
        _, average = checkpoint.restore_ema(folder)
        variables = {**average, **checkpoint.load_frozen(folder)}
    variables = {name: tree for name, tree in variables.items() if tree}
    _check_arrays(variables, card, folder)
    variables = jax.device_put(variables)  # all at once: a call for each takes long
    return LoadedModel(build_network(card.config), variables, card)


def verify_released(folder: Path) -> dict[str, Any]:
    """Hashes the weights of a released folder and compares with its card.

    Returns:
      The name, both hashes and the number of arrays.

    Raises:
      InputError: if the folder holds no released model.
      CheckError: if card or weights are not as they were released.
    """
    try:
        card, identity = read_whole_card(folder)
        if "weights_sha256" not in identity:
            raise InputError(
                f"{folder} is a run directory, whose checkpoints are verified whenever "
                "they are read; export it to safetensors to release it."
            )
        variables = load_model(folder).variables
    except IntegrityError as error:
        raise CheckError(str(error)) from error
    sha = model_sha(variables)
    if sha != identity.get("model_sha"):
        raise CheckError(
            f"The weights of {folder} are {sha}, its card says "
            f"{identity.get('model_sha')}; fetch the model again."
        )
    return {"name": card.name, **identity, "arrays": len(by_name(variables))}


def build_network(config: TeacherConfig | StudentConfig) -> nn.Module:
    """The network that a configuration describes, without arrays."""
    if isinstance(config, TeacherConfig):
        return models.Teacher(config)
    return models.Student(config)


def model_sha(variables: Mapping[str, Params]) -> str:
    """Twelve hex digits over names, types, shapes and values of all arrays."""
    digest = hashlib.sha256()
    for name, leaf in by_name(dict(variables)).items():
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def _check_arrays(
    variables: Mapping[str, Params], card: ModelCard, folder: Path
) -> None:
    """Compares names, shapes and types with those that the network would make."""
    wanted = _wanted(card.config, card.preprocessing.crop)
    difference = first_difference(dict(variables), wanted)
    if difference:
        raise IntegrityError(
            f"The arrays of {folder} are not those of the network in its {CARD}: "
            f"{difference}."
        )


@functools.lru_cache(maxsize=8)
def _wanted(
    config: TeacherConfig | StudentConfig, side: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types by name; tracing a large network takes a second, so they are
    kept in the user's cache folder, under a name made of all that decides them."""
    sources = sorted(Path(models.__file__).parent.rglob("*.py"))
    digest = hashlib.sha256(f"{config!r} {side} {flax.__version__}".encode())
    for source in sources:
        digest.update(source.read_bytes())
    kept = home.cache_folder("shapes") / f"{digest.hexdigest()[:24]}.json"
    with contextlib.suppress(IntegrityError, KeyError, TypeError, ValueError):
        known = read_json(kept)
        if known.pop("digest") == json_hash(known):
            return {name: _shape(*known[name]) for name in known}
    shapes = by_name(network_shapes(config, side))
    values = {name: [str(s.dtype), list(s.shape)] for name, s in shapes.items()}
    with contextlib.suppress(GanIqaError):  # a cache that cannot be written
        home.private_folder(kept.parent)
        write_json(kept, {**values, "digest": json_hash(values)})
    return shapes


def _shape(dtype: str, sizes: list[int]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(sizes), jnp.dtype(dtype))


@functools.lru_cache(maxsize=8)  # tracing a large network takes seconds
def network_shapes(config: TeacherConfig | StudentConfig, side: int) -> dict[str, Any]:
    """Shapes and types of a network's variables for pictures of this side."""
    picture = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    pictures = [picture] * (2 if isinstance(config, TeacherConfig) else 1)
    network = build_network(config)
    return dict(jax.eval_shape(network.init, {"params": jax.random.key(0)}, *pictures))
