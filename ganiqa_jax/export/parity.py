"""Proof that an exported network gives the scores of the network it was made from."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ganiqa_jax.card import ModelCard
from ganiqa_jax.errors import CheckError, InputError
from ganiqa_jax.scoring.decode import MAX_PIXELS
from ganiqa_jax.scoring.loading import LoadRules, load_picture

TOLERANCE = 1e-4
"""Largest difference of z; that of a score is a fraction of it."""

HALF_TOLERANCE = 1e-2
"""The same for weights rounded to float16: about 0.002 of a score."""

BATCHES = (1, 3, 8)
"""Numbers of crops that are compared: one, an odd number, and all."""

Crops = tuple[UInt8[np.ndarray, "N S S 3"], ...]
Compute = Callable[[Crops], np.ndarray]


@dataclass(frozen=True)
class Parity:
    """What was compared, and how far apart it was.

    Attributes:
      difference: largest of z.
      tolerance: that was allowed.
      batches: numbers of crops.
      pictures: real ones among them; the rest are drawn.
    """

    difference: float
    tolerance: float
    batches: tuple[int, ...]
    pictures: int


def prove(
    network: Compute,
    exported: Compute,
    card: ModelCard,
    pictures: Sequence[Path] = (),
    tolerance: float = TOLERANCE,
) -> Parity:
    """Compares two computations of z on the same crops.

    Args:
      network: the original.
      exported: what was made of it.
      card: of the model.
      pictures: to compare on, beside those that are drawn; a teacher compares each
        with a darker copy of itself.
      tolerance: of z.

    Raises:
      InputError: if a picture cannot be read.
      CheckError: if z differs by `tolerance` or more, or is not finite in one alone.
    """
    worst = 0.0
    crops = _crops(card, pictures)
    for number in BATCHES:
        batches = len(crops[0]) // number
        if number < max(BATCHES):
            batches = min(batches, 2)  # what is compared here is the size
        for start in range(0, batches * number, number):
            batch = tuple(side[start : start + number] for side in crops)
            wanted, got = network(batch), exported(batch)
            worst = max(worst, _apart(wanted, got))
    if worst >= tolerance:
        raise CheckError(
            f"The export of {card.name} differs from it by {worst:.2e} in z, more than "
            f"{tolerance:g}: nothing written."
        )
    return Parity(worst, tolerance, BATCHES, len(pictures))


def _apart(wanted: np.ndarray, got: np.ndarray) -> float:
    """The largest difference; infinite if one alone has a value that is not finite,
    or if there is none that is."""
    finite = np.isfinite(wanted)
    if (
        got.shape != wanted.shape
        or not finite.any()
        or (finite != np.isfinite(got)).any()
    ):
        return math.inf
    return float(np.abs(wanted - got)[finite].max())


def _crops(card: ModelCard, pictures: Sequence[Path]) -> Crops:
    """At least as many crops as the largest batch has."""
    rules = LoadRules(card.preprocessing, MAX_PIXELS)
    seen: list[Crops] = []
    for source in [*pictures, *_drawn(card.preprocessing.crop)]:
        loaded = load_picture(source, str(source)[:80], rules)
        if loaded.status != "ok":
            raise InputError(f"{loaded.path}: {loaded.error}")
        seen.append(loaded.crops)
    crops = tuple(map(np.concatenate, zip(*seen, strict=True)))
    return (*crops, crops[0] // 2 + 20) if card.role == "teacher" else crops


def _drawn(side: int) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Pictures of every roughness, and flat ones: black and white are hard cases."""
    random = np.random.default_rng(0)
    height, width = side + side // 3, side + side // 2
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]
    radius = np.hypot(rows, columns) + 1 / max(height, width)
    for steepness in (0.0, 0.7, 1.0, 1.3, 2.0):
        noise = random.normal(size=(height, width, 3))
        spectrum = np.fft.fft2(noise, axes=(0, 1)) / radius[..., None] ** steepness
        waves = np.fft.ifft2(spectrum, axes=(0, 1)).real
        waves = 128 + 55 * (waves - waves.mean()) / waves.std()
        yield waves.clip(0, 255).astype(np.uint8)
    for level in (0, 90, 255):
        yield np.full((height, width, 3), level, np.uint8)
