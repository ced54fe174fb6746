"""Graded synthetic pairs: pristine pictures, distorted in known ways and degrees.

The grade of a pair is measured from the pair itself, by multi-scale structural
similarity on luma, because one level of two kinds of damage is not equally bad. It is
a graded target for training and demonstration, not a human score.

Source of the grade: Wang, Simoncelli, Bovik, "Multi-scale structural similarity for
image quality assessment", Asilomar 2003; three scales, mapped to [0, 1] by its square.
"""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps
from scipy import ndimage

from ganiqa_jax.data.distortions import DISTORTIONS, GRADED_KINDS, LEVELS, distort
from ganiqa_jax.data.facts import Facts
from ganiqa_jax.data.records import Record, check_records, read_table, score_in
from ganiqa_jax.errors import InputError, IntegrityError

Pixels = UInt8[np.ndarray, "H W 3"]
Row = tuple[str, str, str, str, int, float, str]
"""A line of the manifest, in the order of `COLUMNS`."""

FACTS = Facts(
    name="synthetic",
    title="Synthetic pairs",
    kind="pairs",
    pictures=0,
    references=0,
    contents=0,
    scale="synthetic grade",
    low=0.0,
    high=1.0,
    rises=True,
    licence="that of the pristine pictures",
    address="",
    layout="Make it: ganiqa synthesize PICTURES --out FOLDER.",
    citation="",
)
MANIFEST = "pairs.csv"
SETTINGS = "settings.json"
COLUMNS = ("name", "reference", "distorted", "kind", "level", "grade", "content")

# Those that scikit-image and scikit-learn ship inside their packages.
_SKIMAGE_PHOTOGRAPHS = (
    "astronaut",
    "camera",
    "cat",
    "coffee",
    "hubble_deep_field",
    "rocket",
)
_SKLEARN_PHOTOGRAPHS = ("china.jpg", "flower.jpg")
_SCALE_WEIGHTS = (0.2, 0.4, 0.4)


def embedded_photographs() -> dict[str, Pixels]:
    """Photographs that declared dependencies ship; nothing is downloaded.

    Raises:
      InputError: if the `demo` extra is not installed.
    """
    try:
        import skimage.data
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        raise InputError(
            "The embedded photographs need the demo extra: "
            "pip install 'ganiqa-jax[demo]'."
        ) from error
    found = {name: getattr(skimage.data, name)() for name in _SKIMAGE_PHOTOGRAPHS}
    found["motorcycle"] = skimage.data.stereo_motorcycle()[0]
    for name in _SKLEARN_PHOTOGRAPHS:
        found[Path(name).stem] = load_sample_image(name)
    return {name: _as_rgb(pixels) for name, pixels in found.items()}


def grade(reference: Pixels, distorted: Pixels) -> float:
    """Graded target in [0, 1]; 1 is pristine, higher is better."""
    a, b = (_luma(pixels) for pixels in (reference, distorted))
    total = 1.0
    for number, weight in enumerate(_SCALE_WEIGHTS):
        luminance, structure = _similarity(a, b)
        last = number == len(_SCALE_WEIGHTS) - 1
        value = luminance * structure if last else structure
        total *= max(value, 0.0) ** weight
        a, b = (ndimage.uniform_filter(x, 2)[::2, ::2] for x in (a, b))
    return float(total**2)


