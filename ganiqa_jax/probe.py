"""The start of a student on a pretrained trunk: its head fitted before the rest.

A head that starts at random sends large gradients into the trunk and spoils features
that are good already. So the trunk's channels are first standardised and the head is
fitted on them, while the trunk stands still; then everything learns together.

Source: Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution, ICLR 2022, arXiv:2202.10054. The trunk is run once over a few
crops of each picture, so that the fit itself takes seconds.
"""

import dataclasses
import functools
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ganiqa_jax import losses
from ganiqa_jax.config import DistillConfig, ProbeConfig
from ganiqa_jax.data.mixture import Mixture
from ganiqa_jax.models import Student
from ganiqa_jax.models.quality import MomentBranch, QualityHead
from ganiqa_jax.progress import track
from ganiqa_jax.types import NetworkOutput, Params

BRANCH, HEAD = "semantic", "head"
ROWS = 32
"""Crops that the trunk sees at a time."""
BATCH = 256
"""Crops of a step of the fit."""


class Seen(NamedTuple):
    """What the trunk says of N crops, and what people say of their pictures.

    Attributes:
      moments: of every channel, as `models.quality.moments_of` gives them.
      z: standardised opinion scores.
    """

    moments: Float[np.ndarray, "N M"]
    z: Float[np.ndarray, " N"]


def alone(mixture: Mixture, number: int) -> Mixture:
    """One source of a mixture by itself; of labelled pairs only the pictures."""
    source = mixture.sources[number]
    role = "pictures" if source.labelled else source.role
    source = dataclasses.replace(source, role=role, rows=ROWS, weight=0.0)
    return dataclasses.replace(
        mixture, sources=(source,), shared_pair_rows=0, shared_picture_rows=0
    )


def start_from_trunk(
    network: Student,
    variables: dict[str, Params],
    pictures: Mixture,
    config: DistillConfig,
    *,
    progress: bool,
) -> dict[str, Params]:
    """Standardises the channels of a pretrained trunk and fits the head on them.

    Args:
      network: with a pretrained trunk and the semantic branch.
      variables: its variables, pretrained arrays in place.
      pictures: what the head is fitted to, by `alone`.
      config: `probe` and the seed are used.
      progress: a bar on standard error.

    Returns:
      The variables with new arrays in `frozen` (mean and variance of the channels)
      and, if `probe.steps` is not 0, in `params` (branch and head). The head then
      passes over the pooled map, which has learned nothing yet.
    """
    seen = see(network, variables, pictures, config.probe.crops, progress=progress)
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
    parts = {name: variables["params"][name] for name in (BRANCH, HEAD)}
    key = jax.random.fold_in(jax.random.key(config.seed), 3)
    fitted = fit(parts, frozen[BRANCH], seen, network.config, config.probe, key)
    return {**started, "params": {**variables["params"], **fitted}}


def see(
    network: Student,
    variables: dict[str, Params],
    pictures: Mixture,
    crops: int,
    *,
    progress: bool,
) -> Seen:
    """Runs the trunk over so many random crops of each picture of one source."""
    from ganiqa_jax.data.pipeline import batches

    total = crops * len(pictures.sources[0].records)
    steps = -(-total // pictures.batch_size)

    @jax.jit
    def moments(variables: Any, pictures: Float[Array, "B H W 3"]) -> Array:
        # What the moments do not depend on is not computed.
        output = cast(NetworkOutput, network.apply(variables, pictures))
        return output.features["moments"]

    rows = [
        (np.asarray(moments(variables, batch.distorted)), np.asarray(batch.mos))
        for batch in track(
            batches(pictures, steps=steps), steps, "trunk over pictures", progress
        )
    ]
    found = [np.concatenate(part)[:total] for part in zip(*rows, strict=True)]
    return Seen(*found)


def fit(
    parts: Params,
    frozen: Params,
    seen: Seen,
    network: Any,
    config: ProbeConfig,
    key: Key[Array, ""],
) -> Params:
    """Fits branch and head to the scores, the pooled map held at zero.

    Args:
      parts: `semantic` and `head` of the student's parameters.
      frozen: `semantic` of its frozen arrays.
      seen: what to fit to.
      network: the student's configuration.
      config: length, rate and decay.
      key: decides order and dropout.

    Returns:
      Both parts, fitted; weights of the head on the pooled map are zero.
    """
    branch = MomentBranch(network.width, network.dropout, fixed_statistics=True)
    head = QualityHead(network.width, network.bins, network.dropout)
    optimizer = optax.adamw(
        optax.schedules.cosine_decay_schedule(config.peak_lr, config.steps),
        weight_decay=config.weight_decay,
        mask=functools.partial(jax.tree.map, lambda leaf: leaf.ndim > 1),
    )
    moments, z = jnp.asarray(seen.moments), jnp.asarray(seen.z)

    def loss_fn(parts: Params, rows: Array, key: Array) -> Array:
        branch_key, head_key = jax.random.split(key)
        vector = branch.apply(
            {"params": parts[BRANCH], "frozen": frozen},
            moments[rows],
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
        return losses.smooth_l1(predicted, z[rows]).mean()

    def step(carry: Any, number: Array) -> tuple[Any, None]:
        parts, state = carry
        row_key, drop_key = jax.random.split(jax.random.fold_in(key, number))
        rows = jax.random.randint(row_key, (BATCH,), 0, len(z))
        grads = jax.grad(loss_fn)(parts, rows, drop_key)
        updates, state = optimizer.update(grads, state, parts)
        return (optax.apply_updates(parts, updates), state), None

    @jax.jit
    def run(parts: Params) -> Params:
        start = (parts, optimizer.init(parts))
        return jax.lax.scan(step, start, jnp.arange(config.steps))[0][0]

    fitted = run(parts)
    kernel = fitted[HEAD]["hidden"]["kernel"].at[: network.width].set(0.0)
    hidden = {**fitted[HEAD]["hidden"], "kernel": kernel}
    return {**fitted, HEAD: {**fitted[HEAD], "hidden": hidden}}
