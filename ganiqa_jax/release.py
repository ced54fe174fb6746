"""A model with all that scoring a picture needs: card and verified weights.

A run directory holds `card.json`, `checkpoints/` and, for a network with frozen
parts, `frozen.safetensors`. A released folder holds `card.json` and
`weights.safetensors`, whose sha256 is in the card.
"""

import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganiqa_jax import checkpoint
from ganiqa_jax.arrays import (
    by_name,
    first_difference,
    json_hash,
    read_arrays,
    write_arrays,
)
from ganiqa_jax.config import Preprocessing, StudentConfig, TeacherConfig
from ganiqa_jax.config_json import from_json, to_json
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.rundir import read_json, write_json
from ganiqa_jax.types import Params

CARD = "card.json"
WEIGHTS = "weights.safetensors"
FORMAT = 1

_CONFIGS: dict[str, type] = {"teacher": TeacherConfig, "student": StudentConfig}


@dataclass(frozen=True)
class Scale:
    """The opinion scale of a model's public score.

    Attributes:
      name: of the scale, such as that of a data set.
      low: its worst score.
      high: its best score.
      mean: of the training scores after rescaling to [0, 1].
      std: their standard deviation.
    """

    name: str
    low: float
    high: float
    mean: float
    std: float

    def __post_init__(self) -> None:
        numbers = (self.low, self.high, self.mean, self.std)
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(f"Scale {self.name!r} has a number that is not finite.")
        if self.low >= self.high:
            raise InputError(
                f"Scale {self.name!r} has low={self.low}, not below high={self.high}."
            )
        if self.std <= 0:
            raise InputError(f"Scale {self.name!r} has std={self.std}, not positive.")

    @overload
    def to_score(self, z: float) -> float: ...
    @overload
    def to_score(self, z: np.ndarray) -> np.ndarray: ...
    def to_score(self, z: float | np.ndarray) -> float | np.ndarray:
        """The public score in [0, 1] of a network's z; higher is better."""
        return np.clip(z * self.std + self.mean, 0.0, 1.0)

    @overload
    def to_mos(self, score: float) -> float: ...
    @overload
    def to_mos(self, score: np.ndarray) -> np.ndarray: ...
    def to_mos(self, score: float | np.ndarray) -> float | np.ndarray:
        """The score on this scale, `low` to `high`, of a public score in [0, 1]."""
        return self.low + score * (self.high - self.low)


@dataclass(frozen=True)
class ModelCard:
    """What a model is and how its score is to be read.

    Attributes:
      role: a teacher compares with a reference picture, a student needs none.
      name: of the run or the release.
      config: of the network.
      preprocessing: how a picture becomes crops.
      scale: what the score means.
      made_by: package and version.
      data: data sets it was trained on.
      results: named measurements, such as `agiqa3k/test/srcc`.
    """

    role: Literal["teacher", "student"]
    name: str
    config: TeacherConfig | StudentConfig
    preprocessing: Preprocessing
    scale: Scale
    made_by: str
    data: tuple[str, ...]
    results: dict[str, float]

    def __post_init__(self) -> None:
        if self.role not in _CONFIGS:
            raise InputError(f"role={self.role!r} is none of {sorted(_CONFIGS)}.")
        if not isinstance(self.config, _CONFIGS[self.role]):
            raise InputError(
                f"A {self.role} cannot have a {type(self.config).__name__}."
            )


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


def write_card(workdir: Path, card: ModelCard) -> None:
    """Writes `card.json` of a run directory, at once or not at all."""
    write_json(workdir / CARD, _card_values(card))


def read_card(workdir: Path) -> ModelCard:
    """Reads `card.json` of a run directory or a released folder.

    Raises:
      InputError: if there is none.
      IntegrityError: if it is damaged, changed by hand, or of another version.
    """
    return _read_card(workdir)[0]


def save_model(
    folder: Path, network_card: ModelCard, variables: Mapping[str, Params]
) -> None:
    """Writes the released form of a model.

    Args:
      folder: is made if it is not there; a model in it is replaced.
      network_card: what the model is.
      variables: collections `params`, `batch_stats`, `frozen` of its network.

    Raises:
      IntegrityError: if the arrays are not those of the card's network.
    """
    variables = {name: tree for name, tree in variables.items() if tree}
    _check_arrays(variables, network_card, folder)
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = write_arrays(folder / WEIGHTS, variables)
    identity = {"weights_sha256": sha256, "model_sha": model_sha(variables)}
    write_json(folder / CARD, _card_values(network_card, identity))


