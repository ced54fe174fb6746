"""The published predecessors: random weights go through the converter into our teacher.

The modules are in `predecessor_networks`. Every map and the score have to agree, and so
has the score of a pair of files on the scale of the published one.
"""

# pyright: reportMissingImports=false

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torch_reference.agreement import Arrays, Row, compare
from torch_reference.predecessor_networks import IqaConformer, Iqt
from torch_reference.predecessor_trunk import Trunk, taps_of
from torch_reference.seeded import seeded_pictures, seeded_state

TOLERANCE = 1e-4
SIDE, GRID = 96, 9  # of a picture and of its map, small enough for the tests
MOS_MEAN, MOS_STD = 1448.9595, 121.5351
TINY = {"width": 16, "grid": GRID}


def predecessors() -> Iterator[Row]:
    """Maps and scores of both, and the published score of IQA-Conformer."""
    for arch, run in RUNS.items():
        yield compare(f"{arch}, state dict converted", ours(arch), run(), TOLERANCE)
    with tempfile.TemporaryDirectory() as folder:
        found, wanted = (np.array(x) for x in published_score(Path(folder)))
    yield compare(
        "iqa_conformer, score of files on PIPAL's scale, in its deviations",
        {"mos": (found - MOS_MEAN) / MOS_STD},
        {"mos": (wanted - MOS_MEAN) / MOS_STD},
        TOLERANCE,
    )


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(v.shape) for name, v in module.state_dict().items()}


def load_seeded(module: nn.Module, prefix: str = "") -> Arrays:
    """Fills a module with numbers by name; returns them."""
    shapes = {prefix + name: shape for name, shape in shapes_of(module).items()}
    state = seeded_state(shapes)
    own = {name.removeprefix(prefix): v for name, v in state.items()}
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in own.items()})
    module.eval()
    return own


def pictures(name: str) -> np.ndarray:
    return seeded_pictures(name, (2, SIDE, SIDE, 3))


def run_iqa_conformer() -> Arrays:
    """All outputs of a small IQA-Conformer with seeded weights."""
    model = IqaConformer(**TINY)
    load_seeded(model)
    with torch.no_grad():
        return _numpy(model(_scaled("reference"), _scaled("distorted")))


def run_iqt() -> Arrays:
    """All outputs of a small IQT with seeded weights."""
    model, trunk = Iqt(**TINY, hidden=32, head=24, layers=2), Trunk()
    load_seeded(model)
    load_seeded(trunk, "trunk.")
    with torch.no_grad():
        both = (taps_of(trunk, _scaled(name)) for name in ("reference", "distorted"))
        return _numpy(model(*both))


def _scaled(name: str) -> Tensor:
    return torch.from_numpy(pictures(name)).movedim(-1, 1) * 2 - 1


def _numpy(outputs: dict[str, Tensor]) -> Arrays:
    return {name: value.numpy() for name, value in outputs.items()}


def ours(arch: str) -> Arrays:
    """The same outputs of our teacher, its weights from PyTorch's own file format."""
    from ganiqa_jax.convert.conversion import prepare
    from ganiqa_jax.release import load_model

    model = IqaConformer(**TINY) if arch == "iqa_conformer" else None
    model = model or Iqt(**TINY, hidden=32, head=24, layers=2)
    load_seeded(model)
    with tempfile.TemporaryDirectory() as folder:
        file, backbone = Path(folder, "published.ckpt"), None
        torch.save({"model_state_dict": model.state_dict()}, file)
        if arch == "iqt":
            trunk, backbone = Trunk(), Path(folder, "backbone.pth")
            load_seeded(trunk, "trunk.")
            torch.save(trunk.state_dict(), backbone)
        released = Path(folder, "released")
        prepare(file, backbone_weights=backbone).finish(released)
        network, variables, _ = load_model(released)
    out: Any = network.apply(variables, pictures("reference"), pictures("distorted"))
    names = ("difference", "reference", "encoded", "decoded")
    return {**{n: np.asarray(out.features[n]) for n in names}, "z": np.asarray(out.z)}


def published_score(folder: Path) -> tuple[float, float]:
    """The score of a pair of files on PIPAL's scale: by our scorer, and by PyTorch.

    IQA-Conformer in its published size, with seeded weights: the mean over ten crops
    of 192 pixels (the corners, the centre, and each mirrored) of pictures scaled to
    [-1, 1], times the deviation of PIPAL's scores, plus their mean.
    """
    from PIL import Image

    from ganiqa_jax.convert.conversion import prepare
    from ganiqa_jax.scoring.engine import create_scorer

    model = IqaConformer()
    load_seeded(model)
    torch.save({"model_state_dict": model.state_dict()}, folder / "published.ckpt")
    prepare(folder / "published.ckpt").finish(folder / "released")
    crops, files = [], []
    for name in ("reference", "distorted"):
        pixels = (seeded_pictures(name, (288, 300, 3)) * 255).astype(np.uint8)
        files.append(folder / f"{name}.png")
        Image.fromarray(pixels).save(files[-1])
        crops.append(ten_crops(torch.from_numpy(pixels).movedim(-1, 0) / 255))
    (row,) = create_scorer(folder / "released").compare_iter([(files[0], files[1])])
    with torch.no_grad():
        z = model(*((c - 0.5) / 0.5 for c in crops))["z"]
    if row.mos is None:
        raise ValueError(f"Our scorer gave no score: {row.error}")
    return row.mos, float((z * MOS_STD + MOS_MEAN).mean())


def ten_crops(picture: Tensor, side: int = 192) -> Tensor:
    """Corners and centre of [3, H, W], and each mirrored: [10, 3, side, side]."""
    height, width = picture.shape[1:]
    bottom, right = height - side, width - side
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    places.append((bottom // 2, right // 2))
    crops = [picture[:, y : y + side, x : x + side] for y, x in places]
    return torch.stack([*crops, *(crop.flip(-1) for crop in crops)])


RUNS = {"iqa_conformer": run_iqa_conformer, "iqt": run_iqt}
