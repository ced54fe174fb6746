"""Shapes and containers that every other module shares.

Dimension letters in annotations: B batch rows, P rows of a batch that have a
reference (always its first P rows), H W height and width, C channels, N tokens
or crops, K score bins, S crop side, G heads, D model width.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int

Params = Mapping[str, Any]
"""A nested dict of arrays: the inner dict of one linen collection."""

Metrics = dict[str, Array]


class Batch(NamedTuple):
    """One fixed-shape batch; its first P rows have a reference picture.

    Attributes:
      distorted: pictures in [0, 1].
      reference: pristine pictures of rows 0 to P-1, in [0, 1]; P may be 0.
      mos: z-scored opinion score of each row, by the mean and deviation of the
        training part of its own data set; for an unlabelled row the teacher's
        pseudo-label in the same units, or 0 before there is one, or NaN for the
        teacher's own word in the step.
      mask: rows that count; padding of a tail is False.
      labelled: rows whose `mos` is a human (or graded) score.
      confidence: weight in [0, 1] of an unlabelled row's pseudo-label; 1 for
        labelled rows.
      source: which data set of the configuration a row is from. Scores are
        compared between rows of one source only.
      content: number of the reference scene or prompt within the source.
      index: global position of the row in the data order; it keys augmentation
        and names a row in an error message.
    """

    distorted: Float[Array, "B H W 3"]
    reference: Float[Array, "P H W 3"]
    mos: Float[Array, " B"]
    mask: Bool[Array, " B"]
    labelled: Bool[Array, " B"]
    confidence: Float[Array, " B"]
    source: Int[Array, " B"]
    content: Int[Array, " B"]
    index: Int[Array, " B"]


class NetworkOutput(NamedTuple):
    """What both networks return.

    Attributes:
      z: the predicted score in units of the training scores' deviation.
      logits: score-bin logits, or None for a network without bins.
      features: the named intermediates that distillation compares:
        `difference` (after DSC), `reference` (after DSC), `encoded`, `decoded`,
        each [B, n, n, D], `pooled` [B, D] (the decoder map averaged, before the
        semantic branch joins) and, with the semantic branch, `semantic` [B, D]; of a
        teacher that compares channels those, [B, K], and their `likeness` [B]; of
        the student then also `moments` [B, M], what that branch reads, and where it
        is asked for `quality` [B, n, m], z of the surroundings of each cell.
    """

    z: Float[Array, " B"]
    logits: Float[Array, "B K"] | None
    features: dict[str, Array]
