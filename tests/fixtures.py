"""Makers of tiny data sets in the exact layout of the real ones.

The pictures are drawn from a seed. Of two pictures of one scene the blurrier or
blockier one has the lower score.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

GENERATORS = ("AttnGAN_normal", "sd1.5_lowstep", "sd1.5_normal", "xl2.2_normal")
"""Model and variant of AGIQA-3K's file names, here from worst to best."""

UPSCALERS = {
    "NN": Image.Resampling.NEAREST,
    "Bicubic": Image.Resampling.BICUBIC,
    "result_c_DCSCN": Image.Resampling.LANCZOS,
}
"""File name part of SR4KIQA, and what stands in for it here, from worst to best."""


def draw_scene(number: int, *, height: int, width: int) -> np.ndarray:
    """A sharp uint8 picture [H, W, 3] of waves and boxes; the number decides it."""
    random = np.random.default_rng(number)
    down, across = np.mgrid[0:height, 0:width]
    picture = np.empty((height, width, 3))
    for channel in range(3):
        fy, fx, phase = random.uniform(0.1, 0.9, 3)
        picture[..., channel] = 128 + 60 * np.sin(fy * down + fx * across + 9 * phase)
    for _ in range(12):
        top, left = random.integers(0, height), random.integers(0, width)
        box = slice(top, top + height // 4), slice(left, left + width // 4)
        picture[box] = random.uniform(0, 255, 3)
    return picture.round().clip(0, 255).astype(np.uint8)


def make_agiqa3k(
    root: Path,
    *,
    prompts: Sequence[int] = (1, 2, 3, 4, 6, 7),
    generators: Sequence[str] = GENERATORS,
    side: int = 64,
    flat: bool = False,
) -> Path:
    """Writes an AGIQA-3K folder: one picture per prompt and generator."""
    folder = root if flat else root / "images"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for rank, generator in enumerate(generators):
        for prompt in prompts:
            name = f"{generator}_{prompt:03d}.jpg"
            scene = Image.fromarray(draw_scene(prompt, height=side, width=side))
            blur = 0.5 * (len(generators) - 1 - rank) + 0.05 * prompt
            scene.filter(ImageFilter.GaussianBlur(blur)).save(folder / name, quality=95)
            quality = 4.4 - 1.2 * blur
            rows.append(
                {
                    "name": name,
                    "prompt": f"thing number {prompt}, with a comma",
                    "adj1": "",
                    "adj2": "",
                    "style": "baroque style" if prompt % 2 else "",
                    "mos_quality": f"{quality:.9f}",
                    "std_quality": f"{0.5 + 0.01 * prompt:.9f}",
                    "mos_align": f"{5 - quality:.9f}",
                    "std_align": "0.400000000",
                    "mos": f"{quality:.9f}",
                }
            )
    _write_table(root / "data.csv", rows)
    return root


def make_sr4kiqa(
    root: Path,
    *,
    contents: Sequence[str] = ("Animal1", "Building2", "Face1", "People4"),
    factors: Sequence[int] = (2, 4, 8),
    size: tuple[int, int] = (80, 64),
) -> Path:
    """Writes an SR4KIQA folder of `size` (width, height) pictures."""
    (root / "reference").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, content in enumerate(contents):
        reference = Image.fromarray(
            draw_scene(100 + number, height=size[1], width=size[0])
        )
        reference.save(root / "reference" / f"{content}_GT.jpg", quality=98)
        (root / content).mkdir(exist_ok=True)
        for rank, (upscaler, method) in enumerate(UPSCALERS.items()):
            for factor in factors:
                small = (size[0] // factor, size[1] // factor)
                shrunk = reference.resize(small, Image.Resampling.BOX)
                file = f"{content}_{upscaler}_x{factor}.jpg"
                shrunk.resize(size, method).save(root / content / file, quality=98)
                score = 4.8 - 0.45 * factor + 0.2 * rank
                rows.append({"content": content, "file": file, "mos": f"{score:.1f}"})
    _write_table(root / "mos.csv", rows)
    return root


def _write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
