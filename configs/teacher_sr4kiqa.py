"""Trains the full-reference teacher on SR4KIQA and graded synthetic pairs.

Run:      ganiqa train configs/teacher_sr4kiqa.py --workdir runs/teacher
Before:   ganiqa synthesize $GANIQA_DATA/pristine/kodak $GANIQA_DATA/pristine/bsds \\
              --out $GANIQA_DATA/synthetic --per-picture 6 --crop 288 --limit 120
Needs:    $GANIQA_DATA (default: data) with sr4kiqa/, synthetic/ and weights/.
Measured: 2 CPU cores (shared with other work), 18.5 minutes; see the README for the
          correlations on the test contents.
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
        steps=600,
        teacher=TeacherConfig(
            backbone="inception_v3",
            backbone_weights=f"{DATA}/weights/inception_v3_imagenet_folded_fp16.npz",
        ),
        data=DataConfig(
            sources=(
                SourceConfig("sr4kiqa", f"{DATA}/sr4kiqa", "labelled_pairs", rows=5),
                SourceConfig(
                    "synthetic", f"{DATA}/synthetic", "labelled_pairs", rows=4
                ),
            ),
            scale="sr4kiqa",
            crop=192,
        ),
        optim=OptimConfig(peak_lr=3e-4, ema_decay=0.995),
        preprocessing=Preprocessing(crop=192, points=9),
        loop=LoopConfig(log_every=10, save_every=100),
    )
