"""Trains the small teacher of `make demo`; smoke test of stage 1 on a CPU.

Run:      ganiqa train configs/smoke_teacher.py --workdir runs/smoke_teacher
Needs:    demo/data, the graded pairs that `ganiqa demo --out demo` writes.
Measured: SRCC 0.85 [0.83, 0.90] with the grades of 180 pictures of 4 unseen scenes;
          a minute or two on 2 CPU cores.
"""

from ganiqa_jax.config import (
    DataConfig,
    LoopConfig,
    OptimConfig,
    Preprocessing,
    SourceConfig,
    TeacherConfig,
    TeacherTrainConfig,
)


def get_config() -> TeacherTrainConfig:
    return TeacherTrainConfig(
        seed=0,
        steps=300,
        teacher=TeacherConfig(
            backbone="mobilenet_v1",
            width=32,
            expansion=2,
            attention_key_dim=8,
            embedding_grid=12,
        ),
        data=DataConfig(
            sources=(
                SourceConfig("synthetic", "demo/data", "labelled_pairs", rows=16),
            ),
            scale="synthetic",
            crop=96,
            fractions=(0.6, 0.0, 0.4),
        ),
        optim=OptimConfig(peak_lr=2e-3, warmup=0.05, ema_decay=0.98),
        preprocessing=Preprocessing(crop=96, points=9),
        loop=LoopConfig(log_every=20, save_every=150),
    )
