"""Distils the small student of `make demo`; smoke test of stage 2 on a CPU.

Run:      ganiqa distill configs/smoke_distill.py --workdir runs/smoke_student
Needs:    demo/data and demo/teacher, which `ganiqa demo --out demo` writes.
Measured: SRCC 0.70 [0.45, 0.88] with the grades of 180 pictures of 4 unseen scenes;
          a minute on 2 CPU cores.
"""

from ganiqa_jax.config import (
    DataConfig,
    DistillConfig,
    JndConfig,
    LoopConfig,
    OptimConfig,
    Preprocessing,
    ProbeConfig,
    SourceConfig,
    StudentConfig,
)


def get_config() -> DistillConfig:
    return DistillConfig(
        seed=0,
        steps=100,
        teacher="demo/teacher",
        student=StudentConfig(
            trunk="efficientnet_lite0",
            trunk_weights="student-s",
            frozen_blocks=11,
            width=32,
            dropout=0.3,
            attention_key_dim=8,
            embedding_grid=6,
            jnd=JndConfig(strength=0.0),
        ),
        probe=ProbeConfig(steps=1000),
        data=DataConfig(
            sources=(
                SourceConfig("synthetic", "demo/data", "labelled_pairs", rows=16),
            ),
            scale="synthetic",
            crop=96,
            fractions=(0.6, 0.0, 0.4),
        ),
        optim=OptimConfig(
            peak_lr=3e-4,
            warmup=0.05,
            trunk_lr_scale=0.2,
            weight_decay=0.02,
            ema_decay=0.98,
        ),
        preprocessing=Preprocessing(crop=96, points=9),
        loop=LoopConfig(log_every=10, save_every=50),
    )
