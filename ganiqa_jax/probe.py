"""The start of a network on pretrained features: its head fitted before the rest.

A head that starts at random sends large gradients into the trunk and spoils features
that are good already. So the trunk's channels are first standardised and the head is
fitted on them, while the trunk stands still; then everything learns together.

Source: Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution, ICLR 2022, arXiv:2202.10054. The trunk is run once over a few
crops of each picture, so that the fit itself takes seconds. So starts a teacher that
compares channels, on what its backbone says of pairs.

Where a teacher grades damage, the fit also sees pairs: windows of photographs and of
the scored pictures, damaged, whose fall in score may not be much less than the
teacher's. Scores alone leave a head that some kinds of damage please.
"""

import dataclasses
import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from ganiqa_jax import losses, moments, release
from ganiqa_jax.compared import see_compared
from ganiqa_jax.config import (
    DistillConfig,
    DistillWeights,
    FitConfig,
    StudentConfig,
    TeacherConfig,
    TeacherTrainConfig,
)
from ganiqa_jax.data.mixture import Mixture, SourceData
from ganiqa_jax.data.records import Record
from ganiqa_jax.data.sources import (
    Source,
    check_unseen,
    read_records,
    split_path,
)
from ganiqa_jax.models import Student, Teacher
from ganiqa_jax.models import student as students
from ganiqa_jax.models import teacher as teachers
from ganiqa_jax.models.quality import MomentBranch, QualityHead
from ganiqa_jax.moments import Seen, SeenPairs, see, see_pairs
from ganiqa_jax.release import LoadedModel
from ganiqa_jax.released import find_model, is_model
from ganiqa_jax.terms import drop_term
from ganiqa_jax.types import Params

logger = logging.getLogger("ganiqa_jax")

BRANCH, HEAD = "semantic", "head"
BATCH = 256
"""Crops of a step of the fit."""
PAIR_BATCH = 64
"""Pairs of a step of the fit."""


class Readers(NamedTuple):
    """What is fitted, without its parameters.

    Attributes:
      branch: reads what features say.
      head: gives the score.
    """

    branch: MomentBranch
    head: QualityHead


def readers_of(config: StudentConfig | TeacherConfig) -> Readers:
    """Those of a network on pretrained features, in float32."""
    config = dataclasses.replace(config, dtype="float32")
    if isinstance(config, StudentConfig):
        return Readers(students.moment_branch(config), students.quality_head(config))
    return Readers(teachers.moment_branch(config), teachers.quality_head(config))


def check_trunk(path: str | None, sources: Sequence[Source]) -> None:
    """What is tested on must not have trained the trunk, if it is that of a model.

    A released model does not say which contents it saw; then there is a warning.

    Args:
      path: `trunk_weights` of the student.
      sources: of the new run.

    Raises:
      InputError: if a source holds out what is known to have trained it.
    """
    folder = path and find_model(path)
    if not folder or not is_model(folder):
        return
    card = release.read_card(folder)
    for source in sources:
        check_unseen(folder, source, "student of the trunk")
        name, tested = source.config.dataset, any(source.split[1:])
        if name in card.data and tested and not split_path(folder, name).exists():
            logger.warning(
                "The trunk of %s was trained on %s, perhaps on what this run holds "
                "out: what is measured there flatters.",
                path,
                name,
            )


def start_from_trunk(
    network: Student,
    variables: dict[str, Params],
    pictures: Sequence[Mixture],
    config: DistillConfig,
    *,
    scored: SourceData,
    pairs: Sequence[Mixture] = (),
    teacher: LoadedModel | None = None,
    progress: bool,
) -> dict[str, Params]:
    """Standardises the channels of a pretrained trunk and fits the head on them.

    Args:
      network: with a pretrained trunk and the semantic branch.
      variables: its variables, pretrained arrays in place.
      pictures: what the head is fitted to, by `moments.alone` of the whole source; once
        for each size at which it is seen.
      config: `probe`, the seed and of the weights those of the drop are used.
      scored: the training part of that source; the rest is not learned from.
      pairs: what damage is learned from, by `moments.damaged` of the whole source.
      teacher: says what it costs; without one there is no need for pairs.
      progress: a bar on standard error.

    Returns:
      The variables with new arrays in `frozen` (mean and variance of the channels)
      and, if `probe.steps` is not 0, in `params` (branch and head). The head then
      passes over the pooled map, which has learned nothing yet.
    """
    held_out = _files(pictures[0].sources[0].records) - _files(scored.records)
    view = config.preprocessing if config.student.detail else None
    found = [
        see(
            network,
            variables,
            at_one_size,
            config.probe.crops,
            parts=config.probe.parts,
            view=view,
            held_out=held_out,
            progress=progress,
        )
        for at_one_size in pictures
    ]
    seen = Seen(*map(np.concatenate, zip(*found, strict=True)))
    seen = seen._replace(z=(seen.z - scored.mean) / scored.std)
    started = _standardised(variables, seen)
    if not config.probe.steps:
        return started
    seen_pairs = None
    if pairs and teacher is not None and config.probe.pairs and config.weights.drop:
        seen_pairs = see_pairs(
            network,
            variables,
            teacher,
            pairs,
            config.probe.pairs,
            view=view,
            held_out=held_out,
            progress=progress,
        )
    return fit(started, readers_of(config.student), seen, seen_pairs, config)


