"""Image quality of generated pictures: teacher, distilled student, scorer.

The names below are loaded when first used, so that importing the package is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganiqa_jax.differentiable import as_loss
    from ganiqa_jax.models import Student, Teacher
    from ganiqa_jax.release import load_model as load
    from ganiqa_jax.scoring.engine import Scorer, create_scorer

__version__ = "0.1.0"

_HOMES = {
    "Scorer": ("ganiqa_jax.scoring.engine", "Scorer"),
    "Student": ("ganiqa_jax.models", "Student"),
    "Teacher": ("ganiqa_jax.models", "Teacher"),
    "as_loss": ("ganiqa_jax.differentiable", "as_loss"),
    "create_scorer": ("ganiqa_jax.scoring.engine", "create_scorer"),
    "load": ("ganiqa_jax.release", "load_model"),
}

__all__ = ["Scorer", "Student", "Teacher", "as_loss", "create_scorer", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ganiqa_jax' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
