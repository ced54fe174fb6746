"""Every setting of the package, as frozen dataclasses.

A configuration file is Python with `get_config()`; the command line overrides
single fields (`--optim.peak-lr 1e-4`).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ganiqa_jax.data_config import (
    Cache,
    DataConfig,
    Preprocessing,
    Role,
    SourceConfig,
)
from ganiqa_jax.network_config import (
    JndConfig,
    StudentConfig,
    TeacherConfig,
    require,
)

__all__ = [
    "Cache",
    "DataConfig",
    "DistillConfig",
    "DistillWeights",
    "FitConfig",
    "JndConfig",
    "LoopConfig",
    "NoiseConfig",
    "OptimConfig",
    "Preprocessing",
    "ProbeConfig",
    "Role",
    "SourceConfig",
    "StudentConfig",
    "TeacherConfig",
    "TeacherTrainConfig",
    "TeacherWeights",
]


def _no_negative(config: Any, where: str) -> None:
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        values = value if isinstance(value, tuple) else (value,)
        least = min(values, default=0)
        require(least >= 0, f"{where}.{item.name} must not be negative")


@dataclass(frozen=True)
class NoiseConfig:
    """What disturbs the student while it learns; it must not change quality.

    Attributes:
      cutout_prob: chance that a picture gets grey holes.
      cutout_holes: most holes in a picture (1 to this many).
      cutout_side: side of a hole over the crop side.
      pixel_prob: chance of Gaussian noise on the picture.
      pixel_std: its deviation, in [0, 1] units.
      feature_prob: chance of Gaussian noise on the fused features.
      feature_std: its deviation over the features' own deviation.
      token_dropout: share of difference tokens set to zero.
      label_std: deviation of the jitter on pseudo-labels, in z units.
    """

    cutout_prob: float = 0.5
    cutout_holes: int = 2
    cutout_side: float = 0.125
    pixel_prob: float = 0.2
    pixel_std: float = 1 / 255
    feature_prob: float = 0.5
    feature_std: float = 0.05
    token_dropout: float = 0.1
    label_std: float = 0.05

    def __post_init__(self) -> None:
        for name in ("cutout_prob", "pixel_prob", "feature_prob", "token_dropout"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"noise.{name} must lie in [0, 1]")
        for name in ("pixel_std", "feature_std", "label_std", "cutout_holes"):
            require(getattr(self, name) >= 0, f"noise.{name} must not be negative")
        require(0 <= self.cutout_side < 1, "noise.cutout_side must lie in [0, 1)")

    @classmethod
    def off(cls) -> "NoiseConfig":
        return cls(
            cutout_prob=0.0,
            pixel_prob=0.0,
            feature_prob=0.0,
            token_dropout=0.0,
            label_std=0.0,
        )


@dataclass(frozen=True)
class TeacherWeights:
    """Weights of the teacher's loss terms; 0 leaves a term out."""

    mse: float = 1.0
    plcc: float = 0.1
    rank: float = 0.1
    bins: float = 0.1

    def __post_init__(self) -> None:
        _no_negative(self, "weights")


