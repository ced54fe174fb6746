"""What a pretrained backbone says of pairs, channel by channel, before any learning.

Pairs with scores are seen as scoring will see them; pairs that are made as they are
read, in windows of the same size. What nobody scored is worth its likeness.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import Array

from ganiqa_jax.config import Preprocessing
from ganiqa_jax.data.mixture import Mixture, SourceData
from ganiqa_jax.data.reading import open_picture, open_record
from ganiqa_jax.models import Teacher
from ganiqa_jax.models.comparison import z_of_likeness
from ganiqa_jax.moments import Seen, only, read
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.cropping import views
from ganiqa_jax.types import NetworkOutput, Params

ROWS = 8
"""Windows that the backbone sees at a time."""

Pairs = Iterator[tuple[Any, Any, Any]]
"""References and distorted pictures, [N, S, S, 3] in [0, 1], and z of the first of
them; what follows those only fills a batch."""


def see_compared(
    network: Teacher,
    variables: dict[str, Params],
    mixture: Mixture,
    view: Preprocessing,
    windows: int,
    *,
    progress: bool,
) -> Seen:
    """Runs the backbone over the pairs of every source.

    Args:
      network: a teacher of `TeacherConfig.channels`.
      variables: its variables, pretrained arrays in place.
      mixture: of a run.
      view: how pictures with scores become crops; a window has the side of one.
      windows: of each source that makes its pairs.
      progress: a bar on standard error.

    Returns:
      A row for each crop of a picture and for each window.

    Raises:
      InputError: if a picture cannot be read, or a pair differs in size; names the
        file.
    """
    seen: list[Seen] = []
    for source in mixture.sources:
        if source.kinds:
            pairs = _windows(mixture, source, view.crop, windows, progress)
        else:
            pairs = _pictures(source, view, progress)
        for reference, distorted, z in pairs:
            found = _compared(variables, reference, distorted, network=network)
            channels, said = (np.asarray(each)[: len(z)] for each in found)
            seen.append(Seen(channels, np.where(np.isnan(z), said, z)))
    return Seen(*map(np.concatenate, zip(*seen, strict=True)))


@functools.partial(jax.jit, static_argnames="network")
def _compared(
    variables: Any, reference: Array, distorted: Array, *, network: Teacher
) -> list[Array]:
    """Channels, and z of the likeness."""
    # What the comparison does not depend on is not computed.
    output = cast(NetworkOutput, network.apply(variables, reference, distorted))
    features = output.features
    return [features["channels"], z_of_likeness(features["likeness"])]


def _pictures(source: SourceData, view: Preprocessing, progress: bool) -> Pairs:
    """All crops of each pair, and z of people."""
    records = source.records
    as_they_are = dataclasses.replace(source, short_side=0)
    for record in track(records, len(records), "backbone over pairs", progress):
        pair = open_record(record, as_they_are, open_picture)
        crops = (views(picture.whole(), view)[0] for picture in pair)
        distorted, reference = (np.divide(x, 255, dtype=np.float32) for x in crops)
        z, _ = source.target(record, np.nan)
        yield reference, distorted, np.full(len(reference), z, np.float32)


def _windows(
    mixture: Mixture, source: SourceData, side: int, number: int, progress: bool
) -> Pairs:
    """Damaged windows, and their grades; NaN where they have none."""
    if not number:
        return
    alone = only(
        dataclasses.replace(mixture, crop=side), dataclasses.replace(source, rows=ROWS)
    )
    for batch in read(alone, range(number), "backbone over damage", progress):
        yield batch.reference, batch.distorted, np.asarray(batch.mos)[:number]
        number -= ROWS