def start_student(
    network: Student,
    variables: dict[str, Params],
    mixture: Mixture,
    config: DistillConfig,
    *,
    sources: Sequence[Source],
    teacher: LoadedModel | None,
    progress: bool,
) -> dict[str, Params]:
    """`start_from_trunk` on the sources of a run: scores of the public scale first.

    Args:
      network: with a pretrained trunk and the semantic branch.
      variables: its variables, pretrained arrays in place.
      mixture: of the run.
      config: of the run.
      sources: those of the mixture, with their splits.
      teacher: what the run distils.
      progress: a bar on standard error.
    """
    public = [source.dataset for source in config.data.sources].index(config.data.scale)
    labelled = [n for n, source in enumerate(mixture.sources) if source.labelled]
    # Where nobody scored anything, the teacher's word is what there is to fit to.
    number = public if public in labelled or not labelled else labelled[0]
    scored = mixture.sources[number]
    every = read_records(sources[number].config) if scored.labelled else ()
    sizes = moments.sizes(mixture, number, every, config.probe)
    return start_from_trunk(
        network,
        variables,
        [moments.alone(size, number) for size in sizes],
        config,
        scored=scored,
        pairs=[pairs for size in sizes for pairs in moments.damaged(size, number)],
        teacher=teacher,
        progress=progress,
    )


def start_teacher(
    network: Teacher,
    variables: dict[str, Params],
    mixture: Mixture,
    config: TeacherTrainConfig,
    *,
    progress: bool,
) -> dict[str, Params]:
    """Standardises compared channels and fits the head of a teacher on them.

    Args:
      network: of `TeacherConfig.channels`, with a pretrained backbone.
      variables: its variables, pretrained arrays in place.
      mixture: of the run; all of it is learned from.
      config: `probe`, `preprocessing` and the seed are used.
      progress: a bar on standard error.

    Returns:
      As `start_from_trunk`.
    """
    seen = see_compared(
        network,
        variables,
        mixture,
        config.preprocessing,
        config.probe.pairs,
        progress=progress,
    )
    started = _standardised(variables, seen)
    if not config.probe.steps:
        return started
    return fit(started, readers_of(config.teacher), seen, None, config)


def _files(records: Sequence[Record]) -> set[Path]:
    both = ((record.distorted, record.reference) for record in records)
    return {path for pair in both for path in pair if path is not None}


def _standardised(variables: dict[str, Params], seen: Seen) -> dict[str, Params]:
    """With mean and variance of each channel in `frozen`."""
    branch = variables["frozen"][BRANCH]
    norm = {
        **branch["norm"],
        "mean": jnp.asarray(seen.moments.mean(axis=0)),
        "var": jnp.asarray(seen.moments.var(axis=0)),
    }
    frozen = {**variables["frozen"], BRANCH: {**branch, "norm": norm}}
    return {**variables, "frozen": frozen}


