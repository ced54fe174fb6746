"""Every setting of the package, as frozen dataclasses.

A configuration file is Python with `get_config()`; the command line overrides
single fields (`--optim.peak-lr 1e-4`). `to_json` and `from_json` keep a
configuration beside the checkpoint it made.
"""

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ganiqa_jax.types import InputError

T = TypeVar("T")

Backbone = Literal["inception_resnet_v2", "inception_v3", "mobilenet_v1"]
Trunk = Literal["mobilenet_v1", "efficientvit"]
Attention = Literal["cga", "mhsa", "none"]
ComputeDtype = Literal["float32", "bfloat16"]
Role = Literal["labelled_pairs", "unlabelled_pairs", "pictures"]


def _check_network(config: "TeacherConfig | StudentConfig") -> None:
    _require(
        config.width % config.heads == 0,
        f"width={config.width} is not divisible by heads={config.heads}",
    )
    _require(
        config.attention != "cga" or len(config.attention_kernels) == config.heads,
        f"attention_kernels has {len(config.attention_kernels)} entries "
        f"for heads={config.heads}",
    )
    _require(0 <= config.dropout < 1, "dropout must lie in [0, 1)")
    for name in ("width", "heads", "layers", "expansion", "embedding_grid"):
        _require(getattr(config, name) > 0, f"{name} must be positive")
    for name in ("bins", "attention_window"):
        _require(getattr(config, name) >= 0, f"{name} must not be negative")


def _no_negative(config: Any, where: str) -> None:
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        values = value if isinstance(value, tuple) else (value,)
        _require(min(values) >= 0, f"{where}.{item.name} must not be negative")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(message + ".")


@dataclass(frozen=True)
class JndConfig:
    """The minimum just-noticeable-difference picture of the input layer.

    Attributes:
      form: which JND model: Yang et al. 2005, or Wu et al. 2017.
      strength: lambda, the share of the JND that is taken away; 0 turns it off.
    """

    form: Literal["yang", "wu2017"] = "yang"
    strength: float = 1.0

    def __post_init__(self) -> None:
        _require(self.strength >= 0, "jnd.strength must not be negative")


@dataclass(frozen=True)
class TeacherConfig:
    """The full-reference network.

    Attributes:
      backbone: the frozen feature extractor.
      backbone_weights: path of its ImageNet weights (.npz); None leaves a seeded
        random start.
      taps: `multi` takes three resolutions (1/8, 1/16, 1/32), `single` the 1/8
        level alone (for Inception-ResNet-v2: mixed_5b and block35 2 to 10).
      fusion: how the projected levels join: learned weighted sum, or concat.
      width: D, model width.
      heads: attention heads of the encoder, the decoder and CGA.
      layers: encoder and decoder blocks.
      expansion: hidden width of the feed-forward parts over D.
      dropout: rate in encoder, decoder and semantic branch.
      attention: what stands between projection and difference.
      attention_window: side of a CGA window in cells; 0 is global.
      attention_key_dim: query and key channels of a CGA head.
      attention_kernels: depthwise kernel on the queries, one per head.
      attention_grid: largest grid side of a global position-bias table.
      dsc: depthwise separable convolution on difference and reference.
      embedding_grid: side of the learned position table.
      semantic: the semantic branch on the deepest level.
      bins: score bins of the soft-label head; 0 leaves that head out.
      jnd: the input layer.
      dtype: compute type; parameters, softmax, norms and losses stay float32.
    """

    backbone: Backbone = "inception_resnet_v2"
    backbone_weights: str | None = None
    taps: Literal["multi", "single"] = "multi"
    fusion: Literal["sum", "concat"] = "sum"
    width: int = 128
    heads: int = 4
    layers: int = 1
    expansion: int = 4
    dropout: float = 0.1
    attention: Attention = "cga"
    attention_window: int = 0
    attention_key_dim: int = 16
    attention_kernels: tuple[int, ...] = (7, 5, 3, 3)
    attention_grid: int = 35
    dsc: bool = True
    embedding_grid: int = 21
    semantic: bool = True
    bins: int = 10
    jnd: JndConfig = JndConfig()
    dtype: ComputeDtype = "float32"

    def __post_init__(self) -> None:
        _check_network(self)
        _require(
            not (self.semantic and self.taps == "single"),
            "semantic=True needs taps='multi': the branch reads the deepest level",
        )

    @classmethod
    def iqa_conformer(cls, **overrides: Any) -> "TeacherConfig":
        """The predecessor: IQA-Conformer, Conde et al. 2022, arXiv:2204.12819."""
        predecessor = cls(
            taps="single",
            attention="none",
            dsc=False,
            semantic=False,
            bins=0,
            jnd=JndConfig(strength=0.0),
        )
        return dataclasses.replace(predecessor, **overrides)


