"""What the page of the demo says of its own numbers."""

import pytest

from ganiqa_jax.demo import verdict
from ganiqa_jax.evaluate import Evaluation
from ganiqa_jax.metrics import Estimate


@pytest.mark.parametrize(
    ("low", "said"), [(0.1, "carry over"), (0.0, "not learned"), (-0.2, "not learned")]
)
def test_a_student_is_praised_only_beyond_chance(low, said):
    estimates = {"srcc": Estimate(0.3, low, 0.5)}
    student = Evaluation(
        "student",
        "0",
        "0",
        "synthetic",
        "test",
        "0",
        "",
        9,
        3,
        0,
        estimates,
        True,
        None,
    )
    assert said in verdict(student) and f"{low:.2f} to 0.50" in verdict(student)
