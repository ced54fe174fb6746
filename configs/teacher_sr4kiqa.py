"""Trains the full-reference teacher on what people say of SR4KIQA.

How unlike the channels of a network for ImageNet are is nearly all it goes by: the head
is fitted to that, and little may move it afterwards.

Run:      ganiqa train configs/teacher_sr4kiqa.py --workdir runs/teacher
Fold N:   the same with --data.sources.0.split kfold-5/N+val
Needs:    $GANIQA_DATA (default: data) with sr4kiqa/ and weights/, which
          configs/distill_agiqa3k.py tells how to fill.
Measured: 4 minutes on one CPU core; SRCC 0.953 on five folds (see the README for the
          intervals).
"""

import os

from ganiqa_jax.config import (
    DataConfig,
    FitConfig,
    JndConfig,
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
        steps=50,
        teacher=TeacherConfig(
            backbone="efficientnet_lite0",
            backbone_weights=f"{DATA}/weights/efficientnet_lite0_imagenet.safetensors",
            channels=True,
            neck_level=2,
            dropout=0.5,
            jnd=JndConfig(strength=0.0),
        ),
        probe=FitConfig(steps=1500),
        data=DataConfig(
            sources=(
                SourceConfig(
                    "sr4kiqa",
                    f"{DATA}/sr4kiqa",
                    "labelled_pairs",
                    rows=8,
                    short_side=512,
                ),
            ),
            scale="sr4kiqa",
            crop=256,
        ),
        optim=OptimConfig(peak_lr=3e-5, ema_decay=0.98),
        preprocessing=Preprocessing(crop=512, points=1, whole=True, reflect=True),
        loop=LoopConfig(log_every=10, save_every=100),
    )
