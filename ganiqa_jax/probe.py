"""The start of a student on a pretrained trunk: its head fitted before the rest.

A head that starts at random sends large gradients into the trunk and spoils features
that are good already. So the trunk's channels are first standardised and the head is
fitted on them, while the trunk stands still; then everything learns together.

Source: Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution, ICLR 2022, arXiv:2202.10054. The trunk is run once over a few
crops of each picture, so that the fit itself takes seconds.

Where a teacher grades damage, the fit also sees pairs: windows of photographs and of
the scored pictures, damaged, whose fall in score may not be much less than the
teacher's. Scores alone leave a head that some kinds of damage please.
"""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from ganiqa_jax import losses, release
from ganiqa_jax.config import DistillConfig, DistillWeights
from ganiqa_jax.data.mixture import Mixture, SourceData
from ganiqa_jax.data.records import Record
from ganiqa_jax.data.sources import Source, check_unseen, split_path
from ganiqa_jax.models import Student
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
    branch = variables["frozen"][BRANCH]
    norm = {
        **branch["norm"],
        "mean": jnp.asarray(seen.moments.mean(axis=0)),
        "var": jnp.asarray(seen.moments.var(axis=0)),
    }
    frozen = {**variables["frozen"], BRANCH: {**branch, "norm": norm}}
    started = {**variables, "frozen": frozen}
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
    parts = {name: variables["params"][name] for name in (BRANCH, HEAD)}
    fitted = fit(parts, frozen[BRANCH], seen, seen_pairs, config)
    return {**started, "params": {**variables["params"], **fitted}}


def _files(records: Sequence[Record]) -> set[Path]:
    both = ((record.distorted, record.reference) for record in records)
    return {path for pair in both for path in pair if path is not None}


def fit(
    parts: Params,
    frozen: Params,
    seen: Seen,
    pairs: SeenPairs | None,
    config: DistillConfig,
) -> Params:
    """Fits branch and head to the scores, the pooled map held at zero.

    Args:
      parts: `semantic` and `head` of the student's parameters.
      frozen: `semantic` of its frozen arrays.
      seen: what to fit to.
      pairs: what damage is to cost, weighted by `weights.drop`; None leaves it out.
      config: the student's network, length, rate and decay of the fit, and the seed,
        which decides order and dropout.

    Returns:
      Both parts, fitted; weights of the head on the pooled map are zero. Scale and
      bias of each channel stay: without decay they fit what chance made of it.
    """
    key = jax.random.fold_in(jax.random.key(config.seed), 3)
    channels = {"norm": parts[BRANCH]["norm"]}
    learned = {name: array for name, array in parts[BRANCH].items() if name != "norm"}
    start = {HEAD: parts[HEAD], BRANCH: learned}
    fitted = _fit(start, (channels, frozen), seen, pairs, key, config=config)
    kernel = fitted[HEAD]["hidden"]["kernel"].at[: config.student.width].set(0.0)
    hidden = {**fitted[HEAD]["hidden"], "kernel": kernel}
    return {
        BRANCH: {**fitted[BRANCH], **channels},
        HEAD: {**fitted[HEAD], "hidden": hidden},
    }


# What is fitted to comes as arguments: as constants it would be part of the program,
# and so of what is kept of it on disk.
@functools.partial(jax.jit, static_argnames="config")
def _fit(
    parts: Params,
    standing: tuple[Params, Params],
    seen: Seen,
    pairs: SeenPairs | None,
    key: Array,
    *,
    config: DistillConfig,
) -> Params:
    """All steps of `fit`; `standing` are parameters and arrays that stay."""
    network, probe = config.student, config.probe
    channels, frozen = standing
    branch = MomentBranch(
        network.width,
        network.dropout,
        network.moment_noise,
        fixed_statistics=True,
    )
    head = QualityHead(network.width, network.bins, network.dropout)
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
        if pairs is None:
            return loss
        cost = drop(parts, pairs, config.weights, jax.random.fold_in(key, 1))
        return loss + config.weights.drop * cost

    def step(carry: Any, number: Array) -> tuple[Any, None]:
        parts, state = carry
        row_key, drop_key = jax.random.split(jax.random.fold_in(key, number))
        rows = jax.random.randint(row_key, (BATCH,), 0, len(seen.z))
        grads = jax.grad(loss_fn)(parts, rows, drop_key)
        updates, state = optimizer.update(grads, state, parts)
        return (optax.apply_updates(parts, updates), state), None

    start = (parts, optimizer.init(parts))
    return jax.lax.scan(step, start, jnp.arange(probe.steps))[0][0]
