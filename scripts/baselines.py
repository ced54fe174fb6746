"""Baselines: PSNR, what people said of the same damage, frozen trunks.

    python scripts/baselines.py psnr --model runs/teacher \\
        --data sr4kiqa --root data/sr4kiqa
    python scripts/baselines.py peers --data sr4kiqa --root data/sr4kiqa
    python scripts/baselines.py svr --model runs/student \\
        --data agiqa3k --root data/agiqa3k \\
        --weights data/weights/mobilenet_v1_075_imagenet.npz
    python scripts/baselines.py channels --data sr4kiqa --root data/sr4kiqa \\
        --weights data/weights/efficientnet_lite0_imagenet.safetensors

Each prints a table row and writes predictions.csv to --out, so that
`ganiqa eval --against` gives the paired difference. With --model a baseline is tested
on the very split of a run. The SVR is fitted on the train part alone, with fixed
settings. Needs the `demo` extra (scikit-learn). With `--protocols kfold-5 --out
runs/ablation/svr/seed0` in place of a model it goes through the splits of a protocol
and becomes a row of the table of `scripts/ablate.py`.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from ganiqa_jax import metrics
from ganiqa_jax.data import catalog
from ganiqa_jax.data.protocols import members, parse, split_records
from ganiqa_jax.data.records import Record, Split
from ganiqa_jax.evaluate import Part, part_records
from ganiqa_jax.models.comparison import Comparison, compare
from ganiqa_jax.progress import track
from ganiqa_jax.scoring.cropping import resize_short_side
from ganiqa_jax.scoring.decode import decode_picture

EMBEDDED = tuple(f"conv_pw_{block}" for block in (3, 5, 7, 9, 11, 13))


def psnr(
    model: Path,
    data: str,
    root: Path,
    part: Part = "test",
    out: Path | None = None,
) -> None:
    """PSNR on luma (BT.601) against MOS.

    Args:
        model: run directory that keeps the split.
        data: name of a data set with references.
        root: its folder.
        part: train, validation, test or all.
        out: folder for predictions.csv.
    """
    records, (split, _) = part_records(model, data, root, part)
    scores = []
    for record in track(records, len(records), "psnr", True):
        if record.reference is None:
            raise SystemExit(f"{data} has no references.")
        error = _luma(record.reference) - _luma(record.distorted)
        scores.append(-10 * np.log10(max(np.mean(error**2), 1e-10)))
    report("PSNR", records, np.array(scores), split, out)


def peers(data: str, root: Path, out: Path | None = None) -> None:
    """Mean MOS of the same kind and level of damage on all other contents.

    It knows the damage by name and nothing of the picture. Where people agree about a
    damage and contents hardly matter, what is left to gain above it is small.

    Args:
        data: name of a data set whose records tell kind and level.
        root: its folder.
        out: folder for predictions.csv.
    """
    records = catalog.read(data, root)
    mos = np.array([record.mos for record in records], np.float64)
    scores = []
    for record in records:
        peer = [
            (other.kind, other.level) == (record.kind, record.level)
            and other.content != record.content
            for other in records
        ]
        if not any(peer):
            raise SystemExit(f"{record.name}: no other content has its damage.")
        scores.append(mos[peer].mean())
    report("other contents' MOS", records, np.array(scores), "all", out)


def svr(
    data: str,
    root: Path,
    weights: Path,
    model: Path | None = None,
    protocols: tuple[str, ...] = (),
    part: Part = "test",
    short_side: int = 512,
    out: Path | None = None,
) -> None:
    """Frozen MobileNetV1 0.75, mean and deviation of six blocks, RBF SVR.

    Args:
        data: name of a data set.
        root: its folder.
        weights: ImageNet weights (.npz).
        model: run directory that keeps the split; or
        protocols: names of splits; without a number all splits of one.
        part: what is predicted; the fit is always on train.
        short_side: pictures are resized to this.
        out: folder for predictions.csv; with protocols, of a folder for each split.
    """
    from sklearn.svm import SVR

    if (model is None) == (not protocols):
        raise SystemExit("Give either --model or --protocols.")
    if model is not None:
        train, (name, _) = part_records(model, data, root, "train")
        splits = [(out, name, train, part_records(model, data, root, part)[0])]
    else:
        splits = [
            (folder, name, parts.train, getattr(parts, part))
            for folder, name, parts in _splits(catalog.read(data, root), protocols, out)
        ]
    wanted = {r.name: r for split in splits for r in (*split[2], *split[3])}
    features = _embed(_embedder(weights), list(wanted.values()), short_side)
    row_of = dict(zip(wanted, features, strict=True))
    regressor = SVR(C=0.8, gamma=0.25 / features.shape[1], epsilon=0.02)
    for folder, name, train, tested in splits:
        predicted = _fit_predict(regressor, row_of, train, tested)
        report("frozen MobileNetV1 + SVR", tested, predicted, name, folder)


def _splits(
    records: list[Record], protocols: Sequence[str], out: Path | None
) -> Iterator[tuple[Path | None, str, Split]]:
    """Every split of these protocols, and its folder below `out`."""
    for one in map(parse, protocols):
        for each in members(one):
            folder = out / each.name.replace("/", "-") if out else None
            yield folder, each.name, split_records(records, each)


def _fit_predict(
    regressor: Any,
    row_of: dict[str, np.ndarray],
    train: Sequence[Record],
    tested: Sequence[Record],
) -> np.ndarray:
    """Fits to standardised features of the one, and predicts the other."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = make_pipeline(StandardScaler(), regressor)
    x_train = np.stack([row_of[record.name] for record in train])
    fitted.fit(x_train, [record.mos for record in train])
    return fitted.predict(np.stack([row_of[record.name] for record in tested]))


