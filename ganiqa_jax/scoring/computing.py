"""What computes z of crops: a model on a backend."""

from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from ganiqa_jax.card import ModelCard
from ganiqa_jax.errors import InputError
from ganiqa_jax.released import find_model
from ganiqa_jax.scoring.batching import Run

Backend = Literal["jax", "onnx"]


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

    def cells(self, crops: UInt8[np.ndarray, "N S S 3"]) -> Float[np.ndarray, "N n m"]:
        """z of what is around each cell of crops, all of one picture."""
        ...


def create_compute(
    model: str | Path, backend: Backend, batch_size: int, pictures: int = 0
) -> Compute:
    """A model on a backend; see `create_scorer`."""
    is_file = str(model).endswith(".onnx")
    if backend == "onnx":
        from ganiqa_jax.scoring.on_onnx import OnnxCompute

        if not is_file:
            from ganiqa_jax.export.kept import kept_onnx

            model = kept_onnx(find_model(model))
        return OnnxCompute(Path(model), batch_size=batch_size)
    if is_file:
        raise InputError(f"{model} runs with --backend onnx alone.")
    from ganiqa_jax import release
    from ganiqa_jax.scoring.on_jax import JaxCompute

    network, variables, card = release.load_model(find_model(model))
    if pictures:
        crops = pictures * crops_of(card)
        batch_size = min(batch_size, 1 << (crops - 1).bit_length())
    return JaxCompute(network, variables, card, batch_size=batch_size)


def crops_of(card: ModelCard) -> int:
    """How many crops a picture gets."""
    return card.preprocessing.points * (2 if card.preprocessing.mirror else 1)