def write_pairs(
    pristine: Mapping[str, Pixels] | Sequence[Path],
    folder: Path,
    *,
    seed: int,
    kinds: Sequence[str] = GRADED_KINDS,
    levels: Sequence[int] = LEVELS,
    crop: int | None = None,
    per_picture: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Record]:
    """Writes reference and distorted PNGs and their manifest; or re-uses them.

    A folder that holds the same pictures with the same settings is read, not made
    again. Otherwise the data set is written aside and put in place when complete.

    Args:
      pristine: pictures by name, or files.
      folder: where the data set goes.
      seed: decides windows, which versions are made, and random damage.
      kinds: of `DISTORTIONS`; the grade sees changes of colour alone badly.
      levels: of 1 to 5.
      crop: side of the seeded window taken from each picture, or less where the
        picture is smaller; None takes it all.
      per_picture: distorted versions of each picture, drawn from all kinds and
        levels; None makes them all.
      progress: called with pictures done and pictures in all.

    Raises:
      InputError: if there is no picture, one cannot be read, a setting is out of
        range, or the folder holds something else.
      IntegrityError: if the folder holds this data set with pictures missing.
    """
    named = _named(pristine)
    versions = _versions(kinds, levels, crop, per_picture)
    settings = {
        "format": 1,
        "seed": seed,
        "versions": [list(version) for version in versions],
        "crop": crop,
        "per_picture": per_picture,
        "pictures": {name: _fingerprint(source) for name, source in named.items()},
    }
    if _holds(folder, settings):
        return read_records(folder)
    aside = _make_aside(folder)

    def damage(item: tuple[str, Pixels | Path]) -> list[Row]:
        name, source = item
        random = _random(seed, name)
        pixels = _window(_load(source), crop, random)
        chosen = _choose(versions, per_picture, random)
        return _write_picture(aside, name, pixels, chosen, seed)

    rows: list[Row] = []
    with ThreadPoolExecutor(2) as pool:
        for done, made in enumerate(pool.map(damage, named.items()), start=1):
            rows.extend(made)
            if progress is not None:
                progress(done, len(named))
    _write_manifest(aside, rows, settings)
    if folder.exists():  # empty, or _holds had refused it
        folder.rmdir()
    aside.rename(folder)
    return read_records(folder)


def read_records(folder: Path, *, allow_missing: bool = False) -> list[Record]:
    """Reads a folder that `write_pairs` wrote.

    Args:
      folder: what `write_pairs` wrote.
      allow_missing: leave out pictures that are not there.

    Raises:
      InputError: if there is no such data set, or its manifest is damaged.
      IntegrityError: if pictures of it are missing.
    """
    table = folder / MANIFEST
    advice = f"Make it: ganiqa synthesize PICTURES --out {folder}."
    records = [
        Record(
            name=row["name"],
            distorted=folder / row["distorted"],
            reference=folder / row["reference"],
            mos=score_in(row, "grade", FACTS.bounds, name=row["name"], table=table),
            content=row["content"],
            kind=row["kind"],
            level=_level(row["level"], table),
        )
        for row in read_table(table, COLUMNS, advice=advice)
    ]
    files = {r.distorted for r in records} | {r.reference for r in records}
    missing = sorted(path for path in files if path and not path.is_file())
    if missing and not allow_missing:
        raise IntegrityError(
            f"{folder} lacks {len(missing)} of {len(files)} pictures, such as "
            f"{missing[0].name}; delete the folder and make it again."
        )
    return check_records(
        records, dataset=str(folder), advice=advice, allow_missing=allow_missing
    )


def _versions(
    kinds: Sequence[str],
    levels: Sequence[int],
    crop: int | None,
    per_picture: int | None,
) -> list[tuple[str, int]]:
    """Every kind at every level, after a look at the settings as a whole."""
    strange = [kind for kind in kinds if kind not in DISTORTIONS]
    if strange:
        raise InputError(
            f"No distortion {strange[0]!r}; there are {', '.join(DISTORTIONS)}."
        )
    if any(level not in LEVELS for level in levels):
        raise InputError(f"Levels {tuple(levels)} must be of {LEVELS}.")
    if not kinds or not levels:
        raise InputError("Name at least one kind of distortion and one level.")
    for name, value in (("crop", crop), ("per_picture", per_picture)):
        if value is not None and value < 1:
            raise InputError(f"{name}={value} must be at least 1.")
    return [(kind, level) for kind in kinds for level in levels]


