"""The published predecessors: names of their state dicts, and what their scores mean.

IQA-Conformer (Conde et al. 2022, arXiv:2204.12819) is published as a checkpoint of
https://github.com/burchim/IQA-Conformer-BNS, IQT (Cheon et al. 2021, arXiv:2104.14730)
as https://github.com/anse3832/IQT without its backbone. Names, sizes and the scale of
the scores are read from those public definitions. Widths, depths and grids are told by
the shapes in the file; the number of heads, which no shape tells, is 4 in both.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

import ganiqa_jax
from ganiqa_jax.config import Preprocessing, StudentConfig, TeacherConfig
from ganiqa_jax.convert.backbones import load_backbone, whole_shapes
from ganiqa_jax.convert.links import (
    LINE,
    POINTWISE,
    SAME,
    Arrays,
    Link,
    Shapes,
    kernel,
    reshaped,
)
from ganiqa_jax.convert.namings import TORCH_LEAVES, torch_inception_resnet
from ganiqa_jax.convert.own import is_counter
from ganiqa_jax.errors import InputError
from ganiqa_jax.release import ModelCard, Scale

BACKBONE = "inception_resnet_v2"
PREFIX = "backbone/"
"""In front of the arrays of a backbone that comes from a file of its own."""

MOS_MEAN, MOS_STD = 1448.9595, 121.5351
"""Of PIPAL's training part: what IQA-Conformer's score is in units of."""

PIPAL = Scale("PIPAL Elo", 700.0, 2000.0, (MOS_MEAN - 700) / 1300, MOS_STD / 1300)
MIN_MAX = Scale("PIPAL rescaled to [0, 1]", 0.0, 1.0, 0.0, 1.0)

_FREE = (
    "backbone_weights",
    "width",
    "heads",
    "layers",
    "expansion",
    "dropout",
    "embedding_grid",
    "head_width",
    "dtype",
)
"""Fields of a configuration in which the same network may differ."""

Places = tuple[tuple[str, str], ...]


class Predecessor(NamedTuple):
    """A network that was published with weights.

    Attributes:
      name: of its architecture.
      signature: names that tell its state dict from others.
      published: its configuration, as published.
      config: its configuration, from its state dict.
      place: our module to theirs.
      scale: of its scores.
      mirror: whether published scores average mirrored crops as well.
      has_backbone: whether its file holds the backbone.
    """

    name: str
    signature: frozenset[str]
    published: TeacherConfig
    config: Callable[[Mapping[str, np.ndarray]], TeacherConfig]
    place: Callable[[str], str]
    scale: Scale
    mirror: bool
    has_backbone: bool

    def recognises(self, names: set[str]) -> bool:
        """Whether these are names of its state dict."""
        return self.signature <= names

    def leaves_out(self, name: str) -> bool:
        """Whether a name without a place is to be expected."""
        if not name.startswith(PREFIX):
            return is_counter(name)
        return name.removeprefix(PREFIX) in whole_shapes(BACKBONE)

    def with_backbone(self, state: Arrays, path: Path | None) -> Arrays:
        """Its state dict, joined by the backbone of another file if need be.

        Raises:
          InputError: if such a file is needed and not given, or given and not needed.
        """
        if self.has_backbone:
            if path is not None:
                raise InputError(f"{self.name} brings its backbone along.")
            return state
        if path is None:
            raise InputError(
                f"{self.name} is published without its backbone: give the file of "
                "Inception-ResNet-v2 by --backbone-weights."
            )
        arrays = load_backbone(path, BACKBONE)
        return {**state, **{PREFIX + name: values for name, values in arrays.items()}}

    def card(self, state: Mapping[str, np.ndarray]) -> ModelCard:
        """What the network is and how its score is to be read.

        Raises:
          InputError: if the state dict lacks what tells its sizes.
        """
        try:
            config = self.config(state)
        except (KeyError, IndexError, ValueError) as error:
            raise InputError(f"These are no weights of {self.name}: {error}") from error
        return ModelCard(
            role="teacher",
            name=self.name.replace("_", "-"),
            config=config,
            preprocessing=Preprocessing(
                crop=crop_of(config.embedding_grid), points=5, mirror=self.mirror
            ),
            scale=self.scale,
            made_by=f"ganiqa_jax {ganiqa_jax.__version__}",
            data=("pipal",),
            results={},
        )

    def links(self, ours: Shapes, config: TeacherConfig | StudentConfig) -> list[Link]:
        """A link for every array of our teacher in its configuration.

        Raises:
          InputError: if the teacher is another one.
        """
        if not isinstance(config, TeacherConfig):
            raise InputError(f"This model is a student and no {self.name}.")
        free = {name: getattr(config, name) for name in _FREE}
        if dataclasses.replace(self.published, **free) != config:
            raise InputError(f"This model is no {self.name}.")
        return [self._link(name, shape) for name, shape in ours.items()]

    def _link(self, name: str, shape: tuple[int, ...]) -> Link:
        if name.startswith(PREFIX) and not self.has_backbone:
            return Link(name, name, SAME)
        module, _, leaf = name.rpartition("/")
        if name.startswith(PREFIX):
            inner = torch_inception_resnet(name.removeprefix(PREFIX), shape)
            return Link(name, _of_sequence(inner.theirs), inner.layout)
        if leaf.endswith(("embedding", "token")):
            theirs = self.place(name)
            return Link(name, theirs, reshaped(shape, _as_stored(theirs, shape)))
        theirs = self.place(module)
        layout = SAME
        if leaf == "kernel":
            layout = kernel(shape)
            if ".conv_module." in theirs and len(shape) == 2:
                layout = POINTWISE
            elif ".pos_ffn." in theirs:
                layout = LINE
        return Link(name, f"{theirs}.{TORCH_LEAVES.get(leaf, leaf)}", layout)


def grid_of(side: int) -> int:
    """Cells a side of the backbone's first map, of a picture of this side."""
    side = (side - 3) // 2 + 1 - 2
    side = (side - 3) // 2 + 1 - 2
    return (side - 3) // 2 + 1


