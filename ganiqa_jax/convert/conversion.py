"""One conversion from a file or folder to another: what is read, checked, written.

Everything is matched by name and shape first; nothing is written unless every array
has its counterpart. The report says which array went where.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ganiqa_jax import release
from ganiqa_jax.config_json import to_json
from ganiqa_jax.convert import own
from ganiqa_jax.convert.backbones import (
    ARCHITECTURES,
    detect,
    guess,
    links_of,
    whole_shapes,
)
from ganiqa_jax.convert.files import Weights, read_weights, write_weights
from ganiqa_jax.convert.links import (
    Arrays,
    Link,
    Match,
    Shapes,
    match,
    refuse,
    shapes,
    their_shapes,
    to_ours,
    to_theirs,
)
from ganiqa_jax.convert.predecessors import PREDECESSORS, PREFIX, Predecessor
from ganiqa_jax.errors import InputError, IntegrityError
from ganiqa_jax.release import LoadedModel, ModelCard

CARD = "ganiqa_card"
"""Where a state dict in safetensors keeps the card of its model."""

Side = Literal["ours", "torch"]


@dataclass(frozen=True)
class Conversion:
    """A conversion that was matched and not yet written.

    Attributes:
      arch: `own`, a backbone, or a predecessor.
      source: where the arrays are from.
      naming: how they are named there.
      to: how they will be named.
      links: one for each array.
      found: how names and shapes compare.
      shapes: of our arrays, by our names.
      write: writes the result to a path.
    """

    arch: str
    source: Path
    naming: str
    to: Side
    links: list[Link]
    found: Match
    shapes: Shapes
    write: Callable[[Path], None]

    def finish(self, out: Path) -> None:
        """Writes the result.

        Raises:
          InputError: if names or shapes do not fit, or `out` cannot be written.
        """
        refuse(self.found, f"{self.source} ({self.arch})")
        self.write(out)

    def report(self) -> dict[str, Any]:
        """What went where, as JSON values."""
        theirs = their_shapes(self.links, self.shapes)
        return {
            "source": str(self.source),
            "arch": self.arch,
            "from": self.naming,
            "to": self.to,
            "complete": self.found.complete,
            "arrays": len(self.links),
            "values": sum(_size(self.shapes[link.ours]) for link in self.links),
            "left_out": self.found.left_out,
            "unknown": self.found.unknown,
            "missing": self.found.missing,
            "wrong_shape": self.found.wrong,
            "links": [
                {
                    "ours": link.ours,
                    "theirs": link.theirs,
                    "layout": link.layout.name,
                    "shape_ours": list(self.shapes[link.ours]),
                    "shape_theirs": list(theirs[link.theirs]),
                }
                for link in self.links
            ],
        }


def prepare(
    source: Path,
    *,
    arch: str = "auto",
    to: Side = "ours",
    backbone_weights: Path | None = None,
    card: Path | None = None,
) -> Conversion:
    """Reads a source and matches its arrays.

    Args:
      source: a weights file; or the folder of a model of ours, whose other side is a
        state dict.
      arch: what the weights are of: `own`, a key of `ARCHITECTURES` or of
        `PREDECESSORS`; `auto` tells by the names.
      to: the side to convert to; a folder goes to `torch`.
      backbone_weights: file of the backbone of a predecessor that is published
        without.
      card: folder whose card a state dict of ours is read by, if it has none.

    Raises:
      InputError: if there is no such source, its names tell nothing, or the arguments
        do not go together.
      IntegrityError: if a file is damaged.
    """
    _check_arch(arch)
    if source.is_dir():
        return _from_model(source, release.load_model(source), arch)
    stored = read_weights(source)
    if arch == "auto":
        arch = "own" if card or CARD in stored.metadata else _guess(source, stored)
    if arch == "own":
        return _from_state(source, stored, card)
    if arch in PREDECESSORS:
        predecessor = PREDECESSORS[arch]
        return _from_predecessor(source, stored.arrays, predecessor, backbone_weights)
    return _from_backbone(source, stored.arrays, arch, to)


def _from_model(source: Path, model: LoadedModel, arch: str) -> Conversion:
    """A model of ours to a state dict: of our rule, or of a predecessor's names."""
    arch = "own" if arch == "auto" else arch
    arrays, metadata = own.flat(model.variables), {}
    ours = shapes(arrays)
    if arch == "own":
        links, metadata = own.own_links(model.variables), {CARD: _text(model.card)}
    elif arch in PREDECESSORS:
        links = PREDECESSORS[arch].links(ours, model.card.config)
        # A backbone that came from a file of its own stays out of theirs.
        links = [link for link in links if not link.theirs.startswith(PREFIX)]
    else:
        raise InputError(f"{source} is a whole model; {arch} is a backbone alone.")

    def write(out: Path) -> None:
        write_weights(out, to_theirs(links, arrays), metadata)

    wanted = {link.ours: ours[link.ours] for link in links}
    found = match(ours, wanted, lambda name: name.startswith(PREFIX))
    return Conversion(arch, source, "ours", "torch", links, found, ours, write)


