"""The networks."""

from ganiqa_jax.models.student import Student
from ganiqa_jax.models.teacher import Teacher

__all__ = ["Student", "Teacher"]