def fit(
    variables: dict[str, Params],
    readers: Readers,
    seen: Seen,
    pairs: SeenPairs | None,
    config: DistillConfig | TeacherTrainConfig,
) -> dict[str, Params]:
    """Fits branch and head to the scores, the pooled map held at zero.

    Args:
      variables: of the network; `semantic` and `head` of its parameters are fitted.
      readers: what has those parameters.
      seen: what to fit to.
      pairs: what damage is to cost, weighted by `weights.drop` of a distillation; None
        leaves it out.
      config: length, rate and decay of the fit, and the seed, which decides order and
        dropout.

    Returns:
      The variables with both parts fitted; weights of the head on the pooled map are
      zero. Scale and bias of each channel stay: without decay they fit what chance
      made of it.
    """
    parts = variables["params"]
    key = jax.random.fold_in(jax.random.key(config.seed), 3)
    channels = {"norm": parts[BRANCH]["norm"]}
    learned = {name: array for name, array in parts[BRANCH].items() if name != "norm"}
    fitted = _fit(
        {HEAD: parts[HEAD], BRANCH: learned},
        (channels, variables["frozen"][BRANCH]),
        seen,
        pairs,
        key,
        readers=readers,
        probe=config.probe,
        weights=config.weights if isinstance(config, DistillConfig) else None,
    )
    width = readers.branch.width
    kernel = fitted[HEAD]["hidden"]["kernel"].at[:width].set(0.0)
    hidden = {**fitted[HEAD]["hidden"], "kernel": kernel}
    both = {
        BRANCH: {**fitted[BRANCH], **channels},
        HEAD: {**fitted[HEAD], "hidden": hidden},
    }
    return {**variables, "params": {**parts, **both}}


# What is fitted to comes as arguments: as constants it would be part of the program,
# and so of what is kept of it on disk.
@functools.partial(jax.jit, static_argnames=("readers", "probe", "weights"))
def _fit(
    parts: Params,
    standing: tuple[Params, Params],
    seen: Seen,
    pairs: SeenPairs | None,
    key: Array,
    *,
    readers: Readers,
    probe: FitConfig,
    weights: DistillWeights | None,
) -> Params:
    """All steps of `fit`; `standing` are parameters and arrays that stay."""
    branch, head = readers
    channels, frozen = standing
    optimizer = optax.adamw(
        optax.schedules.cosine_decay_schedule(probe.peak_lr, probe.steps),
        weight_decay=probe.weight_decay,
        mask=functools.partial(jax.tree.map, lambda leaf: leaf.ndim > 1),
    )

    def predict(parts: Params, moments: Array, key: Array) -> Array:
        branch_key, head_key = jax.random.split(key)
        vector = branch.apply(
            {"params": {**parts[BRANCH], **channels}, "frozen": frozen},
            moments,
            train=True,
            rngs={"dropout": branch_key},
        )
        pooled = jnp.zeros_like(cast(Array, vector))
        predicted, _ = cast(
            tuple[Array, Any],
            head.apply(
                {"params": parts[HEAD]},
                jnp.concatenate([pooled, cast(Array, vector)], axis=-1),
                train=True,
                rngs={"dropout": head_key},
            ),
        )
        return predicted

    def drop(parts: Params, pairs: SeenPairs, weights: DistillWeights, key: Array):
        rows_key, drop_key = jax.random.split(key)
        rows = jax.random.randint(rows_key, (PAIR_BATCH,), 0, len(pairs.fall))
        chosen = jax.tree.map(lambda array: array[rows], pairs)
        # One key for both: the same units are dropped in a window and its damage.
        student = (
            predict(parts, chosen.undamaged, drop_key),
            predict(parts, chosen.damaged, drop_key),
        )
        aim = chosen.fall, jnp.zeros(PAIR_BATCH)
        equal, every = jnp.ones(PAIR_BATCH), jnp.ones(PAIR_BATCH, bool)
        return drop_term(student, aim, equal, every, weights.drop_share)

    def loss_fn(parts: Params, rows: Array, key: Array) -> Array:
        predicted = predict(parts, seen.moments[rows], key)
        loss = losses.smooth_l1(predicted, seen.z[rows]).mean()
        if pairs is None or weights is None:
            return loss
        cost = drop(parts, pairs, weights, jax.random.fold_in(key, 1))
        return loss + weights.drop * cost

    def step(carry: Any, number: Array) -> tuple[Any, None]:
        parts, state = carry
        row_key, drop_key = jax.random.split(jax.random.fold_in(key, number))
        rows = jax.random.randint(row_key, (BATCH,), 0, len(seen.z))
        grads = jax.grad(loss_fn)(parts, rows, drop_key)
        updates, state = optimizer.update(grads, state, parts)
        return (optax.apply_updates(parts, updates), state), None

    start = (parts, optimizer.init(parts))
    return jax.lax.scan(step, start, jnp.arange(probe.steps))[0][0]