@dataclass(frozen=True)
class StudentConfig:
    """The light no-reference network. Fields as in `TeacherConfig`, and:

    Attributes:
      trunk: the feature extractor; its pointwise and depthwise convolutions train.
      trunk_weights: path of ImageNet weights of `mobilenet_v1` (.npz).
      frozen_blocks: leading MobileNetV1 blocks that stay as loaded (the stem goes
        with them); gradients stop there, which makes a step on CPU much cheaper.
      stochastic_depth: rate of dropped residual branches in the trunk.
    """

    trunk: Trunk = "efficientvit"
    trunk_weights: str | None = None
    frozen_blocks: int = 0
    width: int = 128
    heads: int = 4
    layers: int = 1
    expansion: int = 2
    dropout: float = 0.2
    stochastic_depth: float = 0.1
    attention: Attention = "cga"
    attention_window: int = 7
    attention_key_dim: int = 16
    attention_kernels: tuple[int, ...] = (7, 5, 3, 3)
    attention_grid: int = 35
    embedding_grid: int = 14
    semantic: bool = True
    bins: int = 10
    jnd: JndConfig = JndConfig()
    dtype: ComputeDtype = "float32"

    def __post_init__(self) -> None:
        _check_network(self)
        _require(0 <= self.frozen_blocks <= 13, "frozen_blocks must be 0 to 13")
        _require(
            self.frozen_blocks == 0 or self.trunk == "mobilenet_v1",
            "frozen_blocks needs trunk='mobilenet_v1'",
        )


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
            _require(0 <= value <= 1, f"noise.{name} must lie in [0, 1]")
        for name in ("pixel_std", "feature_std", "label_std", "cutout_holes"):
            _require(getattr(self, name) >= 0, f"noise.{name} must not be negative")
        _require(0 <= self.cutout_side < 1, "noise.cutout_side must lie in [0, 1)")

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
    temperature: float = 2.0
    feature_maps: tuple[float, float, float, float] = (1.0, 0.5, 1.0, 1.0)
    unlabelled: float = 1.0
    ramp: float = 0.1

    def __post_init__(self) -> None:
        _no_negative(self, "weights")
        _require(self.temperature > 0, "weights.temperature must be positive")

    def without_teacher(self) -> "DistillWeights":
        """The control: the same student on human scores alone."""
        return dataclasses.replace(
            self, score=0.0, soft=0.0, feature=0.0, statistics=0.0, unlabelled=0.0
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
        _require(self.peak_lr > 0, "optim.peak_lr must be positive")
        _require(self.warmup < 1, "optim.warmup is a share of the steps, below 1")
        _require(self.ema_decay < 1, "optim.ema_decay must be below 1")


@dataclass(frozen=True)
class SourceConfig:
    """One data set of a training mixture.

    Attributes:
      dataset: a name of `ganiqa_jax.data.catalog.READERS`.
      root: the folder its archive is unpacked in.
      role: which loss terms its rows take part in.
      rows: rows of every batch that come from it.
      short_side: pictures are resized so that their shorter side has this many
        pixels; 0 keeps every pixel.
    """

    dataset: str
    root: str
    role: Role
    rows: int
    short_side: int = 0

    def __post_init__(self) -> None:
        _require(self.rows > 0, "a source needs rows > 0")
        _require(self.short_side >= 0, "short_side must not be negative")


@dataclass(frozen=True)
class DataConfig:
    """The training mixture and its split.

    Attributes:
      sources: data sets; those with references come first in a batch.
      crop: side of a training crop, pixels.
      fractions: shares of contents for train, validation and test.
      split_seed: seed of the split of contents.
      quarter_turns: also turn crops by multiples of 90 degrees.
      cache: keep decoded pictures in host memory.
      scale: data set whose mean, deviation and range the public score is on.
    """

    sources: tuple[SourceConfig, ...]
    scale: str
    crop: int = 224
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_seed: int = 0
    quarter_turns: bool = True
    cache: bool = True

    def __post_init__(self) -> None:
        _require(len(self.sources) > 0, "data.sources is empty")
        _require(self.crop >= 32, "data.crop must be at least 32 pixels")
        _require(
            abs(sum(self.fractions) - 1) < 1e-6 and min(self.fractions) >= 0,
            "data.fractions must be three shares that sum to 1",
        )
        names = [source.dataset for source in self.sources]
        _require(
            self.scale in names,
            f"data.scale {self.scale!r} is none of the sources {names}",
        )

    @property
    def batch_size(self) -> int:
        return sum(source.rows for source in self.sources)


@dataclass(frozen=True)
class Preprocessing:
    """How a picture file becomes crops: together, the preprocessing identity.

    Attributes:
      short_side: shorter side after resizing, pixels; 0 keeps every pixel.
      crop: side of a crop, pixels; smaller pictures are reflected out to it.
      points: crop positions: 1 the centre, 5 the corners and the centre.
      mirror: also score each crop mirrored.
      alpha: colour under transparent pixels.
      exif: apply the orientation that the file asks for.
    """

    short_side: int = 0
    crop: int = 224
    points: Literal[1, 5, 9] = 5
    mirror: bool = False
    alpha: Literal["white", "black"] = "white"
    exif: bool = True

    @property
    def sha(self) -> str:
        """Twelve hex digits that change when anything that moves a score does."""
        return config_hash(self)


@dataclass(frozen=True)
class LoopConfig:
    """How often the loop does what; all in steps."""

    log_every: int = 20
    save_every: int = 200
    eval_every: int = 0
    keep: int = 3


@dataclass(frozen=True)
class TeacherTrainConfig:
    """Stage 1: the teacher learns from pairs with scores."""

    data: DataConfig
    steps: int
    teacher: TeacherConfig = TeacherConfig()
    optim: OptimConfig = OptimConfig()
    weights: TeacherWeights = TeacherWeights()
    preprocessing: Preprocessing = Preprocessing(mirror=True)
    loop: LoopConfig = LoopConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.steps > 0, "steps must be positive")
        roles = {source.role for source in self.data.sources}
        _require(
            roles == {"labelled_pairs"},
            "a teacher is trained on labelled_pairs only; "
            f"this configuration has {sorted(roles)}",
        )


