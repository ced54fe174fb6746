"""A model of ours in PyTorch, from the state dict that `ganiqa convert` writes."""

# pyright: reportMissingImports=false

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from ganiqa_jax.card import ModelCard, card_from_json
from torch_reference.student import Student
from torch_reference.teacher import Teacher

CARD = "ganiqa_card"
"""Where the file keeps the card of its model."""


def load_network(path: str | Path) -> tuple[Student | Teacher, ModelCard]:
    """The network with its weights, in eval mode, and its card.

    Args:
      path: `.safetensors` file of `ganiqa convert MODEL FILE`.

    Raises:
      KeyError: if the file carries no card.
      RuntimeError: if an array is missing, left over or of another shape.
    """
    with safe_open(path, "pt") as file:
        card = card_from_json(json.loads(file.metadata()[CARD]))
    make = Teacher if card.role == "teacher" else Student
    network = make(card.config)  # pyright: ignore[reportArgumentType]
    network.load_state_dict(load_file(path))
    return network.eval(), card