def _make_aside(folder: Path) -> Path:
    """An empty data set next to the folder; what an interruption left is removed."""
    aside = folder.absolute().with_name(folder.absolute().name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    for part in ("reference", "distorted"):
        (aside / part).mkdir(parents=True)
    return aside


def _write_manifest(folder: Path, rows: Sequence[Row], settings: dict) -> None:
    with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    (folder / SETTINGS).write_text(json.dumps(settings), encoding="utf-8")


def _level(text: str, table: Path) -> int:
    if text not in map(str, LEVELS):
        raise InputError(
            f"{table}: level is {text!r}, not one of {LEVELS}; make the data set again."
        )
    return int(text)


def _write_picture(
    folder: Path,
    name: str,
    pixels: Pixels,
    versions: Sequence[tuple[str, int]],
    seed: int,
) -> list[Row]:
    reference = f"reference/{name}.png"
    _save(folder / reference, pixels)
    rows: list[Row] = []
    for kind, level in versions:
        own = f"{name}_{kind}_{level}"
        damaged = distort(pixels, kind, level, _random(seed, own))
        _save(folder / f"distorted/{own}.png", damaged)
        target = round(grade(pixels, damaged), 6)
        rows.append((own, reference, f"distorted/{own}.png", kind, level, target, name))
    return rows


def _similarity(
    a: Float[np.ndarray, "H W"], b: Float[np.ndarray, "H W"]
) -> tuple[float, float]:
    """Mean luminance term, and mean contrast-structure term, of SSIM."""

    def blur(x: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(x, 1.5, truncate=3.5)

    mean_a, mean_b = blur(a), blur(b)
    var_a = blur(a * a) - mean_a**2
    var_b = blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return float(luminance.mean()), float(structure.mean())


def _luma(pixels: Pixels) -> Float[np.ndarray, "H W"]:
    return pixels @ np.array([0.299, 0.587, 0.114])


def _as_rgb(pixels: np.ndarray) -> Pixels:
    return np.stack([pixels] * 3, axis=-1) if pixels.ndim == 2 else pixels[..., :3]


def _named(
    pristine: Mapping[str, Pixels] | Sequence[Path],
) -> dict[str, Pixels | Path]:
    """Pristine pictures by a name that is a file name and a content."""
    named: dict[str, Pixels | Path] = {}
    if isinstance(pristine, Mapping):
        named.update(pristine)
    else:
        for path in pristine:
            if path.stem in named:
                raise InputError(
                    f"Two pristine pictures are named {path.stem!r}; rename one."
                )
            named[path.stem] = path
    if not named:
        raise InputError("No pristine pictures to distort.")
    for name in named:
        if Path(name).name != name or not name.isprintable():
            raise InputError(f"A picture cannot be named {name!r}: no file name.")
    return named


def _fingerprint(source: Pixels | Path) -> str:
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.tobytes()
    except OSError as error:
        raise InputError(f"Cannot read {source}: {error.strerror}.") from error
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _load(source: Pixels | Path) -> Pixels:
    if not isinstance(source, Path):
        return source
    try:
        with Image.open(source) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # All four are what Pillow raises for files that are damaged or no picture.
        raise InputError(
            f"Pristine picture {source} cannot be read: {error}. Leave it out."
        ) from error


def _window(
    pixels: Pixels, crop: int | None, random: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    if crop is None:
        return pixels
    height, width = pixels.shape[:2]
    high, wide = min(crop, height), min(crop, width)
    top = int(random.integers(height - high + 1))
    left = int(random.integers(width - wide + 1))
    return pixels[top : top + high, left : left + wide]


def _choose(
    versions: list[tuple[str, int]],
    count: int | None,
    random: np.random.Generator,
) -> list[tuple[str, int]]:
    if count is None or count >= len(versions):
        return versions
    return [versions[i] for i in sorted(random.permutation(len(versions))[:count])]


def _holds(folder: Path, settings: dict) -> bool:
    """True for the same data set; an error for anything else in its place."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        if json.loads((folder / SETTINGS).read_text(encoding="utf-8")) == settings:
            return True
    except (OSError, ValueError):
        pass  # no settings, or no JSON: not ours
    raise InputError(
        f"{folder} holds something else already; delete it or give another folder."
    )


def _random(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest, "big")))


def _save(path: Path, pixels: Pixels) -> None:
    Image.fromarray(pixels).save(path, compress_level=1)