@dataclass(frozen=True)
class DistillConfig:
    """Stage 2: the student learns from scores and from the frozen teacher.

    Attributes:
      teacher: run directory of stage 1; empty trains without a teacher.
      pseudo_crops: crops whose mean is a pseudo-label and whose variance is its
        confidence.
      pseudo_drop: share of unlabelled pairs, the least confident, left out.
    """

    data: DataConfig
    steps: int
    teacher: str = ""
    student: StudentConfig = StudentConfig()
    optim: OptimConfig = OptimConfig(peak_lr=5e-4, weight_decay=0.02)
    weights: DistillWeights = DistillWeights()
    noise: NoiseConfig = NoiseConfig()
    preprocessing: Preprocessing = Preprocessing()
    loop: LoopConfig = LoopConfig()
    pseudo_crops: Literal[1, 5, 9] = 5
    pseudo_drop: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        _require(self.steps > 0, "steps must be positive")
        _require(0 <= self.pseudo_drop < 1, "pseudo_drop must lie in [0, 1)")


def to_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values, in the order of its fields."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(cls: type[T], values: dict[str, Any]) -> T:
    """Rebuilds a configuration that `to_json` wrote.

    Raises:
      InputError: if a field is unknown or missing; names the fields there are.
    """
    hints = typing.get_type_hints(cls)
    fields = {f.name for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    unknown = sorted(set(values) - fields)
    _require(
        not unknown,
        f"{cls.__name__} has no field {unknown}; its fields are {sorted(fields)}",
    )
    try:
        return cls(**{k: _from_json(hints[k], v) for k, v in values.items()})
    except TypeError as error:
        raise InputError(f"{cls.__name__}: {error}") from error


def config_hash(config: Any) -> str:
    """Twelve hex digits over the class name and every field."""
    text = json.dumps([type(config).__name__, to_json(config)], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _from_json(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if typing.get_origin(hint) is tuple and isinstance(value, list):
        inner = typing.get_args(hint)
        return tuple(_from_json(inner[0], item) for item in value)
    if typing.get_origin(hint) in (typing.Union, types.UnionType) and value is not None:
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return _from_json(inner[0], value) if len(inner) == 1 else value
    return value
