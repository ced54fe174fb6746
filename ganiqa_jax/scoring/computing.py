"""What computes z of crops: a model on a backend."""

import dataclasses
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from ganiqa_jax.card import ModelCard
from ganiqa_jax.errors import InputError
from ganiqa_jax.released import find_model
from ganiqa_jax.scoring.batching import Run

Backend = Literal["jax", "onnx"]
Crops = Literal[1, 5, 9]
"""Crops of a picture: the middle; with the corners; a grid of three by three."""


@runtime_checkable
class Compute(Protocol):
    """What gives z of crops: a model on a backend.

    Attributes:
      backend: its name.
      card: of the model; `model_sha` names its weights.
      batch_size: crops of a batch.
    """

    @property
    def backend(self) -> str: ...
    @property
    def card(self) -> ModelCard: ...
    @property
    def model_sha(self) -> str: ...
    @property
    def batch_size(self) -> int: ...

    def ready(self) -> Run:
        """What starts the computation of a batch; compiles when first asked for."""
        ...


@runtime_checkable
class LocalCompute(Protocol):
    """What also gives z of the parts of crops."""

    def cells(
        self, crops: tuple[UInt8[np.ndarray, "N S S 3"], ...]
    ) -> Float[np.ndarray, "N n m"]:
        """z of what is around each cell of crops, all of one picture."""
        ...


def create_compute(
    model: str | Path,
    backend: Backend,
    batch_size: int,
    pictures: int = 0,
    crops: Crops | None = None,
) -> Compute:
    """A model on a backend; see `create_scorer`."""
    is_file = str(model).endswith(".onnx")
    if backend == "onnx":
        from ganiqa_jax.scoring.on_onnx import OnnxCompute

        if not is_file:
            from ganiqa_jax.export.kept import kept_onnx

            model = kept_onnx(find_model(model))
        compute = OnnxCompute(Path(model), batch_size=batch_size)
        compute.card = with_crops(compute.card, crops)
        return compute
    if is_file:
        raise InputError(f"{model} runs with --backend onnx alone.")
    from ganiqa_jax import release
    from ganiqa_jax.scoring.on_jax import JaxCompute

    network, variables, card = release.load_model(model)
    card = with_crops(card, crops)
    if pictures:
        total = pictures * crops_of(card)
        batch_size = min(batch_size, 1 << (total - 1).bit_length())
    return JaxCompute(network, variables, card, batch_size=batch_size)


def with_crops(card: ModelCard, crops: Crops | None) -> ModelCard:
    """A model that looks at so many crops of a picture; None at those of its card.

    Raises:
      InputError: if the model looks at whole pictures, and `crops` is not 1.
    """
    if crops is None:
        return card
    if card.preprocessing.whole and crops != 1:
        raise InputError(
            f"crops={crops}: {card.name} looks at whole pictures; it has no crops to "
            "choose."
        )
    view = dataclasses.replace(card.preprocessing, points=crops)
    return dataclasses.replace(card, preprocessing=view)


def crops_of(card: ModelCard) -> int:
    """How many crops a picture gets."""
    return card.preprocessing.points * (2 if card.preprocessing.mirror else 1)
