"""Trains teacher-s: a small full-reference teacher on photographs that are free to use.

Windows of the photographs are damaged as they are read. No person scored anything: what
damage costs is how unlike the channels of a network for ImageNet are. It is what the
student learns from that the package ships.

Run:      ganiqa train configs/teacher_s.py --workdir runs/teacher_s
Before:   ganiqa data photographs $GANIQA_DATA/photographs, and undamaged photographs
          of your own beside those nine; ours were 16 of Kodak's.
Needs:    $GANIQA_DATA (default: data) with photographs/ and weights/, which
          configs/distill_agiqa3k.py tells how to fill.
Measured: 7 minutes on one CPU core; SRCC 0.933 on SR4KIQA, which nothing was learned
          from (see the README for the interval).
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
        steps=100,
        teacher=TeacherConfig(
            backbone="efficientnet_lite0",
            backbone_weights=f"{DATA}/weights/efficientnet_lite0_imagenet.safetensors",
            channels=True,
            # On whole pictures 1/8 has 16 times the tokens.
            neck_level=2,
            width=64,
            dropout=0.5,
            jnd=JndConfig(strength=0.0),
        ),
        probe=FitConfig(steps=1500, pairs=1000),
        data=DataConfig(
            sources=(
                SourceConfig(
                    "pristine",
                    f"{DATA}/photographs",
                    "unlabelled_pairs",
                    rows=8,
                    short_side=512,
                    split="cross-train",
                    distort="all",
                ),
            ),
            scale="pristine",
            crop=256,
        ),
        optim=OptimConfig(peak_lr=1e-4, ema_decay=0.98),
        preprocessing=Preprocessing(crop=512, points=1, whole=True, reflect=True),
        loop=LoopConfig(log_every=10, save_every=100),
    )
