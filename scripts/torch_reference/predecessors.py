"""The published predecessors in PyTorch, and proof that our teacher is them.

    python scripts/torch_reference/predecessors.py            # agreement, needs torch
    python scripts/torch_reference/predecessors.py --write    # also the tests' goldens

The modules are in `predecessor_networks`. Random weights go through the converter
into our teacher; every map and the score have to agree.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn  # pyright: ignore[reportMissingImports]

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.torch_reference.predecessor_networks import IqaConformer, Iqt
from scripts.torch_reference.predecessor_trunk import Trunk, taps_of
from scripts.torch_reference.seeded import seeded_pictures, seeded_state

GOLDENS = Path(__file__).resolve().parents[2] / "tests" / "goldens"
TOLERANCE = 1e-4
SIDE, GRID = 96, 9  # of a picture and of its map, small enough for the tests
MOS_MEAN, MOS_STD = 1448.9595, 121.5351
TINY = {"width": 16, "grid": GRID}


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(v.shape) for name, v in module.state_dict().items()}


def load_seeded(module: nn.Module, prefix: str = "") -> dict[str, np.ndarray]:
    """Fills a module with numbers by name; returns them."""
    shapes = {prefix + name: shape for name, shape in shapes_of(module).items()}
    state = seeded_state(shapes)
    own = {name.removeprefix(prefix): v for name, v in state.items()}
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in own.items()})
    module.eval()
    return own


def pictures(name: str) -> np.ndarray:
    return seeded_pictures(name, (2, SIDE, SIDE, 3))


def run_iqa_conformer() -> dict[str, np.ndarray]:
    """All outputs of a small IQA-Conformer with seeded weights."""
    model = IqaConformer(**TINY)
    load_seeded(model)
    return _numpy(model(_scaled("reference"), _scaled("distorted")))


def run_iqt() -> dict[str, np.ndarray]:
    """All outputs of a small IQT with seeded weights."""
    model, trunk = Iqt(**TINY, hidden=32, head=24, layers=2), Trunk()
    load_seeded(model)
    load_seeded(trunk, "trunk.")
    both = (taps_of(trunk, _scaled(name)) for name in ("reference", "distorted"))
    return _numpy(model(*both))


def _scaled(name: str) -> Tensor:
    return torch.from_numpy(pictures(name)).movedim(-1, 1) * 2 - 1


def _numpy(outputs: dict[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in outputs.items()}


def ours(arch: str) -> dict[str, np.ndarray]:
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
    z = model(*((c - 0.5) / 0.5 for c in crops))["z"]
    if row.mos is None:
        raise SystemExit(f"Our scorer gave no score: {row.error}")
    return row.mos, float((z * MOS_STD + MOS_MEAN).mean())


def ten_crops(picture: Tensor, side: int = 192) -> Tensor:
    """Corners and centre of [3, H, W], and each mirrored: [10, 3, side, side]."""
    height, width = picture.shape[1:]
    bottom, right = height - side, width - side
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    places.append((bottom // 2, right // 2))
    crops = [picture[:, y : y + side, x : x + side] for y, x in places]
    return torch.stack([*crops, *(crop.flip(-1) for crop in crops)])


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference over the largest value."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def main(arguments: Sequence[str] = ()) -> int:
    """Prints the agreement of every map and score; 1 if any is beyond tolerance."""
    parser = argparse.ArgumentParser(description="Agreement with the predecessors.")
    parser.add_argument("--write", action="store_true", help="write the goldens")
    write = parser.parse_args(arguments).write
    worst = 0.0
    for arch, run in (("iqa_conformer", run_iqa_conformer), ("iqt", run_iqt)):
        with torch.no_grad():
            wanted = run()
        found = ours(arch)
        for name, value in wanted.items():
            error = relative_error(found[name], value)
            worst = max(worst, error)
            print(f"{arch:14} {name:11} relative error {error:.1e}")
        if write:
            keys = IqaConformer() if arch == "iqa_conformer" else Iqt()
            _write_goldens(arch, wanted, shapes_of(keys))
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        found, wanted = published_score(Path(folder))
    error = abs(found - wanted) / MOS_STD
    print(f"{'iqa_conformer':14} {'score':11} {found:.4f} against {wanted:.4f}")
    return int(not max(worst, error) < TOLERANCE)


def _write_goldens(
    arch: str, outputs: dict[str, np.ndarray], published: dict[str, tuple[int, ...]]
) -> None:
    # The maps themselves would be large: a few cells tell them apart.
    small = {n: v if v.ndim == 1 else v[:, ::4, ::4] for n, v in outputs.items()}
    savez: Any = np.savez  # loosely: an array may be called like an argument
    savez(GOLDENS / f"{arch}.npz", **small)
    text = json.dumps({name: list(shape) for name, shape in published.items()})
    lines = text.replace("], ", "],\n")
    (GOLDENS / f"{arch}_keys.json").write_text(lines + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
