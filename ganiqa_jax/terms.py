"""The terms of both losses: which prediction is held against what, row by row.

Each function returns scalars by the name of their weight in the configuration. A term
of weight 0 is not computed.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ganiqa_jax import losses
from ganiqa_jax.config import DistillWeights, TeacherWeights
from ganiqa_jax.models.features import DISTILLED_MAPS
from ganiqa_jax.types import Batch, Metrics, NetworkOutput

MATCHED_STATISTICS = ("difference", "encoded")


def distillation_terms(
    student: NetworkOutput,
    teacher: NetworkOutput,
    row_weights: Float[Array, " P"],
    mask: Bool[Array, " P"],
    weights: DistillWeights,
) -> Metrics:
    """The terms between student and teacher, each a scalar.

    A term is the mean over counted rows of weight times value: it is not divided by
    the weights, or a ramp that all rows share would cancel.

    Args:
      student: its maps already through the adapters.
      teacher: its values; gradients are the caller's concern.
      row_weights: weight of each pair; 0 leaves a row out.
      mask: pairs that count.
      weights: a term of weight 0 is not computed.
    """
    counted = mask.astype(jnp.float32)

    def mean(values: Float[Array, " P"]) -> Array:
        return losses.masked_mean(values * row_weights, counted)

    parts: Metrics = {}
    if weights.score:
        parts["score"] = mean(losses.smooth_l1(student.z, teacher.z))
    if weights.soft and student.logits is not None and teacher.logits is not None:
        parts["soft"] = mean(
            losses.soft_label_loss(student.logits, teacher.logits, weights.temperature)
        )
    if weights.feature:
        maps = zip(DISTILLED_MAPS, weights.feature_maps, strict=True)
        parts["feature"] = sum(
            (
                scale
                * mean(
                    losses.feature_loss(student.features[name], teacher.features[name])
                )
                for name, scale in maps
                if scale
            ),
            start=jnp.zeros(()),
        )
    if weights.statistics:
        parts["statistics"] = sum(
            (
                losses.statistics_loss(
                    student.features[name], teacher.features[name], row_weights
                )
                for name in MATCHED_STATISTICS
            ),
            start=jnp.zeros(()),
        )
    return parts


def drop_term(
    student: tuple[Float[Array, " P"], Float[Array, " P"]],
    teacher: tuple[Float[Array, " P"], Float[Array, " P"]],
    row_weights: Float[Array, " P"],
    mask: Bool[Array, " P"],
    share: float,
) -> Float[Array, ""]:
    """How much less damage costs by the student than a share of what the teacher says.

    A photograph and a generated picture, or two standardised scales, differ by an
    offset that the teacher of pairs knows nothing of. It cancels here. A hinge, as in
    ranking: what the student holds damage for beyond that is for people to say.

    Args:
      student: z of the references, and of the distorted pictures.
      teacher: z of the references held against themselves, and of the pairs.
      row_weights: weight of each pair.
      mask: pairs that count.
      share: of the teacher's fall, in z units of both, that the student's is to reach.
    """
    fall, aim = (reference - distorted for reference, distorted in (student, teacher))
    values = jax.nn.relu(share * aim - fall)
    return losses.masked_mean(values * row_weights, mask.astype(jnp.float32))


def teacher_terms(
    output: NetworkOutput, batch: Batch, weights: TeacherWeights
) -> Metrics:
    """What the teacher learns from: squared error, order, score bins."""
    rows = batch.mask.astype(jnp.float32)
    parts = {"mse": losses.masked_mean((output.z - batch.mos) ** 2, rows)}
    parts |= _order_terms(output.z, batch.mos, batch, rows, weights)
    if weights.bins and output.logits is not None:
        parts["bins"] = losses.masked_mean(
            losses.bin_cross_entropy(output.logits, batch.mos), rows
        )
    return parts


def score_terms(
    output: NetworkOutput,
    mos: Float[Array, " B"],
    batch: Batch,
    row_weights: Float[Array, " B"],
    weights: DistillWeights,
) -> Metrics:
    """What the student learns from scores, its own or pseudo-labels."""
    labelled = row_weights * batch.labelled
    parts = {"hard": losses.masked_mean(losses.smooth_l1(output.z, mos), labelled)}
    return parts | _order_terms(output.z, mos, batch, row_weights, weights)


def _order_terms(
    z: Float[Array, " B"],
    mos: Float[Array, " B"],
    batch: Batch,
    row_weights: Float[Array, " B"],
    weights: TeacherWeights | DistillWeights,
) -> Metrics:
    parts: Metrics = {}
    if weights.rank:
        parts["rank"] = losses.rank_loss(
            z, mos, weights=row_weights, source=batch.source, content=batch.content
        )
    if weights.plcc:
        parts["plcc"] = losses.plcc_loss(
            z, mos, weights=row_weights, source=batch.source
        )
    return parts