def load_model(folder: Path) -> LoadedModel:
    """Loads and verifies the model in a run directory or a released folder.

    Raises:
      InputError: if the folder holds no model; says what was looked for.
      IntegrityError: if the card or an array is damaged or of another network.
    """
    folder = Path(folder)
    card, sha256 = _read_card(folder)
    if sha256 is not None:
        variables = read_arrays(folder / WEIGHTS, sha256)
    else:
        _, average = checkpoint.restore_ema(folder)
        variables = {**average, **checkpoint.load_frozen(folder)}
    variables = {name: tree for name, tree in variables.items() if tree}
    _check_arrays(variables, card, folder)
    variables = jax.tree.map(jnp.asarray, variables)
    return LoadedModel(build_network(card.config), variables, card)


def build_network(config: TeacherConfig | StudentConfig) -> nn.Module:
    """The network that a configuration describes, without arrays."""
    from ganiqa_jax.models import Student, Teacher

    if isinstance(config, TeacherConfig):
        return Teacher(config)
    return Student(config)


def model_sha(variables: Mapping[str, Params]) -> str:
    """Twelve hex digits over names, types, shapes and values of all arrays."""
    digest = hashlib.sha256()
    for name, leaf in by_name(dict(variables)).items():
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def _card_values(
    card: ModelCard, identity: Mapping[str, str] | None = None
) -> dict[str, Any]:
    values = {"format": FORMAT, **to_json(card), **(identity or {})}
    return {**values, "digest": json_hash(values)}


def _read_card(folder: Path) -> tuple[ModelCard, str | None]:
    """The card, and the sha256 of the weights if the folder is a released one."""
    path = folder / CARD
    if not path.is_file():
        raise InputError(
            f"{folder} holds no model: looked for {CARD} with {WEIGHTS} (a released "
            f"model), and for {CARD} with checkpoints/ (a run directory)."
        )
    values = read_json(path)
    if values.pop("digest", None) != json_hash(values):
        raise IntegrityError(
            f"{path} is not as it was written; fetch the model again, or start its "
            "run again with --resume."
        )
    if values.pop("format") != FORMAT:
        raise IntegrityError(f"{path} is of another version of ganiqa_jax.")
    sha256 = values.pop("weights_sha256", None)
    values.pop("model_sha", None)
    try:
        return card_from_json(values), sha256
    except (InputError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{path} does not fit this version of ganiqa_jax: {error}"
        ) from error


def card_from_json(values: dict[str, Any]) -> ModelCard:
    """The card that `to_json` made these values of.

    Raises:
      InputError: if a field is unknown, missing or out of range.
      KeyError: if the role or a part is missing.
    """
    kinds = {
        "config": _CONFIGS[values["role"]],
        "preprocessing": Preprocessing,
        "scale": Scale,
    }
    nested = {name: from_json(kind, values[name]) for name, kind in kinds.items()}
    return ModelCard(**{**values, **nested, "data": tuple(values["data"])})


def _check_arrays(
    variables: Mapping[str, Params], card: ModelCard, folder: Path
) -> None:
    """Compares names, shapes and types with those that the network would make."""
    wanted = network_shapes(card.config, card.preprocessing.crop)
    difference = first_difference(dict(variables), wanted)
    if difference:
        raise IntegrityError(
            f"The arrays of {folder} are not those of the network in its {CARD}: "
            f"{difference}."
        )


@functools.lru_cache(maxsize=8)  # tracing a large network takes seconds
def network_shapes(config: TeacherConfig | StudentConfig, side: int) -> dict[str, Any]:
    """Shapes and types of a network's variables for pictures of this side."""
    picture = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    pictures = [picture] * (2 if isinstance(config, TeacherConfig) else 1)
    network = build_network(config)
    return dict(jax.eval_shape(network.init, {"params": jax.random.key(0)}, *pictures))
