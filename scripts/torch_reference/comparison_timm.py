"""Our backbones against those of timm, which nobody here wrote, on the same weights."""

# pyright: reportMissingImports=false

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from ganiqa_jax.convert.backbones import load_backbone, place
from ganiqa_jax.models.backbones.efficientnet_lite import EfficientNetLite
from ganiqa_jax.models.backbones.efficientvit import EfficientViT
from ganiqa_jax.models.backbones.inception_resnet_v2 import InceptionResNetV2
from ganiqa_jax.models.backbones.inception_v3 import InceptionV3
from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1
from torch_reference.agreement import Arrays, Row, compare
from torch_reference.comparison import to_ours, to_torch
from torch_reference.pictures import photographs
from torch_reference.seeded import seeded_state

SIDE = 224
TOLERANCE = 1e-4

# Ours by the architecture's name: the module, timm's name, the modules of timm whose
# outputs make each of our maps, and how a picture is scaled for it.
BACKBONES: dict[str, tuple[Any, str, tuple[tuple[str, ...], ...], str]] = {
    "inception_resnet_v2": (
        InceptionResNetV2(),
        "inception_resnet_v2",
        (
            ("mixed_5b", *(f"repeat.{n}" for n in range(1, 10, 2))),
            ("repeat_1.19",),
            ("conv2d_7b",),
        ),
        "half",
    ),
    "inception_v3_timm": (
        InceptionV3(pool_counts_padding=True),
        "inception_v3",
        (("Mixed_5b", "Mixed_5c", "Mixed_5d"), ("Mixed_6e",), ("Mixed_7a",)),
        "half",
    ),
    "mobilenet_v1_100": (
        MobileNetV1.timm(taps="dense"),
        "mobilenetv1_100",
        tuple(
            (name,)
            for name in (
                "blocks.1.1",
                "blocks.2.1",
                "blocks.3.1",
                "blocks.3.3",
                "blocks.3.5",
                "blocks.4.1",
            )
        ),
        "half",
    ),
    "efficientnet_lite0": (
        EfficientNetLite(taps="dense"),
        "tf_efficientnet_lite0",
        tuple((f"blocks.{stage}.0.bn1",) for stage in (2, 3, 4, 5, 6)),
        "lite",
    ),
    "efficientvit_m0": (
        EfficientViT.published_m0(),
        "efficientvit_m0",
        (("stages.0",), ("stages.1",), ("stages.2",)),
        "imagenet",
    ),
}

SCALES = {
    "half": ((0.5,) * 3, (0.5,) * 3),
    "lite": ((127 / 255,) * 3, (128 / 255,) * 3),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def import_timm() -> Any:
    """timm, also where torchvision lacks the compiled operators of this torch.

    A CPU build of torch has none of them; torchvision then fails where it tells torch
    of their shapes, which no network here needs.
    """
    from torch import library

    registered = library.register_fake
    library.register_fake = lambda *args, **settings: lambda function: function
    try:
        import timm
    finally:
        library.register_fake = registered
    return timm


def backbones() -> Iterator[Row]:
    """Every map that we take from a backbone."""
    timm = import_timm()
    for name, (ours, theirs, modules, scale) in BACKBONES.items():
        model = timm.create_model(theirs, pretrained=False).eval()
        shapes = {n: tuple(v.shape) for n, v in model.state_dict().items()}
        buffers = {n: v for n, v in model.state_dict().items() if "bias_idxs" in n}
        state = {n: torch.from_numpy(v) for n, v in seeded_state(shapes).items()}
        model.load_state_dict({**state, **buffers})
        pictures, _ = photographs(2, SIDE)
        settle(model, _scaled(pictures, scale))
        yield compare(
            f"timm {timm.__version__} {theirs}",
            our_maps(ours, model.state_dict(), name, pictures),
            their_maps(model, modules, _scaled(pictures, scale)),
            TOLERANCE,
        )


def settle(model: torch.nn.Module, pictures: torch.Tensor) -> None:
    """Gives batch norms statistics near those of what they see, so that values neither
    grow nor die on the way."""

    def follow(norm: Any, inputs: Any) -> None:
        x = inputs[0]
        var, mean = torch.var_mean(x, dim=(0, *range(2, x.ndim)), unbiased=False)
        norm.running_mean.copy_(0.8 * mean)
        norm.running_var.copy_(1.3 * var + 0.1 * (var + mean**2).mean())

    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    norms += [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    handles = [norm.register_forward_pre_hook(follow) for norm in norms]
    with torch.no_grad():
        model(pictures)
    for handle in handles:
        handle.remove()


def our_maps(module: Any, state: Any, arch: str, pictures: np.ndarray) -> Arrays:
    """Maps of our backbone, its weights through our converter."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "weights.pth")
        torch.save(dict(state), file)
        values = load_backbone(file, arch)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), pictures))
    variables = place(values, shapes)
    maps = jax.jit(module.apply)(variables, jnp.asarray(pictures))
    return {f"map {i}": np.asarray(m) for i, m in enumerate(maps)}


def their_maps(
    model: torch.nn.Module, modules: tuple[tuple[str, ...], ...], pictures: Any
) -> Arrays:
    """The same of timm's network, joined over channels where one map has several."""
    seen: dict[str, torch.Tensor] = {}
    handles = []
    for name in {name for names in modules for name in names}:
        hook = lambda _m, _i, output, name=name: seen.__setitem__(name, output)  # noqa: E731
        handles.append(model.get_submodule(name).register_forward_hook(hook))
    with torch.no_grad():
        model(pictures)
    for handle in handles:
        handle.remove()
    joined = [torch.cat([seen[n] for n in names], dim=1) for names in modules]
    return {f"map {i}": to_ours(m) for i, m in enumerate(joined)}


def _scaled(pictures: np.ndarray, scale: str) -> torch.Tensor:
    mean, std = (np.array(part, np.float32) for part in SCALES[scale])
    return to_torch((pictures - mean) / std)
