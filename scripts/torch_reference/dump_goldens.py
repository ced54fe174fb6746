"""Writes what the tests compare with, from PyTorch, to tests/goldens.

    python scripts/torch_reference/dump_goldens.py

Of each tiny model: the pictures, the statistics of its batch norms, a checksum of its
weights (which the tests make anew), every intermediate result and the score; for one
of them also the terms and every gradient of a step of distillation; outputs of both
predecessors with the names and shapes of their published weights.
"""

# pyright: reportMissingImports=false

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from torch_reference import comparison_predecessors as predecessors  # noqa: E402
from torch_reference import golden_cases as cases  # noqa: E402
from torch_reference.agreement import Arrays, condensed  # noqa: E402
from torch_reference.comparison import torch_intermediates  # noqa: E402
from torch_reference.comparison_steps import (  # noqa: E402
    both,
    torch_gradient,
    without_nothing,
)
from torch_reference.predecessor_networks import IqaConformer, Iqt  # noqa: E402
from torch_reference.random_variables import checksum  # noqa: E402

GOLDENS = ROOT / "tests" / "goldens"


def main() -> None:
    for name in cases.STUDENTS:
        write_case(name)
    for arch, run in predecessors.RUNS.items():
        write_predecessor(arch, run())


def write_case(name: str) -> None:
    """One student, and with it the teacher."""
    batch = cases.batch()
    given = cases.begin(name, batch)
    ours, theirs = both(given, batch)
    arrays: Arrays = {
        "distorted": _bytes(batch.distorted),
        "reference": _bytes(batch.reference),
        "checksum": np.array(
            [checksum(given.variables), checksum(given.teacher_variables)]
        ),
    }
    arrays |= _named("student statistics", cases.statistics(ours.variables))
    arrays |= _named("teacher statistics", cases.statistics(ours.teacher_variables))
    pictures = [batch.distorted]
    seen = torch_intermediates(theirs.student.eval(), pictures)
    arrays |= _named("student", condensed(seen))
    if name == cases.WITH_STEP:
        pair = [batch.reference, batch.distorted[: cases.PAIRS]]
        seen = torch_intermediates(theirs.teacher.eval(), pair)
        arrays |= _named("teacher", condensed(seen))
        gradient, terms = torch_gradient(ours, theirs, batch, cases.WEIGHTS)
        gradient, _ = without_nothing(gradient, gradient)
        arrays |= _named("gradient", condensed(gradient))
        arrays |= _named("term", terms)
    _save(GOLDENS / f"student_{name}.npz", arrays)


def write_predecessor(arch: str, outputs: Arrays) -> None:
    """Outputs of one, and the names of its published weights."""
    # The maps themselves would be large: a few cells tell them apart.
    small = {n: v if v.ndim == 1 else v[:, ::4, ::4] for n, v in outputs.items()}
    _save(GOLDENS / f"{arch}.npz", small)
    network = IqaConformer() if arch == "iqa_conformer" else Iqt()
    shapes = predecessors.shapes_of(network)
    text = json.dumps({name: list(shape) for name, shape in shapes.items()})
    lines = text.replace("], ", "],\n")
    (GOLDENS / f"{arch}_keys.json").write_text(lines + "\n")


def _named(kind: str, arrays: Arrays) -> Arrays:
    return {f"{kind}: {name}": value for name, value in arrays.items()}


def _bytes(pictures: Any) -> np.ndarray:
    return np.rint(np.asarray(pictures) * 255).astype(np.uint8)


def _save(path: Path, arrays: Arrays) -> None:
    savez: Any = np.savez_compressed  # loosely: an array may be called like an argument
    savez(path, **{name: _narrow(array) for name, array in arrays.items()})


def _narrow(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


if __name__ == "__main__":
    main()