def channels(
    data: str,
    root: Path,
    weights: Path,
    protocols: tuple[str, ...] = (),
    short_side: int = 512,
    out: Path | None = None,
) -> None:
    """How alike a frozen EfficientNet-Lite0 finds both pictures of a pair.

    By `ganiqa_jax.models.comparison`, which teachers of channels begin from: the score
    is the likeness of both pictures, and nothing is learned. With protocols a ridge
    regression on all channels is fitted to the train part of each split instead.

    Args:
        data: name of a data set with references.
        root: its folder.
        weights: ImageNet weights.
        protocols: names of splits; without a number all splits of one.
        short_side: pictures are resized to this.
        out: folder for predictions.csv; with protocols, of a folder for each split.
    """
    records = catalog.read(data, root)
    compared = _compared(weights, records, short_side)
    if not protocols:
        scores = np.concatenate([each.likeness for each in compared])
        report("channels of Lite0, nothing learned", records, scores, "all", out)
        return
    from sklearn.linear_model import Ridge

    channels = (np.asarray(each.channels[0]) for each in compared)
    row_of = {r.name: row for r, row in zip(records, channels, strict=True)}
    name = "channels of Lite0 + ridge"
    for folder, split, parts in _splits(records, protocols, out):
        predicted = _fit_predict(Ridge(1000.0), row_of, parts.train, parts.test)
        report(name, parts.test, predicted, split, folder)


def _compared(
    weights: Path, records: Sequence[Record], short_side: int
) -> list[Comparison]:
    """The comparison of each record's pictures, alone in its batch."""
    import jax
    import jax.numpy as jnp

    from ganiqa_jax.convert.backbones import load_backbone, place
    from ganiqa_jax.models.backbones.efficientnet_lite import EfficientNetLite

    network = EfficientNetLite(frozen=True, taps="dense")
    picture = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), picture)
    variables = place(load_backbone(weights, "efficientnet_lite0"), shapes)

    @jax.jit
    def of_pair(pair):
        maps: Any = network.apply(variables, pair.astype(jnp.float32) / 255)
        return compare(maps)

    rows = []
    for record in track(records, len(records), "features", True):
        if record.reference is None:
            raise SystemExit(f"{record.name} has no reference.")
        paths = record.reference, record.distorted
        pair = [resize_short_side(decode_picture(p).pixels, short_side) for p in paths]
        rows.append(jax.tree.map(np.asarray, of_pair(np.stack(pair))))
    return rows


def report(
    name: str,
    records: Sequence[Record],
    scores: np.ndarray,
    split: str,
    out: Path | None,
) -> None:
    """Prints one row and writes the predictions."""
    mos = np.array([record.mos for record in records])
    groups = [record.content for record in records]
    print(f"{name}, split {split}, n={len(mos)} of {len(set(groups))} contents")
    for key, value in metrics.summary(scores, mos, groups=groups).items():
        if isinstance(value, metrics.Estimate):
            print(f"  {key:12s} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        with (out / "predictions.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "content", "kind", "mos", "score"])
            for record, score in zip(records, scores, strict=True):
                facts = record.name, record.content, record.kind, record.mos
                writer.writerow([*facts, score])


def _luma(path: Path) -> np.ndarray:
    return decode_picture(path).pixels @ np.array([0.299, 0.587, 0.114])


def _embedder(weights: Path):
    import jax
    import jax.numpy as jnp

    from ganiqa_jax.config import TeacherConfig
    from ganiqa_jax.convert import insert_backbone
    from ganiqa_jax.models import Teacher
    from ganiqa_jax.models.backbones.mobilenet_v1 import MobileNetV1

    picture = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    teacher = Teacher(TeacherConfig(backbone="mobilenet_v1"))
    shapes = jax.eval_shape(teacher.init, jax.random.key(0), picture, picture)
    loaded = insert_backbone(dict(shapes), weights, "mobilenet_v1")
    backbone = {"frozen": loaded["frozen"]["backbone"]}
    network = MobileNetV1(frozen=True)

    def wanted(module, method: str) -> bool:
        return module.name in EMBEDDED and method == "__call__"

    @jax.jit
    def embed(pixels):
        picture = pixels[None].astype(jnp.float32) / 255
        applied: Any = network.apply(backbone, picture, capture_intermediates=wanted)
        seen = applied[1]["intermediates"]
        maps = [seen[name]["__call__"][0] for name in EMBEDDED]
        moments = [f(m, axis=(1, 2))[0] for m in maps for f in (jnp.mean, jnp.std)]
        return jnp.concatenate(moments)

    return embed


def _embed(embed, records: Sequence[Record], short_side: int) -> np.ndarray:
    rows = []
    for record in track(records, len(records), "features", True):
        pixels = resize_short_side(decode_picture(record.distorted).pixels, short_side)
        rows.append(np.asarray(embed(pixels)))
    return np.stack(rows)


if __name__ == "__main__":
    app = tyro.extras.SubcommandApp()
    app.command(psnr)
    app.command(peers)
    app.command(svr)
    app.command(channels)
    app.cli()
