"""Image quality of generated pictures: teacher, distilled student, scorer."""

__version__ = "0.1.0"