def crop_of(grid: int) -> int:
    """The crop that has this grid: the first of 32, 64, 96, ... or of all sides.

    Raises:
      ValueError: if there is none.
    """
    for step in (32, 1):
        sides = range(96 if step == 32 else 75, 16 * grid + 96, step)
        found = [side for side in sides if grid_of(side) == grid]
        if found:
            return found[0]
    raise ValueError(f"no crop has a grid of {grid} x {grid} cells")


def _of_sequence(torch_name: str) -> str:
    """A layer of Inception-ResNet-v2 where IQA-Conformer keeps it: in sequences."""
    head, _, rest = torch_name.partition(".")
    if head == "repeat":
        number, _, rest = rest.partition(".")
        pair, place = divmod(int(number), 2)
        return f"block35_{2 * pair + 2}.{place}.{rest}"
    return f"mixed5b.{_STEM.index(head)}.{rest}"


# Pools stand in the sequence too.
_STEM = (
    "conv2d_1a",
    "conv2d_2a",
    "conv2d_2b",
    "maxpool_3a",
    "conv2d_3b",
    "conv2d_4a",
    "maxpool_5a",
    "mixed_5b",
)


def _as_stored(theirs: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if theirs == "emb_p.weight":
        return (math.prod(shape[:-1]), shape[-1])
    return (1, *((1,) if len(shape) == 1 else ()), *shape)


def _placer(places: Places) -> Callable[[str], str]:
    def place(module: str) -> str:
        for pattern, to in places:
            module = re.sub(pattern, to, module)
        return module

    return place


_ATTENTION = (
    (r"query$", "query_layer"),
    (r"key$", "key_layer"),
    (r"value$", "value_layer"),
    (r"attention/out$", "attention/output_layer"),
)
_IQA_CONFORMER = _placer(
    (
        (r"^fusion/project_0$", "conv_proj"),
        (r"^transformer/embedding$", "emb_p.weight"),
        (r"^head/hidden$", "head.1"),
        (r"^head/score$", "head.3"),
        (r"^transformer/(encoder|decoder)_(\d+)/", r"\1.blocks.\2."),
        (r"feed_forward_(\d)/norm$", r"ff_module\1.layers.0"),
        (r"feed_forward_(\d)/expand$", r"ff_module\1.layers.1"),
        (r"feed_forward_(\d)/contract$", r"ff_module\1.layers.4"),
        (r"convolution/norm$", "conv_module.layers.0"),
        (r"convolution/expand$", "conv_module.layers.1"),
        (r"convolution/depthwise$", "conv_module.layers.3"),
        (r"convolution/batch_norm$", "conv_module.layers.4"),
        (r"convolution/contract$", "conv_module.layers.6"),
        *_ATTENTION,
        (r"self_attention_norm$", "self_att_module.norm"),
        (r"self_attention/", "self_att_module.attention."),
        (r"cross_attention_norm$", "cross_attention_module.norm"),
        (r"cross_attention/", "cross_attention_module.attention."),
    )
)
_IQT = _placer(
    (
        (r"^difference_fusion/project_0$", "conv_enc"),
        (r"^fusion/project_0$", "conv_dec"),
        (r"^head/hidden$", "projection.0"),
        (r"^head/score$", "projection.2"),
        (r"^transformer/(encoder|decoder)_embedding$", r"transformer.\1.pos_embedding"),
        (r"^transformer/(encoder|decoder)_token$", r"transformer.\1.cls_token"),
        (
            r"^transformer/encoder_(\d+)/norm$",
            r"transformer.encoder.layers.\1.layer_norm2",
        ),
        (
            r"^transformer/decoder_(\d+)/norm$",
            r"transformer.decoder.layers.\1.layer_norm3",
        ),
        (r"^transformer/(encoder|decoder)_(\d+)/", r"transformer.\1.layers.\2."),
        (r"self_attention_norm$", "layer_norm1"),
        (r"cross_attention_norm$", "layer_norm2"),
        (r"self_attention/", "self_attn."),
        (r"cross_attention/", "dec_enc_attn."),
        (r"query$", "W_Q"),
        (r"key$", "W_K"),
        (r"value$", "W_V"),
        (r"attn\.out$", "attn.linear"),
        (r"\.expand$", ".pos_ffn.conv1"),
        (r"\.contract$", ".pos_ffn.conv2"),
    )
)


def _iqa_conformer_config(state: Mapping[str, np.ndarray]) -> TeacherConfig:
    width = state["conv_proj.weight"].shape[0]
    hidden = state["encoder.blocks.0.ff_module1.layers.1.weight"].shape[0]
    return TeacherConfig.iqa_conformer(
        width=width,
        layers=_count(state, "encoder.blocks."),
        expansion=hidden // width,
        embedding_grid=math.isqrt(len(state["emb_p.weight"])),
    )


def _iqt_config(state: Mapping[str, np.ndarray]) -> TeacherConfig:
    width = state["conv_enc.weight"].shape[0]
    hidden = state["transformer.encoder.layers.0.pos_ffn.conv1.weight"].shape[0]
    cells = state["transformer.encoder.pos_embedding"].shape[1] - 1
    return TeacherConfig.iqt(
        width=width,
        layers=_count(state, "transformer.encoder.layers."),
        expansion=hidden // width,
        embedding_grid=math.isqrt(cells),
        head_width=state["projection.0.weight"].shape[0],
    )


def _count(state: Mapping[str, np.ndarray], prefix: str) -> int:
    """How many numbers follow a prefix in the names of a state dict."""
    rest = (n.removeprefix(prefix) for n in state if n.startswith(prefix))
    return len({name.partition(".")[0] for name in rest})


PREDECESSORS: dict[str, Predecessor] = {
    "iqa_conformer": Predecessor(
        "iqa_conformer",
        frozenset({"conv_proj.weight", "emb_p.weight", "mixed5b.0.conv.weight"}),
        TeacherConfig.iqa_conformer(),
        _iqa_conformer_config,
        _IQA_CONFORMER,
        PIPAL,
        True,
        True,
    ),
    "iqt": Predecessor(
        "iqt",
        frozenset({"conv_enc.weight", "transformer.encoder.cls_token"}),
        TeacherConfig.iqt(),
        _iqt_config,
        _IQT,
        MIN_MAX,
        False,
        False,
    ),
}
"""By the name of the architecture."""