@dataclass(frozen=True)
class DistillWeights:
    """Weights of the student's loss terms; 0 leaves a term out.

    Attributes:
      hard: smooth L1 to the human score.
      score: smooth L1 to the teacher's score.
      soft: Kullback-Leibler divergence of the score bins.
      feature: feature-difference distillation, four maps.
      statistics: matching of feature means and deviations.
      rank: pairwise order.
      plcc: one minus Pearson correlation.
      drop: by how much less than a share of what the teacher says the damage of a
        pair costs by the student's score; whatever else parts the two scores does not
        count. The student then sees the references as well.
      drop_share: that share.
      temperature: tau of the soft labels.
      feature_maps: weight of each map inside `feature`: difference, reference,
        encoded, decoded.
      unlabelled: most weight of an unlabelled row.
      ramp: share of the steps over which that weight rises from 0.
    """

    hard: float = 1.0
    score: float = 0.5
    soft: float = 0.5
    feature: float = 1.0
    statistics: float = 0.1
    rank: float = 0.1
    plcc: float = 0.1
    drop: float = 0.0
    drop_share: float = 0.2
    temperature: float = 2.0
    feature_maps: tuple[float, float, float, float] = (1.0, 0.5, 1.0, 1.0)
    unlabelled: float = 1.0
    ramp: float = 0.1

    def __post_init__(self) -> None:
        _no_negative(self, "weights")
        require(self.temperature > 0, "weights.temperature must be positive")

    def without_teacher(self) -> "DistillWeights":
        """The control: the same student on human scores alone."""
        return dataclasses.replace(
            self,
            score=0.0,
            soft=0.0,
            feature=0.0,
            statistics=0.0,
            drop=0.0,
            unlabelled=0.0,
        )


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with warm-up and one cosine.

    Attributes:
      peak_lr: highest learning rate of new layers.
      end_lr: where the cosine ends.
      trunk_lr_scale: factor on the learning rate of a pretrained trunk.
      warmup: share of the steps with a linear rise.
      weight_decay: on kernels only, never on biases, norms, embeddings, tables.
      clip_norm: largest global gradient norm.
      ema_decay: decay of the averaged weights that evaluation uses.
      max_nonfinite: steps in a row that may be skipped for non-finite gradients.
    """

    peak_lr: float = 2e-4
    end_lr: float = 1e-6
    trunk_lr_scale: float = 1.0
    warmup: float = 0.03
    weight_decay: float = 1e-5
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    max_nonfinite: int = 3

    def __post_init__(self) -> None:
        _no_negative(self, "optim")
        require(self.peak_lr > 0, "optim.peak_lr must be positive")
        require(self.warmup < 1, "optim.warmup is a share of the steps, below 1")
        require(self.ema_decay < 1, "optim.ema_decay must be below 1")


@dataclass(frozen=True)
class LoopConfig:
    """What the loop does besides learning; it does not change the result.

    Attributes:
      log_every: steps between rows of `metrics.jsonl`.
      save_every: steps between checkpoints.
      keep: newest checkpoints that stay.
      tensorboard: also write TensorBoard events (extra `tensorboard`).
    """

    log_every: int = 20
    save_every: int = 200
    keep: int = 3
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for name in ("log_every", "save_every", "keep"):
            require(getattr(self, name) > 0, f"loop.{name} must be positive")


@dataclass(frozen=True)
class FitConfig:
    """How a network on pretrained features starts: see `ganiqa_jax.probe`.

    Attributes:
      steps: steps of the fit of branch and head on the features as loaded; 0 leaves
        them as initialised.
      peak_lr: first learning rate, of a cosine to 0.
      weight_decay: on matrices; strong, since there are more channels than contents.
      pairs: damaged windows of each source that makes pairs. A student's fit sees those
        of the scored pictures too, for the term `drop`; 0 leaves them out.
    """

    steps: int = 1500
    peak_lr: float = 1e-3
    weight_decay: float = 1.0
    pairs: int = 0

    def __post_init__(self) -> None:
        _no_negative(self, "probe")


@dataclass(frozen=True)
class TeacherTrainConfig:
    """Stage 1: the teacher learns from pairs with scores.

    Attributes:
      probe: the start of a teacher that compares channels; without a pretrained
        backbone it is not used.
    """

    data: DataConfig
    steps: int
    teacher: TeacherConfig = TeacherConfig()
    probe: FitConfig = FitConfig()
    optim: OptimConfig = OptimConfig()
    weights: TeacherWeights = TeacherWeights()
    preprocessing: Preprocessing = Preprocessing(mirror=True)
    loop: LoopConfig = LoopConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.steps > 0, "steps must be positive")
        compared = self.teacher.channels
        roles = {
            source.role
            for source in self.data.sources
            if not (compared and source.distort and not source.labelled)
        }
        require(
            roles <= {"labelled_pairs"},
            "a teacher is trained on labelled_pairs or, with teacher.channels, on "
            f"unlabelled_pairs with `distort`; this configuration has {sorted(roles)}",
        )
        fitted = compared and self.teacher.backbone_weights is not None
        require(
            not fitted
            or self.probe.pairs > 0
            or any(source.distort is None for source in self.data.sources),
            "probe.pairs must be positive where all sources make their pairs: the head "
            "is fitted to them first",
        )


@dataclass(frozen=True)
class ProbeConfig(FitConfig):
    """The fit of a student, which sees crops of the scored pictures.

    Attributes:
      crops: random crops of each picture that the trunk sees for it.
      crop: side of those crops and of damaged windows, pixels; 0 takes `data.crop`.
      sides: in place of `crop`: crops and windows of each of these sides, from pictures
        whose shorter side is as long. A student that sees detail learns from several
        what that of a small picture is, and of a large one.
      parts: of each crop the fit sees the whole and, out of the same pass, the four
        corners of three quarters of its sides. A head learns as much of one crop so
        as of five, where crops are as large as pictures.
    """

    crops: int = 5
    crop: int = 0
    sides: tuple[int, ...] = ()
    parts: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.crops > 0, "probe.crops must be positive")


@dataclass(frozen=True)
class DistillConfig:
    """Stage 2: the student learns from scores and from the frozen teacher.

    Attributes:
      teacher: run directory of stage 1, or the name of a released teacher
        (`teacher-s`); empty trains without a teacher.
      probe: the start on a pretrained trunk; without one it is not used.
      pseudo_crops: crops whose mean is a pseudo-label and whose variance is its
        confidence.
      pseudo_drop: share of unlabelled pairs, the least confident, left out.
    """

    data: DataConfig
    steps: int
    teacher: str = ""
    student: StudentConfig = StudentConfig()
    probe: ProbeConfig = ProbeConfig()
    optim: OptimConfig = OptimConfig(peak_lr=5e-4, weight_decay=0.02)
    weights: DistillWeights = DistillWeights()
    noise: NoiseConfig = NoiseConfig()
    preprocessing: Preprocessing = Preprocessing()
    loop: LoopConfig = LoopConfig()
    pseudo_crops: Literal[1, 5, 9] = 5
    pseudo_drop: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.steps > 0, "steps must be positive")
        require(0 <= self.pseudo_drop < 1, "pseudo_drop must lie in [0, 1)")
        require(
            all(
                source.labelled or source.distort is None
                for source in self.data.sources
                if source.dataset == self.data.scale
            ),
            f"data.scale {self.data.scale!r} has no scores: its pairs are made while "
            "training and scored by the teacher",
        )
        require(
            self.student.detail == (self.preprocessing.detail_side > 0),
            "student.detail and preprocessing.detail_side go together",
        )
