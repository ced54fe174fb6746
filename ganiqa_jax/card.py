"""What a model is and how its score is to be read, without any of its weights.

`card.json` of a run directory or a released folder; the same values are inside an
exported file.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from ganiqa_jax.arrays import json_hash
from ganiqa_jax.config import Preprocessing, StudentConfig, TeacherConfig
from ganiqa_jax.config_json import from_json, to_json
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.rundir import read_json, write_json

CARD = "card.json"
WEIGHTS = "weights.safetensors"
FORMAT = 1

IDENTITY = ("weights_sha256", "model_sha")
"""What the card of a released folder says of its weights."""

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
      results: named measurements, such as `srcc, agiqa3k test, n=476`.
      notes: what else its users must know: what went in at second hand, what it is
        not for, how it was made.
    """

    role: Literal["teacher", "student"]
    name: str
    config: TeacherConfig | StudentConfig
    preprocessing: Preprocessing
    scale: Scale
    made_by: str
    data: tuple[str, ...]
    results: dict[str, float]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.role not in _CONFIGS:
            raise InputError(f"role={self.role!r} is none of {sorted(_CONFIGS)}.")
        if not isinstance(self.config, _CONFIGS[self.role]):
            raise InputError(
                f"A {self.role} cannot have a {type(self.config).__name__}."
            )

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the crops that the network takes, in their order."""
        if self.role == "teacher":
            return "reference", "distorted"
        if self.preprocessing.detail_side:
            return "distorted", "detail"
        return ("distorted",)


def write_card(workdir: Path, card: ModelCard) -> None:
    """Writes `card.json` of a run directory, at once or not at all."""
    write_json(workdir / CARD, card_values(card))


def read_card(workdir: Path) -> ModelCard:
    """Reads `card.json` of a run directory or a released folder.

    Raises:
      InputError: if there is none.
      IntegrityError: if it is damaged, changed by hand, or of another version.
    """
    return read_whole_card(workdir)[0]


def card_values(
    card: ModelCard, identity: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A card as JSON values, with more of them if there are, and a digest of all."""
    values = {"format": FORMAT, **to_json(card), **(identity or {})}
    return {**values, "digest": json_hash(values)}


def card_from(
    values: Mapping[str, Any], source: str, extra: tuple[str, ...] = IDENTITY
) -> tuple[ModelCard, dict[str, Any]]:
    """A card of the values that `card_values` gave.

    Args:
      values: from JSON.
      source: what an error names.
      extra: names of values beside the card; those that are there come back.

    Raises:
      IntegrityError: if they are damaged, changed by hand, or of another version.
    """
    values = dict(values)
    if values.pop("digest", None) != json_hash(values):
        raise IntegrityError(
            f"{source} is not as it was written; fetch the model again, or start its "
            "run again with --resume."
        )
    if values.pop("format") != FORMAT:
        raise IntegrityError(f"{source} is of another version of ganiqa_jax.")
    identity = {name: values.pop(name) for name in extra if name in values}
    try:
        return card_from_json(values), identity
    except (InputError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{source} does not fit this version of ganiqa_jax: {error}"
        ) from error


def with_results(card: ModelCard, files: Iterable[Path]) -> ModelCard:
    """A card with the results of evaluations, as `srcc, agiqa3k test, n=476`.

    Args:
      card: of the model that was evaluated.
      files: `metrics.json` of each evaluation.

    Raises:
      InputError: if a file is no evaluation of this model.
    """
    results = dict(card.results)
    for path in files:
        try:
            found = json.loads(path.read_text("utf-8"))
            where = f"{found['dataset']} {found['part']}, n={found['n']}"
            estimates = {k: v[0] for k, v in found["estimates"].items()}
            same = found["model"] == card.name
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is no metrics.json of `ganiqa eval`: {error}."
            ) from error
        if not same:
            raise InputError(f"{path} is of {found['model']}, not of {card.name}.")
        results |= {f"{name}, {where}": value for name, value in estimates.items()}
    return dataclasses.replace(card, results=results)


def read_whole_card(folder: Path) -> tuple[ModelCard, dict[str, Any]]:
    """The card, and of a released folder the sha256 of the weights and their name.

    Raises:
      InputError: if there is none.
      IntegrityError: if it is damaged, changed by hand, or of another version.
    """
    path = folder / CARD
    if not path.is_file():
        raise InputError(
            f"{folder} holds no model: looked for {CARD} with {WEIGHTS} (a released "
            f"model), and for {CARD} with checkpoints/ (a run directory). `ganiqa "
            "models list` shows the models that have names."
        )
    return card_from(read_json(path), str(path))


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
    lists = {name: tuple(values.get(name, ())) for name in ("data", "notes")}
    return ModelCard(**{**values, **nested, **lists})
