"""Distils the small student of `make demo`; smoke test of stage 2 on a CPU.

Run:      ganiqa distill configs/smoke_distill.py --workdir runs/smoke_student
Needs:    demo/data and demo/teacher, which `ganiqa demo --out demo` writes.
Measured: not yet
"""

from ganiqa_jax.config import (
    DataConfig,
    DistillConfig,
    LoopConfig,
    OptimConfig,
    Preprocessing,
    SourceConfig,
    StudentConfig,
)


def get_config() -> DistillConfig:
    return DistillConfig(
        seed=0,
        steps=400,
        teacher="demo/teacher",
        student=StudentConfig(
            trunk="mobilenet_v1",
            width=32,
            dropout=0.1,
            attention_key_dim=8,
            embedding_grid=6,
        ),
        data=DataConfig(
            sources=(
                SourceConfig("synthetic", "demo/data", "labelled_pairs", rows=16),
            ),
            scale="synthetic",
            crop=96,
            fractions=(0.6, 0.0, 0.4),
        ),
        optim=OptimConfig(peak_lr=2e-3, warmup=0.05, weight_decay=0.02, ema_decay=0.98),
        preprocessing=Preprocessing(crop=96, points=9),
        loop=LoopConfig(log_every=20, save_every=200),
    )