def _from_state(source: Path, stored: Weights, card_folder: Path | None) -> Conversion:
    """A state dict of our rule to a released folder."""
    card = _card(source, stored, card_folder)
    wanted = release.network_shapes(card.config, card.preprocessing.crop)
    links = own.own_links(wanted)

    def write(out: Path) -> None:
        release.save_model(out, card, own.variables_of(stored.arrays, wanted))

    return Conversion(
        "own",
        source,
        "torch",
        "ours",
        links,
        own.match_own(stored.arrays, wanted),
        shapes(own.flat(wanted)),
        write,
    )


def _from_backbone(source: Path, arrays: Arrays, arch: str, to: Side) -> Conversion:
    """A backbone between its namings: from the one it has to the one asked for."""
    naming = detect(arrays, arch)
    namings = ARCHITECTURES[arch].namings
    if to == "torch" and "torch" not in namings:
        raise InputError(f"There is no network of PyTorch that is our {arch}.")
    if to == "torch" and naming != "ours":
        raise InputError(f"{source} has names of {naming}; convert it to ours first.")
    rules = namings["torch" if to == "torch" else naming]
    links = links_of(arch, "torch" if to == "torch" else naming)
    ours = whole_shapes(arch)
    there = arrays if to == "torch" else rules.prepare(arrays)
    wanted = ours if to == "torch" else their_shapes(links, ours)

    def write(out: Path) -> None:
        if to == "torch":
            write_weights(out, rules.finish(to_theirs(links, there)))
        else:
            write_weights(out, to_ours(links, there))

    found = match(shapes(there), wanted, namings[naming].leaves_out)
    return Conversion(arch, source, naming, to, links, found, ours, write)


def _from_predecessor(
    source: Path, arrays: Arrays, predecessor: Predecessor, backbone: Path | None
) -> Conversion:
    """A published predecessor to a released folder that gives its scores."""
    state = predecessor.with_backbone(arrays, backbone)
    card = predecessor.card(state)
    wanted = release.network_shapes(card.config, card.preprocessing.crop)
    ours = shapes(own.flat(wanted))
    links = predecessor.links(ours, card.config)

    def write(out: Path) -> None:
        variables = own.placed(to_ours(links, state), wanted)
        release.save_model(out, card, variables)

    found = match(shapes(state), their_shapes(links, ours), predecessor.leaves_out)
    name = predecessor.name
    return Conversion(name, source, "torch", "ours", links, found, ours, write)


def _card(source: Path, stored: Weights, folder: Path | None) -> ModelCard:
    if folder is not None:
        return release.read_card(folder)
    if CARD not in stored.metadata:
        raise InputError(
            f"{source} does not say what network it is of; name a folder that has its "
            "card.json by --card."
        )
    try:
        return release.card_from_json(json.loads(stored.metadata[CARD]))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"The card in {source} is damaged: {error}") from error


def _guess(source: Path, stored: Weights) -> str:
    """The architecture that the names of a file are of."""
    names = set(stored.arrays)
    for name, predecessor in PREDECESSORS.items():
        if predecessor.recognises(names):
            return name

    arch = guess(stored.arrays)
    if arch is None:
        raise InputError(
            f"The names in {source} tell no network; say which it is by --arch: "
            f"own, {', '.join((*ARCHITECTURES, *PREDECESSORS))}."
        )
    return arch


def _check_arch(arch: str) -> None:
    known = ("auto", "own", *ARCHITECTURES, *PREDECESSORS)
    if arch not in known:
        raise InputError(f"--arch {arch!r} is none of {', '.join(known)}.")


def _text(card: ModelCard) -> str:
    return json.dumps(to_json(card))


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
