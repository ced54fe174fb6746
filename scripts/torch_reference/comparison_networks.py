"""Blocks and whole networks on the same random weights: everything they give out."""

# pyright: reportMissingImports=false

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from ganiqa_jax.config import JndConfig, StudentConfig, TeacherConfig
from ganiqa_jax.image.jnd import mjnd
from ganiqa_jax.models import Student, Teacher
from ganiqa_jax.models import attention as our_attention
from ganiqa_jax.models import conformer as our_conformer
from ganiqa_jax.models import features as our_features
from ganiqa_jax.models import quality as our_quality
from torch_reference import attention, conformer, quality
from torch_reference.agreement import Row, compare
from torch_reference.comparison import compare_modules, to_ours, to_torch
from torch_reference.jnd import mjnd as torch_mjnd
from torch_reference.pictures import photographs
from torch_reference.student import Student as TorchStudent
from torch_reference.teacher import Teacher as TorchTeacher

OF_BLOCK, OF_NETWORK = 1e-5, 1e-4

OFF = JndConfig(strength=0.0)
WIDTH, SIDE = 64, 160

TEACHERS: dict[str, dict[str, Any]] = {
    "Inception-ResNet-v2": {},
    "Inception-ResNet-v2, windowed CGA, no JND": {"attention_window": 7, "jnd": OFF},
    "Inception-ResNet-v2, single tap, no semantic branch": {
        "taps": "single",
        "semantic": False,
    },
    "Inception-v3": {"backbone": "inception_v3"},
    "Inception-v3, plain attention, no bins": {
        "backbone": "inception_v3",
        "attention": "mhsa",
        "bins": 0,
    },
    "MobileNetV1, half JND, concat": {
        "backbone": "mobilenet_v1",
        "jnd": JndConfig(strength=0.5),
        "fusion": "concat",
    },
    "EfficientNet-Lite0": {"backbone": "efficientnet_lite0"},
    "EfficientNet-Lite0, channels compared, fused at 1/32": {
        "backbone": "efficientnet_lite0",
        "channels": True,
        "neck_level": 2,
        "jnd": OFF,
    },
    "MobileNetV1, no attention, no DSC, two layers": {
        "backbone": "mobilenet_v1",
        "attention": "none",
        "dsc": False,
        "layers": 2,
    },
}

STUDENTS: dict[str, dict[str, Any]] = {
    "EfficientViT": {},
    "EfficientViT, plain attention, no bins": {"attention": "mhsa", "bins": 0},
    "EfficientViT, no attention, no JND": {"attention": "none", "jnd": OFF},
    "MobileNetV1, windowed CGA": {"trunk": "mobilenet_v1", "frozen_blocks": 5},
    "MobileNetV1, single tap": {"trunk": "mobilenet_v1", "taps": "single"},
    "MobileNetV1, global CGA, no semantic branch": {
        "trunk": "mobilenet_v1",
        "attention_window": 0,
        "semantic": False,
    },
    "MobileNetV1, plain attention, two layers": {
        "trunk": "mobilenet_v1",
        "attention": "mhsa",
        "layers": 2,
    },
    "EfficientNet-Lite0, fused at 1/32": {
        "trunk": "efficientnet_lite0",
        "frozen_blocks": 16,
        "neck_level": 2,
    },
    "EfficientNet-Lite0, whole and corners": {
        "trunk": "efficientnet_lite0",
        "neck_level": 2,
        "parts": True,
    },
    "EfficientNet-Lite0, detail beside the whole": {
        "trunk": "efficientnet_lite0",
        "neck_level": 2,
        "detail": True,
    },
    "EfficientNet-Lite0, single tap, no semantic branch": {
        "trunk": "efficientnet_lite0",
        "taps": "single",
        "semantic": False,
    },
}


def blocks() -> Iterator[Row]:
    """Single blocks on random maps, and the input layer on photographs."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 2, 13, 11, WIDTH)).astype(np.float32)
    wide, pooled = (
        random.normal(size=s).astype(np.float32) for s in ((2, 5, 6, 96), (2, 96))
    )
    block = partial(compare_modules, tolerance=OF_BLOCK, train=False)
    cga = {"heads": 4, "key_dim": 16, "kernels": (7, 5, 3, 3)}
    for name, window in (("global", 0), ("windows of 7", 7)):
        yield block(
            f"CGA, {name}",
            our_attention.CascadedGroupAttention(**cga, window=window),
            attention.CascadedGroupAttention(WIDTH, **cga, window=window),
            [x],
        )
    yield block(
        "plain attention",
        our_attention.MapSelfAttention(heads=4),
        attention.MapSelfAttention(WIDTH, 4),
        [x],
    )
    yield block(
        "depthwise separable convolution",
        our_conformer.DepthwiseSeparableConv(),
        conformer.DepthwiseSeparableConv(WIDTH),
        [x],
    )
    config = StudentConfig(width=WIDTH)
    yield block(
        "embedding, encoder, decoder",
        our_conformer.transformer(config, name=None),  # pyright: ignore[reportArgumentType]
        conformer.Transformer(config),
        [x, y],
    )
    yield block(
        "semantic branch",
        our_quality.SemanticBranch(WIDTH),
        quality.SemanticBranch(96, WIDTH, 0.1),
        [wide, wide[::-1].copy()],
    )
    yield block(
        "score head with bins",
        our_quality.QualityHead(WIDTH, 10),
        quality.QualityHead(96, WIDTH, 10),
        [pooled],
    )
    for fusion in ("sum", "concat"):
        yield compare_modules(
            f"fusion of levels, {fusion}",
            our_features.MultiResolutionFusion(WIDTH, fusion=fusion),
            quality.MultiResolutionFusion((WIDTH, 96), WIDTH, fusion),
            [[x, wide]],
            OF_BLOCK,
        )
    yield from jnd_pictures()


def jnd_pictures() -> Iterator[Row]:
    """The minimum-JND picture of photographs."""
    pictures, _ = photographs(4, 192)
    for form in ("yang", "wu2017"):
        config = JndConfig(form)
        ours = jax.jit(partial(mjnd, config=config))(jnp.asarray(pictures))
        with torch.no_grad():
            theirs = to_ours(torch_mjnd(to_torch(pictures), config))
        yield compare(
            f"minimum-JND picture, {form}",
            {"picture": np.asarray(ours)},
            {"picture": theirs},
            OF_BLOCK,
        )


def networks() -> Iterator[Row]:
    """Teachers and students of every kind on photographs."""
    reference, distorted = photographs(4, SIDE)
    for name, settings in TEACHERS.items():
        config = TeacherConfig(**settings)
        yield compare_modules(
            f"teacher: {name}",
            Teacher(config),
            TorchTeacher(config),
            [reference, distorted],
            OF_NETWORK,
        )
    for name, settings in STUDENTS.items():
        config = StudentConfig(**settings)
        yield compare_modules(
            f"student: {name}",
            Student(config),
            TorchStudent(config),
            [distorted, reference] if config.detail else [distorted],
            OF_NETWORK,
        )
