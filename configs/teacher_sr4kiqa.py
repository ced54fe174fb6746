"""Trains the full-reference teacher on SR4KIQA and on photographs, graded as damaged.

Run:      ganiqa train configs/teacher_sr4kiqa.py --workdir runs/teacher
Fold N:   the same with --data.sources.0.split kfold-5/N
Needs:    $GANIQA_DATA (default: data) with sr4kiqa/, weights/ and photographs/, which
          configs/teacher_s.py tells how to fill.
Measured: 6 minutes on 2 CPU cores; SRCC 0.924 on five folds (see the README for the
          intervals).
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
            backbone="inception_v3",
            backbone_weights=f"{DATA}/weights/inception_v3_imagenet_folded_fp16.npz",
        ),
        data=DataConfig(
            sources=(
                SourceConfig("sr4kiqa", f"{DATA}/sr4kiqa", "labelled_pairs", rows=5),
                SourceConfig(
                    "pristine",
                    f"{DATA}/photographs",
                    "labelled_pairs",
                    rows=4,
                    short_side=320,
                    split="cross-train",
                    distort="graded",
                ),
            ),
            scale="sr4kiqa",
            crop=192,
        ),
        optim=OptimConfig(peak_lr=3e-4, ema_decay=0.995),
        preprocessing=Preprocessing(crop=192, points=9),
        loop=LoopConfig(log_every=10, save_every=100),
    )
