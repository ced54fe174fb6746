"""Trains teacher-s: a small full-reference teacher on photographs that are free to use.

Windows of the photographs are damaged as they are read and graded by multi-scale
structural similarity; no person scored anything. It is what the student learns from
that the package ships.

Run:      ganiqa train configs/teacher_s.py --workdir runs/teacher_s
Before:   ganiqa data photographs $GANIQA_DATA/photographs, and undamaged photographs
          of your own beside those nine; ours were 16 of Kodak's.
Needs:    $GANIQA_DATA (default: data) with photographs/ and weights/.
Measured: see docs/experiments.md.
"""

import os

from ganiqa_jax.config import (
    DataConfig,
    LoopConfig,
    OptimConfig,
    Preprocessing,
    SourceConfig,
    TeacherConfig,
    TeacherTrainConfig,
)

DATA = os.environ.get("GANIQA_DATA", "data")


def get_config() -> TeacherTrainConfig:
    return TeacherTrainConfig(
        seed=0,
        steps=300,
        teacher=TeacherConfig(
            backbone="mobilenet_v1",
            backbone_weights=f"{DATA}/weights/mobilenet_v1_075_imagenet.npz",
        ),
        data=DataConfig(
            sources=(
                SourceConfig(
                    "pristine",
                    f"{DATA}/photographs",
                    "labelled_pairs",
                    rows=8,
                    short_side=320,
                    split="cross-train",
                    distort="graded",
                ),
            ),
            scale="pristine",
            crop=160,
        ),
        optim=OptimConfig(peak_lr=5e-4, ema_decay=0.99),
        preprocessing=Preprocessing(short_side=512, crop=160, points=9),
        loop=LoopConfig(log_every=10, save_every=100),
    )
